/* SPDX-License-Identifier: MIT */

#include "fetch/scratch.h"
#include "base/fd.h"

int scratch_data(void *ctx, const void *data, size_t size, Why *why)
{
        Scratch *s = ctx;
        int r = fd_pwrite_full(s->fd, data, size, s->at);

        s->at += size;
        if (r >= 0)
                r = s->watch.alive(s->watch.ctx);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "scratch file in /var/lib/gybe") : 0;
}
