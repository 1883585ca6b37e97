/* SPDX-License-Identifier: MIT */

#include "publish/siblings.h"
#include "base/str.h"
#include "source/oci.h"

#include <errno.h>

#define COSI_SUFFIX    ".cosi"
#define RELEASE_SUFFIX ".release.json"

static bool is_url(const char *what)
{
        return str_starts(what, "http://") || str_starts(what, "https://");
}

/* Length of the part that is a path: a '?' or '#' is an ordinary character on a disk. */
static size_t path_length(const char *what)
{
        return is_url(what) ? strcspn(what, "?#") : strlen(what);
}

bool name_is_cosi(const char *what)
{
        if (url_is_oci(what))
                return true;
        size_t n = path_length(what), len = strlen(COSI_SUFFIX);

        return n > len && memcmp(what + n - len, COSI_SUFFIX, len) == 0;
}

int sibling_release(const char *cosi, char **ret)
{
        size_t n = path_length(cosi);
        char *text;

        if (!name_is_cosi(cosi))
                return -EINVAL;
        text = url_is_oci(cosi) ? strdup(cosi)
                                : str_printf("%.*s" RELEASE_SUFFIX "%s", (int) (n - strlen(COSI_SUFFIX)),
                                             cosi, cosi + n);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

int sibling_named(const char *what, const char *name, char **ret)
{
        size_t n = path_length(what);
        char *text;

        if (url_is_oci(what))
                return (*ret = strdup(what)) ? 0 : -ENOMEM;
        while (n > 0 && what[n - 1] != '/')
                n--;
        text = str_printf("%.*s%s", (int) n, what, name);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}
