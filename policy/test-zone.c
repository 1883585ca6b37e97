/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/fd.h"
#include "base/str.h"
#include "policy/zone.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#define FOLDER "/usr/share/zoneinfo/"
#define HOUR   UINT64_C(3600)
#define DAY    (24 * HOUR)
#define YEAR   (365 * DAY + DAY / 4)

static PolicyZone *parse(const void *data, size_t size)
{
        PolicyZone *z = NULL;
        Why why = { 0 };
        int r = policy_zone_parse(data, size, "test", &z, &why);

        assert(r >= 0 || (r == -EINVAL && why.text[0] && !z));
        return z;
}

static PolicyZone *read_zone(const char *name)
{
        char path[128];
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        PolicyZone *z;
        int fd;

        (void) snprintf(path, sizeof(path), FOLDER "%s", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return NULL;
        assert(fd_read_all(fd, 64 * 1024, &b) >= 0);
        (void) close(fd);
        z = parse(b.data, b.size);
        assert(z);
        return z;
}

/* --- libc is the oracle --- */

static int64_t libc_offset(uint64_t t)
{
        time_t at = (time_t) t;
        struct tm tm;

        assert(localtime_r(&at, &tm));
        return tm.tm_gmtoff;
}

static void check_at(const PolicyZone *z, uint64_t t)
{
        uint64_t until;
        int64_t offset = policy_zone_offset(z, t, &until);

        assert(offset == libc_offset(t));
        assert(until > t);
}

/* Walks the pieces: inside each the offset is one, at its ends it is libc's on both sides. */
static void check_pieces(const PolicyZone *z, uint64_t from, uint64_t to)
{
        for (uint64_t t = from; t < to;) {
                uint64_t until, same;
                int64_t offset = policy_zone_offset(z, t, &until);

                assert(offset == libc_offset(t));
                if (until == UINT64_MAX)
                        until = to;
                assert(offset == libc_offset(until - 1));
                assert(policy_zone_offset(z, until - 1, &same) == offset && same >= until);
                for (uint64_t at = t; at < until; at += 3 * DAY + 7 * HOUR + 13)
                        assert(libc_offset(at) == offset);
                t = until;
        }
}

static void test_libc(void)
{
        /* summer time to both sides of the equator, by half an hour, backwards (Dublin's winter is its "summer time"), by two
         * hours (Troll), at midnight, from tables to 2087 (Casablanca), never, and a day that was left out (Apia) */
        static const char *const names[] = { "Europe/Berlin",
                                             "America/New_York",
                                             "Australia/Lord_Howe",
                                             "Asia/Kathmandu",
                                             "Africa/Casablanca",
                                             "America/Sao_Paulo",
                                             "Europe/Dublin",
                                             "Antarctica/Troll",
                                             "Asia/Gaza",
                                             "America/Nuuk",
                                             "Asia/Tehran",
                                             "Pacific/Apia",
                                             "Pacific/Chatham",
                                             "America/Santiago",
                                             "Etc/GMT+12",
                                             "Australia/Melbourne",
                                             "UTC" };
        unsigned seen = 0;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(policy_zone_freep) PolicyZone *z = read_zone(names[i]);

                if (!z)
                        continue;
                seen++;
                assert(setenv("TZ", names[i], 1) == 0);
                tzset();
                check_pieces(z, 0, 180 * YEAR);
                for (uint64_t t = 50 * YEAR; t < 72 * YEAR; t += 11 * HOUR + 7)
                        check_at(z, t);
                for (uint64_t t = 330 * YEAR; t < 331 * YEAR; t += 5 * HOUR)
                        check_at(z, t);
                check_at(z, 253402300799);
        }
        if (seen == 0) {
                (void) fprintf(stderr, "no tzdata here\n");
                exit(77);
        }
}

/* --- the footer alone --- */

static void test_rules(void)
{
        static const struct {
                const char *text;
                bool good;
        } cases[] = {
                { "CET-1CEST,M3.5.0,M10.5.0/3", true },
                { "<+0545>-5:45", true },
                { "EST5EDT,M3.2.0,M11.1.0", true },
                { "IST-1GMT0,M10.5.0,M3.5.0/1", true },
                { "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", true },
                { "EST5EDT,0/0,J365/25", true },
                { "XXX3YYY2:30,J60/167:59:59,364/-167", true },
                { "", false },
                { "CE-1", false },                         /* a name has three letters */
                { "CET", false },                          /* no offset */
                { "CET-25", false },                       /* out of range */
                { "CET-1:60", false },                     /* minutes */
                { "CET-1CEST", false },                    /* without dates */
                { "CET-1CEST,M3.5.0", false },             /* one date */
                { "CET-1CEST,M0.5.0,M10.5.0", false },     /* month */
                { "CET-1CEST,M3.6.0,M10.5.0", false },     /* week */
                { "CET-1CEST,M3.5.7,M10.5.0", false },     /* weekday */
                { "CET-1CEST,J0,M10.5.0", false },         /* J counts from 1 */
                { "CET-1CEST,366,M10.5.0", false },        /* n ends at 365 */
                { "CET-1CEST,M3.5.0/168,M10.5.0", false }, /* hours */
                { "CET-1CEST,M3.5.0,M10.5.0/3 ", false },  /* rest */
                { "<+05-5", false },
                { "<+0>5", false },
        };
        ZoneRule r;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert((zone_rule_parse(cases[i].text, strlen(cases[i].text), &r) >= 0) == cases[i].good);
}

/* A rule is held to libc's own reading of the same text. */
static void test_rules_libc(void)
{
        static const char *const texts[] = { "CET-1CEST,M3.5.0,M10.5.0/3",
                                             "EST5EDT,M3.2.0,M11.1.0",
                                             "IST-1GMT0,M10.5.0,M3.5.0/1",
                                             "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
                                             "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
                                             "AAA-2BBB,J59/5,J60/5",
                                             "AAA-2BBB,58/5,300" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                ZoneRule r;

                assert(zone_rule_parse(texts[i], strlen(texts[i]), &r) >= 0);
                assert(setenv("TZ", texts[i], 1) == 0);
                tzset();
                for (uint64_t t = 50 * YEAR; t < 62 * YEAR; t += HOUR / 2) {
                        int64_t until, offset = zone_rule_offset(&r, (int64_t) t, &until);
                        assert(offset == libc_offset(t) && until > (int64_t) t);
                }
        }
}

/* Summer time all year (RFC 9636 3.3.1), which libc's reader cannot say in every version. */
static void test_always_summer(void)
{
        static const char text[] = "EST5EDT,0/0,J365/25";
        ZoneRule r;
        int64_t until;

        assert(zone_rule_parse(text, strlen(text), &r) >= 0);
        for (uint64_t t = 30 * YEAR; t < 35 * YEAR; t += HOUR / 4)
                assert(zone_rule_offset(&r, (int64_t) t, &until) == -4 * 3600);
}

/* --- bytes --- */

typedef struct Maker {
        uint8_t data[512];
        size_t n;
} Maker;

static void put(Maker *m, uint64_t v, unsigned size)
{
        while (size-- > 0)
                m->data[m->n++] = (uint8_t) (size < 8 ? v >> 8 * size : 0);
}

static void put_text(Maker *m, const char *s)
{
        memcpy(m->data + m->n, s, strlen(s));
        m->n += strlen(s);
}

static void header(Maker *m, char version, uint32_t leap, uint32_t times, uint32_t types)
{
        put_text(m, "TZif");
        put(m, (uint8_t) version, 1);
        put(m, 0, 15);
        put(m, 0, 4);
        put(m, 0, 4);
        put(m, leap, 4);
        put(m, times, 4);
        put(m, types, 4);
        put(m, 4, 4);
}

static void type(Maker *m, int32_t offset)
{
        put(m, (uint32_t) offset, 4);
        put(m, 0, 2);
}

/* Slim: an empty first block; two transitions to offset 3600 and back; then the footer. */
static Maker make(const char *footer)
{
        Maker m = { 0 };

        header(&m, '2', 0, 0, 1);
        type(&m, 0);
        put(&m, 0, 4);
        header(&m, '2', 0, 2, 2);
        put(&m, 1000, 8);
        put(&m, 2000, 8);
        put(&m, 1, 1);
        put(&m, 0, 1);
        type(&m, 0);
        type(&m, 3600);
        put_text(&m, "ABC");
        put(&m, 0, 1);
        put_text(&m, footer);
        return m;
}

static void test_table(void)
{
        Maker m = make("\n\n");
        _cleanup_(policy_zone_freep) PolicyZone *z = parse(m.data, m.n);
        uint64_t until;

        assert(z && streq(policy_zone_name(z), "test"));
        assert(policy_zone_offset(z, 0, &until) == 0 && until == 1000);
        assert(policy_zone_offset(z, 999, &until) == 0 && until == 1000);
        assert(policy_zone_offset(z, 1000, &until) == 3600 && until == 2000);
        assert(policy_zone_offset(z, 2000, &until) == 0 && until == UINT64_MAX);
        assert(policy_zone_offset(z, UINT64_MAX, &until) == 0 && until == UINT64_MAX);
}

static void test_refused(void)
{
        static const size_t second = 44 + 6 + 4;
        static const struct {
                size_t at;
                uint8_t value;
                const char *why;
        } spoils[] = {
                { 0, 'X', "magic" },
                { 4, 0, "version 1" },
                { 39, 0, "no type in the first block" },
                { 36, 1, "a type count of millions" },
                { 32, 1, "a time count of millions" },
                { second, 'X', "magic of the second block" },
                { second + 31, 1, "leap seconds" },
                { second + 44 + 6, 0xff, "times out of order" },
                { second + 44 + 16, 9, "a type that is not there" },
                { second + 44 + 18, 0x7f, "an offset of years" },
                { second + 44 + 18 + 12 + 4, 'X', "no footer" },
        };
        Maker good = make("\nCET-1CEST,M3.5.0,M10.5.0/3\n");

        for (size_t i = 0; i < ELEMENTSOF(spoils); i++) {
                Maker m = good;

                m.data[spoils[i].at] = spoils[i].value;
                if (parse(m.data, m.n)) {
                        (void) fprintf(stderr, "taken: %s\n", spoils[i].why);
                        assert(false);
                }
        }
        for (size_t n = 0; n < good.n; n++)
                assert(!parse(good.data, n));
        static const char *const footers[] = { "\nCET\n", "\nCET-1", "CET-1\n", "\n" };
        for (size_t i = 0; i < ELEMENTSOF(footers); i++) {
                Maker m = make(footers[i]);
                assert(!parse(m.data, m.n));
        }
}

int main(void)
{
        test_rules();
        test_always_summer();
        test_table();
        test_refused();
        test_rules_libc();
        test_libc();
        return 0;
}
