/* SPDX-License-Identifier: MIT */

#include "fetch/bandwidth.h"

void bandwidth_took(Bandwidth *b, uint64_t bytes, uint64_t now_us)
{
        uint64_t earliest = now_us > BANDWIDTH_BURST_US ? now_us - BANDWIDTH_BURST_US : 0, cost;

        if (b->per_sec == 0)
                return;
        cost = (uint64_t) ((double) bytes * 1e6 / (double) b->per_sec);
        b->free_at_us = MAX(b->free_at_us, earliest) + cost;
}

uint64_t bandwidth_wait_us(const Bandwidth *b, uint64_t now_us)
{
        return b->free_at_us > now_us ? b->free_at_us - now_us : 0;
}
