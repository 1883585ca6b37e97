/* SPDX-License-Identifier: MIT */

#include "publish/packages.h"
#include "base/str.h"

#include <errno.h>

#define COLUMNS_MAX 4u

static void add_package(Json *list, const char *name, const char *version, const char *release,
                        const char *arch)
{
        Json *p = json_new_object();

        json_set_str(p, "name", name);
        json_set_str(p, "version", version);
        json_set_str(p, "release", release);
        json_set_str(p, "arch", arch);
        json_add(list, p);
}

static int parse_line(char *line, Json *list)
{
        char *column[COLUMNS_MAX + 1], *state = NULL, *dash;
        size_t n = 0;

        for (char *word = strtok_r(line, " \t\r", &state); word; word = strtok_r(NULL, " \t\r", &state)) {
                if (n >= COLUMNS_MAX)
                        return -EINVAL;
                column[n++] = word;
        }
        if (n == 0 || column[0][0] == '#')
                return 0;
        if (n < 3)
                return -EINVAL;
        if (n == 4) {
                add_package(list, column[0], column[1], column[2], column[3]);
                return 0;
        }
        /* a native Debian package has no revision; a COSI wants one */
        dash = strrchr(column[1], '-');
        if (dash)
                *dash = 0;
        add_package(list, column[0], column[1], dash ? dash + 1 : "0", column[2]);
        return 0;
}

static int parse_text(const void *data, size_t size, const char *what, Json *list, Why *why)
{
        _cleanup_(free_charp) char *text = strndup(data, size);
        unsigned number = 0;

        if (!text)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", what);
        for (char *line = text, *next; line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                number++;
                if (parse_line(line, list) < 0)
                        return fail(why, -EINVAL, WHY_USAGE, "packages",
                                    "%s: line %u is neither \"NAME VERSION ARCH\" nor \"NAME VERSION RELEASE "
                                    "ARCH\"",
                                    what, number);
        }
        return 0;
}

static int parse_json(const void *data, size_t size, const char *what, Json *list, Why *why)
{
        _cleanup_(json_unrefp) Json *doc = NULL;
        int r = json_parse(data, size, 0, JSON_DEPTH_MAX, what, WHY_USAGE, &doc, why);

        if (r < 0)
                return r;
        json_foreach (p, doc) {
                const char *name = json_get_str(p, "name"), *version = json_get_str(p, "version");
                const char *release = json_get_str(p, "release"), *arch = json_get_str(p, "arch");

                if (!name || !version)
                        return fail(why, -EINVAL, WHY_USAGE, "packages",
                                    "%s: a package without name or version", what);
                add_package(list, name, version, release ?: "0", arch ?: "noarch");
        }
        return json_is_array(doc)
                       ? 0
                       : fail(why, -EINVAL, WHY_USAGE, "packages", "%s: not an array of packages", what);
}

int packages_parse(const void *data, size_t size, const char *what, Json **ret, Why *why)
{
        _cleanup_(json_unrefp) Json *list = json_new_array();
        const uint8_t *p = data;
        size_t at = 0;
        int r;

        while (at < size && strchr(" \t\r\n", p[at]) && p[at])
                at++;
        r = at < size && (p[at] == '[' || p[at] == '{') ? parse_json(data, size, what, list, why)
                                                        : parse_text(data, size, what, list, why);
        if (r >= 0)
                *ret = TAKE(list);
        return r;
}
