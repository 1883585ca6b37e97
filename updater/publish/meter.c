/* SPDX-License-Identifier: MIT */

/*   usr   [==========>         ]  51 %   1.1 GB   84.2 MB/s   ratio 3.1
 * Drawn at most ten times a second. The clock here only measures; nothing that is written depends on it. */

#include "publish/meter.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define BAR_WIDTH  24
#define REDRAW_MS  100
#define LABEL_SIZE 24

struct Meter {
        int fd;
        bool live, drawn; /* a terminal and a step under way; one that is over at once leaves no line */
        char label[LABEL_SIZE];
        uint64_t total, in, out;
        int64_t start_ms, drawn_ms;
};

static int64_t now_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int meter_new(int fd, Meter **ret)
{
        Meter *m = calloc(1, sizeof(*m));

        if (!m)
                return -ENOMEM;
        m->fd = fd >= 0 && isatty(fd) ? fd : -1;
        *ret = m;
        return 0;
}

Meter *meter_free(Meter *m)
{
        if (m && m->live && m->drawn)
                (void) fd_write_full(m->fd, "\n", 1);
        free(m);
        return NULL;
}

void meter_freep(Meter **m)
{
        (void) meter_free(*m);
}

static void draw(Meter *m, int64_t now)
{
        char done[SIZE_TEXT_SIZE], rate[SIZE_TEXT_SIZE], bar[BAR_WIDTH + 1], ratio[24] = "", line[160];
        uint64_t ms = (uint64_t) MAX(now - m->start_ms, (int64_t) 1);
        unsigned part = m->total > 0 ? (unsigned) (m->in * 1000 / MAX(m->total, UINT64_C(1))) : 1000;
        int filled = (int) (part * BAR_WIDTH / 1000), n;

        for (int i = 0; i < BAR_WIDTH; i++)
                bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
        bar[BAR_WIDTH] = 0;
        format_size(m->in, done);
        format_size(m->in * 1000 / ms, rate);
        if (m->out > 0)
                (void) snprintf(ratio, sizeof(ratio), "  ratio %.1f", (double) m->in / (double) m->out);
        n = snprintf(line, sizeof(line), "\r%-14s [%s] %3u %%  %s  %s/s%s\033[K", m->label, bar, part / 10,
                     done, rate, ratio);
        if (n > 0)
                (void) fd_write_full(m->fd, line, MIN((size_t) n, sizeof(line) - 1));
        m->drawn_ms = now;
        m->drawn = true;
}

void meter_begin(Meter *m, const char *label, uint64_t total)
{
        if (!m || m->fd < 0)
                return;
        meter_end(m);
        (void) snprintf(m->label, sizeof(m->label), "%s", label);
        m->total = total;
        m->in = m->out = 0;
        m->live = true;
        m->drawn = false;
        m->start_ms = m->drawn_ms = now_ms();
}

void meter_add(Meter *m, uint64_t in, uint64_t out)
{
        int64_t now;

        if (!m || !m->live)
                return;
        m->in += in;
        m->out += out;
        now = now_ms();
        if (now - m->drawn_ms >= REDRAW_MS)
                draw(m, now);
}

void meter_end(Meter *m)
{
        if (!m || !m->live)
                return;
        m->live = false;
        if (!m->drawn)
                return;
        draw(m, now_ms());
        (void) fd_write_full(m->fd, "\n", 1);
}
