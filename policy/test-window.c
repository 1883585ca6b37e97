/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/fd.h"
#include "base/str.h"
#include "policy/window.h"
#include "policy/zone.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

/* Windows against a brute-force oracle: libc's localtime_r(), minute by minute, and the sentence of policy.h taken
 * literally: is what the clock on the wall shows inside? */

#define MINUTE UINT64_C(60)
#define DAY    (1440 * MINUTE)
#define RANGE  (8u * 1440u) /* minutes around a change of the clock */

static const char *const zone_names[] = { "Europe/Berlin",  "America/New_York",  "Australia/Lord_Howe",
                                          "Asia/Kathmandu", "America/Sao_Paulo", "Africa/Casablanca",
                                          "Europe/Dublin" };
#define ZONES ELEMENTSOF(zone_names)

static PolicyZone *zones[ZONES];
static uint32_t seed = 20261121;

static uint32_t rnd(uint32_t n)
{
        seed = seed * 1664525u + 1013904223u;
        return (seed >> 8) % n;
}

static void read_zones(void)
{
        for (size_t i = 0; i < ZONES; i++) {
                _cleanup_(free_charp) char *path = str_printf("/usr/share/zoneinfo/%s", zone_names[i]);
                _cleanup_(bytes_done) Bytes b = BYTES_NULL;
                int fd = open(path, O_RDONLY | O_CLOEXEC);

                if (fd < 0) {
                        (void) fprintf(stderr, "no tzdata here\n");
                        exit(77);
                }
                assert(fd_read_all(fd, 64 * 1024, &b) >= 0);
                (void) close(fd);
                assert(policy_zone_parse(b.data, b.size, zone_names[i], &zones[i], NULL) >= 0);
        }
}

static size_t zone_index(const char *name)
{
        size_t i = 0;

        while (!streq(zone_names[i], name))
                i++;
        return i;
}

/* A file's text with its zones found, as policy_load() leaves it. */
static void parse(const char *text, Policy *p)
{
        assert(policy_parse(text, strlen(text), "test", p, NULL) >= 0);
        for (size_t i = 0; i < p->n_windows; i++)
                p->windows[i].zone = zones[zone_index(p->windows[i].timezone)];
}

static uint64_t at(const char *text)
{
        uint64_t t;

        assert(parse_time(text, &t) >= 0);
        return t;
}

/* --- the oracle --- */

typedef struct Wall {
        uint8_t wday;
        uint16_t minute;
} Wall;

static Wall walls[ZONES][RANGE];

static void use_zone(size_t zone)
{
        assert(setenv("TZ", zone_names[zone], 1) == 0);
        tzset();
}

static struct tm wall_at(uint64_t t)
{
        time_t when = (time_t) t;
        struct tm tm;

        assert(localtime_r(&when, &tm));
        return tm;
}

static void read_walls(uint64_t from)
{
        for (size_t z = 0; z < ZONES; z++) {
                use_zone(z);
                for (size_t m = 0; m < RANGE; m++) {
                        struct tm tm = wall_at(from + m * MINUTE);
                        walls[z][m] =
                                (Wall){ (uint8_t) tm.tm_wday, (uint16_t) (tm.tm_hour * 60 + tm.tm_min) };
                }
        }
}

static bool oracle_window(const PolicyWindow *w, Wall wall)
{
        unsigned start = w->start_sec / 60, end = start + w->length_sec / 60;
        bool today = w->days & 1u << wall.wday, yesterday = w->days & 1u << (wall.wday + 6) % 7;

        return (today && wall.minute >= start && wall.minute < end) ||
               (yesterday && wall.minute + 1440u < end);
}

static bool oracle(const Policy *p, size_t m)
{
        for (size_t i = 0; i < p->n_windows; i++) {
                size_t z = 0;

                while (zones[z] != p->windows[i].zone)
                        z++;
                if (oracle_window(&p->windows[i], walls[z][m]))
                        return true;
        }
        return false;
}

/* --- comparing --- */

static void compare(const Policy *p, uint64_t from)
{
        static bool open[RANGE];
        uint64_t change = 0; /* of the minute behind m; 0: outside what was looked at */

        for (size_t m = 0; m < RANGE; m++)
                open[m] = oracle(p, m);
        for (size_t m = RANGE; m-- > 0;) {
                uint64_t t = from + m * MINUTE;
                bool edge = m + 1 < RANGE && open[m] != open[m + 1];

                if (edge)
                        change = t + MINUTE;
                if (windows_open(p, t) != open[m] || windows_open(p, t + 59) != open[m]) {
                        char text[TIME_TEXT_SIZE];

                        format_time(t, text);
                        (void) fprintf(stderr, "%s: %s expected\n", text, open[m] ? "open" : "closed");
                        assert(false);
                }
                if (change == 0 || (!edge && m % 7 != 0))
                        continue;
                assert(windows_next(p, t) == change && windows_next(p, t + 37) == change);
                assert(windows_earliest(p, t) == (open[m] ? t : change));
        }
}

static void random_policy(Policy *p)
{
        p->n_windows = 1 + rnd(3);
        p->windows = calloc(p->n_windows, sizeof(*p->windows));
        assert(p->windows);
        for (size_t i = 0; i < p->n_windows; i++) {
                PolicyWindow *w = &p->windows[i];

                w->zone = zones[rnd(ZONES)];
                w->days = 1 + rnd(0x7f);
                /* half of them near the hours at which clocks change */
                w->start_sec = (rnd(2) ? rnd(1440) : (22 * 60 + rnd(6 * 60)) % 1440) * 60;
                w->length_sec = (1 + (rnd(2) ? rnd(1440) : rnd(150))) * 60;
                if (w->length_sec > DAY)
                        w->length_sec = DAY;
        }
}

static void compare_around(uint64_t change)
{
        uint64_t from = (change - RANGE / 2 * MINUTE) / MINUTE * MINUTE;

        read_walls(from);
        for (unsigned i = 0; i < 8; i++) {
                _cleanup_(policy_done) Policy p = { 0 };

                random_policy(&p);
                compare(&p, from);
        }
}

/* Every change of the clock in two years of the tables, and in two years behind most of them. */
static void test_oracle(void)
{
        static const unsigned years[] = { 2018, 2026,
                                          2045 }; /* 2018: Brazil had summer time, changing at midnight */
        unsigned changes = 0;

        for (size_t y = 0; y < ELEMENTSOF(years); y++)
                for (size_t z = 0; z < ZONES; z++) {
                        uint64_t from = (uint64_t) (years[y] - 1970) * 365 * DAY + DAY / 2;
                        long offset;

                        use_zone(z);
                        offset = wall_at(from).tm_gmtoff;
                        for (uint64_t t = from; t < from + 370 * DAY; t += DAY) {
                                use_zone(z);
                                if (wall_at(t).tm_gmtoff == offset)
                                        continue;
                                offset = wall_at(t).tm_gmtoff;
                                changes++;
                                compare_around(t);
                        }
                }
        assert(changes > 30);
        compare_around(at("2026-05-01T00:00:00Z"));
}

/* --- what the man page promises, in words --- */

static void test_words(void)
{
        static const struct {
                const char *window, *t;
                bool open;
        } cases[] = {
                /* crossing midnight: the night that begins on a Saturday is over on Sunday at four */
                { "\"days\":[\"sat\"],\"start\":\"22:00\",\"end\":\"04:00\"", "2026-06-06T19:59:59Z", false },
                { "\"days\":[\"sat\"],\"start\":\"22:00\",\"end\":\"04:00\"", "2026-06-06T20:00:00Z", true },
                { "\"days\":[\"sat\"],\"start\":\"22:00\",\"end\":\"04:00\"", "2026-06-07T01:59:59Z", true },
                { "\"days\":[\"sat\"],\"start\":\"22:00\",\"end\":\"04:00\"", "2026-06-07T02:00:00Z", false },
                { "\"days\":[\"sat\"],\"start\":\"22:00\",\"end\":\"04:00\"", "2026-06-06T01:00:00Z", false },
                /* the clock goes from 02:00 to 03:00: a window inside that hour does not happen */
                { "\"start\":\"02:15\",\"end\":\"02:45\"", "2026-03-29T00:59:59Z", false },
                { "\"start\":\"02:15\",\"end\":\"02:45\"", "2026-03-29T01:00:00Z", false },
                { "\"start\":\"02:15\",\"end\":\"02:45\"", "2026-03-29T01:30:00Z", false },
                { "\"start\":\"02:15\",\"end\":\"02:45\"", "2026-03-30T00:15:00Z", true },
                /* one that begins in it opens when it is over */
                { "\"start\":\"02:30\",\"end\":\"04:00\"", "2026-03-29T00:59:59Z", false },
                { "\"start\":\"02:30\",\"end\":\"04:00\"", "2026-03-29T01:00:00Z", true },
                /* one that ends in it is over with it */
                { "\"start\":\"01:00\",\"end\":\"02:30\"", "2026-03-29T00:59:59Z", true },
                { "\"start\":\"01:00\",\"end\":\"02:30\"", "2026-03-29T01:00:00Z", false },
                /* the clock shows 02:00 to 03:00 twice: the window is open twice */
                { "\"start\":\"02:15\",\"end\":\"02:45\"", "2026-10-25T00:20:00Z", true },
                { "\"start\":\"02:15\",\"end\":\"02:45\"", "2026-10-25T00:50:00Z", false },
                { "\"start\":\"02:15\",\"end\":\"02:45\"", "2026-10-25T01:20:00Z", true },
                { "\"start\":\"02:15\",\"end\":\"02:45\"", "2026-10-25T01:45:00Z", false },
                /* a whole day */
                { "\"days\":[\"wed\"],\"start\":\"00:00\",\"end\":\"24:00\"", "2026-06-02T21:59:59Z", false },
                { "\"days\":[\"wed\"],\"start\":\"00:00\",\"end\":\"24:00\"", "2026-06-02T22:00:00Z", true },
                { "\"days\":[\"wed\"],\"start\":\"00:00\",\"end\":\"24:00\"", "2026-06-03T21:59:59Z", true },
                { "\"days\":[\"wed\"],\"start\":\"00:00\",\"end\":\"00:00\"", "2026-06-03T21:59:59Z", true },
                { "\"days\":[\"wed\"],\"start\":\"00:00\",\"end\":\"00:00\"", "2026-06-03T22:00:00Z", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *text =
                        str_printf("{\"windows\":[{%s,\"timezone\":\"Europe/Berlin\"}]}", cases[i].window);
                _cleanup_(policy_done) Policy p = POLICY_DEFAULT;

                parse(text, &p);
                if (windows_open(&p, at(cases[i].t)) != cases[i].open) {
                        (void) fprintf(stderr, "%s at %s\n", cases[i].window, cases[i].t);
                        assert(false);
                }
        }
}

static void test_edges(void)
{
        _cleanup_(policy_done) Policy none = POLICY_DEFAULT, always = POLICY_DEFAULT, never = POLICY_DEFAULT,
                                      joined = POLICY_DEFAULT;
        uint64_t now = at("2026-06-01T12:00:00Z");

        assert(windows_open(&none, now) && windows_earliest(&none, now) == now &&
               windows_next(&none, now) == UINT64_MAX);
        parse("{\"windows\":[{\"start\":\"05:00\",\"end\":\"05:00\",\"timezone\":\"Europe/Berlin\"}]}",
              &always);
        assert(windows_open(&always, now) && windows_next(&always, now) == UINT64_MAX);
        /* a zone that could not be read */
        parse("{\"windows\":[{\"start\":\"00:00\",\"end\":\"24:00\",\"timezone\":\"Europe/Berlin\"}]}",
              &never);
        never.windows[0].zone = NULL;
        assert(!windows_open(&never, now) && windows_earliest(&never, now) == UINT64_MAX &&
               windows_next(&never, now) == UINT64_MAX);
        /* where one ends another goes on: no edge between them */
        parse("{\"windows\":[{\"days\":[\"tue\"],\"start\":\"01:00\",\"end\":\"02:00\",\"timezone\":\"Europe/"
              "Berlin\"},"
              "{\"days\":[\"tue\"],\"start\":\"02:00\",\"end\":\"03:00\",\"timezone\":\"Europe/Berlin\"}]}",
              &joined);
        assert(windows_earliest(&joined, now) == at("2026-06-01T23:00:00Z"));
        assert(windows_next(&joined, at("2026-06-01T23:10:00Z")) == at("2026-06-02T01:00:00Z"));
}

int main(void)
{
        read_zones();
        test_words();
        test_edges();
        test_oracle();
        for (size_t i = 0; i < ZONES; i++)
                (void) policy_zone_free(zones[i]);
        return 0;
}
