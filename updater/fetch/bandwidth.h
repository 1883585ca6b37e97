/* SPDX-License-Identifier: MIT */
#pragma once

/* A limit on what comes over the network, all transfers of a process together: pure arithmetic over a clock that the caller
 * reads. Bytes are taken first and waited for afterwards, so no unit is ever too large for a small limit. */

#include "base/mem.h"

typedef struct Bandwidth {
        uint64_t per_sec;    /* bytes; 0 no limit */
        uint64_t free_at_us; /* when what was taken so far is paid for */
} Bandwidth;

/* What a pause saved up may be spent at once, so much of it: else every slow disk would cost speed. */
#define BANDWIDTH_BURST_US 250000u

void bandwidth_took(Bandwidth *b, uint64_t bytes, uint64_t now_us);
/* Microseconds until the next byte may be taken. */
uint64_t bandwidth_wait_us(const Bandwidth *b, uint64_t now_us);
