/* SPDX-License-Identifier: MIT */

/* What stands beside what. An address is an http(s) or file URL or a plain path; the part behind '?' or '#' of a URL is not
 * part of the name (a query may be the secret that lets us in: it travels along to siblings, and never into a sentence). */

#include "source/source.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define URL_MAX 4096u /* what servers take; a path has PATH_MAX, the same */

static bool is_url(const char *s)
{
        const char *p = strstr(s, "://");

        if (!p || p == s)
                return false;
        for (; s < p; s++)
                if (!(*s >= 'a' && *s <= 'z') && !(*s >= 'A' && *s <= 'Z') && !(*s >= '0' && *s <= '9') && !strchr("+-.", *s))
                        return false;
        return true;
}

/* Length of the address without query and fragment. A plain path may contain both characters. */
static size_t name_length(const char *url)
{
        return is_url(url) ? strcspn(url, "?#") : strlen(url);
}

static bool name_ends(const char *url, const char *suffix)
{
        size_t n = name_length(url), m = strlen(suffix);

        return n >= m && strncmp(url + n - m, suffix, m) == 0;
}

bool url_is_cosi(const char *url)
{
        return name_ends(url, ".cosi");
}

bool url_is_release(const char *url)
{
        return name_ends(url, ".release.json");
}

/* Relative, forward slashes, no climbing, nothing a terminal or a URL parser could take for something else. */
static bool is_plain_relative(const char *s)
{
        if (!*s || *s == '/' || is_url(s) || strlen(s) > URL_MAX)
                return false;
        for (const char *p = s; *p; p++)
                if ((unsigned char) *p <= 0x20 || *p == 0x7f || strchr("\\?#", *p))
                        return false;
        for (const char *p = s; p;) {
                size_t n = strcspn(p, "/");

                if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                /* the same, spelled for a web server */
                if (strncasecmp(p, "%2e", 3) == 0 || strcasestr(p, "%2f"))
                        return false;
                p = p[n] ? p + n + 1 : NULL;
        }
        return true;
}

int url_sibling(const char *base, const char *relative, char **ret, Why *why)
{
        size_t n = name_length(base), dir = n;
        char *url;

        if (!is_plain_relative(relative))
                return fail(why, -EINVAL, WHY_TRUST, "bad-path",
                            "%s: not a plain relative name; absolute names, \"..\" and queries are refused", relative);
        while (dir > 0 && base[dir - 1] != '/')
                dir--;
        /* "https://host" has no folder; its siblings are below the root */
        if (is_url(base) && dir <= (size_t) (strstr(base, "://") - base) + 3)
                url = str_printf("%.*s/%s%s", (int) n, base, relative, base + n);
        else
                url = str_printf("%.*s%s%s", (int) dir, base, relative, base + n);
        if (!url)
                return -ENOMEM;
        *ret = url;
        return 0;
}

int url_release_of_cosi(const char *cosi_url, char **ret)
{
        size_t n = name_length(cosi_url);
        char *url;

        if (!url_is_cosi(cosi_url))
                return -EINVAL;
        url = str_printf("%.*s.release.json%s", (int) (n - strlen(".cosi")), cosi_url, cosi_url + n);
        if (!url)
                return -ENOMEM;
        *ret = url;
        return 0;
}

int feed_index_url(const char *configured, char **ret)
{
        size_t n = name_length(configured);
        char *url;

        if (name_ends(configured, ".json"))
                url = strdup(configured);
        else
                url = str_printf("%.*s%sindex.json%s", (int) n, configured, n > 0 && configured[n - 1] == '/' ? "" : "/",
                                 configured + n);
        if (!url)
                return -ENOMEM;
        *ret = url;
        return 0;
}
