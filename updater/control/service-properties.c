/* SPDX-License-Identifier: MIT */

#include "base/str.h"
#include "base/utf8.h"
#include "control/service-parts.h"

#include <errno.h>
#include <stddef.h>

#define USEC     UINT64_C(1000000)
#define NO_TEXT  SIZE_MAX
#define FIELD(f) offsetof(AgentProperties, f)
#define STATUS   AGENT_CHANGED_STATUS
#define NEXT     AGENT_CHANGED_NEXT
#define JOB      AGENT_CHANGED_JOB
#define RULES    AGENT_CHANGED_POLICY

static uint64_t to_usec(uint64_t sec)
{
        return sec > UINT64_MAX / USEC ? UINT64_MAX : sec * USEC;
}

int service_append_text(sd_bus_message *m, const char *text)
{
        _cleanup_(free_charp) char *copy = NULL;

        if (!text || utf8_is_valid(text))
                return sd_bus_message_append(m, "s", text ? text : "");
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        utf8_repair(copy);
        return sd_bus_message_append(m, "s", copy);
}

int service_append_json(sd_bus_message *m, const Json *j)
{
        _cleanup_(free_charp) char *text = json_format(j, false);

        return text ? service_append_text(m, text) : -ENOMEM;
}

/* {sv} */
static int add_text(sd_bus_message *m, const char *key, const char *value)
{
        int r;

        if ((r = sd_bus_message_open_container(m, 'e', "sv")) < 0 ||
            (r = sd_bus_message_append(m, "s", key)) < 0 ||
            (r = sd_bus_message_open_container(m, 'v', "s")) < 0 || (r = service_append_text(m, value)) < 0 ||
            (r = sd_bus_message_close_container(m)) < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int add_number(sd_bus_message *m, const char *key, uint64_t value)
{
        return sd_bus_message_append(m, "{sv}", key, "t", value);
}

static int append_slot(sd_bus_message *m, const char *name, const AgentSlot *slot)
{
        int r;

        if ((r = sd_bus_message_open_container(m, 'e', "sa{sv}")) < 0 ||
            (r = sd_bus_message_append(m, "s", name)) < 0 ||
            (r = sd_bus_message_open_container(m, 'a', "{sv}")) < 0 ||
            (r = add_text(m, "State", slot->state)) < 0 ||
            (r = sd_bus_message_append(m, "{sv}", "Running", "b", (int) slot->running)) < 0 ||
            (r = add_text(m, "Version", slot->version)) < 0 ||
            (r = add_number(m, "Serial", slot->serial)) < 0 ||
            (r = add_text(m, "Roothash", slot->roothash)) < 0 || (r = sd_bus_message_close_container(m)) < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int append_slots(const Service *s, sd_bus_message *m)
{
        const AgentProperties *p = agent_properties(s->agent);
        int r = sd_bus_message_open_container(m, 'a', "{sa{sv}}");

        if (r >= 0)
                r = append_slot(m, "a", &p->slots[0]);
        if (r >= 0)
                r = append_slot(m, "b", &p->slots[1]);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_progress(const Service *s, sd_bus_message *m)
{
        const AgentProperties *a = agent_properties(s->agent);
        const JobProgress *p = &a->progress;
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0 && a->job_id && p->what[0] &&
            ((r = add_text(m, "What", p->what)) < 0 || (r = add_number(m, "Done", p->done)) < 0 ||
             (r = add_number(m, "Total", p->total)) < 0 || (r = add_number(m, "Fetched", p->fetched)) < 0 ||
             (r = add_number(m, "Skipped", p->skipped)) < 0 ||
             (r = add_number(m, "Written", p->written)) < 0 || (r = add_number(m, "Copied", p->copied)) < 0 ||
             (r = add_number(m, "Rebuilt", p->rebuilt)) < 0 ||
             (p->pace[0] && (r = add_text(m, "Pace", p->pace)) < 0)))
                return r;
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_next_time(const Service *s, sd_bus_message *m)
{
        return sd_bus_message_append(m, "t", to_usec(agent_properties(s->agent)->next_at));
}

static int append_last_check(const Service *s, sd_bus_message *m)
{
        return sd_bus_message_append(m, "t", to_usec(agent_properties(s->agent)->last_check));
}

static int append_version(const Service *s _unused_, sd_bus_message *m)
{
        return sd_bus_message_append(m, "s", GYBE_VERSION);
}

static int append_automation(const Service *s, sd_bus_message *m)
{
        return service_append_text(m, policy_automation_name(agent_policy(s->agent)->automation));
}

static int append_pin(const Service *s, sd_bus_message *m)
{
        return service_append_text(m, agent_policy(s->agent)->pin);
}

static int append_skip(const Service *s, sd_bus_message *m)
{
        int r = sd_bus_message_open_container(m, 'a', "s");

        for (char **v = agent_policy(s->agent)->skip; r >= 0 && v && *v; v++)
                r = service_append_text(m, *v);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static bool is_held(const Service *s)
{
        const Policy *p = agent_policy(s->agent);

        return p->held && env_now(s->env) < p->hold_until;
}

static int append_held(const Service *s, sd_bus_message *m)
{
        return sd_bus_message_append(m, "b", (int) is_held(s));
}

static int append_hold_until(const Service *s, sd_bus_message *m)
{
        return sd_bus_message_append(m, "t", is_held(s) ? to_usec(agent_policy(s->agent)->hold_until) : 0);
}

static int append_hold_reason(const Service *s, sd_bus_message *m)
{
        return service_append_text(m, is_held(s) ? agent_policy(s->agent)->hold_reason : NULL);
}

static int append_hold_by(const Service *s, sd_bus_message *m)
{
        return service_append_text(m, is_held(s) ? agent_policy(s->agent)->hold_by : NULL);
}

/* changes 0: never. */
static const struct {
        const char *name;
        unsigned changes;
        size_t text; /* where in AgentProperties the text is, NO_TEXT: append says it */
        int (*append)(const Service *s, sd_bus_message *m);
} properties[] = {
        { "Version", 0, NO_TEXT, append_version },
        { "Phase", STATUS, FIELD(phase), NULL },
        { "RunningSlot", STATUS, FIELD(running), NULL },
        { "RunningVersion", STATUS, FIELD(version), NULL },
        { "TargetVersion", STATUS, FIELD(target_version), NULL },
        { "OfferedVersion", STATUS | JOB, FIELD(offered_version), NULL },
        { "Slots", STATUS, NO_TEXT, append_slots },
        { "Progress", JOB | AGENT_CHANGED_PROGRESS, NO_TEXT, append_progress },
        { "NextAction", NEXT, FIELD(next_action), NULL },
        { "NextActionTime", NEXT, NO_TEXT, append_next_time },
        { "NextActionBecause", NEXT, FIELD(next_because), NULL },
        { "LastOutcome", STATUS, FIELD(outcome), NULL },
        { "LastReason", STATUS, FIELD(reason), NULL },
        { "LastMessage", STATUS, FIELD(message), NULL },
        { "LastError", JOB, FIELD(last_error), NULL },
        { "LastCheck", JOB, NO_TEXT, append_last_check },
        { "JobId", JOB, FIELD(job_id), NULL },
        { "JobVerb", JOB, FIELD(job_verb), NULL },
        { "Automation", RULES, NO_TEXT, append_automation },
        { "Pin", RULES, NO_TEXT, append_pin },
        { "Skip", RULES, NO_TEXT, append_skip },
        { "Held", RULES | NEXT, NO_TEXT, append_held },
        { "HoldUntil", RULES | NEXT, NO_TEXT, append_hold_until },
        { "HoldReason", RULES | NEXT, NO_TEXT, append_hold_reason },
        { "HoldBy", RULES | NEXT, NO_TEXT, append_hold_by },
};
_Static_assert(ELEMENTSOF(properties) < SERVICE_PROPERTIES_MAX, "the list of names ends with NULL");

int service_property(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                     const char *property, sd_bus_message *reply, void *userdata,
                     sd_bus_error *error _unused_)
{
        Service *s = userdata;

        for (size_t i = 0; i < ELEMENTSOF(properties); i++) {
                const char *text;

                if (!streq(properties[i].name, property))
                        continue;
                if (properties[i].append)
                        return properties[i].append(s, reply);
                memcpy(&text, (const char *) agent_properties(s->agent) + properties[i].text, sizeof(text));
                return service_append_text(reply, text);
        }
        return -ENOENT;
}

void service_touched(unsigned change_bits, char *ret[SERVICE_PROPERTIES_MAX])
{
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(properties); i++)
                if (properties[i].changes & change_bits)
                        ret[n++] = (char *) properties[i].name;
        ret[n] = NULL;
}
