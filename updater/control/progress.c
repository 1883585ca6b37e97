/* SPDX-License-Identifier: MIT */

#include "control/progress.h"
#include "base/str.h"
#include "base/terminal.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define DRAW_EVERY_US 100000u
#define BAR_MIN       8u
#define BAR_MAX       32u

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

/* --- the line --- */

static unsigned percent(const ProgressValues *v)
{
        return v->total > 0 ? (unsigned) ((double) MIN(v->done, v->total) * 100 / (double) v->total) : 0;
}

/* Adds text where it fits; what does not fit is left out as a whole. */
static void add_if_fits(char line[PROGRESS_LINE_MAX], unsigned room, const char *text)
{
        size_t used = strlen(line);

        if (used + strlen(text) <= room && used + strlen(text) < PROGRESS_LINE_MAX)
                memcpy(line + used, text, strlen(text) + 1);
}

/* Where the bytes came from, the dearest first; what there is none of is not named. */
static void add_sources(char line[PROGRESS_LINE_MAX], unsigned room, const ProgressValues *v)
{
        const struct {
                const char *name;
                uint64_t bytes;
        } sources[] = {
                { "fetched", v->fetched },  { "copied", v->copied },   { "rebuilt", v->rebuilt },
                { "in place", v->skipped }, { "written", v->written },
        };
        const char *comma = "  ";

        for (size_t i = 0; i < ELEMENTSOF(sources); i++) {
                char size[SIZE_TEXT_SIZE], text[64];
                size_t before = strlen(line);

                if (sources[i].bytes == 0)
                        continue;
                format_size(sources[i].bytes, size);
                (void) snprintf(text, sizeof(text), "%s%s %s", comma, sources[i].name, size);
                add_if_fits(line, room, text);
                if (strlen(line) > before)
                        comma = ", ";
        }
}

static void add_time(char line[PROGRESS_LINE_MAX], unsigned room, const ProgressValues *v,
                     uint64_t elapsed_us)
{
        uint64_t per_sec = elapsed_us > 0 ? (uint64_t) ((double) v->done * 1e6 / (double) elapsed_us) : 0,
                 sec = elapsed_us / 1000000;
        bool ended = v->done >= v->total, seconds = streq(v->what, "watching"); /* its amount is not bytes */
        char rate[SIZE_TEXT_SIZE], text[64];

        if (seconds)
                sec = v->total - MIN(v->done, v->total);
        else if (!ended)
                sec = per_sec > 0 ? (v->total - v->done) / per_sec : 0;
        if (per_sec > 0 && !seconds) {
                format_size(per_sec, rate);
                (void) snprintf(text, sizeof(text), "  %s/s", rate);
                add_if_fits(line, room, text);
        }
        if (ended || per_sec > 0 || seconds) {
                (void) snprintf(text, sizeof(text), "  %s%" PRIu64 ":%02" PRIu64 "%s",
                                ended && !seconds ? "in " : "", sec / 60, sec % 60,
                                ended && !seconds ? "" : " left");
                add_if_fits(line, room, text);
        }
}

/* "staging    43 %  50.3 MB  2.2 GB/s  0:02 left  fetched 2.8 MB, in place 47.6 MB [#####.......]": what is said first is kept
 * longest when the terminal is narrow; the bar takes what is left. */
void progress_line(const ProgressValues *v, uint64_t elapsed_us, unsigned columns,
                   char out[PROGRESS_LINE_MAX])
{
        unsigned room = MIN(columns, PROGRESS_LINE_MAX - 1), width, full;
        char total[SIZE_TEXT_SIZE], text[96];
        size_t used;

        out[0] = 0;
        (void) snprintf(text, sizeof(text), "%-9s %3u %%", v->what, percent(v));
        add_if_fits(out, room, text);
        if (v->pace && v->pace[0]) {
                (void) snprintf(text, sizeof(text), "  %s", v->pace);
                add_if_fits(out, room, text);
        }
        if (!streq(v->what, "watching")) {
                format_size(v->total, total);
                (void) snprintf(text, sizeof(text), "  %s", total);
                add_if_fits(out, room, text);
        }
        add_time(out, room, v, elapsed_us);
        if (streq(v->what, "staging"))
                add_sources(out, room, v);
        used = strlen(out);
        if (room < used + BAR_MIN + 3)
                return;
        width = MIN(BAR_MAX, room - (unsigned) used - 3);
        full = v->total > 0 ? (unsigned) ((double) MIN(v->done, v->total) * width / (double) v->total) : 0;
        memcpy(out + used, " [", 2);
        for (unsigned i = 0; i < width; i++)
                out[used + 2 + i] = i < full ? '#' : '.';
        memcpy(out + used + 2 + width, "]", 2);
}

void progress_show(Progress *p, const ProgressValues *v)
{
        char line[PROGRESS_LINE_MAX];
        bool held = v->pace && v->pace[0];
        uint64_t now;

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
        /* the last column stays free: some terminals go to the next line when it is written */
        progress_line(v, now - p->started_us, terminal_columns(STDERR_FILENO) - 1, line);
        (void) fprintf(stderr, "\r%s\033[K", line);
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
