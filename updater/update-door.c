/* SPDX-License-Identifier: MIT */

/* The walk at the doors of policy/: who is asked about what. A transaction that leads back to a slot that was kept before is
 * no update and is not asked about: an operator who goes back must not have to unhold first. */

#include "update.h"
#include "base/str.h"

#include <errno.h>

static PolicySubject subject_of(const Update *u, PolicyDoor door)
{
        const Journal *j = &u->host.journal;
        PolicySubject s = {
                .version = j->version,
                .serial = j->serial,
                .issued = j->issued,
                .machine_id = u->host.machine_id,
                .unattended = u->options.unattended,
                .override = u->options.override,
        };

        if (door == POLICY_FETCH) {
                s.version = u->release.version;
                s.serial = u->release.serial;
                s.issued = u->release.issued;
        }
        return s;
}

static void tell_overrode(Update *u, unsigned rules)
{
        for (PolicyRule rule = 0; rule < _POLICY_RULE_MAX; rule++)
                if (rules & 1u << rule)
                        update_say(u, "policy: %s was passed by --override", policy_rule_name(rule));
}

/* Staging and verifying take their time. What an operator said meanwhile counts: gybe hold takes effect at once. */
static int read_again(Update *u, Why *why)
{
        Policy fresh;
        Why said = { 0 };
        int r = policy_load(u->env, &fresh, &said);

        if (r < 0)
                return r;
        policy_done(&u->host.policy);
        u->host.policy = fresh;
        if (!fresh.broken)
                return 0;
        if (why && why->kind == WHY_NONE)
                *why = said;
        return -EINVAL;
}

int update_ask(Update *u, PolicyDoor door, Why *why)
{
        PolicySubject s = subject_of(u, door);
        unsigned before = u->overrode;
        int r;

        if (door != POLICY_REBOOT && (r = read_again(u, why)) < 0)
                return r;
        r = policy_require(&u->host.policy, door, &s, env_now(u->env), &u->overrode, why);
        if (r >= 0)
                tell_overrode(u, u->overrode & ~before);
        return r;
}
