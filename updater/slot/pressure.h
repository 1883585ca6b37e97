/* SPDX-License-Identifier: MIT */
#pragma once

/* What waits on this machine, as the kernel counts it (PSI), and what an update does about it: pure decisions over scripted or
 * real numbers. Knows percentages and microseconds; refuses to know files, clocks and disks: pace.c brings those. */

#include "base/mem.h"

typedef enum PressureKind {
        PRESSURE_IO,
        PRESSURE_CPU,
        PRESSURE_MEMORY,
        _PRESSURE_MAX,
        _PRESSURE_INVALID = -22,
} PressureKind;

const char *pressure_name(PressureKind kind); /* "io", "cpu", "memory": also the kernel's file names */

/* A pressure file: microseconds since boot in which some task waited. -EBADMSG for what is no such file.
 * "some avg10=0.00 avg60=0.14 avg300=0.08 total=412345\nfull ..." */
int pressure_parse(const char *text, uint64_t *ret_total_us);
/* Of a stretch of time, rounded; at most 100. A counter that went back (a cgroup that was made anew) says 0. */
unsigned pressure_percent(uint64_t total_before, uint64_t total_after, uint64_t elapsed_us);

/* How an update goes. */
typedef enum Gait {
        GAIT_FREE,    /* nobody waits */
        GAIT_SLOW,    /* half of the time: pressure is near its limit, or was above it a moment ago */
        GAIT_PAUSED,  /* not a byte */
        GAIT_TRICKLE, /* it stays like that: little by little, so that this host gets its updates, too */
        _GAIT_MAX,
        _GAIT_INVALID = -22,
} Gait;

const char *gait_name(Gait gait); /* "free", "slowed", "paused", "trickling" */

/* Servers drop a client that takes nothing for long; a minute is usual. Behind this the transfer is kept alive. */
#define GOVERNOR_PAUSE_MAX_US UINT64_C(10000000)
/* An update that never ends protects nobody: having yielded this long, it goes on without looking. */
#define GOVERNOR_PATIENCE_US UINT64_C(7200000000)
/* In a row, before what was above its limit counts as over. */
#define GOVERNOR_CALM_WINDOWS 2u

typedef struct Governor {
        unsigned limit[_PRESSURE_MAX]; /* percent; 0: not asked */
        Gait gait;
        uint64_t since_us; /* of the gait */
        unsigned calm;     /* windows in a row that would let it go faster */
        PressureKind who;  /* speaks for a gait that is not free, ... */
        unsigned percent;  /* ... with this */
        uint64_t yielded_us;
        bool urgent; /* a person overrode it, or patience is over: free for good */
} Governor;

#define PRESSURE_UNKNOWN UINT32_MAX

/* One more window was measured. Percentages are PRESSURE_UNKNOWN where nothing says them. Slower at once, faster one gait at
 * a time:
 *
 *     at or above the limit       paused; for long: trickling
 *     from half of the limit      slow
 *     below three quarters, twice   paused, trickling -> slow
 *     below three eighths, twice    slow -> free
 */
Gait governor_window(Governor *g, const unsigned percent[_PRESSURE_MAX], uint64_t now_us);
/* So much time went by without work for the sake of others. */
void governor_yielded(Governor *g, uint64_t us);
