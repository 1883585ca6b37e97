/* SPDX-License-Identifier: MIT */

#include "source/oci.h"
#include "base/digest.h"
#include "base/str.h"
#include "base/url.h"

#include <errno.h>
#include <strings.h>

#define REPOSITORY_MAX 255u /* what registries take, of host and repository together */
#define HOST_MAX       255u
#define TAG_MAX        128u
#define URL_MAX        1024u

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define TAG_CHARACTERS                                                                                       \
        LOWER DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"                                                            \
                     "_.-"

static const struct {
        const char *prefix;
        enum { BY_HOST, PLAIN, SECURE } how;
} schemes[] = { { "oci://", BY_HOST }, { "oci+http://", PLAIN }, { "oci+https://", SECURE } };

static ssize_t find_scheme(const char *url)
{
        for (size_t i = 0; i < ELEMENTSOF(schemes); i++)
                if (strncasecmp(url, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
                        return (ssize_t) i;
        return -1;
}

bool url_is_oci(const char *url)
{
        return find_scheme(url) >= 0;
}

void oci_ref_done(OciRef *ref)
{
        free(ref->host);
        free(ref->repository);
        free(ref->tag);
        *ref = (OciRef){ 0 };
}

bool oci_digest_is_valid(const char *digest)
{
        return strlen(digest) == OCI_DIGEST_SIZE - 1 && str_starts(digest, "sha256:") &&
               strspn(digest + strlen("sha256:"), DIGITS "abcdef") == 64;
}

int oci_digest(const void *data, size_t size, char ret[OCI_DIGEST_SIZE])
{
        memcpy(ret, "sha256:", strlen("sha256:"));
        return sha256_hex(data, size, ret + strlen("sha256:"));
}

/* --- parts --- */

static bool port_is_valid(const char *p)
{
        unsigned port;

        return parse_unsigned(p, &port) >= 0 && port > 0 && port <= 65535;
}

/* A name, an IPv4 address or an IPv6 one in brackets; it becomes the host of a URL, where nothing else may hide. */
static bool host_is_valid(const char *host)
{
        size_t n = strcspn(host, ":");

        if (strlen(host) > HOST_MAX)
                return false;
        if (*host == '[') {
                n = strspn(host + 1, DIGITS "abcdef:.") + 1;
                if (n < 3 || host[n++] != ']')
                        return false;
        } else if (n == 0 || strspn(host, LOWER DIGITS ".-") != n || strchr(".-", host[0]) ||
                   strchr(".-", host[n - 1]) || memmem(host, n, "..", 2)) {
                return false;
        }
        return host[n] == 0 || (host[n] == ':' && port_is_valid(host + n + 1));
}

/* "[a-z0-9]+" parted by one '.', one or two '_', or any number of '-' */
static bool component_is_valid(const char *p, size_t n)
{
        size_t i = 0;

        while (i < n) {
                size_t word = strspn(p + i, LOWER DIGITS), gap;

                if (word == 0)
                        return false;
                i += word;
                if (i >= n)
                        return i == n;
                gap = p[i] == '-' ? strspn(p + i, "-") : p[i] == '_' ? strspn(p + i, "_") : 1;
                if (!strchr("._-", p[i]) || (p[i] == '_' && gap > 2))
                        return false;
                i += gap;
        }
        return false; /* empty, or it ends with what parts */
}

static bool repository_is_valid(const char *p)
{
        if (strlen(p) > REPOSITORY_MAX)
                return false;
        for (;;) {
                size_t n = strcspn(p, "/");

                if (!component_is_valid(p, n))
                        return false;
                if (p[n] == 0)
                        return true;
                p += n + 1;
        }
}

static bool tag_is_valid(const char *tag)
{
        size_t n = strlen(tag);

        return n > 0 && n <= TAG_MAX && strspn(tag, TAG_CHARACTERS) == n && !strchr(".-", tag[0]);
}

static bool host_is_loopback(const char *host)
{
        size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

        return (n == strlen("localhost") && strncmp(host, "localhost", n) == 0) ||
               (n == strlen("[::1]") && strncmp(host, "[::1]", n) == 0) ||
               (str_starts(host, "127.") && strspn(host, DIGITS ".") == n);
}

/* --- the whole --- */

/* Cuts text, which is HOST/REPOSITORY[:TAG][@DIGEST]; NULL or what is wrong. */
static const char *take_apart(char *text, OciRef *ret, char **host, char **repository, char **tag)
{
        char *at = strchr(text, '@'), *slash, *colon;

        if (at) {
                *at++ = 0;
                if (!oci_digest_is_valid(at))
                        return "the digest must be sha256: and 64 lower-case hex digits";
                memcpy(ret->digest, at, OCI_DIGEST_SIZE);
        }
        slash = strchr(text, '/');
        if (!slash)
                return "names no repository";
        *slash++ = 0;
        for (char *p = text; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char) (*p + ('a' - 'A'));
        colon = strchr(slash, ':');
        if (colon)
                *colon++ = 0;
        if (!host_is_valid(text))
                return "the registry must be HOST or HOST:PORT";
        if (!repository_is_valid(slash))
                return "the repository must be lower-case words, parted by '/'";
        if (colon && !tag_is_valid(colon))
                return "the tag is none";
        *host = text;
        *repository = slash;
        *tag = colon;
        return NULL;
}

int oci_ref_parse(const char *url, OciRef *ret, Why *why)
{
        ssize_t scheme = find_scheme(url);
        _cleanup_(oci_ref_done) OciRef ref = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        char *host = NULL, *repository = NULL, *tag = NULL, shown[200];
        const char *wrong;

        url_redact(url, shown, sizeof(shown));
        if (scheme < 0 || strlen(url) > URL_MAX)
                return fail(why, -EINVAL, WHY_USAGE, "bad-reference", "%s: not an oci:// address", shown);
        text = strdup(url + strlen(schemes[scheme].prefix));
        wrong = text ? take_apart(text, &ref, &host, &repository, &tag) : NULL;
        if (wrong)
                return fail_hint(why, fail(why, -EINVAL, WHY_USAGE, "bad-reference", "%s: %s", shown, wrong),
                                 "oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX]");
        ref.host = text ? strdup(host) : NULL;
        ref.repository = text ? strdup(repository) : NULL;
        ref.tag = text && tag ? strdup(tag) : NULL;
        if (!ref.host || !ref.repository || (tag && !ref.tag))
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", shown);
        ref.loopback = host_is_loopback(ref.host);
        ref.plain = schemes[scheme].how == PLAIN || (schemes[scheme].how == BY_HOST && ref.loopback);
        *ret = ref;
        ref = (OciRef){ 0 };
        return 0;
}

char *oci_ref_format(const OciRef *ref)
{
        const char *scheme = ref->plain == ref->loopback ? "oci" : ref->plain ? "oci+http" : "oci+https";

        return str_printf("%s://%s/%s%s%s%s%s", scheme, ref->host, ref->repository, ref->tag ? ":" : "",
                          ref->tag ?: "", *ref->digest ? "@" : "", ref->digest);
}

int oci_tag_of(const char *name, char **ret)
{
        _cleanup_(free_charp) char *tag = strdup(name);

        if (!tag)
                return -ENOMEM;
        for (char *p = tag; *p; p++)
                if (!strchr(TAG_CHARACTERS, *p) || (p == tag && strchr(".-", *p)))
                        *p = '_';
        if (!tag_is_valid(tag))
                return -EINVAL;
        *ret = TAKE(tag);
        return 0;
}

static int set_tag(OciRef *ref, const char *name, Why *why)
{
        char *tag = NULL;
        int r = oci_tag_of(name, &tag);

        if (r == -EINVAL)
                return fail(why, r, WHY_USAGE, "bad-reference", "\"%.140s\": no tag can be named so", name);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "oci");
        free(ref->tag);
        ref->tag = tag;
        return 0;
}

int oci_with_tag(const char *url, const char *name, char **ret, Why *why)
{
        _cleanup_(oci_ref_done) OciRef ref = { 0 };
        char *text;
        int r = oci_ref_parse(url, &ref, why);

        if (r >= 0)
                r = set_tag(&ref, name, why);
        if (r < 0)
                return r;
        ref.digest[0] = 0;
        text = oci_ref_format(&ref);
        if (!text)
                return fail_errno(why, -ENOMEM, WHY_HOST, "oci");
        *ret = text;
        return 0;
}

int oci_offer(const char *configured, const char *channel, const char *want_version, Offer *ret, Why *why)
{
        _cleanup_(offer_done) Offer o = { .explicit_ = want_version != NULL };
        _cleanup_(oci_ref_done) OciRef ref = { 0 };
        int r = oci_ref_parse(configured, &ref, why);

        if (r >= 0 && !*ref.digest && (want_version || !ref.tag))
                r = set_tag(&ref, want_version ?: channel, why);
        if (r < 0)
                return r;
        o.release_url = oci_ref_format(&ref);
        o.cosi_url = o.release_url ? strdup(o.release_url) : NULL;
        o.version = want_version ? strdup(want_version) : NULL;
        if (!o.cosi_url || (want_version && !o.version))
                return fail_errno(why, -ENOMEM, WHY_HOST, "oci");
        offer_move(ret, &o);
        return 0;
}
