/* SPDX-License-Identifier: MIT */

/* From "somebody offers something" to "this release is genuine, meant for this host, and newer": steps find and trust.
 * The order of checks is trust.md 3.6. Nothing here writes to the disk's slots, the ESP or a variable; the only thing
 * that is remembered is how far the feed and the clock had come. */

#include "update.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/url.h"
#include "source/oci.h"
#include "source/ostree.h"

#include <errno.h>

#define ROTATIONS_MAX 1024u /* roots walked one by one; a rotation a week for twenty years */

static uint64_t trusted_now(const Update *u)
{
        return MAX(env_now(u->env), u->host.time_floor);
}

/* A genuine document's time has passed, whatever this host's clock says. */
static void raise_time(Update *u, uint64_t issued)
{
        (void) trust_state_raise_time(&u->host.trust, issued);
        u->host.time_floor = MAX(u->host.time_floor, issued);
}

/* --- trust roots --- */

static int load_anchor(Update *u, const char *path, const char *name, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r;

        r = env_read(u->env, path, ENVELOPE_MAX, &b);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", path);
        r = envelope_parse(b.data ? (const void *) b.data : "", b.size, path, &e, why);
        if (r >= 0)
                r = trust_anchor_open(&e, name, &u->anchors[u->n_anchors], why);
        if (r >= 0)
                u->n_anchors++;
        return r;
}

/* 1 when an anchor moved on to this root. A root that fits none is not an error of the update: the anchors stay. */
static int advance_anchors(Update *u, const Envelope *next)
{
        int moved = 0;

        for (size_t i = 0; i < u->n_anchors; i++) {
                Why ignored = { 0 };
                int r = trust_anchor_advance(&u->anchors[i], next, &ignored);

                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        log_debug("root: %s", ignored.text);
                moved |= r > 0;
        }
        return moved;
}

static uint64_t lowest_root(const Update *u)
{
        uint64_t v = u->anchors[0].root.version;

        for (size_t i = 1; i < u->n_anchors; i++)
                v = MIN(v, u->anchors[i].root.version);
        return v;
}

/* Rotated roots that an earlier run verified and kept. The chain is walked anew each time: what lies in /var can at worst
 * lead back to the factory root. */
static int load_rotations(Update *u)
{
        uint64_t first = lowest_root(u) + 1;

        for (uint64_t n = first; n < first + ROTATIONS_MAX; n++) {
                _cleanup_(free_charp) char *path =
                        str_printf(STATE_DIR "/root.%llu.json", (unsigned long long) n);
                _cleanup_(envelope_done) Envelope e = { 0 };
                _cleanup_(bytes_done) Bytes b = BYTES_NULL;
                int r;

                if (!path)
                        return -ENOMEM;
                if (env_read(u->env, path, ENVELOPE_MAX, &b) < 0 ||
                    envelope_parse(b.data ? (const void *) b.data : "", b.size, path, &e, NULL) < 0)
                        return 0;
                r = advance_anchors(u, &e);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int load_anchors(Update *u, Why *why)
{
        int r;

        if (u->n_anchors > 0)
                return 0;
        if ((r = load_anchor(u, "/usr/lib/gybe/root.json", "factory", why)) < 0 ||
            (r = load_anchor(u, "/etc/gybe/root.json", "operator", why)) < 0)
                return r;
        if (u->n_anchors == 0) {
                (void) fail(why, -ENOKEY, WHY_TRUST, "no-root",
                            "trust: neither /usr/lib/gybe/root.json nor /etc/gybe/root.json exists");
                return fail_hint(why, -ENOKEY, "install the root.json of whoever signs your releases");
        }
        return load_rotations(u);
}

static int save_rotation(Update *u, const Envelope *e, uint64_t n, Why *why)
{
        _cleanup_(free_charp) char *name = str_printf("root.%llu.json", (unsigned long long) n), *text = NULL;
        _cleanup_(close_fdp) int dir = env_make_dir(u->env, STATE_DIR, 0755);
        int r;

        if (!name)
                return -ENOMEM;
        r = dir < 0 ? dir : envelope_format(e, &text);
        if (r >= 0)
                r = file_replace(dir, name, text, strlen(text), 0644);
        return r < 0 ? fail_errno(why, r, WHY_HOST, STATE_DIR "/%s", name) : 0;
}

/* root.N.json beside the index of a feed, or beside the COSIs of an OSTree repository; the tag root.N in a registry. */
static int rotation_url(const char *source_url, uint64_t n, char **ret, Why *why)
{
        bool oci = url_is_oci(source_url);
        _cleanup_(free_charp) char *name =
                str_printf("root.%llu%s", (unsigned long long) n, oci ? "" : ".json");

        if (!name)
                return -ENOMEM;
        if (url_is_ostree(source_url))
                return ostree_cosi_url(source_url, name, ret, why);
        return oci ? oci_with_tag(source_url, name, ret, why) : url_sibling(source_url, name, ret, why);
}

/* Rotated roots where the releases are, for as long as there is a next one that somebody we trust has signed. */
static int fetch_rotations(Update *u, const char *source_url, Why *why)
{
        uint64_t first = lowest_root(u) + 1;

        for (uint64_t n = first; n < first + ROTATIONS_MAX; n++) {
                _cleanup_(free_charp) char *url = NULL;
                _cleanup_(envelope_done) Envelope e = { 0 };
                Why ignored = { 0 };
                int r;

                r = rotation_url(source_url, n, &url, why);
                if (r < 0)
                        return r;
                r = fetch_envelope(u->fetch, url, &e, NULL, &ignored);
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        /* A root that cannot be read changes nothing: releases signed under it will say so. */
                        log_debug("%s: %s", url, ignored.text);
                        return 0;
                }
                /* Anchors stand at different versions: one that does not move here may move at a later one. */
                r = advance_anchors(u, &e);
                if (r > 0)
                        r = save_rotation(u, &e, n, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The first anchor that accepts the envelope wins; when none does, the first one's sentence is the answer. */
static int believe(Update *u, RoleId role, const Envelope *e, const char *what, TrustVerdict *verdict,
                   const TrustAnchor **ret, Why *why)
{
        Why first = { 0 };
        int r = -ENOKEY;

        for (size_t i = 0; i < u->n_anchors; i++) {
                Why w = { 0 };

                r = trust_anchor_check_expiry(&u->anchors[i], trusted_now(u), &w);
                if (r >= 0)
                        r = trust_check(&u->anchors[i].root, role, e, what, verdict, &w);
                if (r >= 0) {
                        *ret = &u->anchors[i];
                        return 0;
                }
                if (r == -ENOMEM)
                        return r;
                if (first.kind == WHY_NONE)
                        first = w;
        }
        if (why && why->kind == WHY_NONE)
                *why = first;
        return r;
}

/* --- find --- */

static char *feed_key(const Update *u, const char *index_url)
{
        char redacted[512];

        url_redact(index_url, redacted, sizeof(redacted));
        return str_printf("%s %s", u->host.config.product ? u->host.config.product : "", redacted);
}

static int judge_feed(Update *u, const Feed *feed, const char *index_url, Why *why)
{
        _cleanup_(free_charp) char *key = feed_key(u, index_url);
        uint64_t seen = 0;
        char when[TIME_TEXT_SIZE];
        int r;

        if (!key)
                return -ENOMEM;
        if (!streq0(feed->product, u->host.config.product))
                return fail(why, -EINVAL, WHY_TRUST, "wrong-product",
                            "feed: it is for product \"%s\", this host is \"%s\"", feed->product,
                            u->host.config.product);
        format_time(feed->expires, when);
        if (feed->expires <= trusted_now(u)) {
                (void) fail(why, -EKEYEXPIRED, WHY_TRUST, "expired", "feed: the index expired at %s", when);
                return fail_hint(why, -EKEYEXPIRED, "publish a fresh index, or check this host's clock");
        }
        if (trust_state_feed_serial(&u->host.trust, key, &seen) > 0 && feed->serial < seen)
                return fail(why, -EINVAL, WHY_TRUST, "feed-went-back",
                            "feed: its serial is %llu, but %llu was seen before",
                            (unsigned long long) feed->serial, (unsigned long long) seen);
        r = trust_state_set_feed_serial(&u->host.trust, key, feed->serial);
        if (r < 0)
                return r;
        raise_time(u, feed->issued);
        return 0;
}

static int find_in_feed(Update *u, Why *why)
{
        _cleanup_(trust_verdict_done) TrustVerdict verdict = { 0 };
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(free_charp) char *index_url = NULL;
        _cleanup_(feed_done) Feed feed = { 0 };
        const TrustAnchor *anchor;
        Why ignored = { 0 };
        int r;

        if ((r = feed_index_url(u->host.config.source_url, &index_url)) < 0 ||
            (r = update_fetch(u, why)) < 0 || (r = load_anchors(u, why)) < 0 ||
            (r = fetch_rotations(u, index_url, why)) < 0)
                return r;
        r = fetch_envelope(u->fetch, index_url, &e, NULL, why);
        if (r < 0)
                return fail(why, r, WHY_NETWORK, "no-feed", "feed: the index cannot be had");
        if (!streq(e.type, TYPE_FEED))
                return fail(why, -EBADMSG, WHY_TRUST, "wrong-type", "feed: the index is a %s", e.type);
        if ((r = believe(u, ROLE_FEED, &e, "feed index", &verdict, &anchor, why)) < 0 ||
            (r = feed_parse(e.payload.data, e.payload.size, "feed index", &feed, why)) < 0 ||
            (r = judge_feed(u, &feed, index_url, why)) < 0)
                return r;
        /* How far the feed had come is remembered by whoever may write; staging fails later where it cannot. */
        r = trust_state_save(u->env, &u->host.trust, &ignored);
        if (r < 0)
                log_debug("feed: its serial was not remembered: %s", ignored.text);
        r = feed_offer(&feed, index_url, u->host.config.product, u->host.config.channel, u->host.arch,
                       u->options.version, &u->offer, why);
        if (r == 0)
                return fail(why, -ENODATA, WHY_NOTHING, "no-offer", "feed: nothing in channel \"%s\" for %s",
                            u->host.config.channel, u->host.arch);
        return r < 0 ? r : 0;
}

/* A registry says nothing that is signed but the release file itself: tags point, and what they point to is judged. */
static int find_in_registry(Update *u, Why *why)
{
        int r;

        if ((r = oci_offer(u->host.config.source_url, u->host.config.channel, u->options.version, &u->offer,
                           why)) < 0 ||
            (r = update_fetch(u, why)) < 0 || (r = load_anchors(u, why)) < 0)
                return r;
        return fetch_rotations(u, u->host.config.source_url, why);
}

/* Nor does a repository: refs point, the signed release file is judged. */
static int find_in_repository(Update *u, Why *why)
{
        const Config *c = &u->host.config;
        int r;

        if ((r = ostree_offer(c->source_url, c->product, u->host.arch, c->channel, u->options.version,
                              &u->offer, why)) < 0 ||
            (r = update_fetch(u, why)) < 0 || (r = load_anchors(u, why)) < 0)
                return r;
        return fetch_rotations(u, u->offer.release_url, why);
}

/* What a person named. */
static int find_named(Update *u, Why *why)
{
        const Config *c = &u->host.config;
        int r;

        if (!url_is_ostree(u->options.release))
                return request_offer(u->options.release, &u->offer, why);
        r = ostree_offer(u->options.release, c->product, u->host.arch, c->channel, u->options.version,
                         &u->offer, why);
        if (r >= 0)
                u->offer.explicit_ = true;
        return r;
}

int update_find(Update *u, Why *why)
{
        if (u->host.config_why.kind != WHY_NONE) {
                *why = u->host.config_why;
                return -EINVAL;
        }
        if (!u->host.config.product)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config", "gybe.json: product is not set");
        if (update_asks_omaha(u))
                return update_find_omaha(u, why);
        if (u->options.release)
                return find_named(u, why);
        if (u->host.config.source == SOURCE_NONE) {
                (void) fail(why, -EINVAL, WHY_USAGE, "no-source", "no source of releases is configured");
                return fail_hint(why, -EINVAL, "name a release file or a COSI, or set source in gybe.json");
        }
        if (u->host.config.source == SOURCE_OSTREE)
                return find_in_repository(u, why);
        return u->host.config.source == SOURCE_OCI ? find_in_registry(u, why) : find_in_feed(u, why);
}

/* --- trust --- */

static int judge(Update *u, Why *why)
{
        const SlotRecord *running = host_running_record(&u->host);
        const TrustState *t = &u->host.trust;
        ReleaseHost host = {
                .product = u->host.config.product,
                .arch = u->host.arch,
                .channel = u->host.config.channel,
                .running_roothash = u->host.running.roothash,
                .running_serial_known = running ? running->has_serial : t->has_running_serial,
                .running_serial = running ? running->serial : t->running_serial,
                .high_water_serial = t->high_water_serial,
                .now = env_now(u->env),
                .time_floor = u->host.time_floor,
                .clock_synchronised = u->host.clock_synchronised,
                .revoked_serials = t->revoked_serials,
                .n_revoked_serials = t->n_revoked_serials,
                .revoked_roothashes = t->revoked_roothashes,
        };
        _cleanup_(free_charp) char *clock = NULL;
        unsigned flags = 0;
        int r;

        if (release_clock_problem(&u->release, &host, &clock) == -ENOMEM)
                return -ENOMEM;
        if (clock)
                update_say(u, "%s", clock);
        if (u->options.allow_downgrade)
                flags |= JUDGE_ALLOW_DOWNGRADE;
        if ((u->offer.explicit_ || u->options.version) && !u->options.unattended)
                flags |= JUDGE_EXPLICIT;
        r = release_judge(&u->release, &host, flags, why);
        if (r > 0 && !host.running_serial_known)
                return fail(why, -ENODATA, WHY_NOTHING, "nothing-newer", "%s: its /usr is what runs",
                            u->release.version);
        if (r > 0)
                return fail(why, -ENODATA, WHY_NOTHING, "nothing-newer",
                            "%s: nothing newer than what runs (serial %llu)", u->release.version,
                            (unsigned long long) host.running_serial);
        return r;
}

static int check_offer_agrees(const Update *u, const char *sha384, Why *why)
{
        const Offer *o = &u->offer;

        if (o->sha384[0] && !streq(o->sha384, sha384))
                return fail(why, -EBADMSG, WHY_TRUST, "contradiction",
                            "release file: its SHA-384 is not the one in the feed index");
        if ((o->version && !streq(o->version, u->release.version)) ||
            (o->serial > 0 && o->serial != u->release.serial))
                return fail(why, -EBADMSG, WHY_TRUST, "contradiction",
                            "release file: it says version %s, serial %llu; the %s says %s, %llu",
                            u->release.version, (unsigned long long) u->release.serial,
                            url_is_oci(o->release_url)      ? "tag"
                            : url_is_ostree(o->release_url) ? "commit"
                                                            : "feed index",
                            o->version ? o->version : "nothing", (unsigned long long) o->serial);
        return 0;
}

static int read_release(Update *u, Why *why)
{
        _cleanup_(trust_verdict_done) TrustVerdict verdict = { 0 };
        _cleanup_(envelope_done) Envelope e = { 0 };
        const TrustAnchor *anchor = NULL;
        char sha384[SHA384_HEX];
        int r;

        if ((r = update_fetch(u, why)) < 0 ||
            (r = fetch_envelope(u->fetch, u->offer.release_url, &e, sha384, why)) < 0 ||
            (r = load_anchors(u, why)) < 0)
                return r;
        if (!streq(e.type, TYPE_RELEASE))
                return fail(why, -EBADMSG, WHY_TRUST, "wrong-type", "release file: it is a %s", e.type);
        if ((r = believe(u, ROLE_RELEASE, &e, "release file", &verdict, &anchor, why)) < 0 ||
            (r = release_parse(e.payload.data, e.payload.size, "release file", &u->release, why)) < 0 ||
            (r = sha256_hex(e.payload.data, e.payload.size, u->release_sha256)) < 0 ||
            (r = check_offer_agrees(u, sha384, why)) < 0 ||
            (r = omaha_offer_check(&u->offer, &u->release, why)) < 0)
                return r;
        u->has_release = true;
        u->anchor_name = anchor->name;
        u->signed_by = TAKE(verdict.good);
        /* The payload is genuine, so its time has passed: from now on an earlier clock is a wrong clock. */
        raise_time(u, u->release.issued);
        return 0;
}

static int find_cosi(Update *u, Why *why)
{
        char shown[512];
        int r = 0;

        if (u->offer.cosi_url) {
                u->cosi_url = strdup(u->offer.cosi_url);
                if (!u->cosi_url)
                        return -ENOMEM;
        } else if (u->has_release && url_is_ostree(u->offer.release_url))
                r = ostree_cosi_url(u->offer.release_url, u->release.cosi.name, &u->cosi_url, why);
        else if (u->has_release)
                r = url_sibling(u->offer.release_url, u->release.cosi.name, &u->cosi_url, why);
        if (r < 0)
                return r;
        url_redact(u->cosi_url, shown, sizeof(shown));
        u->source_text = strdup(shown);
        return u->source_text ? 0 : -ENOMEM;
}

int update_admit(Update *u, Why *why)
{
        int r;

        if ((r = update_check_server(u, why)) < 0)
                return r;
        r = read_release(u, why);
        if (r < 0 && why->kind == WHY_NETWORK && r == -ENOENT && !(u->host.config.require & TRUST_RELEASE) &&
            u->offer.cosi_url) {
                /* No release file, and none is demanded: the Secure Boot chain, or the update server's hash, decides. */
                *why = (Why){ 0 };
                r = 0;
        } else if (r == -ENOENT && u->offer.cosi_url) {
                *why = (Why){ 0 };
                (void) fail(why, r, WHY_TRUST, "no-release-file",
                            "trust: there is no release file beside the COSI, or no COSI of that name");
                return fail_hint(why, r,
                                 url_is_oci(u->offer.cosi_url)
                                         ? "gybe-release publish --oci attaches X.release.json to X.cosi"
                                         : "put NAME.release.json beside NAME.cosi");
        }
        if (r < 0)
                return r;
        if (u->has_release && (r = judge(u, why)) < 0)
                return r;
        return find_cosi(u, why);
}
