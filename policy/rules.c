/* SPDX-License-Identifier: MIT */

#include "policy/rules.h"
#include "base/str.h"
#include "policy/window.h"

#include <stdarg.h>
#include <stdio.h>

enum {
        AT_FETCH = 1 << POLICY_FETCH,
        AT_FINALIZE = 1 << POLICY_FINALIZE,
        AT_REBOOT = 1 << POLICY_REBOOT,
        AT_ALL = AT_FETCH | AT_FINALIZE | AT_REBOOT,
};

/* What each rule is asked about. An age or a turn that was passed is not asked for again at later doors: what was fetched on
 * somebody's word may be finalized. */
static const struct {
        const char *name;
        unsigned doors;
        bool unattended;    /* a person who types is not asked this */
        bool needs_release; /* nothing to say without one */
        bool overridable;
} rules[_POLICY_RULE_MAX] = {
        [POLICY_RULE_FILES] = { "policy-file", AT_ALL, true, false, false },
        [POLICY_RULE_AUTOMATION] = { "automation", AT_ALL, true, false, false },
        [POLICY_RULE_PIN] = { "pin", AT_FETCH | AT_FINALIZE, false, true, false },
        [POLICY_RULE_SKIP] = { "skip", AT_FETCH | AT_FINALIZE, false, true, false },
        [POLICY_RULE_HOLD] = { "hold", AT_ALL, false, false, true },
        [POLICY_RULE_MINIMUM_AGE] = { "minimumAge", AT_FETCH, false, true, true },
        [POLICY_RULE_ROLLOUT] = { "rollout", AT_FETCH, false, true, true },
        [POLICY_RULE_WINDOW] = { "window", AT_FINALIZE | AT_REBOOT, false, false, true },
};

const char *policy_rule_name(PolicyRule rule)
{
        return rules[rule].name;
}

bool rule_at_door(PolicyRule rule, PolicyDoor door)
{
        return rules[rule].doors & 1u << door;
}

bool rule_overridable(PolicyRule rule)
{
        return rules[rule].overridable;
}

bool rule_applies(PolicyRule rule, PolicyDoor door, const PolicySubject *s)
{
        if (!rule_at_door(rule, door) || (rules[rule].unattended && !s->unattended))
                return false;
        /* Asking the source is harmless, and what it answers is worth knowing on a host that is held. */
        return s->version || (!rules[rule].needs_release && door != POLICY_FETCH);
}

static PolicyAutomation level_of(PolicyDoor door)
{
        return door == POLICY_FETCH      ? POLICY_AUTO_STAGE
               : door == POLICY_FINALIZE ? POLICY_AUTO_FINALIZE
                                         : POLICY_AUTO_FULL;
}

/* A rule that goes from some instant on: 0 always has, UINT64_MAX never by itself. */
static RuleState from_then_on(uint64_t opens, uint64_t t)
{
        if (t >= opens && opens != UINT64_MAX)
                return (RuleState){ POLICY_GO, 0, UINT64_MAX };
        return (RuleState){ POLICY_WAIT, opens, opens };
}

static RuleState fixed(bool go, PolicyAnswer otherwise)
{
        return (RuleState){ go ? POLICY_GO : otherwise, go ? 0 : UINT64_MAX, UINT64_MAX };
}

static RuleState ask_window(const Policy *p, uint64_t t)
{
        bool open = windows_open(p, t);

        return (RuleState){ open ? POLICY_GO : POLICY_WAIT, open ? 0 : windows_earliest(p, t),
                            windows_next(p, t) };
}

void rule_ask(const Policy *p, PolicyRule rule, PolicyDoor door, const PolicySubject *s, uint64_t t,
              RuleState *ret)
{
        switch (rule) {
        case POLICY_RULE_FILES:
                *ret = fixed(!p->broken, POLICY_WAIT);
                return;
        case POLICY_RULE_AUTOMATION:
                *ret = fixed(p->automation >= level_of(door), POLICY_WAIT);
                return;
        case POLICY_RULE_PIN:
                *ret = fixed(!p->pin || !s->version || streq(p->pin, s->version), POLICY_NEVER);
                return;
        case POLICY_RULE_SKIP:
                *ret = fixed(!s->version || !strv_has(p->skip, s->version), POLICY_NEVER);
                return;
        case POLICY_RULE_HOLD:
                *ret = from_then_on(p->held ? p->hold_until : 0, t);
                return;
        case POLICY_RULE_MINIMUM_AGE:
                *ret = from_then_on(p->minimum_age_sec == 0 ? 0
                                    : s->issued == 0        ? UINT64_MAX
                                                            : s->issued + p->minimum_age_sec,
                                    t);
                return;
        case POLICY_RULE_ROLLOUT:
                *ret = from_then_on(rollout_opens(p, s), t);
                return;
        default:
                *ret = ask_window(p, t);
        }
}

/* --- words --- */

/* A text that was cut must not end inside a character: it goes into JSON. */
static void end_at_character(char *s, size_t size)
{
        size_t n = strlen(s);

        if (n + 1 < size)
                return;
        while (n > 0 && ((unsigned char) s[n - 1] & 0xc0) == 0x80)
                n--;
        if (n > 0 && (unsigned char) s[n - 1] >= 0x80)
                n--;
        s[n] = 0;
}

static void cut(char *to, size_t size, const char *from)
{
        (void) snprintf(to, size, "%s", from);
        end_at_character(to, size);
}

static const char *when(uint64_t t, char text[TIME_TEXT_SIZE])
{
        if (t == UINT64_MAX)
                return "";
        format_time(t, text);
        return text;
}

static void hold_because(const Policy *p, const char *about, char *ret, size_t size)
{
        char text[TIME_TEXT_SIZE];

        (void) snprintf(ret, size, "%supdates are held%s%s%s%s%s%s", about,
                        p->hold_until == UINT64_MAX ? "" : " until ", when(p->hold_until, text),
                        p->hold_by ? " by " : "", p->hold_by ? p->hold_by : "", p->hold_reason ? ": " : "",
                        p->hold_reason ? p->hold_reason : "");
}

static void rollout_because(const Policy *p, const char *about, const PolicySubject *s, const RuleState *st,
                            char *ret, size_t size)
{
        char text[TIME_TEXT_SIZE];

        if (st->opens != UINT64_MAX)
                (void) snprintf(ret, size, "%sthis host's turn in the rollout comes at %s", about,
                                when(st->opens, text));
        else if (p->rollout_ramp_sec > 0 && s->issued == 0)
                (void) snprintf(ret, size, "%sthe rollout has a ramp, but when it was issued is not known",
                                about);
        else
                (void) snprintf(ret, size, "%sit is for %u %% of the hosts, and this one is not among them%s",
                                about, p->rollout_percent, s->machine_id ? "" : ": it has no machine id");
}

static void window_because(const Policy *p, const char *about, const RuleState *st, char *ret, size_t size)
{
        char text[TIME_TEXT_SIZE];

        if (st->opens == UINT64_MAX)
                (void) snprintf(ret, size, "%sno maintenance window of this host ever opens", about);
        else
                (void) snprintf(ret, size, "%sthe %s maintenance window opens at %s", about,
                                p->n_windows > 1 ? "next" : "host's", when(st->opens, text));
}

void rule_because(const Policy *p, PolicyRule rule, PolicyDoor door, const PolicySubject *s,
                  const RuleState *st, char *ret, size_t size)
{
        char about[160] = "", name[140], broken[400], text[TIME_TEXT_SIZE];

        if (s->version) {
                cut(name, sizeof(name), s->version);
                (void) snprintf(about, sizeof(about), "%s: ", name);
        }
        switch (rule) {
        case POLICY_RULE_FILES:
                cut(broken, sizeof(broken), p->broken ? p->broken : "");
                (void) snprintf(ret, size, "%s; until that is repaired nothing is done unattended", broken);
                break;
        case POLICY_RULE_AUTOMATION:
                (void) snprintf(ret, size, "%sautomation is \"%s\": a person has to say %s", about,
                                policy_automation_name(p->automation), policy_door_name(door));
                break;
        case POLICY_RULE_PIN:
                (void) snprintf(ret, size, "%sthis host is pinned to %s", about, p->pin ? p->pin : "");
                break;
        case POLICY_RULE_SKIP:
                (void) snprintf(ret, size, "%sit is on this host's skip list", about);
                break;
        case POLICY_RULE_HOLD:
                hold_because(p, about, ret, size);
                break;
        case POLICY_RULE_MINIMUM_AGE:
                if (st->opens == UINT64_MAX)
                        (void) snprintf(ret, size,
                                        "%sa minimum age is set, but when it was issued is not known", about);
                else
                        (void) snprintf(ret, size, "%sit is old enough for this host at %s", about,
                                        when(st->opens, text));
                break;
        case POLICY_RULE_ROLLOUT:
                rollout_because(p, about, s, st, ret, size);
                break;
        default:
                window_because(p, about, st, ret, size);
        }
        end_at_character(ret, size);
}
