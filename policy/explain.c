/* SPDX-License-Identifier: MIT */

/* gybe policy explain: what every rule says now, why, since which file, and when that changes. The document is the answer;
 * explain-text.c draws it. */

#include "base/str.h"
#include "policy/rules.h"
#include "policy/window.h"
#include "policy/zone.h"

#include <stdio.h>

static const char *const day_names[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" };

/* "1h30m", as the files say it */
static Json *duration_json(uint64_t sec)
{
        static const struct {
                char unit;
                uint64_t sec;
        } units[] = { { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 } };
        char text[64] = "";
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                if (sec >= units[i].sec)
                        n += (size_t) snprintf(text + n, sizeof(text) - n, "%llu%c",
                                               (unsigned long long) (sec / units[i].sec), units[i].unit);
                sec %= units[i].sec;
        }
        return json_new_str(n > 0 ? text : "0s");
}

static Json *list_json(char *const *list)
{
        Json *j = json_new_array();

        for (char *const *s = list; s && *s; s++)
                json_add_str(j, *s);
        return j;
}

static Json *text_json(const char *s)
{
        return s ? json_new_str(s) : NULL;
}

static Json *hold_json(const Policy *p)
{
        Json *j;

        if (!p->held)
                return NULL;
        j = json_new_object();
        if (p->hold_until != UINT64_MAX)
                json_set_time(j, "until", p->hold_until);
        json_set_str(j, "reason", p->hold_reason);
        json_set_str(j, "by", p->hold_by);
        return j;
}

static Json *clock_json(uint32_t sec)
{
        char text[16];

        (void) snprintf(text, sizeof(text), "%02u:%02u", (unsigned) (sec / 3600),
                        (unsigned) (sec % 3600 / 60));
        return json_new_str(text);
}

static Json *windows_json(const Policy *p)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < p->n_windows; i++) {
                const PolicyWindow *w = &p->windows[i];
                Json *j = json_new_object(), *days = json_new_array();

                for (unsigned d = 1; d <= 7; d++) /* people's weeks begin on Monday */
                        if (w->days & 1u << d % 7)
                                json_add_str(days, day_names[d % 7]);
                json_set(j, "days", days);
                json_set(j, "start", clock_json(w->start_sec));
                json_set(j, "end", clock_json((w->start_sec + w->length_sec) % 86400));
                json_set_str(j, "timezone",
                             w->timezone ? w->timezone
                             : w->zone   ? policy_zone_name(w->zone)
                                         : NULL);
                json_add(list, j);
        }
        return list;
}

/* As a file would say it; NULL: nothing is set. */
static Json *field_json(const Policy *p, PolicyField field)
{
        switch (field) {
        case POLICY_FIELD_CHANNEL:
                return text_json(p->channel);
        case POLICY_FIELD_AUTOMATION:
                return text_json(policy_automation_name(p->automation));
        case POLICY_FIELD_PIN:
                return text_json(p->pin);
        case POLICY_FIELD_SKIP:
                return list_json(p->skip);
        case POLICY_FIELD_HOLD:
                return hold_json(p);
        case POLICY_FIELD_MINIMUM_AGE:
                return duration_json(p->minimum_age_sec);
        case POLICY_FIELD_ROLLOUT_PERCENT:
                return json_new_u64(p->rollout_percent);
        case POLICY_FIELD_ROLLOUT_RAMP:
                return duration_json(p->rollout_ramp_sec);
        case POLICY_FIELD_WINDOWS:
                return windows_json(p);
        case POLICY_FIELD_ATTEMPTS:
                return json_new_u64(p->attempts);
        case POLICY_FIELD_SOAK:
                return duration_json(p->soak_sec);
        case POLICY_FIELD_DEADLINE:
                return duration_json(p->deadline_sec);
        case POLICY_FIELD_REQUIRE:
                return list_json(p->require);
        case POLICY_FIELD_BANDWIDTH:
                return json_new_u64(p->bandwidth);
        case POLICY_FIELD_PRESSURE_IO:
                return json_new_u64(p->pressure.io);
        case POLICY_FIELD_PRESSURE_CPU:
                return json_new_u64(p->pressure.cpu);
        case POLICY_FIELD_PRESSURE_MEMORY:
                return json_new_u64(p->pressure.memory);
        case POLICY_FIELD_REBOOT_COORDINATOR:
                return text_json(policy_coordinator_name(p->reboot.coordinator));
        case POLICY_FIELD_REBOOT_URL:
                return text_json(p->reboot.url);
        case POLICY_FIELD_REBOOT_GROUP:
                return text_json(p->reboot.group);
        case POLICY_FIELD_REBOOT_ID:
                return text_json(p->reboot.id);
        case POLICY_FIELD_REBOOT_HOOK:
                return text_json(p->reboot.hook);
        default:
                return duration_json(p->reboot.timeout_sec);
        }
}

static Json *rollout_json(const Policy *p, const PolicySubject *s)
{
        Json *j = json_new_object();
        uint64_t opens = s->version ? rollout_opens(p, s) : 0;

        json_set(j, "percent", field_json(p, POLICY_FIELD_ROLLOUT_PERCENT));
        json_set(j, "ramp", field_json(p, POLICY_FIELD_ROLLOUT_RAMP));
        if (opens > 0 && opens != UINT64_MAX)
                json_set_time(j, "turn", opens);
        return j;
}

/* Which fields a rule goes by; the later word of two is the one that counts. */
static PolicyField field_of(const Policy *p, PolicyRule rule)
{
        switch (rule) {
        case POLICY_RULE_AUTOMATION:
                return POLICY_FIELD_AUTOMATION;
        case POLICY_RULE_PIN:
                return POLICY_FIELD_PIN;
        case POLICY_RULE_SKIP:
                return POLICY_FIELD_SKIP;
        case POLICY_RULE_HOLD:
                return POLICY_FIELD_HOLD;
        case POLICY_RULE_MINIMUM_AGE:
                return POLICY_FIELD_MINIMUM_AGE;
        case POLICY_RULE_ROLLOUT:
                return p->from[POLICY_FIELD_ROLLOUT_PERCENT] > p->from[POLICY_FIELD_ROLLOUT_RAMP]
                               ? POLICY_FIELD_ROLLOUT_PERCENT
                               : POLICY_FIELD_ROLLOUT_RAMP;
        case POLICY_RULE_WINDOW:
                return POLICY_FIELD_WINDOWS;
        default:
                return _POLICY_FIELD_INVALID;
        }
}

static void set_source(Json *j, const char *source)
{
        json_set_str(j, "source", source ? source : "default");
}

/* A rule's strictest word over the doors where it is asked. */
static void ask_everywhere(const Policy *p, PolicyRule rule, const PolicySubject *s, uint64_t now,
                           RuleState *ret, PolicyDoor *ret_door, Json *doors)
{
        *ret = (RuleState){ .answer = POLICY_GO, .changes = UINT64_MAX };
        *ret_door = _POLICY_DOOR_INVALID;
        for (PolicyDoor door = 0; door < _POLICY_DOOR_MAX; door++) {
                RuleState st;

                if (!rule_applies(rule, door, s))
                        continue;
                rule_ask(p, rule, door, s, now, &st);
                json_set_str(doors, policy_door_name(door), policy_answer_name(st.answer));
                if (*ret_door < 0 || st.answer > ret->answer) {
                        *ret = st;
                        *ret_door = door;
                }
        }
}

static Json *rule_json(const Policy *p, PolicyRule rule, const PolicySubject *s, uint64_t now)
{
        Json *j = json_new_object(), *doors = json_new_object();
        PolicyField field = field_of(p, rule);
        PolicyDoor door;
        RuleState st;

        ask_everywhere(p, rule, s, now, &st, &door, doors);
        json_set_str(j, "rule", policy_rule_name(rule));
        json_set_str(j, "verdict", policy_answer_name(st.answer));
        json_set(j, "doors", doors);
        json_set(j, "value",
                 rule == POLICY_RULE_ROLLOUT ? rollout_json(p, s)
                 : field >= 0                ? field_json(p, field)
                                             : text_json(p->broken));
        if (field >= 0)
                set_source(j, policy_source(p, field));
        if (st.answer != POLICY_GO) {
                char because[sizeof(((PolicyVerdict *) 0)->because)];

                rule_because(p, rule, door, s, &st, because, sizeof(because));
                json_set_str(j, "because", because);
                if (st.opens != UINT64_MAX)
                        json_set_time(j, "until", st.opens);
                json_set_bool(j, "override", rule_overridable(rule));
        }
        if (st.changes != UINT64_MAX)
                json_set_time(j, "changes", st.changes);
        return j;
}

static Json *door_json(const Policy *p, PolicyDoor door, const PolicySubject *s, uint64_t now)
{
        Json *j = json_new_object();
        PolicyVerdict v;

        policy_ask(p, door, s, now, &v);
        json_set_str(j, "answer", policy_answer_name(v.answer));
        if (v.answer == POLICY_WAIT && v.until != UINT64_MAX)
                json_set_time(j, "until", v.until);
        json_set_str(j, "rule", v.rule);
        json_set_str(j, "because", v.because[0] ? v.because : NULL);
        if (v.overrode)
                json_set(j, "overrode", policy_rules_json(v.overrode));
        return j;
}

static Json *subject_json(const PolicySubject *s)
{
        Json *j = json_new_object();

        json_set_str(j, "version", s->version);
        if (s->serial > 0)
                json_set_u64(j, "serial", s->serial);
        if (s->issued > 0)
                json_set_time(j, "issued", s->issued);
        json_set_bool(j, "machineId", s->machine_id);
        json_set_bool(j, "unattended", s->unattended);
        json_set_bool(j, "override", s->override);
        return j;
}

Json *policy_explain(const Policy *p, const PolicySubject *s, uint64_t now)
{
        Json *j = json_new_object(), *rules = json_new_array(), *fields = json_new_object(),
             *doors = json_new_object(), *problems = json_new_array();
        uint64_t next = policy_next_change(p, s, now);

        json_set_str(j, "schema", "gybe.policy/1");
        json_set_time(j, "at", now);
        json_set(j, "subject", subject_json(s));
        for (PolicyRule rule = 0; rule < _POLICY_RULE_MAX; rule++)
                json_add(rules, rule_json(p, rule, s, now));
        json_set(j, "rules", rules);
        for (PolicyDoor door = 0; door < _POLICY_DOOR_MAX; door++)
                json_set(doors, policy_door_name(door), door_json(p, door, s, now));
        json_set(j, "doors", doors);
        if (next != UINT64_MAX)
                json_set_time(j, "nextChange", next);
        for (PolicyField field = 0; field < _POLICY_FIELD_MAX; field++) {
                Json *f = json_new_object();

                json_set(f, "value", field_json(p, field));
                set_source(f, policy_source(p, field));
                json_set(fields, policy_field_name(field), f);
        }
        json_set(j, "fields", fields);
        json_set(j, "files", list_json(p->files));
        if (p->broken)
                json_add_str(problems, p->broken);
        for (char **u = p->unknown; u && *u; u++) {
                _cleanup_(free_charp) char *line =
                        str_printf("%s: not known to gybe " GYBE_VERSION ", ignored", *u);
                if (line)
                        json_add_str(problems, line);
        }
        json_set(j, "problems", problems);
        return j;
}
