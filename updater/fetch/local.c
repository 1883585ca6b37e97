/* SPDX-License-Identifier: MIT */

#include "fetch/local.h"
#include "source/oci.h"
#include "source/ostree.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>

static int hex_digit(char c)
{
        return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static int percent_decode(const char *s, char **ret)
{
        _cleanup_(free_charp) char *out = malloc(strlen(s) + 1);
        size_t n = 0;

        if (!out)
                return -ENOMEM;
        while (*s) {
                if (*s != '%') {
                        out[n++] = *s++;
                        continue;
                }
                if (hex_digit(s[1]) < 0 || hex_digit(s[2]) < 0 || (s[1] == '0' && s[2] == '0'))
                        return -EINVAL;
                out[n++] = (char) (hex_digit(s[1]) << 4 | hex_digit(s[2]));
                s += 3;
        }
        out[n] = 0;
        *ret = TAKE(out);
        return 0;
}

static size_t scheme_length(const char *url)
{
        size_t n = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

        return n > 1 && url[n] == ':' ? n : 0;
}

int local_path(const char *url, char **ret, Why *why)
{
        size_t scheme = scheme_length(url);
        const char *rest = url + scheme + 1;
        int r = 0;

        if (scheme == 4 && strncasecmp(url, "file", 4) == 0) {
                if (strncmp(rest, "//", 2) == 0)
                        rest += strncasecmp(rest, "//localhost/", 12) == 0 ? 11 : 2;
                r = percent_decode(rest, ret);
        } else if (scheme > 0 && strncmp(rest, "//", 2) == 0) {
                if (url_is_oci(url) || url_is_ostree(url))
                        return 0;
                if ((scheme == 4 && strncasecmp(url, "http", 4) == 0) ||
                    (scheme == 5 && strncasecmp(url, "https", 5) == 0))
                        return 0;
                return fail(why, -EPROTONOSUPPORT, WHY_USAGE, "unknown-scheme",
                            "%.*s://: not one of http://, https://, oci://, ostree:// and file://",
                            (int) MIN(scheme, 32u), url);
        } else {
                *ret = strdup(url);
                r = *ret ? 0 : -ENOMEM;
        }
        return r < 0 ? fail_errno(why, r, WHY_USAGE, "%.200s", url) : 1;
}

int local_open(const char *path, Why *why)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;

        if (fd < 0 && errno == ENOENT)
                return fail(why, -ENOENT, WHY_HOST, "not-found", "%.300s: no such file", path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%.300s", path);
        if (!S_ISREG(st.st_mode))
                return fail(why, -EINVAL, WHY_HOST, "not-a-file", "%.300s: not a regular file", path);
        return take_fd(&fd);
}
