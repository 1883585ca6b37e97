/* SPDX-License-Identifier: MIT */

/* Methods. One that changes something is understood first, then polkit is asked, then it acts, so that nobody types a password
 * for nonsense and nothing unread waits in memory. */

#include "base/log.h"
#include "base/str.h"
#include "control/explain.h"
#include "control/operator.h"
#include "control/record.h"
#include "control/service-call.h"
#include "control/service-parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define OMAHA (CALL_OPTION_OMAHA_URL | CALL_OPTION_OMAHA_APP | CALL_OPTION_OMAHA_TRACK)
#define WALK                                                                                                 \
        (CALL_OPTION_VERSION | CALL_OPTION_RELEASE | CALL_OPTION_DOWNGRADE | CALL_OPTION_OVERRIDE | OMAHA)
#define OVERRIDE     "org.gybe.update1.override"
#define RULES_ACTION "org.gybe.update1.manage-policy"

typedef struct Method {
        const char *member, *action;
        const char *verb; /* of the job, or of the rule */
        int (*read)(sd_bus_message *m, const struct Method *method, Call *call, Why *why);
        /* Adds what the method returns to the reply. */
        int (*act)(Service *s, const struct Method *method, const Call *call, sd_bus_message *reply,
                   Why *why);
        unsigned options;
} Method;

static JobRequester requester(const Call *call)
{
        return (JobRequester){ .uid = call->uid, .name = call->user, .how = "dbus" };
}

/* --- reading arguments --- */

static int read_options(sd_bus_message *m, const Method *method, Call *call, Why *why)
{
        return call_read_options(m, method->options, call, why);
}

static int read_version(sd_bus_message *m, const Method *method _unused_, Call *call, Why *why)
{
        return call_read_text(m, "version", 1, CALL_VERSION_MAX, &call->text, why);
}

static int read_hold(sd_bus_message *m, const Method *method _unused_, Call *call, Why *why)
{
        int r = call_read_until(m, &call->until, why);

        return r < 0 ? r : call_read_text(m, "reason", 0, CALL_REASON_MAX, &call->reason, why);
}

static int read_quarantine(sd_bus_message *m, const Method *method _unused_, Call *call, Why *why)
{
        return call_read_text(m, "id", 0, 64, &call->text, why);
}

/* --- acting --- */

static int act_job(Service *s, const Method *method, const Call *call, sd_bus_message *reply, Why *why)
{
        JobOrder order = {
                .verb = method->verb,
                .release = call->release,
                .version = call->version,
                .omaha_url = call->omaha_url,
                .omaha_app = call->omaha_app,
                .omaha_track = call->omaha_track,
                .allow_downgrade = call->allow_downgrade,
                .no_reboot = call->no_reboot,
                .override = call->override,
                .by = requester(call),
        };
        char id[JOB_ID_SIZE];
        int r = agent_request(s->agent, &order, id, why);

        if (r < 0)
                return r;
        s->kick(s->ctx);
        return sd_bus_message_append(reply, "s", id);
}

static int act_quarantine(Service *s, const Method *method _unused_, const Call *call, sd_bus_message *reply,
                          Why *why)
{
        JobRequester by = requester(call);
        unsigned cleared = 0;
        int r = operator_clear_quarantine(s->env, call->text[0] ? call->text : NULL, &by, &cleared, why);

        if (r < 0)
                return r;
        s->kick(s->ctx);
        return sd_bus_message_append(reply, "u", cleared);
}

static int act_reload(Service *s, const Method *method _unused_, const Call *call _unused_,
                      sd_bus_message *reply _unused_, Why *why)
{
        int r = agent_reload(s->agent, why);

        s->kick(s->ctx);
        /* What is right in the files counts, and what is wrong has to be said to whoever has just edited them. */
        return r >= 0 && why->kind != WHY_NONE ? -EINVAL : r;
}

static int act_audit(Service *s, const Method *method _unused_, const Call *call _unused_,
                     sd_bus_message *reply, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        int r = record_audit(s->env, RECORD_HISTORY_AGENT, &j, why);

        return r < 0 ? r : service_append_json(reply, j);
}

static int act_rule(Service *s, const Method *method, const Call *call, sd_bus_message *reply _unused_,
                    Why *why)
{
        PolicyChange change = {
                .verb = policy_verb_from_name(method->verb),
                .version = call->text,
                .until = call->until,
                .reason = call->reason && call->reason[0] ? call->reason : NULL,
        };
        JobRequester by = requester(call);
        Why ignored = { 0 };
        int r = operator_change_rule(s->env, &change, &by, why);

        if (r < 0)
                return r;
        /* What is wrong in some other file was so before, and `gybe status` says it. */
        r = agent_reload(s->agent, &ignored);
        s->kick(s->ctx);
        return r;
}

static const Method methods[] = {
        { "Check", "org.gybe.update1.check", "check", read_options, act_job, WALK },
        { "Stage", "org.gybe.update1.stage", "stage", read_options, act_job, WALK },
        { "Finalize", "org.gybe.update1.finalize", "finalize", read_options, act_job,
          CALL_OPTION_OVERRIDE | CALL_OPTION_NO_REBOOT },
        { "Update", "org.gybe.update1.finalize", "update", read_options, act_job,
          WALK | CALL_OPTION_NO_REBOOT },
        { "Commit", "org.gybe.update1.commit", "commit", read_options, act_job, CALL_OPTION_NO_REBOOT },
        { "Rollback", "org.gybe.update1.rollback", "rollback", read_options, act_job, CALL_OPTION_NO_REBOOT },
        { "Pin", RULES_ACTION, "pin", read_version, act_rule, 0 },
        { "Unpin", RULES_ACTION, "unpin", NULL, act_rule, 0 },
        { "Hold", RULES_ACTION, "hold", read_hold, act_rule, 0 },
        { "Unhold", RULES_ACTION, "unhold", NULL, act_rule, 0 },
        { "Skip", RULES_ACTION, "skip", read_version, act_rule, 0 },
        { "Unskip", RULES_ACTION, "unskip", read_version, act_rule, 0 },
        { "ClearQuarantine", "org.gybe.update1.manage-quarantine", NULL, read_quarantine, act_quarantine, 0 },
        { "Reload", "org.gybe.update1.reload", NULL, NULL, act_reload, 0 },
        { "Audit", "org.gybe.update1.audit", NULL, NULL, act_audit, 0 },
};

/* --- a call that changes something --- */

/* What waits while polkit is asked. */
typedef struct Waiting {
        Service *service;
        const Method *method;
        Call call;
} Waiting;

static void waiting_drop(void *ctx)
{
        Waiting *w = ctx;

        call_done(&w->call);
        free(w);
}

static void waiting_freep(Waiting **w)
{
        if (*w)
                waiting_drop(*w);
}

static void note(const Method *method, const Call *call)
{
        log_notice("%s is asked for by %s (user %" PRIu64 ")", method->member,
                   call->user ? call->user : "somebody", call->uid);
}

static int perform(Waiting *w, sd_bus_message *m)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Why why = { 0 };
        int r = sd_bus_message_new_method_return(m, &reply);

        if (r >= 0) {
                note(w->method, &w->call);
                r = w->method->act(w->service, w->method, &w->call, reply, &why);
        }
        if (r < 0)
                return call_refuse(m, r, &why);
        r = sd_bus_send(NULL, reply, NULL);
        return r < 0 ? r : 1;
}

/* What policy/50-gybe-node.rules says, for hosts that have no polkit to read it: that user exists for one program of ours. */
static bool may_without_polkit(const Waiting *w, const Why *why)
{
        static const char *const verbs[] = { "stage", "finalize", "rollback" };

        if (!streq(why->code, POLKIT_MISSING) || !streq0(w->call.user, "gybe-node") || w->call.override ||
            w->call.allow_downgrade)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq0(w->method->verb, verbs[i]))
                        return true;
        return false;
}

static void on_decided(void *ctx, sd_bus_message *m, int granted, const Why *why)
{
        _cleanup_(waiting_freep) Waiting *w = ctx;

        /* A reply that cannot be sent has nobody to go to. */
        if (granted > 0 || may_without_polkit(w, why))
                (void) perform(w, m);
        else
                (void) call_refuse(m, -EACCES, why);
}

static const Method *method_find(const char *member)
{
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (streq(methods[i].member, member))
                        return &methods[i];
        return NULL;
}

int service_changing_call(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        Service *s = userdata;
        _cleanup_(waiting_freep) Waiting *w = calloc(1, sizeof(*w));
        Why why = { 0 };
        int r;

        if (!w)
                return -ENOMEM;
        w->service = s;
        w->method = method_find(sd_bus_message_get_member(m));
        if (!w->method)
                return -EOPNOTSUPP;
        r = w->method->read ? w->method->read(m, w->method, &w->call, &why) : 0;
        if (r >= 0)
                r = call_read_caller(m, s->env, &w->call, &why);
        if (r >= 0)
                r = polkit_ask(s->polkit, m, w->call.uid,
                               w->call.override || w->call.allow_downgrade ? OVERRIDE : w->method->action,
                               on_decided, waiting_drop, w, &why);
        if (r < 0)
                return call_refuse(m, r, &why);
        if (r > 0)
                return perform(w, m);
        w = NULL; /* polkit has it now */
        return 1;
}

/* --- a call that only reads --- */

static bool is_job_id(const char *id)
{
        size_t n = strlen(id);

        return n > 0 && n < JOB_ID_SIZE && strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz-") == n;
}

static bool job_waits(const Service *s, const char *id)
{
        _cleanup_(strv_freep) char **ids = NULL;

        return job_list(s->env, &ids) >= 0 && strv_has(ids, id);
}

static int read_job_result(Service *s, sd_bus_message *m, sd_bus_message *reply, Why *why)
{
        _cleanup_(json_unrefp) Json *result = NULL;
        _cleanup_(free_charp) char *id = NULL;
        int code = 0, r = call_read_text(m, "id", 1, JOB_ID_SIZE - 1, &id, why);

        if (r < 0)
                return r;
        r = is_job_id(id) ? job_result_load(s->env, id, &result, &code) : 0;
        if (r <= 0 && (!is_job_id(id) || !job_waits(s, id)))
                return fail(why, -ENOENT, WHY_USAGE, "no-such-job", "job %s: it is not known", id);
        r = sd_bus_message_append(reply, "bi", (int) (r > 0), (int32_t) code);
        if (r < 0)
                return r;
        return result ? service_append_json(reply, result) : sd_bus_message_append(reply, "s", "");
}

static int read_describe(Service *s, sd_bus_message *m _unused_, sd_bus_message *reply, Why *why _unused_)
{
        _cleanup_(json_unrefp) Json *j = agent_status_json(s->agent);

        return j ? service_append_json(reply, j) : -ENOMEM;
}

static int read_explain(Service *s, sd_bus_message *m, sd_bus_message *reply, Why *why)
{
        _cleanup_(call_done) Call call = { 0 };
        _cleanup_(json_unrefp) Json *j = NULL;
        const AgentProperties *a = agent_properties(s->agent);
        ExplainQuestion question = { .offered = a->offered_version,
                                     .offered_serial = a->offered_serial,
                                     .offered_issued = a->offered_issued };
        int r = call_read_options(m, CALL_OPTION_AT | CALL_OPTION_VERSION | CALL_OPTION_OVERRIDE, &call, why);

        if (r < 0)
                return r;
        question.at = call.at;
        question.version = call.version;
        question.override = call.override;
        r = explain_policy(s->env, agent_policy(s->agent), &question, &j);
        return r < 0 ? r : service_append_json(reply, j);
}

static int read_quarantine_list(Service *s, sd_bus_message *m _unused_, sd_bus_message *reply, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        int r = record_quarantine(s->env, &j, why);

        return r < 0 ? r : service_append_json(reply, j);
}

int service_reading_call(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        static const struct {
                const char *member;
                int (*read)(Service *s, sd_bus_message *m, sd_bus_message *reply, Why *why);
        } readers[] = {
                { "JobResult", read_job_result },
                { "Describe", read_describe },
                { "Explain", read_explain },
                { "ListQuarantine", read_quarantine_list },
        };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *member = sd_bus_message_get_member(m);
        Why why = { 0 };
        int r = -EOPNOTSUPP;

        for (size_t i = 0; i < ELEMENTSOF(readers); i++)
                if (streq(readers[i].member, member)) {
                        r = sd_bus_message_new_method_return(m, &reply);
                        if (r >= 0)
                                r = readers[i].read(userdata, m, reply, &why);
                        break;
                }
        if (r < 0)
                return call_refuse(m, r, &why);
        r = sd_bus_send(NULL, reply, NULL);
        return r < 0 ? r : 1;
}
