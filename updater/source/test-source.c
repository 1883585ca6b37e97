/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "source/source.h"

#include <assert.h>
#include <stdio.h>

static void test_sibling(void)
{
        static const struct {
                const char *base, *relative, *expect; /* NULL: refused */
        } cases[] = {
                { "https://h/feed/index.json", "a.cosi", "https://h/feed/a.cosi" },
                { "https://h/feed/index.json?sig=s", "a.cosi",
                  "https://h/feed/a.cosi?sig=s" }, /* the token opens the folder */
                { "https://h", "a.cosi", "https://h/a.cosi" },
                { "https://h?x=/y", "a.cosi", "https://h/a.cosi?x=/y" },
                { "/srv/x/index.json", "sub/a.cosi", "/srv/x/sub/a.cosi" },
                { "index.json", "a.cosi", "a.cosi" },
                { "/srv/odd?dir/index.json", "a.cosi", "/srv/odd?dir/a.cosi" }, /* a path has no query */
                { "file:///srv/index.json", "a.cosi", "file:///srv/a.cosi" },
                { "https://h/f/index.json", "../a.cosi", NULL },
                { "https://h/f/index.json", "a/../b.cosi", NULL },
                { "https://h/f/index.json", "%2e%2e/b.cosi", NULL },
                { "https://h/f/index.json", "x/%2E./b.cosi", NULL },
                { "https://h/f/index.json", ".%2e/b.cosi", NULL }, /* curl would climb */
                { "https://h/f/index.json", "a%5cb.cosi", NULL },
                { "https://h/f/index.json", "a%2fb.cosi", NULL },
                { "https://h/f/index.json", "/a.cosi", NULL },
                { "https://h/f/index.json", "https://evil/a.cosi", NULL },
                { "https://h/f/index.json", "//evil/a.cosi", NULL },
                { "https://h/f/index.json", "a\\b.cosi", NULL },
                { "https://h/f/index.json", "a.cosi?x", NULL },
                { "https://h/f/index.json", "a b.cosi", NULL },
                { "https://h/f/index.json", "./a.cosi", NULL },
                { "https://h/f/index.json", "a//b.cosi", NULL },
                { "https://h/f/index.json", "", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *url = NULL;
                Why why = { 0 };
                int r = url_sibling(cases[i].base, cases[i].relative, &url, &why);

                if ((r >= 0) != !!cases[i].expect)
                        fprintf(stderr, "case %zu: %s + %s -> %s\n", i, cases[i].base, cases[i].relative,
                                url ? url : why.text);
                assert((r >= 0) == !!cases[i].expect);
                assert(r < 0 || streq(url, cases[i].expect));
        }
}

static void test_names(void)
{
        _cleanup_(free_charp) char *a = NULL, *d = NULL, *e = NULL, *f = NULL;

        assert(url_is_cosi("https://h/x.cosi?sv=1") && !url_is_cosi("/a/x.cosi?sv=1") &&
               url_is_release("x.release.json"));
        assert(url_release_of_cosi("https://h/x.cosi?sv=1", &a) >= 0 &&
               streq(a, "https://h/x.release.json?sv=1"));
        assert(feed_index_url("https://h/feed", &d) >= 0 && streq(d, "https://h/feed/index.json"));
        assert(feed_index_url("https://h/feed/?t=1", &e) >= 0 && streq(e, "https://h/feed/index.json?t=1"));
        assert(feed_index_url("/srv/index.json", &f) >= 0 && streq(f, "/srv/index.json"));
}

static void test_request(void)
{
        _cleanup_(offer_done) Offer a = { 0 }, b = { 0 }, c = { 0 };
        Why why = { 0 };

        assert(request_offer("x.cosi", &a, NULL) >= 0 && a.explicit_ && streq(a.cosi_url, "x.cosi") &&
               streq(a.release_url, "x.release.json"));
        assert(request_offer("d/x.release.json", &b, NULL) >= 0 && !b.cosi_url &&
               streq(b.release_url, "d/x.release.json"));
        assert(request_offer("x.iso", &c, &why) < 0 && why.kind == WHY_USAGE);
}

static void test_feed(void)
{
        FeedRelease releases[] = {
                { .version = (char *) "2",
                  .path = (char *) "two.release.json",
                  .arch = "x86_64",
                  .serial = 20,
                  .sha384 = "ab" },
                { .version = (char *) "2",
                  .path = (char *) "two-arm.release.json",
                  .arch = "aarch64",
                  .serial = 20 },
                { .version = (char *) "1",
                  .path = (char *) "../one.release.json",
                  .arch = "x86_64",
                  .serial = 10 },
        };
        Feed feed = { .product = (char *) "p", .releases = releases, .n_releases = 3 };
        _cleanup_(offer_done) Offer a = { 0 }, b = { 0 }, none = { 0 };
        Why w1 = { 0 }, w2 = { 0 }, w3 = { 0 }, w4 = { 0 };

        feed.channels = calloc(1, sizeof(*feed.channels));
        assert(feed.channels);
        feed.n_channels = 1;
        feed.channels[0].channel = (char *) "stable";
        feed.channels[0].version = (char *) "2";
        assert(feed_offer(&feed, "https://h/index.json", "p", "stable", "x86_64", NULL, &a, NULL) == 1);
        assert(streq(a.release_url, "https://h/two.release.json") && a.serial == 20 && !a.explicit_ &&
               streq(a.sha384, "ab"));
        assert(feed_offer(&feed, "https://h/index.json", "p", "stable", "aarch64", "2", &b, NULL) == 1 &&
               b.explicit_);
        assert(feed_offer(&feed, "https://h/index.json", "p", "beta", "x86_64", NULL, &none, &w4) < 0 &&
               w4.kind == WHY_POLICY && strstr(w4.text, "\"stable\""));
        feed.channels[0].version = (char *) "1";
        assert(feed_offer(&feed, "https://h/index.json", "p", "stable", "aarch64", NULL, &none, NULL) ==
               0); /* not for this arch */
        feed.channels[0].version = (char *) "2";
        assert(feed_offer(&feed, "https://h/index.json", "q", "stable", "x86_64", NULL, &none, &w1) < 0 &&
               w1.kind == WHY_TRUST);
        assert(feed_offer(&feed, "https://h/index.json", "p", "stable", "x86_64", "1", &none, &w2) <
               0); /* climbs */
        assert(feed_offer(&feed, "https://h/index.json", "p", "stable", "x86_64", "7", &none, &w3) < 0);
        free(feed.channels);
}

int main(void)
{
        test_sibling();
        test_names();
        test_request();
        test_feed();
        return 0;
}
