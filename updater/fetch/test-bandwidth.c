/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "fetch/bandwidth.h"

#include <assert.h>

/* A reader that takes units whenever it may: after so many seconds it has limit times seconds, and one burst. */
static void run(uint64_t per_sec, uint64_t unit, unsigned seconds)
{
        Bandwidth b = { .per_sec = per_sec };
        uint64_t start = 10000000, now = start, end = start + seconds * UINT64_C(1000000), taken = 0;

        while (now < end) {
                taken += unit;
                bandwidth_took(&b, unit, now);
                now += bandwidth_wait_us(&b, now);
        }
        assert(taken <= per_sec * seconds + per_sec / 4 + 2 * unit);
        assert(taken + 2 * unit >= per_sec * seconds);
}

int main(void)
{
        Bandwidth none = { 0 }, b = { .per_sec = 1000 };

        bandwidth_took(&none, UINT64_MAX, 5);
        assert(bandwidth_wait_us(&none, 5) == 0);

        run(1000000, 16384, 10);
        run(1000, 131072, 600); /* a unit that takes two minutes */
        run(100000000, 131072, 2);

        /* a pause of an hour buys a quarter of a second */
        bandwidth_took(&b, 1000, 3600000000);
        assert(bandwidth_wait_us(&b, 3600000000) == 750000);
        assert(bandwidth_wait_us(&b, 3600750000) == 0);
        return 0;
}
