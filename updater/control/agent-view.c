/* SPDX-License-Identifier: MIT */

/* What others may ask the agent: the last status.json, with what only the agent knows put into it. */

#include "base/str.h"
#include "control/agent-state.h"

static AgentSlot slot_view(const Agent *a, const char *name)
{
        const Json *j = json_get(json_get(a->status, "slots"), name);
        AgentSlot s = { .state = json_get_str(j, "state"),
                        .version = json_get_str(j, "version"),
                        .roothash = json_get_str(j, "roothash") };

        (void) json_get_u64(j, "serial", &s.serial);
        (void) json_get_bool(j, "running", &s.running);
        return s;
}

/* Borrowed from here and from the plan. */
static const ScheduleItem *next_item(const Agent *a)
{
        return &a->plan.items[a->plan.headline];
}

static bool awaits_reboot(const Agent *a)
{
        const char *running = json_get_str(a->status, "running");
        const Journal *j = &a->journal;

        return j->phase == PHASE_FINALIZED && j->armed && running && running[0] != j->slot;
}

void agent_refresh_view(Agent *a)
{
        const ScheduleItem *next = next_item(a);
        const Journal *j = &a->journal;

        a->view = (AgentProperties){
                .phase = phase_name(j->phase),
                .product = json_get_str(a->status, "product"),
                .channel = json_get_str(a->status, "channel"),
                .running = json_get_str(a->status, "running"),
                .slots = { slot_view(a, "a"), slot_view(a, "b") },
                .version = json_get_str(a->status, "version"),
                .target_version = j->phase != PHASE_IDLE ? j->version : NULL,
                .reboot_awaited = awaits_reboot(a),
                .offered_version = a->memory.offer.version,
                .offered_serial = a->memory.offer.serial,
                .offered_issued = a->memory.offer.issued,
                .outcome = j->outcome != OUTCOME_NONE ? outcome_name(j->outcome) : NULL,
                .reason = j->reason != REASON_NONE ? reason_name(j->reason) : NULL,
                .message = j->message,
                .next_action = action_name(a->plan.headline),
                .next_at = next->wanted ? (next->at <= a->now ? 0 : next->at) : UINT64_MAX,
                .next_rule = next->rule,
                .next_because = next->because,
                .job_id = a->running.id[0] ? a->running.id : NULL,
                .job_verb = a->running.verb,
                .progress = a->running.progress,
                .last_check = a->memory.last_check,
                .last_error = a->last_error[0] ? a->last_error : NULL,
        };
}

const AgentProperties *agent_properties(Agent *a)
{
        return &a->view;
}

const Policy *agent_policy(const Agent *a)
{
        return &a->policy;
}

static Json *next_json(const Agent *a)
{
        const AgentProperties *v = &a->view;
        Json *j = json_new_object();

        json_set_str(j, "action", v->next_action);
        if (v->next_at != UINT64_MAX)
                json_set_time(j, "at", v->next_at > 0 ? v->next_at : a->now);
        json_set_str(j, "rule", v->next_rule);
        json_set_str(j, "because", v->next_because[0] ? v->next_because : NULL);
        return j;
}

static Json *job_json(const Agent *a)
{
        const JobProgress *p = &a->running.progress;
        Json *j, *progress;

        if (!a->running.id[0])
                return NULL;
        j = json_new_object();
        json_set_str(j, "id", a->running.id);
        json_set_str(j, "verb", a->running.verb);
        progress = json_new_object();
        json_set_str(progress, "what", p->what[0] ? p->what : "starting");
        json_set_u64(progress, "done", p->done);
        json_set_u64(progress, "total", p->total);
        json_set_u64(progress, "fetched", p->fetched);
        json_set_u64(progress, "skipped", p->skipped);
        json_set_u64(progress, "written", p->written);
        json_set_str(progress, "pace", p->pace[0] ? p->pace : NULL);
        json_set_u64(progress, "copied", p->copied);
        json_set_u64(progress, "rebuilt", p->rebuilt);
        json_set(j, "progress", progress);
        return j;
}

static void add_problem(Json *list, const char *code, const char *message, const char *hint)
{
        Json *p = json_new_object();

        json_set_str(p, "code", code);
        json_set_str(p, "message", message);
        json_set_str(p, "hint", hint && hint[0] ? hint : NULL);
        json_add(list, p);
}

/* The job's own list, which knows the disk, and what has happened since. */
static Json *problems_json(const Agent *a)
{
        const Json *known = json_get(a->status, "problems");
        const Journal *j = &a->journal;
        Json *list = json_new_array();

        json_foreach (p, known)
                json_add(list, json_ref(p));
        if (a->last_error[0])
                add_problem(list, "last-job", a->last_error, NULL);
        if (j->reboot_told && (j->phase == PHASE_FINALIZED || j->phase == PHASE_PROBATION))
                add_problem(list, "reboot-missing", a->plan.items[ACTION_REBOOT].because,
                            "look for what keeps this machine from rebooting (systemd-inhibit --list), or "
                            "reboot it by hand");
        return list;
}

Json *agent_status_json(Agent *a)
{
        Json *j = json_new_object();

        json_set_str(j, "schema", "gybe.status/1");
        json_merge(j, a->status);
        json_set_str(j, "phase", a->view.phase);
        json_set(j, "next", next_json(a));
        json_set(j, "job", job_json(a));
        json_set_str(j, "offered", a->view.offered_version);
        /* the job's own answer is as old as that job */
        policy_choices_json(&a->policy, j);
        if (a->view.last_check > 0)
                json_set_time(j, "lastCheck", a->view.last_check);
        json_set(j, "problems", problems_json(a));
        return j;
}
