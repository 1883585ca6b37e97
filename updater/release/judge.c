/* SPDX-License-Identifier: MIT */

/* Is this genuine release meant for this host, now? Pure. The order is trust.md 3.6: who it is for, whether its time has
 * passed, what was revoked, then serials. What must never be installed (exit 4) is said before what is only not wanted here
 * (exit 3), and both before "nothing newer".
 *
 * serial <  high-water                    refused, unless the operator says downgrade
 * high-water <= serial <= running         only when somebody named it: a source may not lead a host back
 * running < serial                        an update */

#include "release/release.h"
#include "base/str.h"

#include <errno.h>

static int judge_identity(const Release *r, const ReleaseHost *h, Why *why)
{
        if (!streq0(r->product, h->product))
                return fail(why, -EINVAL, WHY_TRUST, "wrong-product",
                            "%s: it is for product \"%s\", this host is \"%s\"", r->version, r->product,
                            h->product ? h->product : "unknown");
        if (!streq0(r->arch, h->arch))
                return fail(why, -EINVAL, WHY_TRUST, "wrong-arch", "%s: it is for %s, this host is %s",
                            r->version, r->arch, h->arch ? h->arch : "unknown");
        return 0;
}

/* A clock that was set back must not bring an expired release to life: the floor is a time that has certainly passed. A
 * clock that runs ahead refuses too much, never too little; then the sentence says whose fault it may be. */
static int judge_expiry(const Release *r, const ReleaseHost *h, Why *why)
{
        uint64_t now = MAX(h->now, h->time_floor);
        char expires[TIME_TEXT_SIZE], here[TIME_TEXT_SIZE];

        if (r->expires > now)
                return 0;
        format_time(r->expires, expires);
        format_time(now, here);
        if (r->expires > h->time_floor && !h->clock_synchronised) {
                (void) fail(why, -EKEYEXPIRED, WHY_TRUST, "expired",
                            "%s: it expired at %s and this host's clock, which is not synchronised, says %s: "
                            "a clock problem "
                            "or an old release",
                            r->version, expires, here);
                return fail_hint(why, -EKEYEXPIRED, "synchronise the clock, then try again");
        }
        (void) fail(why, -EKEYEXPIRED, WHY_TRUST, "expired", "%s: it expired at %s, it is %s or later",
                    r->version, expires, here);
        return fail_hint(why, -EKEYEXPIRED, "publish a fresh release file for it, or a newer release");
}

static bool has_serial(const uint64_t *list, size_t n, uint64_t serial)
{
        for (size_t i = 0; i < n; i++)
                if (list[i] == serial)
                        return true;
        return false;
}

/* What the host remembers, and what the offer says about itself (its parser refuses that as malformed already). That the
 * offer revokes what runs is no obstacle: it is the way out. */
static int judge_revocation(const Release *r, const ReleaseHost *h, Why *why)
{
        if (has_serial(h->revoked_serials, h->n_revoked_serials, r->serial) ||
            has_serial(r->revoked_serials, r->n_revoked_serials, r->serial))
                return fail(why, -EKEYREVOKED, WHY_TRUST, "revoked", "%s: serial %llu has been revoked",
                            r->version, (unsigned long long) r->serial);
        if (strv_has(h->revoked_roothashes, r->usr.roothash) ||
            strv_has(r->revoked_roothashes, r->usr.roothash))
                return fail(why, -EKEYREVOKED, WHY_TRUST, "revoked",
                            "%s: root hash %.16s... has been revoked", r->version, r->usr.roothash);
        return 0;
}

static int judge_floor(const Release *r, const ReleaseHost *h, unsigned flags, Why *why)
{
        if (r->serial >= h->high_water_serial || (flags & JUDGE_ALLOW_DOWNGRADE))
                return 0;
        (void) fail(why, -EINVAL, WHY_TRUST, "below-floor", "%s: serial %llu is below this host's floor %llu",
                    r->version, (unsigned long long) r->serial, (unsigned long long) h->high_water_serial);
        return fail_hint(why, -EINVAL, "--allow-downgrade, if you must; it is recorded");
}

static int judge_channel(const Release *r, const ReleaseHost *h, Why *why)
{
        if (h->channel && strv_has(r->channels, h->channel))
                return 0;
        (void) fail(why, -EPERM, WHY_POLICY, "wrong-channel",
                    "%s: it is for channel \"%s\"%s, this host follows \"%s\"", r->version,
                    r->channels && r->channels[0] ? r->channels[0] : "",
                    strv_len(r->channels) > 1 ? " and others" : "", h->channel ? h->channel : "");
        return fail_hint(why, -EPERM, "set channel in gybe.json if this host should have it");
}

/* Who was never updated by gybe does not know its serial, and passes. */
static int judge_stepping_stone(const Release *r, const ReleaseHost *h, Why *why)
{
        if (!h->running_serial_known || h->running_serial >= r->minimum_serial)
                return 0;
        (void) fail(why, -EPERM, WHY_POLICY, "stepping-stone",
                    "%s: it needs serial %llu or newer to start from, this host runs %llu", r->version,
                    (unsigned long long) r->minimum_serial, (unsigned long long) h->running_serial);
        return fail_hint(why, -EPERM, "update to a release of at least serial %llu first",
                         (unsigned long long) r->minimum_serial);
}

static bool runs_it(const Release *r, const ReleaseHost *h)
{
        return h->running_roothash && streq(h->running_roothash, r->usr.roothash);
}

int release_judge(const Release *r, const ReleaseHost *h, unsigned flags, Why *why)
{
        bool asked = flags & (JUDGE_EXPLICIT | JUDGE_ALLOW_DOWNGRADE);
        int e;

        if ((e = judge_identity(r, h, why)) < 0 || (e = judge_expiry(r, h, why)) < 0 ||
            (e = judge_revocation(r, h, why)) < 0)
                return e;
        /* Before the floor: after an allowed downgrade the host runs what is below it, and offering that is no attack. */
        if (!runs_it(r, h) && (e = judge_floor(r, h, flags, why)) < 0)
                return e;
        if ((e = judge_channel(r, h, why)) < 0)
                return e;
        if (runs_it(r, h) || (!asked && h->running_serial_known && r->serial <= h->running_serial))
                return 1;
        return judge_stepping_stone(r, h, why);
}

int release_clock_problem(const Release *r, const ReleaseHost *h, char **ret)
{
        uint64_t proved = MAX(h->time_floor, r->issued);
        char now[TIME_TEXT_SIZE], since[TIME_TEXT_SIZE], *text;

        if (h->now >= proved)
                return 0;
        format_time(h->now, now);
        format_time(proved, since);
        text = str_printf("the clock says %s, but %s has passed already%s", now, since,
                          h->clock_synchronised ? "" : "; it is not synchronised");
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 1;
}
