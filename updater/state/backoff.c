/* SPDX-License-Identifier: MIT */

#include "state/state.h"

#include <sys/random.h>

#define FIRST_SEC 30u
#define LAST_SEC  3600u

uint64_t backoff_sec(unsigned failures)
{
        uint64_t pause =
                failures == 0 ? 0 : MIN((uint64_t) FIRST_SEC << MIN(failures - 1, 16u), (uint64_t) LAST_SEC);
        uint16_t dice = 0;

        if (getrandom(&dice, sizeof(dice), GRND_NONBLOCK) < 0)
                dice = UINT16_MAX / 2; /* early boot: in the middle */
        return pause / 2 + (pause - pause / 2) * dice / UINT16_MAX;
}
