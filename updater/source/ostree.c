/* SPDX-License-Identifier: MIT */

#include "source/ostree.h"
#include "base/str.h"
#include "base/url.h"

#include <errno.h>
#include <strings.h>

#define URL_MAX     4096u
#define REF_MAX     255u
#define VERSION_MAX 127u

static const struct {
        const char *prefix, *means;
        bool configured; /* only in a configuration, where the type is said already */
} schemes[] = {
        { "ostree+https://", "https://", false }, { "ostree+http://", "http://", false },
        { "ostree://", "https://", false },       { "https://", "https://", true },
        { "http://", "http://", true },
};

static ssize_t find_scheme(const char *url, bool configured)
{
        for (size_t i = 0; i < ELEMENTSOF(schemes); i++)
                if ((configured || !schemes[i].configured) &&
                    strncasecmp(url, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
                        return (ssize_t) i;
        return -1;
}

bool url_is_ostree(const char *url)
{
        return find_scheme(url, false) >= 0;
}

void ostree_url_done(OstreeUrl *url)
{
        free(url->base);
        free(url->query);
        free(url->ref);
        free(url->version);
        *url = (OstreeUrl){ 0 };
}

static int refuse(const char *url, const char *reason, Why *why)
{
        char shown[256];

        url_redact(url, shown, sizeof(shown));
        return fail_hint(why, fail(why, -EINVAL, WHY_USAGE, "bad-url", "%s: %s", shown, reason),
                         "ostree://HOST/PATH#PRODUCT/ARCH/CHANNEL");
}

/* Becomes part of a path on a server: letters, digits and "-._" between slashes, no part that begins with '.' or '-'. */
bool ostree_ref_is_valid(const char *ref)
{
        if (strlen(ref) > REF_MAX)
                return false;
        for (const char *p = ref;; p++) {
                if (!*p || strchr("/.-", *p))
                        return false;
                for (; *p && *p != '/'; p++)
                        if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') &&
                            !(*p >= '0' && *p <= '9') && !strchr("-._", *p))
                                return false;
                if (!*p)
                        return true;
        }
}

static bool is_printable(const char *s)
{
        for (; *s; s++)
                if ((unsigned char) *s <= 0x20 || (unsigned char) *s >= 0x7f)
                        return false;
        return true;
}

/* "#REF@VERSION", whatever of it there is */
static int parse_fragment(const char *url, const char *fragment, OstreeUrl *u, Why *why)
{
        const char *at = strchr(fragment, '@');

        if (!*fragment)
                return 0;
        u->ref = at ? strndup(fragment, (size_t) (at - fragment)) : strdup(fragment);
        u->version = at ? strdup(at + 1) : NULL;
        if (!u->ref || (at && !u->version))
                return -ENOMEM;
        if (!ostree_ref_is_valid(u->ref))
                return refuse(url, "no name of an OSTree ref behind '#'", why);
        if (at && (!*u->version || strlen(u->version) > VERSION_MAX))
                return refuse(url, "no version behind '@'", why);
        return 0;
}

static int parse(const char *url, bool configured, OstreeUrl *ret, Why *why)
{
        _cleanup_(ostree_url_done) OstreeUrl u = { 0 };
        ssize_t scheme = find_scheme(url, configured);
        const char *rest, *fragment;
        size_t n;
        int r;

        if (scheme < 0 || strlen(url) > URL_MAX || !is_printable(url))
                return refuse(url, "not the address of an OSTree repository", why);
        rest = url + strlen(schemes[scheme].prefix);
        fragment = strchrnul(rest, '#');
        n = strcspn(rest, "?#");
        if (n == 0 || *rest == '/')
                return refuse(url, "no host in it", why);
        u.query = strndup(rest + n, (size_t) (fragment - rest) - n);
        while (n > 0 && rest[n - 1] == '/')
                n--;
        u.base = str_printf("%s%.*s", schemes[scheme].means, (int) n, rest);
        if (!u.base || !u.query)
                return -ENOMEM;
        r = *fragment ? parse_fragment(url, fragment + 1, &u, why) : 0;
        if (r < 0)
                return r;
        *ret = u;
        u = (OstreeUrl){ 0 };
        return 0;
}

int ostree_url_parse(const char *url, OstreeUrl *ret, Why *why)
{
        return parse(url, false, ret, why);
}

int ostree_url_file(const OstreeUrl *url, const char *path, char **ret)
{
        char *file = str_printf("%s/%s%s", url->base, path, url->query);

        if (!file)
                return -ENOMEM;
        *ret = file;
        return 0;
}

int ostree_cosi_url(const char *url, const char *name, char **ret, Why *why)
{
        _cleanup_(ostree_url_done) OstreeUrl u = { 0 };
        _cleanup_(free_charp) char *folder = NULL;
        int r = parse(url, false, &u, why);

        if (r >= 0)
                r = ostree_url_file(&u, "gybe/", &folder);
        return r < 0 ? r : url_sibling(folder, name, ret, why);
}

int ostree_offer(const char *configured, const char *product, const char *arch, const char *channel,
                 const char *want_version, Offer *ret, Why *why)
{
        _cleanup_(ostree_url_done) OstreeUrl u = { 0 };
        _cleanup_(offer_done) Offer o = { .explicit_ = want_version != NULL };
        const char *version;
        int r = parse(configured, true, &u, why);

        if (r < 0)
                return r;
        if (!u.ref && !(u.ref = str_printf("%s/%s/%s", product ? product : "", arch ? arch : "",
                                           channel ? channel : "")))
                return -ENOMEM;
        version = want_version ? want_version : u.version;
        if (!ostree_ref_is_valid(u.ref))
                return fail(why, -EINVAL, WHY_USAGE, "bad-ref",
                            "%.200s: no name of an OSTree ref; name one behind '#'", u.ref);
        o.release_url = str_printf("ostree+%s%s#%s%s%s", u.base, u.query, u.ref, version ? "@" : "",
                                   version ? version : "");
        if (version)
                o.version = strdup(version);
        if (!o.release_url || (version && !o.version))
                return -ENOMEM;
        *ret = o;
        o = (Offer){ 0 };
        return 0;
}
