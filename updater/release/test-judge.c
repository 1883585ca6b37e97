/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "release/release.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define DAY 86400u

/* serials: floor 100, running 200, the offer 300; days: issued 1000, expires 1100, now 1050 */
typedef struct Case {
        const char *reason;
        uint64_t serial, minimum;
        unsigned flags;
        int result; /* 1 nothing newer, 0 acceptable, -1 refused */
        WhyKind kind;
        const char *code, *says;
        /* what is different on the host; zero: as above */
        const char *product, *arch, *channel, *running_roothash;
        uint64_t now, floor_time;
        uint64_t revoked_serial;
        const char *revoked_roothash;
        bool unknown_serial, unsynchronised;
        uint64_t self_revoked;
        uint64_t high_water;
} Case;

#define PAST_EXPIRY (1100 * DAY)

static const Case cases[] = {
        { "newer", .serial = 300 },
        { "what a source offers must be above what runs", .serial = 200, .result = 1 },
        { "older, nobody asked", .serial = 150, .result = 1 },
        { "older, an operator named it", .serial = 150, .flags = JUDGE_EXPLICIT },
        { "the floor itself is not below the floor", .serial = 100, .flags = JUDGE_EXPLICIT },
        { "below the floor", .serial = 99, .result = -1, .kind = WHY_TRUST, .code = "below-floor",
          .says = "99 is below this host's floor 100" },
        { "below the floor, named", .serial = 99, .flags = JUDGE_EXPLICIT, .result = -1, .kind = WHY_TRUST,
          .code = "below-floor" },
        { "below the floor, allowed", .serial = 99, .flags = JUDGE_ALLOW_DOWNGRADE },
        { "unknown running serial", .serial = 150, .unknown_serial = true },
        { "unknown running serial, below the floor", .serial = 50, .unknown_serial = true, .result = -1,
          .kind = WHY_TRUST, .code = "below-floor" },
        { "what runs", .serial = 300, .running_roothash = "aa", .result = 1 },
        { "what runs, named", .serial = 300, .running_roothash = "aa", .flags = JUDGE_EXPLICIT, .result = 1 },
        { "what runs after a downgrade is below the floor and no attack", .serial = 50,
          .running_roothash = "aa", .result = 1 },

        { "other product", .serial = 300, .product = "flatcar", .result = -1, .kind = WHY_TRUST,
          .code = "wrong-product", .says = "\"acl\"" },
        { "other arch", .serial = 300, .arch = "aarch64", .result = -1, .kind = WHY_TRUST,
          .code = "wrong-arch" },
        { "other channel", .serial = 300, .channel = "lts", .result = -1, .kind = WHY_POLICY,
          .code = "wrong-channel", .says = "\"lts\"" },
        { "second channel of the release", .serial = 300, .channel = "beta" },
        { "channels have case", .serial = 300, .channel = "Stable", .result = -1, .kind = WHY_POLICY,
          .code = "wrong-channel" },

        { "minimum above what runs", .serial = 300, .minimum = 201, .result = -1, .kind = WHY_POLICY,
          .code = "stepping-stone", .says = "201" },
        { "minimum is what runs", .serial = 300, .minimum = 200 },
        { "never updated by gybe: passes", .serial = 300, .minimum = 201, .unknown_serial = true },
        { "a downgrade is no way around it", .serial = 300, .minimum = 201,
          .flags = JUDGE_ALLOW_DOWNGRADE | JUDGE_EXPLICIT, .result = -1, .kind = WHY_POLICY,
          .code = "stepping-stone" },

        { "revoked serial", .serial = 300, .revoked_serial = 300, .result = -1, .kind = WHY_TRUST,
          .code = "revoked", .says = "300" },
        { "revoked content", .serial = 300, .revoked_roothash = "aa", .result = -1, .kind = WHY_TRUST,
          .code = "revoked" },
        { "revoked, even for who allows downgrades", .serial = 150, .revoked_serial = 150,
          .flags = JUDGE_ALLOW_DOWNGRADE | JUDGE_EXPLICIT, .result = -1, .kind = WHY_TRUST,
          .code = "revoked" },
        { "revoked and running: said, not passed over", .serial = 200, .running_roothash = "aa",
          .revoked_roothash = "aa", .result = -1, .kind = WHY_TRUST, .code = "revoked" },
        { "it revokes what runs: the way out", .serial = 300, .self_revoked = 200 },
        { "it revokes itself", .serial = 300, .self_revoked = 300, .result = -1, .kind = WHY_TRUST,
          .code = "revoked" },

        { "last second", .serial = 300, .now = PAST_EXPIRY - 1 },
        { "expired", .serial = 300, .now = PAST_EXPIRY, .result = -1, .kind = WHY_TRUST, .code = "expired",
          .says = "1973-01-05T00:00:00Z" },
        { "expired, clock set back behind a time that is proved", .serial = 300, .now = 1001 * DAY,
          .floor_time = PAST_EXPIRY, .result = -1, .kind = WHY_TRUST, .code = "expired", .says = "or later" },
        { "expired, clock set back and not synchronised: proved all the same", .serial = 300, .now = 5,
          .floor_time = PAST_EXPIRY, .unsynchronised = true, .result = -1, .kind = WHY_TRUST,
          .code = "expired", .says = "or later" },
        { "expired only by a clock nobody vouches for", .serial = 300, .now = PAST_EXPIRY + 9000 * DAY,
          .unsynchronised = true, .result = -1, .kind = WHY_TRUST, .code = "expired",
          .says = "clock problem" },
        { "clock before the release was made: no reason to refuse", .serial = 300, .now = 5,
          .unsynchronised = true },
        { "operators do not revive what is expired", .serial = 300, .now = PAST_EXPIRY,
          .flags = JUDGE_ALLOW_DOWNGRADE | JUDGE_EXPLICIT, .result = -1, .kind = WHY_TRUST,
          .code = "expired" },

        { "trust is said before policy", .serial = 300, .now = PAST_EXPIRY, .channel = "lts", .result = -1,
          .kind = WHY_TRUST, .code = "expired" },
        { "no floor yet", .serial = 1, .unknown_serial = true, .high_water = UINT64_MAX },
};

static ReleaseHost host_of(const Case *c)
{
        ReleaseHost h = {
                .product = c->product ? c->product : "acl",
                .arch = c->arch ? c->arch : "x86_64",
                .channel = c->channel ? c->channel : "stable",
                .running_roothash = c->running_roothash ? c->running_roothash : "",
                .running_serial_known = !c->unknown_serial,
                .running_serial = c->unknown_serial ? 0 : 200,
                .high_water_serial = c->high_water == UINT64_MAX ? 0 : 100,
                .now = c->now ? c->now : 1050 * DAY,
                .time_floor = c->floor_time,
                .clock_synchronised = !c->unsynchronised,
        };

        return h;
}

static void test_judge(void)
{
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const Case *c = &cases[i];
                char *channels[] = { (char *) "stable", (char *) "beta", NULL };
                char *hashes[] = { (char *) c->revoked_roothash, NULL };
                uint64_t self = c->self_revoked;
                Release r = {
                        .product = (char *) "acl",
                        .arch = (char *) "x86_64",
                        .version = (char *) "3.0",
                        .channels = channels,
                        .serial = c->serial,
                        .minimum_serial = c->minimum,
                        .issued = 1000 * DAY,
                        .expires = PAST_EXPIRY,
                        .usr.roothash = "aa",
                        .revoked_serials = &self,
                        .n_revoked_serials = self > 0,
                };
                ReleaseHost h = host_of(c);
                Why why = { 0 };
                int got;

                h.revoked_serials = &c->revoked_serial;
                h.n_revoked_serials = c->revoked_serial > 0;
                h.revoked_roothashes = hashes;
                got = release_judge(&r, &h, c->flags, &why);
                if ((got < 0) != (c->result < 0) || (got > 0) != (c->result > 0) ||
                    (got < 0 && !streq(why.code, c->code)))
                        fprintf(stderr, "%s: %i %s %s\n", c->reason, got, why.code, why.text);
                assert((got < 0) == (c->result < 0) && (got > 0) == (c->result > 0));
                assert(got >= 0 ? why.kind == WHY_NONE : why.kind == c->kind && streq(why.code, c->code));
                assert(got >= 0 || str_starts(why.text, "3.0: "));
                assert(!c->says || strstr(why.text, c->says));
        }
}

static void test_clock_problem(void)
{
        static const struct {
                uint64_t now, floor_time;
                int problem;
        } times[] = {
                { 1050 * DAY, 0, 0 },
                { 1000 * DAY, 1000 * DAY, 0 },
                { 999 * DAY, 0, 1 },           /* before the release was made */
                { 1050 * DAY, 1060 * DAY, 1 }, /* before a time that is proved */
        };

        for (size_t i = 0; i < ELEMENTSOF(times); i++) {
                _cleanup_(free_charp) char *text = NULL;
                Release r = { .issued = 1000 * DAY };
                ReleaseHost h = { .now = times[i].now, .time_floor = times[i].floor_time };

                assert(release_clock_problem(&r, &h, &text) == times[i].problem);
                assert(!text == !times[i].problem && (!text || strstr(text, "not synchronised")));
        }
}

int main(void)
{
        test_judge();
        test_clock_problem();
        return 0;
}
