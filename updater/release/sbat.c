/* SPDX-License-Identifier: MIT */

/* Both texts are lines of comma-separated fields, the first two "component,generation":
 *
 *   image   sbat,1,SBAT Version,sbat,1,https://...      level   sbat,1,2024010900
 *           systemd-stub,1,The systemd Developers,...           shim,4
 *                                                               systemd-stub,2      <- this image is refused
 *
 * shim looks at every component of the image that the level names too, and at nothing else. */

#include "release/sbat.h"
#include "base/str.h"

#include <errno.h>

#define COMPONENT_MAX 128u /* characters of a name; real ones have a dozen */

typedef struct SbatLine {
        char component[COMPONENT_MAX + 1];
        uint64_t generation;
} SbatLine;

/* 1 a line, 0 the end, -EINVAL. *text moves on. */
static int next_line(const char **text, SbatLine *ret)
{
        char number[24];
        const char *p = *text;
        size_t n, name, digits;

        p += strspn(p, "\r\n");
        if (!*p)
                return 0;
        n = strcspn(p, "\r\n");
        *text = p + n;
        name = strcspn(p, ",\r\n");
        if (name == 0 || name > COMPONENT_MAX || p[name] != ',')
                return -EINVAL;
        digits = strcspn(p + name + 1, ",\r\n");
        if (digits >= sizeof(number))
                return -EINVAL;
        memcpy(ret->component, p, name);
        ret->component[name] = 0;
        memcpy(number, p + name + 1, digits);
        number[digits] = 0;
        return parse_u64(number, &ret->generation) < 0 ? -EINVAL : 1;
}

static int check_component(const SbatLine *have, const char *level, const char *what, Why *why)
{
        SbatLine want;
        int r;

        while ((r = next_line(&level, &want)) > 0)
                if (streq(want.component, have->component) && have->generation < want.generation)
                        return fail(why, -EKEYREJECTED, WHY_TRUST, "sbat",
                                    "%s: SBAT generation %llu of \"%s\" is revoked on this machine, %llu is "
                                    "the oldest allowed",
                                    what, (unsigned long long) have->generation, have->component,
                                    (unsigned long long) want.generation);
        if (r < 0)
                return fail(why, r, WHY_HOST, "secureboot-variable",
                            "SbatLevelRT: a line is not \"component,generation\"");
        return 0;
}

int sbat_check(const char *image, const char *level, const char *what, Why *why)
{
        SbatLine have;
        int r;

        if (!*level)
                return 0;
        while ((r = next_line(&image, &have)) > 0) {
                r = check_component(&have, level, what, why);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return fail(why, -EKEYREJECTED, WHY_TRUST, "sbat",
                            "%s: .sbat: a line is not \"component,generation\"", what);
        return 0;
}
