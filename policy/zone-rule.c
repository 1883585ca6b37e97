/* SPDX-License-Identifier: MIT */

/* "CET-1CEST,M3.5.0,M10.5.0/3": standard time an hour ahead of UTC (the sign is POSIX's: west is positive), summer time
 * from the last Sunday of March 02:00 to the last one of October 03:00, each on the clock that is then still valid. */

#include "policy/zone.h"

#include <errno.h>

#define HOUR 3600
#define DAY  86400
/* RFC 9636: hours of an offset to 24, of a rule's time to 167 */
#define OFFSET_HOURS_MAX 24
#define TIME_HOURS_MAX   167

typedef struct Cursor {
        const char *p, *end;
} Cursor;

static bool at(const Cursor *c, char ch)
{
        return c->p < c->end && *c->p == ch;
}

static bool eat(Cursor *c, char ch)
{
        if (!at(c, ch))
                return false;
        c->p++;
        return true;
}

static bool is_digit(const Cursor *c)
{
        return c->p < c->end && *c->p >= '0' && *c->p <= '9';
}

static bool is_letter(const Cursor *c)
{
        return c->p < c->end && ((*c->p >= 'A' && *c->p <= 'Z') || (*c->p >= 'a' && *c->p <= 'z'));
}

/* "CET" or "<+0530>": at least three characters */
static bool eat_name(Cursor *c)
{
        const char *start;

        if (!eat(c, '<')) {
                for (start = c->p; is_letter(c);)
                        c->p++;
                return c->p - start >= 3;
        }
        for (start = c->p; is_letter(c) || is_digit(c) || at(c, '+') || at(c, '-');)
                c->p++;
        return c->p - start >= 3 && eat(c, '>');
}

static bool eat_number(Cursor *c, int max, int *ret)
{
        int v = 0;

        if (!is_digit(c))
                return false;
        for (; is_digit(c); c->p++) {
                v = v * 10 + (*c->p - '0');
                if (v > max)
                        return false;
        }
        *ret = v;
        return true;
}

/* "[+-]hh[:mm[:ss]]" */
static bool eat_time(Cursor *c, int hours_max, int64_t *ret)
{
        int sign = 1, h, m = 0, s = 0;

        if (eat(c, '-'))
                sign = -1;
        else
                (void) eat(c, '+');
        if (!eat_number(c, hours_max, &h))
                return false;
        if (eat(c, ':')) {
                if (!eat_number(c, 59, &m))
                        return false;
                if (eat(c, ':') && !eat_number(c, 59, &s))
                        return false;
        }
        *ret = sign * ((int64_t) h * HOUR + m * 60 + s);
        return true;
}

static bool eat_date(Cursor *c, ZoneDate *ret)
{
        ZoneDate d = { .time_sec = 2 * HOUR };

        if (eat(c, 'M')) {
                d.kind = ZONE_WEEKDAY;
                if (!eat_number(c, 12, &d.month) || d.month < 1 || !eat(c, '.') ||
                    !eat_number(c, 5, &d.week) || d.week < 1 || !eat(c, '.') || !eat_number(c, 6, &d.day))
                        return false;
        } else if (eat(c, 'J')) {
                d.kind = ZONE_JULIAN;
                if (!eat_number(c, 365, &d.day) || d.day < 1)
                        return false;
        } else {
                d.kind = ZONE_DAY;
                if (!eat_number(c, 365, &d.day))
                        return false;
        }
        if (eat(c, '/') && !eat_time(c, TIME_HOURS_MAX, &d.time_sec))
                return false;
        *ret = d;
        return true;
}

int zone_rule_parse(const char *s, size_t n, ZoneRule *ret)
{
        Cursor c = { s, s + n };
        ZoneRule r = { 0 };

        if (!eat_name(&c) || !eat_time(&c, OFFSET_HOURS_MAX, &r.std))
                return -EINVAL;
        r.std = -r.std;
        if (c.p < c.end) {
                r.has_dst = true;
                r.dst = r.std + HOUR;
                if (!eat_name(&c))
                        return -EINVAL;
                if (!at(&c, ',')) {
                        if (!eat_time(&c, OFFSET_HOURS_MAX, &r.dst))
                                return -EINVAL;
                        r.dst = -r.dst;
                }
                /* POSIX leaves the dates to the implementation when they are missing; a zone file says them */
                if (!eat(&c, ',') || !eat_date(&c, &r.start) || !eat(&c, ',') || !eat_date(&c, &r.end))
                        return -EINVAL;
        }
        if (c.p < c.end)
                return -EINVAL;
        *ret = r;
        return 0;
}

/* --- dates --- */

static bool is_leap(int64_t y)
{
        return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

/* Days from 1970-01-01 to 1 January of a year from 1 on. */
static int64_t year_day(int64_t y)
{
        y--;
        return y * 365 + y / 4 - y / 100 + y / 400 - 719162;
}

static int64_t year_of(int64_t t)
{
        int64_t days = t >= 0 ? t / DAY : 0, y = 1970 + days / 366;

        while (year_day(y + 1) <= days)
                y++;
        return y;
}

/* Weekday of a day since 1970-01-01, a Thursday; 0 is Sunday. */
static int weekday(int64_t days)
{
        return (int) (((days + 4) % 7 + 7) % 7);
}

static int64_t weekday_of_month(const ZoneDate *d, int64_t year)
{
        static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        int64_t first = year_day(year), length, day;

        for (int m = 1; m < d->month; m++)
                first += lengths[m - 1] + (m == 2 && is_leap(year));
        length = lengths[d->month - 1] + (d->month == 2 && is_leap(year));
        day = (d->day - weekday(first) + 7) % 7 + (d->week - 1) * 7;
        return first + (day < length ? day : day - 7); /* week 5 is the last one */
}

/* Local seconds since 1970-01-01 00:00 local. */
static int64_t date_in(const ZoneDate *d, int64_t year)
{
        int64_t day = d->kind == ZONE_WEEKDAY  ? weekday_of_month(d, year)
                      : d->kind == ZONE_JULIAN ? year_day(year) + d->day - 1 + (is_leap(year) && d->day >= 60)
                                               : year_day(year) + d->day;

        return day * DAY + d->time_sec;
}

int64_t zone_rule_offset(const ZoneRule *r, int64_t t, int64_t *ret_until)
{
        int64_t year = year_of(t), last = INT64_MIN, next = INT64_MAX, offset = r->std;

        *ret_until = INT64_MAX;
        if (!r->has_dst)
                return r->std;
        /* A time of up to 167 hours can push a date into a neighbouring year, and summer time may span the year's end. Where
         * an end and a start fall together ("EST5EDT,0/0,J365/25", summer time all year), the start wins. */
        for (int64_t y = year - 2; y <= year + 2; y++) {
                int64_t ends = date_in(&r->end, y) - r->dst, starts = date_in(&r->start, y) - r->std;

                if (ends <= t && ends > last) {
                        last = ends;
                        offset = r->std;
                }
                if (starts <= t && starts >= last) {
                        last = starts;
                        offset = r->dst;
                }
                if (ends > t && ends < next)
                        next = ends;
                if (starts > t && starts < next)
                        next = starts;
        }
        *ret_until = next;
        return offset;
}
