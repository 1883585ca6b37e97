/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "fetch/challenge.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static void test_parse(void)
{
        static const struct {
                const char *header;
                bool good, basic, bearer;
                const char *realm, *service;
        } cases[] = {
                { "", true, false, false, NULL, NULL },
                { "Basic", true, true, false, NULL, NULL },
                { "basic realm=\"r\"", true, true, false, NULL, NULL },
                { "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:os:pull,push\"", true, false,
                  true, "https://a/t", "s" },
                { "bearer REALM = \"https://a/t\" , Service=s", true, false, true, "https://a/t", "s" },
                { "Basic realm=\"b\", Bearer realm=\"https://a/t\"", true, true, true, "https://a/t", NULL },
                { "Bearer realm=\"https://a/t\", Basic realm=\"b\", charset=\"UTF-8\"", true, true, true,
                  "https://a/t", NULL },
                { "Negotiate, NTLM, Basic realm=x", true, true, false, NULL, NULL },
                { "Negotiate YWJj==, Basic realm=x", true, true, false, NULL, NULL },
                { "Digest realm=\"d\", nonce=\"n\", qop=\"auth,auth-int\"", true, false, false, NULL, NULL },
                { "Bearer realm=\"a\\\"b\"", true, false, true, "a\"b", NULL },
                { " , ,Basic,, ", true, true, false, NULL, NULL },
                /* the second Bearer's realm is not the first's */
                { "Bearer realm=\"one\", Bearer realm=\"two\", service=\"x\"", true, false, true, "one",
                  NULL },
                { "Bearer realm=\"one\", realm=\"two\"", false, false, false, NULL, NULL },
                { "Bearer realm=\"open", false, false, false, NULL, NULL },
                { "Bearer realm=\"open\\", false, false, false, NULL, NULL },
                { "Bearer realm=\"a\rb\"", false, false, false, NULL, NULL },
                { "Bearer realm=", true, false, true, NULL, NULL }, /* one odd word behind the scheme */
                { "Bearer =x", false, false, false, NULL, NULL },
                { "realm=\"https://a\"", false, false, false, NULL, NULL },
                { "\"Bearer\"", false, false, false, NULL, NULL },
                { "Bearer/x realm=y", false, false, false, NULL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(challenge_done) Challenge c = { 0 };
                int r = challenge_parse(cases[i].header, &c, NULL);

                if ((r >= 0) != cases[i].good)
                        fprintf(stderr, "case %zu: %s -> %d\n", i, cases[i].header, r);
                assert((r >= 0) == cases[i].good);
                assert(r < 0 || (c.basic == cases[i].basic && c.bearer == cases[i].bearer));
                assert(r < 0 || (streq0(c.realm, cases[i].realm) && streq0(c.service, cases[i].service)));
        }
}

static void test_limits(void)
{
        _cleanup_(challenge_done) Challenge c = { 0 };
        char text[CHALLENGE_HEADER_MAX + 2];
        Str s = STR_NULL;
        char *many;

        memset(text, 'a', sizeof(text));
        text[sizeof(text) - 1] = 0;
        assert(challenge_parse(text, &c, NULL) == -EBADMSG);
        for (unsigned i = 0; i <= CHALLENGE_PARTS_MAX; i++)
                str_addf(&s, "X%u,", i);
        many = str_take(&s);
        assert(many && challenge_parse(many, &c, NULL) == -EBADMSG);
        free(many);
}

static void test_realm(void)
{
        static const struct {
                const char *realm, *host;
                bool plain, good;
        } cases[] = {
                { "https://auth.example/token", "registry.example", false, true },
                { "HTTPS://auth.example:8443/token?x=y", "registry.example", false, true },
                { "https://auth.example/token", "localhost:5000", true, true },
                { "http://registry.example/token", "registry.example", false, false },
                { "http://localhost:5001/token", "localhost:5000", true, true },
                { "http://LOCALHOST/token", "localhost:5000", true, true },
                { "http://[::1]:9/token", "[::1]:5000", true, true },
                { "http://169.254.169.254/metadata", "localhost:5000", true, false },
                { "http://localhost.evil/token", "localhost:5000", true, false },
                { "http://localhost:1@evil/token", "localhost:5000", true, false },
                { "https://user:pass@auth.example/token", "registry.example", false, false },
                { "https:///token", "registry.example", false, false },
                { "https://auth.example\\@evil/", "registry.example", false, false },
                { "https://auth.example/#x", "registry.example", false, false },
                { "https://auth.example/a b", "registry.example", false, false },
                { "file:///etc/passwd", "localhost", true, false },
                { "gopher://x", "localhost", true, false },
                { "", "localhost", true, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int r = challenge_check_realm(cases[i].realm, cases[i].plain, cases[i].host, NULL);

                if ((r >= 0) != cases[i].good)
                        fprintf(stderr, "case %zu: %s\n", i, cases[i].realm);
                assert((r >= 0) == cases[i].good);
        }
}

int main(void)
{
        test_parse();
        test_limits();
        test_realm();
        return 0;
}
