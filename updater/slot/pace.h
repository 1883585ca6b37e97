/* SPDX-License-Identifier: MIT */
#pragma once

/* Whoever moves the bytes of an update passes this gate after every unit of at most 128 KiB; where others wait for disk,
 * processor or memory the gate lets it wait, too. Asks /proc/pressure and, where pods run, their slice's own pressure files
 * (cgroup v2). The host's files count our own waiting as well, so they are believed only over moments in which we stand
 * still; the slice's count the pods alone, so they are believed all the time. */

#include "slot/pressure.h"
#include "base/env.h"

typedef struct Pace Pace;

typedef struct PaceLimits {
        unsigned percent[_PRESSURE_MAX]; /* policy pressure; 0: not asked */
        bool urgent;                     /* nobody is waited for */
} PaceLimits;

/* Called while the gate is closed, about four times a second, and once when it opens; non-zero ends the waiting with that. */
typedef int (*PaceTick)(void *ctx);

/* env is borrowed. What the host does not say (no such files below a --root) is not asked. */
int pace_new(const Env *env, const PaceLimits *limits, PaceTick tick, void *ctx, Pace **ret);
Pace *pace_free(Pace *p);
void pace_freep(Pace **p);

/* bytes were read or written since the last time. p may be NULL. */
int pace_gate(Pace *p, uint64_t bytes);

/* "paused: io pressure 23 %", "" while nothing is held back. */
#define PACE_TEXT_SIZE 64u
void pace_text(const Pace *p, char ret[PACE_TEXT_SIZE]);
uint64_t pace_yielded_us(const Pace *p);
