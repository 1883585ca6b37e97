/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "publish/siblings.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>

int main(void)
{
        static const struct {
                const char *cosi, *release;
        } pairs[] = {
                { "x.cosi", "x.release.json" },
                { "/a.cosi/x.cosi", "/a.cosi/x.release.json" },
                { "https://h/x.cosi?sig=a/b",
                  "https://h/x.release.json?sig=a/b" }, /* a token may cover the folder */
                { "odd?.cosi", "odd?.release.json" },   /* on a disk '?' is a letter */
                { "x.cosi.bak", NULL },
                { ".cosi", NULL },
                { "https://h/x?y.cosi", NULL },
        };
        static const struct {
                const char *what, *name, *sibling;
        } names[] = {
                { "x.release.json", "x.cosi", "x.cosi" },
                { "a/b/x.release.json", "x.cosi", "a/b/x.cosi" },
                { "http://h/f/x.release.json?t=1/2", "x.cosi", "http://h/f/x.cosi" },
        };

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                _cleanup_(free_charp) char *release = NULL;

                assert(sibling_release(pairs[i].cosi, &release) == (pairs[i].release ? 0 : -EINVAL));
                assert(streq0(release, pairs[i].release));
                assert(name_is_cosi(pairs[i].cosi) == (pairs[i].release != NULL));
        }
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(free_charp) char *sibling = NULL;

                assert(sibling_named(names[i].what, names[i].name, &sibling) == 0 &&
                       streq(sibling, names[i].sibling));
        }
        return 0;
}
