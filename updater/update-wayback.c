/* SPDX-License-Identifier: MIT */

/* The way back, proved before the machine leaves: what would make a failed trial final refuses, what only makes the return
 * slower or dependent on luck is named. */

#include "update.h"
#include "base/str.h"

int update_prove_way_back(Update *u, Why *why)
{
        const BootOps *ops = u->host.boot->ops;
        const SlotRecord *running = host_running_record(&u->host);
        int r;

        r = ops->prove_default(u->host.boot, (int) u->host.running.slot, why);
        if (r < 0)
                return r;
        u->missing = strv_free(u->missing);
        return ops->prove_way_back(u->host.boot, (int) u->host.running.slot, running ? running->files : NULL,
                                   &u->missing, why);
}
