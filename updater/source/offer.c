/* SPDX-License-Identifier: MIT */

/* An offer is a place to look at and what was claimed about it: by an operator's words, or by a verified feed. Nothing here
 * believes the claim; the signed release has to agree with it later. */

#include "source/oci.h"
#include "base/str.h"
#include "base/url.h"

#include <errno.h>

void offer_done(Offer *o)
{
        free(o->release_url);
        free(o->cosi_url);
        free(o->version);
        free(o->omaha_version);
        *o = (Offer){ 0 };
}

void offer_move(Offer *dst, Offer *src)
{
        offer_done(dst);
        *dst = *src;
        *src = (Offer){ 0 };
}

int request_offer(const char *release, Offer *ret, Why *why)
{
        _cleanup_(offer_done) Offer o = { .explicit_ = true };
        int r;

        if (url_is_oci(release)) {
                /* one address for both: which artifact is which is found there */
                _cleanup_(oci_ref_done) OciRef ref = { 0 };

                r = oci_ref_parse(release, &ref, why);
                if (r < 0)
                        return r;
                o.release_url = strdup(release);
                o.cosi_url = strdup(release);
                if (!o.release_url || !o.cosi_url)
                        return -ENOMEM;
        } else if (url_is_release(release)) {
                o.release_url = strdup(release);
                if (!o.release_url)
                        return -ENOMEM;
        } else if (url_is_cosi(release)) {
                o.cosi_url = strdup(release);
                if (!o.cosi_url)
                        return -ENOMEM;
                r = url_release_of_cosi(release, &o.release_url);
                if (r < 0)
                        return r;
        } else {
                char shown[256];

                url_redact(release, shown, sizeof(shown));
                (void) fail(why, -EINVAL, WHY_USAGE, "usage",
                            "%s: neither a .release.json nor a .cosi nor oci://", shown);
                return fail_hint(why, -EINVAL,
                                 "name a path or URL that ends in one of them, or an artifact in a registry");
        }
        *ret = o;
        o = (Offer){ 0 };
        return 0;
}

static const char *channel_version(const Feed *feed, const char *channel)
{
        for (size_t i = 0; i < feed->n_channels; i++)
                if (streq0(feed->channels[i].channel, channel))
                        return feed->channels[i].version;
        return NULL;
}

static int no_channel(const Feed *feed, const char *channel, Why *why)
{
        Str names = STR_NULL;
        char *text;

        for (size_t i = 0; i < feed->n_channels; i++)
                str_addf(&names, "%s\"%s\"", i ? ", " : "", feed->channels[i].channel);
        text = str_take(&names);
        if (!text)
                return -ENOMEM;
        (void) fail(why, -ENOENT, WHY_POLICY, "wrong-channel", "feed: it has no channel \"%s\", only %.300s",
                    channel ? channel : "", *text ? text : "none at all");
        free(text);
        return fail_hint(why, -ENOENT, "set channel in gybe.json to one of them");
}

static const FeedRelease *find_release(const Feed *feed, const char *version, const char *arch)
{
        for (size_t i = 0; i < feed->n_releases; i++)
                if (streq(feed->releases[i].version, version) && streq(feed->releases[i].arch, arch))
                        return &feed->releases[i];
        return NULL;
}

int feed_offer(const Feed *feed, const char *index_url, const char *product, const char *channel,
               const char *arch, const char *want_version, Offer *ret, Why *why)
{
        const char *version = want_version ? want_version : channel_version(feed, channel);
        _cleanup_(offer_done) Offer o = { .explicit_ = want_version != NULL };
        const FeedRelease *rel;
        int r;

        if (!streq0(feed->product, product))
                return fail(why, -EINVAL, WHY_TRUST, "wrong-product",
                            "feed: it is for product \"%s\", this host is \"%s\"", feed->product,
                            product ? product : "unknown");
        if (!version)
                return no_channel(feed, channel, why);
        rel = find_release(feed, version, arch);
        if (!rel && want_version) {
                (void) fail(why, -ENOENT, WHY_NETWORK, "no-such-version",
                            "feed: it has no version \"%s\" for %s", version, arch);
                return fail_hint(why, -ENOENT, "gybe-release inspect shows what a feed has");
        }
        if (!rel)
                return 0;
        r = url_sibling(index_url, rel->path, &o.release_url, why);
        if (r < 0)
                return r;
        o.version = strdup(rel->version);
        if (!o.version)
                return -ENOMEM;
        o.serial = rel->serial;
        memcpy(o.sha384, rel->sha384, sizeof(o.sha384));
        *ret = o;
        o = (Offer){ 0 };
        return 1;
}
