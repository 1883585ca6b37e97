/* SPDX-License-Identifier: MIT */

/* The three doors of an update: fetch, finalize, reboot. Each asks the rules that belong to it and passes on the strictest
 * answer with its sentence. Pure: time comes in, nothing goes out. */

#include "policy/policy.h"
#include "base/str.h"
#include "policy/rules.h"

#include <errno.h>
#include <stdio.h>

/* Rules wait for one instant each, but windows close again: how often the answers are asked together until they agree. A
 * window is met at the second try; more tries than rules mean that there is no such instant. */
#define ROUNDS_MAX 16u

static const char *const door_names[_POLICY_DOOR_MAX] = {
        [POLICY_FETCH] = "fetch",
        [POLICY_FINALIZE] = "finalize",
        [POLICY_REBOOT] = "reboot",
};

static const char *const answer_names[_POLICY_ANSWER_MAX] = {
        [POLICY_GO] = "go",
        [POLICY_WAIT] = "wait",
        [POLICY_NEVER] = "never",
};

const char *policy_door_name(PolicyDoor door)
{
        return door_names[door];
}

const char *policy_answer_name(PolicyAnswer answer)
{
        return answer_names[answer];
}

static bool counts(PolicyRule rule, PolicyDoor door, const PolicySubject *s)
{
        return rule_applies(rule, door, s) && !(s->override && rule_overridable(rule));
}

/* The first instant from t on at which every rule of the door goes. */
static uint64_t all_go(const Policy *p, PolicyDoor door, const PolicySubject *s, uint64_t t)
{
        for (unsigned round = 0; round < ROUNDS_MAX; round++) {
                uint64_t latest = t;

                for (PolicyRule rule = 0; rule < _POLICY_RULE_MAX; rule++) {
                        RuleState st;

                        if (!counts(rule, door, s))
                                continue;
                        rule_ask(p, rule, door, s, t, &st);
                        if (st.answer != POLICY_GO)
                                latest = MAX(latest, st.opens);
                }
                if (latest == t || latest == UINT64_MAX)
                        return latest;
                t = latest;
        }
        return UINT64_MAX;
}

static bool stricter(const RuleState *a, const RuleState *b)
{
        return a->answer != b->answer ? a->answer > b->answer : a->opens > b->opens;
}

void policy_ask(const Policy *p, PolicyDoor door, const PolicySubject *s, uint64_t now, PolicyVerdict *ret)
{
        RuleState worst = { .answer = POLICY_GO };
        PolicyRule speaker = _POLICY_RULE_INVALID;
        PolicyVerdict v = { .answer = POLICY_GO };
        size_t n;

        for (PolicyRule rule = 0; rule < _POLICY_RULE_MAX; rule++) {
                RuleState st;

                if (!rule_applies(rule, door, s))
                        continue;
                rule_ask(p, rule, door, s, now, &st);
                if (st.answer == POLICY_GO)
                        continue;
                if (s->override && rule_overridable(rule))
                        v.overrode |= 1u << rule;
                else if (speaker < 0 || stricter(&st, &worst)) {
                        worst = st;
                        speaker = rule;
                }
        }
        if (speaker >= 0) {
                v.answer = worst.answer;
                v.rule = policy_rule_name(speaker);
                rule_because(p, speaker, door, s, &worst, v.because, sizeof(v.because));
        }
        if (v.answer == POLICY_WAIT) {
                v.until = all_go(p, door, s, now);
                n = strlen(v.because);
                if (v.until != worst.opens && v.until != UINT64_MAX &&
                    n + TIME_TEXT_SIZE + 40 < sizeof(v.because)) {
                        char text[TIME_TEXT_SIZE];

                        format_time(v.until, text);
                        (void) snprintf(v.because + n, sizeof(v.because) - n,
                                        "; with the other rules that is %s", text);
                }
        }
        *ret = v;
}

uint64_t policy_next_change(const Policy *p, const PolicySubject *s, uint64_t now)
{
        uint64_t next = UINT64_MAX;

        for (PolicyRule rule = 0; rule < _POLICY_RULE_MAX; rule++)
                for (PolicyDoor door = 0; door < _POLICY_DOOR_MAX; door++) {
                        RuleState st;

                        if (!counts(rule, door, s))
                                continue;
                        rule_ask(p, rule, door, s, now, &st);
                        next = MIN(next, st.changes);
                }
        return next;
}

/* Would one word of a person be enough? */
static bool override_helps(const Policy *p, PolicyDoor door, const PolicySubject *s, uint64_t now)
{
        PolicySubject with = *s;
        PolicyVerdict v;

        with.override = true;
        policy_ask(p, door, &with, now, &v);
        return v.answer == POLICY_GO && !s->unattended;
}

int policy_require(const Policy *p, PolicyDoor door, const PolicySubject *s, uint64_t now, unsigned *overrode,
                   Why *why)
{
        PolicyVerdict v;
        char text[TIME_TEXT_SIZE];
        const char *also;

        policy_ask(p, door, s, now, &v);
        if (v.answer == POLICY_GO) {
                if (overrode)
                        *overrode |= v.overrode;
                return 0;
        }
        (void) fail(why, -EPERM, WHY_POLICY, v.rule, "%s", v.because);
        also = override_helps(p, door, s, now) ? ", or now with --override" : "";
        if (v.answer == POLICY_NEVER)
                return fail_hint(why, -EPERM, "gybe %s takes that back",
                                 streq(v.rule, "pin") ? "unpin" : "unskip");
        if (v.until == UINT64_MAX && streq(v.rule, "hold"))
                return fail_hint(why, -EPERM, "gybe unhold lets it go%s",
                                 *also ? ", --override this once" : "");
        if (v.until == UINT64_MAX)
                return fail_hint(why, -EPERM, "gybe policy explain tells which file says so%s",
                                 *also ? "; --override passes it once" : "");
        format_time(v.until, text);
        return fail_hint(why, -EPERM, "it goes from %s on%s", text, also);
}

Json *policy_rules_json(unsigned set)
{
        Json *list = json_new_array();

        for (PolicyRule rule = 0; rule < _POLICY_RULE_MAX; rule++)
                if (set & 1u << rule)
                        json_add_str(list, policy_rule_name(rule));
        return list;
}

void policy_choices_json(const Policy *policy, Json *document)
{
        json_remove(document, "pin");
        json_remove(document, "skip");
        json_set_str(document, "pin", policy->pin);
        if (!policy->skip || !policy->skip[0])
                return;
        json_set(document, "skip", json_new_array());
        for (char **v = policy->skip; *v; v++)
                json_add_str((Json *) json_get(document, "skip"), *v);
}
