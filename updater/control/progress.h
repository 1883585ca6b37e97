/* SPDX-License-Identifier: MIT */
#pragma once

/* One line on a terminal, as wide as that, that shows how far a long step is: bytes, where they came from, rate, time left. On
 * anything but a terminal it prints nothing. */

#include "base/mem.h"

typedef struct Progress {
        bool enabled, shown, held;
        uint64_t started_us, drawn_us;
        char what[32];
} Progress;

typedef struct ProgressValues {
        const char *what;
        uint64_t done, total, fetched, skipped, written, copied, rebuilt;
        const char *
                pace; /* why it is not faster: "paused: io pressure 23 %"; NULL or "": nothing is in the way */
} ProgressValues;

/* The line itself, for the given number of columns; pure. */
#define PROGRESS_LINE_MAX 256u
void progress_line(const ProgressValues *v, uint64_t elapsed_us, unsigned columns,
                   char out[PROGRESS_LINE_MAX]);

void progress_init(Progress *p, bool wanted);
void progress_show(Progress *p, const ProgressValues *v);
/* Leaves the last state on its own line. */
void progress_end(Progress *p);
