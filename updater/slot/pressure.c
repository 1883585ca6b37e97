/* SPDX-License-Identifier: MIT */

/* Each resource is measured against its own limit and the one nearest to it speaks for all. Thresholds lie apart on the way
 * up and down, and on the way down two windows must agree, else an update whose own effect is the pressure would flutter. */

#include "slot/pressure.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

static const char *const kind_names[_PRESSURE_MAX] = {
        [PRESSURE_IO] = "io",
        [PRESSURE_CPU] = "cpu",
        [PRESSURE_MEMORY] = "memory",
};

static const char *const gait_names[_GAIT_MAX] = {
        [GAIT_FREE] = "free",
        [GAIT_SLOW] = "slowed",
        [GAIT_PAUSED] = "paused",
        [GAIT_TRICKLE] = "trickling",
};

const char *pressure_name(PressureKind kind)
{
        return kind >= 0 && kind < _PRESSURE_MAX ? kind_names[kind] : NULL;
}

const char *gait_name(Gait gait)
{
        return gait >= 0 && gait < _GAIT_MAX ? gait_names[gait] : NULL;
}

int pressure_parse(const char *text, uint64_t *ret_total_us)
{
        const char *total, *end = strchrnul(text, '\n');
        char number[24];
        size_t n;

        if (!str_starts(text, "some "))
                return -EBADMSG;
        total = strstr(text, " total=");
        if (!total || total > end)
                return -EBADMSG;
        total += strlen(" total=");
        n = strspn(total, "0123456789");
        if (n == 0 || n >= sizeof(number) || (total[n] != '\n' && total[n] != '\0'))
                return -EBADMSG;
        memcpy(number, total, n);
        number[n] = 0;
        return parse_u64(number, ret_total_us) < 0 ? -EBADMSG : 0;
}

unsigned pressure_percent(uint64_t total_before, uint64_t total_after, uint64_t elapsed_us)
{
        uint64_t waited = total_after > total_before ? total_after - total_before : 0;

        if (elapsed_us == 0)
                return 0;
        waited = MIN(waited, elapsed_us); /* also keeps the product below from overflowing */
        return (unsigned) ((double) waited * 100 / (double) elapsed_us + 0.5);
}

/* The resource nearest to its limit, in percent of that limit; PRESSURE_UNKNOWN when nothing is asked or known. */
static unsigned nearest(const Governor *g, const unsigned percent[_PRESSURE_MAX], PressureKind *ret_who)
{
        unsigned worst = PRESSURE_UNKNOWN;

        for (PressureKind k = 0; k < _PRESSURE_MAX; k++) {
                unsigned of_limit;

                if (g->limit[k] == 0 || percent[k] == PRESSURE_UNKNOWN)
                        continue;
                of_limit = percent[k] * 100 / g->limit[k];
                if (worst != PRESSURE_UNKNOWN && of_limit <= worst)
                        continue;
                worst = of_limit;
                *ret_who = k;
        }
        return worst;
}

static void take(Governor *g, Gait gait, uint64_t now_us)
{
        if (g->gait != gait)
                g->since_us = now_us;
        g->gait = gait;
        g->calm = 0;
}

/* Whether this window, after enough others, ends a gait that only calm may end. */
static bool calm(Governor *g, bool window_is_calm)
{
        g->calm = window_is_calm ? g->calm + 1 : 0;
        return g->calm >= GOVERNOR_CALM_WINDOWS;
}

Gait governor_window(Governor *g, const unsigned percent[_PRESSURE_MAX], uint64_t now_us)
{
        PressureKind who = g->who;
        unsigned worst = nearest(g, percent, &who);

        if (g->urgent || worst == PRESSURE_UNKNOWN) {
                take(g, GAIT_FREE, now_us); /* unknown stops nobody */
                return g->gait;
        }
        g->who = who;
        g->percent = percent[who];
        switch (g->gait) {
        case GAIT_FREE:
        case GAIT_SLOW:
                if (worst >= 100)
                        take(g, GAIT_PAUSED, now_us);
                else if (g->gait == GAIT_FREE && worst >= 50)
                        take(g, GAIT_SLOW, now_us);
                else if (g->gait == GAIT_SLOW && calm(g, worst * 2 < 75))
                        take(g, GAIT_FREE, now_us);
                break;
        case GAIT_PAUSED:
                if (calm(g, worst < 75))
                        take(g, GAIT_SLOW, now_us);
                else if (now_us - g->since_us >= GOVERNOR_PAUSE_MAX_US)
                        take(g, GAIT_TRICKLE, now_us);
                break;
        case GAIT_TRICKLE:
                if (calm(g, worst < 75))
                        take(g, GAIT_SLOW, now_us);
                break;
        default:
                break;
        }
        return g->gait;
}

void governor_yielded(Governor *g, uint64_t us)
{
        g->yielded_us += us;
        if (g->yielded_us < GOVERNOR_PATIENCE_US)
                return;
        g->urgent = true;
        g->gait = GAIT_FREE;
}
