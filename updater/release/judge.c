/* SPDX-License-Identifier: MIT */

/* Is this genuine release meant for this host, now? Pure. The order is trust.md 3.6: identity, expiry, revocation, serials;
 * what is refused as untrusted (exit 4) comes before what is merely not wanted here (exit 3) and before "nothing newer". */

#include "release/release.h"
#include "base/str.h"

#include <errno.h>

static int judge_identity(const Release *r, const ReleaseHost *h, Why *why)
{
        if (!streq0(r->product, h->product))
                return fail(why, -EINVAL, WHY_TRUST, "wrong-product", "%s: it is for product \"%s\", this host is \"%s\"", r->version,
                            r->product, h->product ? h->product : "");
        if (!streq0(r->arch, h->arch))
                return fail(why, -EINVAL, WHY_TRUST, "wrong-arch", "%s: it is for %s, this host is %s", r->version, r->arch,
                            h->arch ? h->arch : "unknown");
        return 0;
}

/* A clock that was set back must not bring an expired release to life: the floor is a time that has certainly passed. */
static int judge_expiry(const Release *r, const ReleaseHost *h, Why *why)
{
        uint64_t now = MAX(h->now, h->time_floor);
        char expires[TIME_TEXT_SIZE], here[TIME_TEXT_SIZE];

        if (r->expires > now)
                return 0;
        format_time(r->expires, expires);
        format_time(now, here);
        (void) fail(why, -EKEYEXPIRED, WHY_TRUST, "expired", "%s: it expired at %s; it is now %s or later", r->version, expires, here);
        if (!h->clock_synchronised)
                return fail_hint(why, -EKEYEXPIRED, "this host's clock is not synchronised; check it before anything else");
        return fail_hint(why, -EKEYEXPIRED, "publish a fresh release file for it, or a newer release");
}

static bool has_serial(const uint64_t *list, size_t n, uint64_t serial)
{
        for (size_t i = 0; i < n; i++)
                if (list[i] == serial)
                        return true;
        return false;
}

static int judge_revocation(const Release *r, const ReleaseHost *h, Why *why)
{
        if (has_serial(h->revoked_serials, h->n_revoked_serials, r->serial))
                return fail(why, -EKEYREVOKED, WHY_TRUST, "revoked", "%s: serial %llu was revoked by a later release", r->version,
                            (unsigned long long) r->serial);
        if (strv_has(h->revoked_roothashes, r->usr.roothash))
                return fail(why, -EKEYREVOKED, WHY_TRUST, "revoked", "%s: its root hash %.16s... was revoked by a later release",
                            r->version, r->usr.roothash);
        return 0;
}

static int judge_floor(const Release *r, const ReleaseHost *h, unsigned flags, Why *why)
{
        if (r->serial >= h->high_water_serial || (flags & JUDGE_ALLOW_DOWNGRADE))
                return 0;
        (void) fail(why, -EINVAL, WHY_TRUST, "below-floor", "%s: serial %llu is below this host's floor %llu", r->version,
                    (unsigned long long) r->serial, (unsigned long long) h->high_water_serial);
        return fail_hint(why, -EINVAL, "--allow-downgrade, if you must; it is recorded");
}

static int judge_wanted(const Release *r, const ReleaseHost *h, Why *why)
{
        if (!h->channel || !strv_has(r->channels, h->channel))
                return fail(why, -EPERM, WHY_POLICY, "wrong-channel", "%s: it is not in channel \"%s\"", r->version,
                            h->channel ? h->channel : "");
        /* Who was never updated by gybe does not know its serial, and passes. */
        if (h->running_serial_known && h->running_serial < r->minimum_serial) {
                (void) fail(why, -EPERM, WHY_POLICY, "stepping-stone", "%s: it needs serial %llu first, this host runs %llu", r->version,
                            (unsigned long long) r->minimum_serial, (unsigned long long) h->running_serial);
                return fail_hint(why, -EPERM, "update to a release between them first");
        }
        return 0;
}

int release_judge(const Release *r, const ReleaseHost *h, unsigned flags, Why *why)
{
        bool asked = flags & (JUDGE_EXPLICIT | JUDGE_ALLOW_DOWNGRADE);
        int e;

        if ((e = judge_identity(r, h, why)) < 0 || (e = judge_expiry(r, h, why)) < 0 || (e = judge_revocation(r, h, why)) < 0 ||
            (e = judge_floor(r, h, flags, why)) < 0)
                return e;
        if (!asked && h->running_roothash && h->running_roothash[0] && streq(h->running_roothash, r->usr.roothash))
                return 1;
        if (!asked && h->running_serial_known && r->serial <= h->running_serial)
                return 1;
        return judge_wanted(r, h, why);
}
