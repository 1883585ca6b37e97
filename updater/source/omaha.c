/* SPDX-License-Identifier: MIT */

/* What an answer of Nebraska means. Everything that it can say has a row here; what is in none is kept as it is and treated as
 * a refusal, since a later version may have a reason that we do not know. */

#include "source/omaha.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

void omaha_reply_done(OmahaReply *r)
{
        free(r->protocol);
        free(r->app);
        free(r->app_status);
        free(r->check_status);
        free(r->codebase);
        free(r->version);
        for (size_t i = 0; i < r->n_packages; i++) {
                free(r->packages[i].name);
                free(r->packages[i].hash);
                free(r->packages[i].hash_sha256);
        }
        free(r->packages);
        *r = (OmahaReply){ 0 };
}

/* --- the verdict --- */

static int no_answer(Why *why, const char *problem)
{
        (void) fail(why, -EBADMSG, WHY_NETWORK, "omaha-reply", "update server: %s", problem);
        return fail_hint(why, -EBADMSG,
                         "is the address that of an Omaha server, such as https://host/v1/update/?");
}

/* What the server was not asked, it must not tell; and what it was told, it must have heard. */
static int check_shape(const OmahaReply *r, const OmahaAsk *ask, Why *why)
{
        unsigned reports = ask->report != NULL;

        if (r->status != 200)
                return fail(why, -EAGAIN, WHY_NETWORK, "omaha-status", "update server: it answers %u%s",
                            r->status,
                            r->status == 501 ? " (the secret at the end of its address is wrong)" : "");
        if (!streq0(r->protocol, "3.0"))
                return no_answer(why, "it does not speak Omaha 3.0");
        if (r->n_apps != 1)
                return no_answer(why, "it answers for another number of applications than one");
        if (!streq0(r->app, ask->app))
                return no_answer(why, "it answers for another application");
        if (!r->app_status)
                return no_answer(why, "its answer has no status");
        if (r->n_checks > 1 || (ask->check && r->n_checks == 0))
                return no_answer(why, "it answers another number of update checks than were asked");
        /* An unknown application ends it before the events are looked at: then the status says so, below. */
        if (streq(r->app_status, "ok") && r->n_events != reports)
                return no_answer(why, "it acknowledges another number of events than it was sent");
        return 0;
}

static const struct {
        const char *status;
        OmahaVerdict verdict;
        WhyKind kind;
        const char *code, *means;
} statuses[] = {
        { "error-updateInProgressOnInstance", OMAHA_IN_PROGRESS, WHY_NETWORK, "omaha-in-progress",
          "it believes that this host is in the middle of an update" },
        { "error-updatesDisabled", OMAHA_WAIT, WHY_POLICY, "omaha-disabled",
          "updates are disabled in this group, or it is outside its office hours" },
        { "error-maxUpdatesPerPeriodLimitReached", OMAHA_WAIT, WHY_POLICY, "omaha-period",
          "this group has had its updates for this period" },
        { "error-maxConcurrentUpdatesLimitReached", OMAHA_WAIT, WHY_POLICY, "omaha-concurrent",
          "enough hosts of this group are being updated" },
        { "error-maxTimedOutUpdatesLimitReached", OMAHA_WAIT, WHY_POLICY, "omaha-timed-out",
          "an update of this group timed out, and the server has disabled updates for it" },
        { "error-couldNotCheckUpdatesStats", OMAHA_WAIT, WHY_NETWORK, "omaha-stats",
          "it cannot count the updates of this group" },
        { "error-noPackageFound", OMAHA_REFUSED, WHY_NETWORK, "omaha-no-package",
          "this group has no channel, or its channel no package" },
        { "error-unknownApplicationOrGroup", OMAHA_REFUSED, WHY_NETWORK, "omaha-unknown-group",
          "it knows no such application, or no such track for this architecture" },
        { "error-unknownApplication", OMAHA_REFUSED, WHY_NETWORK, "omaha-unknown-group",
          "it knows no such application" },
        { "error-failedToRetrieveUpdatePackageInfo", OMAHA_REFUSED, WHY_NETWORK, "omaha-unknown-group",
          "it knows no such application or track, or cannot read its own package" },
        { "error-instanceRegistrationFailed", OMAHA_REFUSED, WHY_HOST, "omaha-registration",
          "it does not take this host's id or version" },
};

/* The server's word, without what a terminal would obey. */
static void shown(const char *text, char out[64])
{
        (void) snprintf(out, 64, "%s", text);
        for (char *p = out; *p; p++)
                if (*p < 0x20 || *p > 0x7e)
                        *p = '?';
}

static int judge_status(const char *status, Why *why)
{
        char word[64];

        shown(status, word);
        for (size_t i = 0; i < ELEMENTSOF(statuses); i++)
                if (streq(statuses[i].status, status)) {
                        (void) fail(why, 0, statuses[i].kind, statuses[i].code, "update server: %s (%s)",
                                    statuses[i].means, word);
                        return (int) statuses[i].verdict;
                }
        (void) fail(why, 0, WHY_NETWORK, "omaha-refused", "update server: it answers \"%s\"", word);
        return OMAHA_REFUSED;
}

int omaha_judge(const OmahaReply *r, const OmahaAsk *ask, Why *why)
{
        int k = check_shape(r, ask, why);

        if (k < 0)
                return k;
        if (!streq(r->app_status, "ok"))
                return judge_status(r->app_status, why);
        if (!ask->check)
                return OMAHA_NOTED;
        if (streq0(r->check_status, "noupdate"))
                return OMAHA_NOUPDATE;
        if (!streq0(r->check_status, "ok"))
                return judge_status(r->check_status ? r->check_status : "no status", why);
        if (r->n_manifests != 1)
                return no_answer(why, "it offers another number of versions than one");
        if (!r->version || r->n_packages == 0 || !r->codebase || r->n_urls != 1)
                return no_answer(
                        why, "its offer has no version, no package, or another number of addresses than one");
        return OMAHA_OFFER;
}

/* --- the offer --- */

OmahaHash omaha_hash_from_name(const char *name)
{
        static const char *const names[_OMAHA_HASH_MAX] = {
                [OMAHA_HASH_IGNORE] = "ignore",
                [OMAHA_HASH_METADATA_SHA384] = "metadata-sha384",
        };

        for (OmahaHash h = 0; h < _OMAHA_HASH_MAX; h++)
                if (streq0(name, names[h]))
                        return h;
        return _OMAHA_HASH_INVALID;
}

static bool has_scheme(const char *url, const char *scheme)
{
        size_t n = strlen(scheme);

        return strncasecmp(url, scheme, n) == 0 && strncmp(url + n, "://", 3) == 0 && url[n + 3];
}

static bool is_clean(const char *url)
{
        for (; *url; url++)
                if ((unsigned char) *url <= 0x20 || (unsigned char) *url > 0x7e)
                        return false;
        return true;
}

static int bad_address(Why *why, const char *what)
{
        return fail(why, -EINVAL, WHY_TRUST, "omaha-address", "update server: %s", what);
}

/* The folder that the codebase is, whether or not it ends in a slash; its query (a token) goes along. */
static int join(const char *codebase, const char *name, char **ret, Why *why)
{
        size_t n = strcspn(codebase, "?#");
        _cleanup_(free_charp) char *folder = NULL;

        /* a server names no file of this host */
        if (!(has_scheme(codebase, "https") || has_scheme(codebase, "http")) || !is_clean(codebase))
                return bad_address(why, "the address of its packages is not one of http:// and https://");
        folder = str_printf("%.*s%s%s", (int) n, codebase, codebase[n - 1] == '/' ? "" : "/", codebase + n);
        return folder ? url_sibling(folder, name, ret, why) : -ENOMEM;
}

static int locate(const OmahaReply *r, const char *name, char **ret, Why *why)
{
        if (!has_scheme(name, "https") && !has_scheme(name, "oci"))
                return join(r->codebase, name, ret, why);
        if (!is_clean(name))
                return bad_address(why, "the name of a package is no address");
        *ret = strdup(name);
        return *ret ? 0 : -ENOMEM;
}

/* X.release.json among the other files: the one that has the image's name, or the only one. */
static const OmahaPackage *find_release(const OmahaReply *r, const char *image)
{
        _cleanup_(free_charp) char *wanted = NULL;
        const OmahaPackage *found = NULL;
        size_t n = 0;

        if (url_is_cosi(image) && url_release_of_cosi(image, &wanted) < 0)
                return NULL;
        for (size_t i = 1; i < r->n_packages; i++) {
                if (!url_is_release(r->packages[i].name))
                        continue;
                if (streq0(r->packages[i].name, wanted))
                        return &r->packages[i];
                found = &r->packages[i];
                n++;
        }
        return n == 1 ? found : NULL;
}

static int place(const OmahaReply *r, Offer *o, Why *why)
{
        const char *image = r->packages[0].name;
        const OmahaPackage *release = find_release(r, image);
        bool is_cosi = url_is_cosi(image) || has_scheme(image, "oci");
        int k;

        if (!is_cosi && !url_is_release(image)) {
                char word[64];

                shown(image, word);
                (void) fail(why, -EINVAL, WHY_IMAGE, "omaha-package",
                            "update server: its package \"%s\" is neither a .cosi nor a .release.json", word);
                return fail_hint(why, -EINVAL,
                                 "payloads of update_engine are not for gybe: give it a group of its own");
        }
        if (!is_cosi)
                return locate(r, image, &o->release_url, why);
        if ((k = locate(r, image, &o->cosi_url, why)) < 0)
                return k;
        if (release)
                return locate(r, release->name, &o->release_url, why);
        if (!url_is_cosi(o->cosi_url)) {
                /* another kind of address: whoever fetches knows what lies beside it */
                o->release_url = strdup(o->cosi_url);
                return o->release_url ? 0 : -ENOMEM;
        }
        return url_release_of_cosi(o->cosi_url, &o->release_url);
}

/* By what is configured, never by its look: 64 characters may be hex as well. */
static int take_hash(const OmahaPackage *p, OmahaHash hash, Offer *o, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        if (hash != OMAHA_HASH_METADATA_SHA384)
                return 0;
        if (base64_decode(p->hash, strlen(p->hash), &b) < 0 || b.size != (sizeof(o->metadata_sha384) - 1) / 2)
                return fail(why, -EBADMSG, WHY_TRUST, "omaha-hash",
                            "update server: the hash of its package is not the base64 of a SHA-384, as "
                            "source.packageHash demands");
        hex_encode(b.data, b.size, o->metadata_sha384);
        return 0;
}

int omaha_offer(const OmahaReply *r, OmahaHash hash, Offer *ret, Why *why)
{
        _cleanup_(offer_done) Offer o = { .by_omaha = true };
        char version[OMAHA_VERSION_SIZE];
        int k;

        if (omaha_version(r->version, version) < 0) {
                char word[64];

                shown(r->version, word);
                return fail(why, -EBADMSG, WHY_NETWORK, "omaha-reply", "update server: \"%s\" is no version",
                            word);
        }
        if ((k = place(r, &o, why)) < 0 || (k = take_hash(&r->packages[0], hash, &o, why)) < 0)
                return k;
        o.omaha_version = strdup(version);
        if (!o.omaha_version)
                return -ENOMEM;
        o.cosi_size = url_is_release(r->packages[0].name) ? 0 : r->packages[0].size;
        *ret = o;
        o = (Offer){ 0 };
        return 0;
}

int omaha_offer_check(const Offer *offer, const Release *release, Why *why)
{
        char version[OMAHA_VERSION_SIZE];

        if (!offer->by_omaha)
                return 0;
        if (omaha_version(release->version, version) < 0 || !streq0(offer->omaha_version, version)) {
                (void) fail(why, -EBADMSG, WHY_TRUST, "contradiction",
                            "release: it is of version %s, the update server offers %s", release->version,
                            offer->omaha_version);
                return fail_hint(why, -EBADMSG, "a package's version must be that of the release in it");
        }
        if (offer->cosi_size > 0 && offer->cosi_size != release->cosi.size)
                return fail(why, -EBADMSG, WHY_TRUST, "contradiction",
                            "release: its COSI has %llu bytes, the update server's package has %llu",
                            (unsigned long long) release->cosi.size, (unsigned long long) offer->cosi_size);
        if (offer->metadata_sha384[0] && !streq(offer->metadata_sha384, release->cosi.metadata_sha384))
                return fail(why, -EBADMSG, WHY_TRUST, "contradiction",
                            "release: the SHA-384 of its COSI's metadata is not the one that the update "
                            "server names");
        return 0;
}

void omaha_url_redact(const char *url, char *out, size_t size)
{
        const char *authority = strstr(url, "://"), *host, *at;
        size_t n;

        if (!authority) {
                (void) snprintf(out, size, "...");
                return;
        }
        n = strcspn(authority + 3, "/?#");
        host = authority + 3;
        at = memrchr(host, '@', n);
        if (at) {
                n -= (size_t) (at + 1 - host);
                host = at + 1;
        }
        (void) snprintf(out, size, "%.*s%.*s/...", (int) MIN((size_t) (authority + 3 - url), (size_t) 16),
                        url, (int) n, host);
        for (char *p = out; *p; p++)
                if (*p < 0x20 || *p > 0x7e)
                        *p = '?';
}
