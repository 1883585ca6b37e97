/* SPDX-License-Identifier: MIT */

/* The way back, proved before the machine leaves: what would make a failed trial final refuses, what only makes the return
 * slower or dependent on luck is named, and refuses where the policy requires it. */

#include "update.h"
#include "wayback.h"
#include "base/str.h"

#include <errno.h>

/* Proved by doing: what they lack is repaired, or fails with its own sentence. */
static bool is_proved_by_writing(const char *name)
{
        return streq(name, "default") || streq(name, "nvram");
}

/* Unknown is not proved. The way home is never closed: a rollback is only told. */
static int refuse_required(const Update *u, const Guarantees *g, bool looked, Why *why)
{
        for (char **name = u->host.policy.require; name && *name && !u->host.journal.rollback; name++) {
                const Guarantee *one = guarantee_find(g, *name);

                if ((one && one->holds == GUARANTEE_YES) || (looked && is_proved_by_writing(*name)))
                        continue;
                if (one)
                        (void) fail(why, -EPERM, WHY_POLICY, "guarantee",
                                    "finalize: the policy requires %s: %s", *name, one->sentence);
                else
                        (void) fail(why, -EPERM, WHY_POLICY, "guarantee",
                                    "finalize: the policy requires \"%.60s\", which this gybe does not know",
                                    *name);
                return fail_hint(why, -EPERM,
                                 "see guarantees in gybe status; or take it out of require in policy.d");
        }
        return 0;
}

int update_prove_way_back(Update *u, Why *why)
{
        const BootOps *ops = u->host.boot->ops;
        Guarantees g;
        int r;

        /* Looked at before it is proved: a refusal by policy has written nothing. */
        if ((r = way_back(&u->host, false, &g, why)) < 0 || (r = refuse_required(u, &g, true, why)) < 0 ||
            (r = ops->prove_default(u->host.boot, (int) u->host.running.slot, why)) < 0 ||
            (r = way_back(&u->host, true, &g, why)) < 0 || (r = refuse_required(u, &g, false, why)) < 0)
                return r;
        u->missing = strv_free(u->missing);
        for (size_t i = 0; i < g.n; i++)
                if (g.list[i].holds != GUARANTEE_YES && strv_add(&u->missing, g.list[i].sentence) < 0)
                        return -ENOMEM;
        return 0;
}
