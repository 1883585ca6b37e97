/* SPDX-License-Identifier: MIT */
#pragma once

/* The journal of the boot that failed. It lies on /var, which both slots share; its format is systemd's own, so journalctl of
 * the slot that runs reads it, with limits, and where there is none nothing is known. Which boot it was is told by the kernel
 * command line in it. */

#include "base/env.h"
#include "state/evidence.h"

#define BOOT_JOURNAL_OTHERS 8u

typedef struct BootJournal {
        char boot_id[33]; /* "" not found */
        char *text;       /* its last lines, tame */
        BootTrace trace;
        uint64_t others[BOOT_JOURNAL_OTHERS]; /* when boots of other contents since then began */
        size_t n_others;
} BootJournal;

/* before: the boot that armed the trial; now: the one that looks back (either may be NULL). What cannot be had is left empty;
 * only memory fails. */
int boot_journal_find(const Env *env, const char *before, const char *now, const char *roothash,
                      BootJournal *ret);
void boot_journal_done(BootJournal *j);
