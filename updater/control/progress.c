/* SPDX-License-Identifier: MIT */

#include "control/progress.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define DRAW_EVERY_US 100000u

static uint64_t monotonic_us(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

void progress_init(Progress *p, bool wanted)
{
        *p = (Progress){ .enabled = wanted && isatty(STDERR_FILENO) };
}

static void bar(uint64_t done, uint64_t total, char out[33])
{
        unsigned full = total > 0 ? (unsigned) (done * 32 / total) : 0;

        for (unsigned i = 0; i < 32; i++)
                out[i] = i < full ? '#' : '.';
        out[32] = 0;
}

void progress_show(Progress *p, const ProgressValues *v)
{
        char filled[33], total[SIZE_TEXT_SIZE], fetched[SIZE_TEXT_SIZE], skipped[SIZE_TEXT_SIZE],
                written[SIZE_TEXT_SIZE], rate[SIZE_TEXT_SIZE];
        uint64_t now, elapsed, left = 0, per_sec = 0;
        const char *pace = v->pace ? v->pace : "";
        bool held = pace[0];

        if (!p->enabled)
                return;
        now = monotonic_us();
        if (!streq(p->what, v->what)) {
                progress_end(p);
                p->started_us = now;
                p->drawn_us = 0;
                (void) snprintf(p->what, sizeof(p->what), "%s", v->what);
        }
        if (now - p->drawn_us < DRAW_EVERY_US && v->done < v->total && held == p->held)
                return;
        p->held = held;
        p->drawn_us = now;
        elapsed = now - p->started_us;
        if (elapsed > 0)
                per_sec = (uint64_t) ((double) v->done * 1e6 / (double) elapsed);
        if (per_sec > 0)
                left = (v->total - MIN(v->done, v->total)) / per_sec;
        bar(v->done, v->total, filled);
        format_size(v->total, total);
        format_size(v->fetched, fetched);
        format_size(v->skipped, skipped);
        format_size(v->written, written);
        format_size(per_sec, rate);
        if (streq(v->what, "staging"))
                (void) fprintf(stderr,
                               "\r%-9s [%s] %s  fetched %s, in place %s, written %s  %s/s  %" PRIu64
                               ":%02" PRIu64 " left%s%s \033[K",
                               v->what, filled, total, fetched, skipped, written, rate, left / 60, left % 60,
                               held ? "  " : "", pace);
        else if (streq(v->what, "watching")) /* seconds, not bytes */
                (void) fprintf(stderr, "\r%-9s [%s] %" PRIu64 ":%02" PRIu64 " left \033[K", v->what, filled,
                               (v->total - MIN(v->done, v->total)) / 60,
                               (v->total - MIN(v->done, v->total)) % 60);
        else
                (void) fprintf(stderr, "\r%-9s [%s] %s  %s/s  %" PRIu64 ":%02" PRIu64 " left%s%s \033[K",
                               v->what, filled, total, rate, left / 60, left % 60, held ? "  " : "", pace);
        (void) fflush(stderr);
        p->shown = true;
}

void progress_end(Progress *p)
{
        if (p->shown)
                (void) fprintf(stderr, "\n");
        p->shown = false;
        p->what[0] = 0;
}
