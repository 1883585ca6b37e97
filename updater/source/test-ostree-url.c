/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include <assert.h>
#include <errno.h>

#include "source/ostree.h"
#include "base/str.h"

static void test_parse(void)
{
        static const struct {
                const char *url, *base, *query, *ref, *version; /* base NULL: refused */
        } cases[] = {
                { "ostree://h/repo#p/x86_64/stable", "https://h/repo", "", "p/x86_64/stable", NULL },
                { "ostree+http://h:8080/repo/", "http://h:8080/repo", "", NULL, NULL },
                { "OSTREE+HTTPS://h", "https://h", "", NULL, NULL },
                { "ostree://h/r?sas=1#a/b@3.0.1+2", "https://h/r", "?sas=1", "a/b", "3.0.1+2" },
                { "ostree://h/r#", "https://h/r", "", NULL, NULL },
                { "https://h/r", NULL, NULL, NULL, NULL }, /* only where the type is configured */
                { "ostree://", NULL, NULL, NULL, NULL },
                { "ostree:///r", NULL, NULL, NULL, NULL },
                { "ostree://h/r#a//b", NULL, NULL, NULL, NULL },
                { "ostree://h/r#../../etc", NULL, NULL, NULL, NULL }, /* would climb out of refs/heads */
                { "ostree://h/r#a/.b", NULL, NULL, NULL, NULL },
                { "ostree://h/r#a/", NULL, NULL, NULL, NULL },
                { "ostree://h/r#a?b", NULL, NULL, NULL, NULL },
                { "ostree://h/r#a@", NULL, NULL, NULL, NULL },
                { "ostree://h/r\n#a", NULL, NULL, NULL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(ostree_url_done) OstreeUrl u = { 0 };
                Why why = { 0 };
                int r = ostree_url_parse(cases[i].url, &u, &why);

                if (!cases[i].base) {
                        assert(r == -EINVAL && why.kind == WHY_USAGE);
                        continue;
                }
                assert(r == 0 && streq(u.base, cases[i].base) && streq(u.query, cases[i].query));
                assert(streq0(u.ref, cases[i].ref) && streq0(u.version, cases[i].version));
        }
}

static void test_offer(void)
{
        static const struct {
                const char *configured, *channel, *version, *url; /* url NULL: refused */
        } cases[] = {
                { "https://h/repo", "stable", NULL, "ostree+https://h/repo#acl/x86_64/stable" },
                { "https://h/repo/?k=v", "stable", "3.0.1",
                  "ostree+https://h/repo?k=v#acl/x86_64/stable@3.0.1" },
                { "ostree+http://h/repo#own/ref", "stable", NULL, "ostree+http://h/repo#own/ref" },
                { "ostree://h/repo#own/ref@1", "stable", "2", "ostree+https://h/repo#own/ref@2" },
                { "https://h/repo", NULL, NULL, NULL },
                { "ftp://h/repo", "stable", NULL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(offer_done) Offer o = { 0 };
                Why why = { 0 };
                int r = ostree_offer(cases[i].configured, "acl", "x86_64", cases[i].channel, cases[i].version,
                                     &o, &why);

                assert((r == 0) == (cases[i].url != NULL));
                if (r < 0) {
                        assert(why.kind == WHY_USAGE);
                        continue;
                }
                assert(streq(o.release_url, cases[i].url) && o.explicit_ == (cases[i].version != NULL));
                assert(url_is_ostree(o.release_url));
        }
}

static void test_cosi(void)
{
        _cleanup_(free_charp) char *url = NULL;
        Why why = { 0 };

        assert(ostree_cosi_url("ostree+http://h/r?k=v#a/b@1", "x.cosi", &url, &why) == 0);
        assert(streq(url, "http://h/r/gybe/x.cosi?k=v"));
        free(TAKE(url));
        assert(ostree_cosi_url("ostree://h/r#a", "../x.cosi", &url, &why) < 0 && !url);
}

int main(void)
{
        test_parse();
        test_offer();
        test_cosi();
        return 0;
}
