/* SPDX-License-Identifier: MIT */

/* The workload comes first (policy pressure): staging and reading back pass one gate. A person who overrides the rules is in a
 * hurry, and then nobody is waited for; the bandwidth limit holds all the same, since it is about other people's lines. */

#include "update.h"

#include <errno.h>

static int tell(void *ctx)
{
        Update *u = ctx;

        pace_text(u->pace, u->pace_text);
        u->progress.pace = u->pace_text;
        if (u->options.progress && u->progress.what)
                u->options.progress(u->options.ctx, &u->progress);
        return 0;
}

int update_pace(Update *u, uint64_t bytes, Why *why)
{
        const Policy *policy = &u->host.policy;
        const PaceLimits limits = {
                .percent = { [PRESSURE_IO] = policy->pressure.io,
                             [PRESSURE_CPU] = policy->pressure.cpu,
                             [PRESSURE_MEMORY] = policy->pressure.memory },
                .urgent = u->options.override,
        };
        int r;

        if (!u->pace) {
                r = pace_new(u->env, &limits, tell, u, &u->pace);
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "pressure");
        }
        r = pace_gate(u->pace, bytes);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "stopped while others had to wait") : r;
}
