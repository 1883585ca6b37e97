/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "source/oci.h"

#include <assert.h>
#include <stdio.h>

#define HEX    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX

static void test_parse(void)
{
        static const struct {
                const char *url, *host, *repository, *tag, *digest; /* host NULL: refused */
                bool plain;
        } cases[] = {
                { "oci://r.example.com/os", "r.example.com", "os", NULL, "", false },
                { "oci://r.example.com/a/b_c/d--e.f:v1.2-3_4", "r.example.com", "a/b_c/d--e.f", "v1.2-3_4",
                  "", false },
                { "OCI://R.Example.com:5000/os:X", "r.example.com:5000", "os", "X", "", false },
                { "oci://r/os@" DIGEST, "r", "os", NULL, DIGEST, false },
                { "oci://r/os:stable@" DIGEST, "r", "os", "stable", DIGEST, false },
                { "oci://localhost/os", "localhost", "os", NULL, "", true },
                { "oci://localhost:5000/os", "localhost:5000", "os", NULL, "", true },
                { "oci://127.0.0.1:5000/os", "127.0.0.1:5000", "os", NULL, "", true },
                { "oci://[::1]:5000/os:t", "[::1]:5000", "os", "t", "", true },
                { "oci://[2001:db8::1]/os", "[2001:db8::1]", "os", NULL, "", false },
                { "oci+http://r/os", "r", "os", NULL, "", true },
                { "oci+https://localhost:5000/os", "localhost:5000", "os", NULL, "", false },
                /* a name that only begins like loopback is some other machine */
                { "oci://127.0.0.1.evil.example/os", "127.0.0.1.evil.example", "os", NULL, "", false },
                { "oci://localhost.evil.example/os", "localhost.evil.example", "os", NULL, "", false },
                { "oci://r", NULL },
                { "oci://r/", NULL },
                { "oci:///os", NULL },
                { "oci://user:secret@r/os", NULL },     /* credentials do not belong here */
                { "oci://r/os@sha256:abc", NULL },      /* too short */
                { "oci://r/os@sha512:" HEX HEX, NULL }, /* another algorithm */
                { "oci://r/os@" DIGEST "?x", NULL },
                { "oci://r/os@sha256:"
                  "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
                  NULL },
                { "oci://r/OS", NULL },
                { "oci://r/os/", NULL },
                { "oci://r//os", NULL },
                { "oci://r/../os", NULL },
                { "oci://r/os..x", NULL },
                { "oci://r/os___x", NULL },
                { "oci://r/os-", NULL },
                { "oci://r/os?x=y", NULL },
                { "oci://r/os%2fx", NULL },
                { "oci://r/os#x", NULL },
                { "oci://r/os:", NULL },
                { "oci://r/os:.x", NULL },
                { "oci://r/os:a:b", NULL },
                { "oci://r/os:a/b", NULL },
                { "oci://r:/os", NULL },
                { "oci://r:0/os", NULL },
                { "oci://r:65536/os", NULL },
                { "oci://r:5x/os", NULL },
                { "oci://-r/os", NULL },
                { "oci://r./os", NULL },
                { "oci://a..b/os", NULL },
                { "oci://r\\x/os", NULL },
                { "oci://[::1/os", NULL },
                { "oci://[]/os", NULL },
                { "oci://[::1]x/os", NULL },
                { "https://r/os", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(oci_ref_done) OciRef ref = { 0 };
                _cleanup_(free_charp) char *text = NULL;
                Why why = { 0 };
                int r = oci_ref_parse(cases[i].url, &ref, &why);

                if ((r >= 0) != !!cases[i].host)
                        fprintf(stderr, "case %zu: %s: %s\n", i, cases[i].url, why.text);
                assert((r >= 0) == !!cases[i].host);
                assert(r >= 0 || (why.kind == WHY_USAGE && !strstr(why.text, "secret")));
                if (r < 0)
                        continue;
                assert(streq(ref.host, cases[i].host) && streq(ref.repository, cases[i].repository));
                assert(streq0(ref.tag, cases[i].tag) && streq(ref.digest, cases[i].digest));
                assert(ref.plain == cases[i].plain);
                /* what is written back means the same */
                text = oci_ref_format(&ref);
                assert(text && (strcasecmp(text, cases[i].url) == 0 || !strstr(cases[i].url, "oci://")));
        }
        assert(url_is_oci("oci+http://x") && !url_is_oci("ocix://x") && !url_is_oci("/oci://x"));
}

static void test_tags(void)
{
        static const struct {
                const char *name, *tag;
        } cases[] = {
                { "3.0.20261104", "3.0.20261104" },
                { "1.2+build.3", "1.2_build.3" },
                { "-x", "_x" },
                { ".x", "_x" },
                { "a b/c", "a_b_c" },
                { "", NULL },
        };
        char longest[200];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *tag = NULL;

                assert((oci_tag_of(cases[i].name, &tag) >= 0) == !!cases[i].tag);
                assert(streq0(tag, cases[i].tag));
        }
        memset(longest, 'x', sizeof(longest));
        longest[129] = 0;
        assert(oci_tag_of(longest, (char *[]){ NULL }) < 0);
}

static void test_offer(void)
{
        static const struct {
                const char *configured, *version, *url;
        } cases[] = {
                { "oci://r/os", NULL, "oci://r/os:stable" },
                { "oci://r/os", "1+2", "oci://r/os:1_2" },
                { "oci://r/os:night", NULL, "oci://r/os:night" },
                { "oci://r/os:night", "7", "oci://r/os:7" },
                { "oci://r/os@" DIGEST, NULL, "oci://r/os@" DIGEST },
                { "oci://r/os@" DIGEST, "7",
                  "oci://r/os@" DIGEST }, /* the signed release says whether it is */
                { "oci+http://r/os", NULL, "oci+http://r/os:stable" },
                { "https://r/os", NULL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(offer_done) Offer o = { 0 };
                int r = oci_offer(cases[i].configured, "stable", cases[i].version, &o, NULL);

                assert((r >= 0) == !!cases[i].url);
                if (r < 0)
                        continue;
                assert(streq(o.release_url, cases[i].url) && streq(o.cosi_url, cases[i].url));
                assert(streq0(o.version, cases[i].version) && o.explicit_ == !!cases[i].version);
        }
}

static void test_with_tag(void)
{
        _cleanup_(free_charp) char *url = NULL;

        assert(oci_with_tag("oci://r/os:stable@" DIGEST, "root.2", &url, NULL) >= 0);
        assert(streq(url, "oci://r/os:root.2"));
}

int main(void)
{
        test_parse();
        test_tags();
        test_offer();
        test_with_tag();
        return 0;
}
