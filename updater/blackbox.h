/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the slot that came back finds what is known of the trial that did not hold: crash dumps, the journal on the shared /var,
 * the deadline's mark, the verdict in history, the watchdog. Read-only; what it means is concluded in state/evidence.c. */

#include "facts.h"
#include "state/evidence.h"

/* There is a trial behind us, and its target does not run. */
bool blackbox_due(const Host *h);
/* 1: a crash dump proves that the target's kernel panicked, and not because its slot rotted; 0 nothing does. Dumps only: for a
 * look. */
int blackbox_panicked(const Host *h);
/* Everything, and the same question with the journal as a witness for the defence. */
int blackbox_collect(const Host *h, Evidence *ret, bool *ret_panicked);
