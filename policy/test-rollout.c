/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/digest.h"
#include "base/fd.h"
#include "base/str.h"
#include "policy/policy.h"
#include "policy/zone.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

/* A year of a fleet: ten thousand machines, a release a week, a ramp, a nightly window. Is the share of the fleet that has the
 * release at each hour the one that was asked for? */

#define MACHINES 10000u
#define RELEASES 52u
#define HOUR     UINT64_C(3600)
#define DAY      (24 * HOUR)
#define BEGIN    UINT64_C(1767225600) /* 2026-01-01 */

static char machines[MACHINES][33];
static PolicyZone *berlin;

static void make_machines(void)
{
        for (unsigned i = 0; i < MACHINES; i++) {
                char hex[SHA256_HEX], text[32];

                (void) snprintf(text, sizeof(text), "machine %u", i);
                assert(sha256_hex(text, strlen(text), hex) >= 0);
                (void) snprintf(machines[i], sizeof(machines[i]), "%.32s", hex);
        }
}

static bool read_berlin(void)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int fd = open("/usr/share/zoneinfo/Europe/Berlin", O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return false;
        assert(fd_read_all(fd, 64 * 1024, &b) >= 0);
        (void) close(fd);
        assert(policy_zone_parse(b.data, b.size, "Europe/Berlin", &berlin, NULL) >= 0);
        assert(setenv("TZ", "Europe/Berlin", 1) == 0);
        tzset();
        return true;
}

static void add(Policy *p, const char *text)
{
        assert(policy_parse(text, strlen(text), "test", p, NULL) >= 0);
        for (size_t i = 0; i < p->n_windows; i++)
                p->windows[i].zone = berlin;
}

/* When the door opens for a machine that asks from the moment of issue on; UINT64_MAX never. */
static uint64_t turn(const Policy *p, PolicyDoor door, const PolicySubject *s, uint64_t from)
{
        PolicyVerdict v;

        policy_ask(p, door, s, from, &v);
        return v.answer == POLICY_GO ? from : v.until;
}

/* The biggest distance between the share asked for and the share there is, looked at each quarter of an hour. */
static double worst_distance(const uint64_t *turns, uint64_t issued, double percent, uint64_t ramp)
{
        static unsigned per_quarter[4 * 24 * 20];
        double worst = 0;
        unsigned have = 0;

        memset(per_quarter, 0, sizeof(per_quarter));
        for (unsigned m = 0; m < MACHINES; m++)
                if (turns[m] != UINT64_MAX)
                        per_quarter[(turns[m] - issued + 899) / 900]++;
        for (unsigned q = 0; q < ELEMENTSOF(per_quarter); q++) {
                double asked = ramp > 0 && q * 900 < ramp ? percent * q * 900 / (double) ramp : percent;

                have += per_quarter[q];
                if (ramp > 0 || q > 0)
                        worst = MAX(worst, 100.0 * have / MACHINES - asked);
                worst = MAX(worst, asked - 100.0 * have / MACHINES);
        }
        return worst;
}

/* percent and ramp as asked; the bound is four and a half standard deviations of a fair lottery of ten thousand. */
static void test_ramp(const char *rules, double percent, uint64_t ramp)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        static uint64_t turns[MACHINES];
        static uint8_t early[MACHINES]; /* how often a machine was in the first tenth of those who got it */
        unsigned often = 0, seldom = 0;

        add(&p, rules);
        memset(early, 0, sizeof(early));
        for (unsigned r = 0; r < RELEASES; r++) {
                uint64_t issued = BEGIN + r * 7 * DAY + (r * 5 % 24) * HOUR;
                char version[32];

                (void) snprintf(version, sizeof(version), "3.0.%u", 20260101 + r);
                for (unsigned m = 0; m < MACHINES; m++) {
                        PolicySubject s = { .version = version, .issued = issued, .machine_id = machines[m] };

                        turns[m] = turn(&p, POLICY_FETCH, &s, issued);
                        assert(turns[m] == UINT64_MAX || (turns[m] >= issued && turns[m] <= issued + ramp));
                        early[m] += turns[m] != UINT64_MAX && turns[m] - issued < ramp / 10;
                }
                assert(worst_distance(turns, issued, percent, ramp) < 2.25);
        }
        for (unsigned m = 0; ramp > 0 && m < MACHINES; m++) {
                often += early[m] > RELEASES / 3;
                seldom += early[m] == 0;
        }
        /* nobody is always first: of 52 draws of a tenth (or less), more than 17 happen to nobody */
        assert(often == 0 && seldom < MACHINES / (percent < 100 ? 2 : 100));
}

/* The same machine, the same release, another question: the same answer. And a raised percentage only adds machines. */
static void test_stable(void)
{
        static const unsigned percents[] = { 0, 1, 5, 25, 50, 99, 100 };
        bool was_in[MACHINES] = { 0 };

        for (size_t i = 0; i < ELEMENTSOF(percents); i++) {
                _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
                unsigned in = 0;

                p.rollout_percent = percents[i];
                for (unsigned m = 0; m < MACHINES; m++) {
                        PolicySubject s = { .version = "3.0.1", .issued = BEGIN, .machine_id = machines[m] };
                        bool goes = turn(&p, POLICY_FETCH, &s, BEGIN) == BEGIN;

                        assert(!was_in[m] || goes);
                        was_in[m] = goes;
                        in += goes;
                }
                assert(labs((long) in - (long) percents[i] * (long) (MACHINES / 100)) <=
                       (percents[i] % 100 ? 150 : 0));
        }
}

/* What a fleet relies on across versions of gybe; the numbers come from another program's SHA-256 and must never change. */
static void test_places(void)
{
        static const struct {
                const char *machine, *version;
                uint64_t after_issue;
        } cases[] = {
                { "00000000000000000000000000000000", "1", 67314 },
                { "0123456789abcdef0123456789abcdef", "3.0.20261104", 220449 },
                { "ffffffffffffffffffffffffffffffff", "3.0.20261104", 413643 },
        };
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;

        p.rollout_ramp_sec = 1000000;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                PolicySubject s = { .version = cases[i].version,
                                    .issued = BEGIN,
                                    .machine_id = cases[i].machine };
                uint64_t t = turn(&p, POLICY_FETCH, &s, BEGIN) - BEGIN;

                if (t != cases[i].after_issue)
                        (void) fprintf(stderr, "%s: %llu\n", cases[i].machine, (unsigned long long) t);
                assert(t == cases[i].after_issue);
        }
}

static bool oracle_open(uint64_t t)
{
        time_t when = (time_t) t;
        struct tm tm;

        assert(localtime_r(&when, &tm));
        return tm.tm_hour >= 22 || tm.tm_hour < 4;
}

/* Waves, then windows: every machine finalizes in a night, the first one after its turn, over a year with both changes of
 * the clock. */
static void test_year(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        unsigned long finalized = 0, nights = 0;

        add(&p, "{\"automation\":\"full\",\"rollout\":{\"ramp\":\"72h\"},\"minimumAge\":\"12h\","
                "\"windows\":[{\"start\":\"22:00\",\"end\":\"04:00\",\"timezone\":\"Europe/Berlin\"}]}");
        for (unsigned r = 0; r < RELEASES; r++) {
                uint64_t issued = BEGIN + r * 7 * DAY + 9 * HOUR;
                unsigned before_age = 0;

                for (unsigned m = r % 20; m < MACHINES; m += 20) {
                        PolicySubject s = { .version = "3.1",
                                            .issued = issued,
                                            .machine_id = machines[m],
                                            .unattended = true };
                        uint64_t fetch = turn(&p, POLICY_FETCH, &s, issued),
                                 finalize = turn(&p, POLICY_FINALIZE, &s, fetch);

                        before_age += fetch < issued + 12 * HOUR;
                        assert(fetch <= issued + 72 * HOUR && finalize >= fetch && finalize < fetch + DAY);
                        assert(oracle_open(finalize) && (finalize == fetch || !oracle_open(finalize - 1)));
                        assert(turn(&p, POLICY_REBOOT, &s, finalize) == finalize);
                        nights += finalize != fetch;
                        finalized++;
                }
                assert(before_age == 0);
        }
        /* A sixth of the turns come with the age, in the first night; of the others, spread over 60 hours, 18 are nights: 58 % wait. */
        assert(finalized > RELEASES * MACHINES / 20 - RELEASES && nights > finalized * 55 / 100 &&
               nights < finalized * 61 / 100);
}

int main(void)
{
        make_machines();
        test_places();
        test_stable();
        test_ramp("{\"rollout\":{\"percent\":100,\"ramp\":\"48h\"}}", 100, 48 * HOUR);
        test_ramp("{\"rollout\":{\"percent\":25,\"ramp\":\"7d\"}}", 25, 7 * DAY);
        test_ramp("{\"rollout\":{\"percent\":10}}", 10, 0);
        if (read_berlin())
                test_year();
        (void) policy_zone_free(berlin);
        return 0;
}
