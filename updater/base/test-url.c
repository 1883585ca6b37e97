/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "base/url.h"

#include <assert.h>

int main(void)
{
        static const struct {
                const char *url, *shown;
        } cases[] = {
                { "https://user:pw@h/x.cosi?sig=secret", "https://h/x.cosi?..." },
                { "https://user:p@w@h/x", "https://h/x" }, /* a password may hold an @ */
                { "https://h/x#fragment", "https://h/x" },
                { "/srv/a@b/x.cosi", "/srv/a@b/x.cosi" },
                { "https://h/\x1b[31m", "https://h/?[31m" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char out[128];

                url_redact(cases[i].url, out, sizeof(out));
                assert(streq(out, cases[i].shown));
        }
        return 0;
}
