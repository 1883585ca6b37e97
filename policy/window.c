/* SPDX-License-Identifier: MIT */

/* A window is a pattern on the clock on the wall that repeats every week. Between two changes of a zone's offset that clock
 * runs evenly, so the next edge of the pattern is a subtraction; where the offset changes the clock jumps, and whether the
 * window is open is simply asked again. That gives DST its meaning: the hour that a clock skips does not happen (a window
 * that lies in it stays shut that day, one that begins in it opens when it is over), the hour that it shows twice counts
 * twice. */

#include "policy/window.h"
#include "policy/zone.h"

#define DAY  86400
#define WEEK (7 * DAY)
/* Every weekly window opens once in that time, whatever its zone does; and a host whose windows never close in it is
 * always open. */
#define HORIZON (400u * DAY)

/* Seconds since the last Sunday 00:00 on the wall; 1970-01-01 was a Thursday. */
static int64_t week_second(int64_t local)
{
        return ((local + 4 * DAY) % WEEK + WEEK) % WEEK;
}

static int64_t since(int64_t from, int64_t to)
{
        return (to - from + WEEK) % WEEK;
}

static bool shown_in(const PolicyWindow *w, int64_t local)
{
        int64_t s = week_second(local);

        for (int day = 0; day < 7; day++)
                if (w->days & 1u << day &&
                    since(day * DAY + (int64_t) w->start_sec, s) < (int64_t) w->length_sec)
                        return true;
        return false;
}

/* Seconds from this time on the wall to the next edge of the pattern: 1 to WEEK. */
static int64_t to_edge(const PolicyWindow *w, int64_t local)
{
        int64_t s = week_second(local), best = WEEK;

        for (int day = 0; day < 7; day++) {
                int64_t opens = day * DAY + (int64_t) w->start_sec;
                int64_t edges[] = { since(s, opens), since(s, (opens + (int64_t) w->length_sec) % WEEK) };

                for (unsigned i = 0; w->days & 1u << day && i < 2; i++)
                        if (edges[i] > 0)
                                best = MIN(best, edges[i]);
        }
        return best;
}

static bool is_open(const PolicyWindow *w, uint64_t t)
{
        uint64_t until;

        return w->zone && shown_in(w, (int64_t) t + policy_zone_offset(w->zone, t, &until));
}

/* The first instant after t at which this window is not what it is at t. */
static uint64_t window_next(const PolicyWindow *w, uint64_t t)
{
        bool open = is_open(w, t);

        for (uint64_t at = t; w->zone && at <= ZONE_TIME_MAX && at - t < HORIZON;) {
                uint64_t until;
                int64_t local = (int64_t) at + policy_zone_offset(w->zone, at, &until);

                if (shown_in(w, local) != open)
                        return at;
                at = MIN(at + (uint64_t) to_edge(w, local), until);
        }
        return UINT64_MAX;
}

bool windows_open(const Policy *p, uint64_t t)
{
        for (size_t i = 0; i < p->n_windows; i++)
                if (is_open(&p->windows[i], t))
                        return true;
        return p->n_windows == 0;
}

uint64_t windows_earliest(const Policy *p, uint64_t t)
{
        uint64_t best = UINT64_MAX;

        if (windows_open(p, t))
                return t;
        for (size_t i = 0; i < p->n_windows; i++)
                best = MIN(best, window_next(&p->windows[i], t));
        return best;
}

/* When the last of those that are open now has closed, another one may be open. */
static uint64_t last_close(const Policy *p, uint64_t t)
{
        uint64_t last = t;

        for (size_t i = 0; i < p->n_windows; i++)
                if (is_open(&p->windows[i], t))
                        last = MAX(last, window_next(&p->windows[i], t));
        return last;
}

uint64_t windows_next(const Policy *p, uint64_t t)
{
        uint64_t at = t;

        if (p->n_windows == 0)
                return UINT64_MAX;
        if (!windows_open(p, t))
                return windows_earliest(p, t);
        while (windows_open(p, at)) {
                at = last_close(p, at);
                if (at == UINT64_MAX || at - t >= HORIZON)
                        return UINT64_MAX;
        }
        return at;
}
