/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "release/test-kit.h"

#include <assert.h>
#include <stdio.h>

#define SHA384                                                                                               \
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char good[] =
        "{\"schema\":\"gybe.feed/1\",\"product\":\"acl\",\"serial\":17,\"issued\":\"2026-11-04T06:00:00Z\","
        "\"expires\":\"2026-12-04T06:00:00Z\",\"channels\":{\"stable\":\"1.0\",\"beta\":\"1.1\"},"
        "\"releases\":["
        "{\"version\":\"1.0\",\"serial\":10,\"arch\":\"x86_64\",\"path\":\"a-1.0.release.json\",\"sha384\":"
        "\"" SHA384 "\"},"
        "{\"version\":\"1.0\",\"serial\":10,\"arch\":\"aarch64\",\"path\":\"arm/"
        "a-1.0.release.json\",\"sha384\":\"" SHA384 "\"}]}";

static void test_good(void)
{
        _cleanup_(feed_done) Feed f = { 0 };

        assert(feed_parse(good, strlen(good), "index.json", &f, NULL) >= 0);
        assert(streq(f.product, "acl") && f.serial == 17 && f.n_channels == 2 && f.n_releases == 2);
        assert(streq(f.channels[1].channel, "beta") && streq(f.channels[1].version, "1.1"));
        assert(streq(f.releases[1].arch, "aarch64") && f.releases[1].serial == 10 &&
               streq(f.releases[1].sha384, SHA384));
}

static void test_spoiled(void)
{
        static const struct {
                const char *from, *to;
                bool accepted;
                const char *says;
        } cases[] = {
                { "gybe.feed/1", "gybe.release/1", false, "gybe.release/1" },
                { "\"product\":\"acl\",", "", false, "product" },
                { "\"serial\":17", "\"serial\":\"17\"", false, "serial" },
                { "\"serial\":17,", "", false, "serial" },
                { "\"issued\":\"2026-11-04T06:00:00Z\",", "", false, "issued" },
                { "\"expires\":\"2026-12-04T06:00:00Z\",", "", false, "expires" },
                { "2026-12-04", "2026-10-04", false, "expires" },
                { "\"channels\":{\"stable\"", "\"channels\":{\"\"", false, "channels" },
                { "\"beta\":\"1.1\"", "\"beta\":2", false, "channels" },
                { "\"beta\":\"1.1\"", "\"beta\":\"\"", false, "channels" },
                { "\"channels\":{", "\"canals\":{", false, "channels" },
                { "\"releases\":[", "\"releases\":[null,", false, "releases" },
                { "\"releases\":[", "\"releases\":[[],", false, "releases" },
                { "\"serial\":10,", "", false, "releases[0].serial" },
                { "\"arch\":\"aarch64\"", "\"arch\":\"x86_64\"", false, "twice" },
                { "\"arch\":\"aarch64\"", "\"arch\":\"riscv64\"", true, NULL }, /* somebody else's business */
                { "\"arch\":\"aarch64\"", "\"arch\":\"a-very-long-architecture\"", false, "arch" },
                { "\"path\":\"a-1.0", "\"path\":\"../a-1.0", false, "releases[0].path" },
                { "\"path\":\"a-1.0", "\"path\":\"/a-1.0", false, "releases[0].path" },
                { "\"path\":\"a-1.0", "\"path\":\"http://x/a-1.0", false, "releases[0].path" },
                { "\"path\":\"arm/", "\"path\":\"arm/../../", false, "releases[1].path" },
                { "\"sha384\":\"0", "\"sha384\":\"", false, "sha384" },
                { "\"sha384\":\"0", "\"sha256\":\"0", false, "sha384" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *text = kit_replace(good, cases[i].from, cases[i].to);
                _cleanup_(feed_done) Feed f = { 0 };
                Why why = { 0 };
                int r = feed_parse(text, strlen(text), "index.json", &f, &why);

                if ((r >= 0) != cases[i].accepted || (cases[i].says && !strstr(why.text, cases[i].says)))
                        fprintf(stderr, "%s -> %s: %i %s\n", cases[i].from, cases[i].to, r, why.text);
                assert((r >= 0) == cases[i].accepted);
                assert(r >= 0 || (why.kind == WHY_TRUST && strstr(why.text, cases[i].says)));
        }
}

static int parse_feed(const void *data, size_t size, Why *why)
{
        _cleanup_(feed_done) Feed value = { 0 };

        return feed_parse(data, size, "corpus", &value, why);
}

int main(void)
{
        test_good();
        test_spoiled();
        kit_corpus("feed", parse_feed);
        return 0;
}
