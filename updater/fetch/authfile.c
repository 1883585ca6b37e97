/* SPDX-License-Identifier: MIT */

/* {"auths": {"registry.example.com/os": {"auth": base64("user:password")}, "quay.io": {"identitytoken": "..."}}}
 *
 * Keys are a host, or a host with the first parts of a repository: the longest that fits wins. docker wrote URLs as keys
 * ("https://index.docker.io/v1/"), of which only the host counts. */

#include "fetch/authfile.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <strings.h>

#define DEPTH_MAX 16u

void auth_entry_done(AuthEntry *e)
{
        free(e->user);
        free(e->password);
        free(e->identity_token);
        free(e->registry_token);
        *e = (AuthEntry){ 0 };
}

static const char *canonical_host(const char *host)
{
        return streq(host, "index.docker.io") || streq(host, "registry-1.docker.io") ? "docker.io" : host;
}

/* "host/a/b", "host/a", "host" */
static int find_by_name(const Json *auths, const char *host, const char *repository, const Json **ret)
{
        _cleanup_(free_charp) char *key = str_printf("%s/%s", host, repository);

        if (!key)
                return -ENOMEM;
        for (;;) {
                char *slash = strrchr(key, '/');

                *ret = json_get(auths, key);
                if (*ret || !slash)
                        return 0;
                *slash = 0;
        }
}

typedef struct Search {
        const char *host;
        const Json *found;
        int r;
} Search;

static int match_url(void *ctx, const char *key, const Json *value)
{
        Search *s = ctx;
        const char *p = str_starts(key, "https://") ? key + 8 : str_starts(key, "http://") ? key + 7 : NULL;
        _cleanup_(free_charp) char *host = NULL;

        if (!p && !streq(canonical_host(key), key))
                p = key; /* docker.io's other names */
        if (!p)
                return 0;
        host = strndup(p, strcspn(p, "/"));
        if (!host)
                return s->r = -ENOMEM;
        if (strcasecmp(canonical_host(host), s->host) != 0)
                return 0;
        s->found = value;
        return 1;
}

static bool text_is_plain(const char *s)
{
        for (; s && *s; s++)
                if ((unsigned char) *s < 0x20 || *s == 0x7f)
                        return false;
        return true;
}

static int copy(const Json *entry, const char *key, char **ret)
{
        const char *s = json_get_str(entry, key);

        if (!s || !*s)
                return 0;
        if (!text_is_plain(s))
                return -EINVAL;
        free(*ret);
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

static int split_auth(const Json *entry, AuthEntry *e)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const char *auth = json_get_str(entry, "auth"), *colon;
        int r;

        if (!auth || !*auth)
                return 0;
        r = base64_decode(auth, strlen(auth), &b);
        if (r < 0)
                return r;
        colon = memchr(b.data, ':', b.size);
        if (!colon || memchr(b.data, 0, b.size) || !text_is_plain((const char *) b.data))
                return -EINVAL;
        e->user = strndup((const char *) b.data, (size_t) (colon - (const char *) b.data));
        e->password = strdup(colon + 1);
        return e->user && e->password ? 0 : -ENOMEM;
}

static int read_entry(const Json *entry, AuthEntry *ret)
{
        _cleanup_(auth_entry_done) AuthEntry e = { 0 };
        int r = split_auth(entry, &e);

        if (r < 0 || (r = copy(entry, "username", &e.user)) < 0 ||
            (r = copy(entry, "password", &e.password)) < 0 ||
            (r = copy(entry, "identitytoken", &e.identity_token)) < 0 ||
            (r = copy(entry, "registrytoken", &e.registry_token)) < 0)
                return r;
        if (!(e.user && e.password) && !e.identity_token && !e.registry_token)
                return 0;
        *ret = e;
        e = (AuthEntry){ 0 };
        return 1;
}

int authfile_find(const void *data, size_t size, const char *host, const char *repository, AuthEntry *ret,
                  Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        Search s = { .host = canonical_host(host) };
        const Json *auths, *entry = NULL;
        int r = json_parse(data, size, JSON_FRACTIONS, DEPTH_MAX, "oci.authFile", WHY_HOST, &j, why);

        if (r < 0)
                return r;
        auths = json_get(j, "auths");
        r = find_by_name(auths, s.host, repository, &entry);
        if (r >= 0 && !entry && auths) {
                (void) json_each(auths, match_url, &s);
                entry = s.found;
                r = s.r;
        }
        if (r >= 0 && entry)
                r = read_entry(entry, ret);
        if (r == -ENOMEM)
                return fail_errno(why, r, WHY_HOST, "oci.authFile");
        if (r < 0) /* what it holds is a secret: no word of it */
                return fail(why, r, WHY_HOST, "auth-file", "oci.authFile: the entry of %s cannot be read",
                            host);
        return r;
}
