/* SPDX-License-Identifier: MIT */

/* Whose crash is it? An image is condemned for it, so whatever is doubtful is somebody else's. */

#include "state/evidence.h"
#include "base/str.h"

/* Clocks differ by what the hardware clock was off when that kernel started. */
#define CLOCK_SLACK 30u
#define START_SLACK                                                                                          \
        60u /* the start of a boot as the journal tells it: its first message, not its first instant */
#define LONG_AGO (24u * 3600u) /* beyond any clock's error: the same content was tried before */

const char *crash_blame_name(CrashBlame blame)
{
        static const char *const names[_CRASH_BLAME_MAX] = {
                [CRASH_OTHER] = "other",
                [CRASH_BY_TIME] = "time",
                [CRASH_BY_KERNEL] = "kernel",
                [CRASH_BY_ROOTHASH] = "roothash",
        };

        return blame < _CRASH_BLAME_MAX ? names[blame] : NULL;
}

static bool has_word(const char *text, const char *word)
{
        size_t n = word ? strlen(word) : 0;

        for (const char *p = n > 0 ? strstr(text, word) : NULL; p; p = strstr(p + 1, word))
                if ((p == text || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\n' || p[n] == '\0'))
                        return true;
        return false;
}

static bool started_like_another(const TrialBoot *trial, uint64_t start)
{
        for (size_t i = 0; i < trial->n_others; i++) {
                uint64_t other = trial->others[i];

                if ((start > other ? start - other : other - start) <= START_SLACK)
                        return true;
        }
        return false;
}

CrashBlame crash_blame(const CrashDump *dump, const TrialBoot *trial)
{
        const BootTrace *t = &dump->trace;
        uint64_t start, uptime = t->uptime / 1000000;
        bool kernels_differ = trial->kernel && trial->old_kernel && !streq(trial->kernel, trial->old_kernel);

        if (dump->time > 0 && trial->armed_at > 0 && dump->time + LONG_AGO < trial->armed_at)
                return CRASH_OTHER;
        if (t->usrhash[0])
                return streq(t->usrhash, trial->roothash) ? CRASH_BY_ROOTHASH : CRASH_OTHER;
        if (dump->time == 0 || trial->armed_at == 0 || t->uptime == 0 || uptime > dump->time)
                return CRASH_OTHER;
        start = dump->time - uptime;
        if (start + CLOCK_SLACK < trial->armed_at ||
            (trial->returned_at > 0 && dump->time > trial->returned_at + CLOCK_SLACK) ||
            started_like_another(trial, start))
                return CRASH_OTHER;
        if (kernels_differ && has_word(dump->text, trial->kernel))
                return CRASH_BY_KERNEL;
        return kernels_differ && has_word(dump->text, trial->old_kernel) ? CRASH_OTHER : CRASH_BY_TIME;
}
