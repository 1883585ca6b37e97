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
                if (!(*s >= 'a' && *s <= 'z') && !(*s >= 'A' && *s <= 'Z') && !(*s >= '0' && *s <= '9') &&
                    !strchr("+-.", *s))
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

/* The same characters spelled for a web server, in whole or in part: ".%2e/" climbs too. */
static bool has_hidden_path(const char *s)
{
        static const char *const spellings[] = { "%2e", "%2f", "%5c", "%00" };

        for (size_t i = 0; i < ELEMENTSOF(spellings); i++)
                if (strcasestr(s, spellings[i]))
                        return true;
        return false;
}

/* Relative, forward slashes, no climbing, nothing a terminal or a URL parser could take for something else. */
static bool is_plain_relative(const char *s)
{
        if (!*s || *s == '/' || is_url(s) || strlen(s) > URL_MAX || has_hidden_path(s))
                return false;
        for (const char *p = s; *p; p++)
                if ((unsigned char) *p <= 0x20 || *p == 0x7f || strchr("\\?#", *p))
                        return false;
        for (const char *p = s; p;) {
                size_t n = strcspn(p, "/");

                if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
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
                            "%s: not a plain relative name; absolute names, \"..\" and queries are refused",
                            relative);
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
                url = str_printf("%.*s%sindex.json%s", (int) n, configured,
                                 n > 0 && configured[n - 1] == '/' ? "" : "/", configured + n);
        if (!url)
                return -ENOMEM;
        *ret = url;
        return 0;
}
