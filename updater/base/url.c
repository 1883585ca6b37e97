/* SPDX-License-Identifier: MIT */

#include "base/url.h"
#include "base/str.h"

#include <stdio.h>

/* Everything up to the last '@' before the path: a password may hold one. */
static const char *skip_userinfo(const char *authority)
{
        const char *end = authority + strcspn(authority, "/?#");
        const char *at = memrchr(authority, '@', (size_t) (end - authority));

        return at ? at + 1 : authority;
}

void url_redact(const char *url, char *out, size_t size)
{
        const char *authority = strstr(url, "://");
        const char *host = authority ? skip_userinfo(authority + 3) : url;
        int scheme = authority ? (int) MIN((size_t) (authority + 3 - url), (size_t) 16) : 0;
        size_t n = strcspn(host, "?#");
        const char *query = host[n] == '?' ? "?..." : "";
        size_t room = size > 32 ? size - 32 : 0; /* scheme, dots and query */

        if (n <= room)
                (void) snprintf(out, size, "%.*s%.*s%s", scheme, url, (int) n, host, query);
        else
                (void) snprintf(out, size, "%.*s%.*s...%.*s%s", scheme, url, (int) (room / 2), host,
                                (int) (room / 2), host + n - room / 2, query);
        for (char *p = out; *p; p++)
                if (*p < 0x20 || *p > 0x7e)
                        *p = '?';
}
