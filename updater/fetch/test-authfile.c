/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "fetch/authfile.h"

#include <assert.h>
#include <stdio.h>

/* u:p, deep:er, hub:pw */
static const char file[] = "{\"auths\": {\"r.example\": {\"auth\": \"dTpw\"},"
                           " \"r.example/os/acl\": {\"auth\": \"ZGVlcDplcg==\"},"
                           " \"r.example:5000\": {\"username\": \"a\", \"password\": \"b:c\"},"
                           " \"https://index.docker.io/v1/\": {\"auth\": \"aHViOnB3\", \"email\": null},"
                           " \"acr.example\": {\"auth\": \"\", \"identitytoken\": \"t0ken\"},"
                           " \"direct.example\": {\"registrytoken\": \"abc\"},"
                           " \"helper.example\": {},"
                           " \"bad.example\": {\"auth\": \"!!\"},"
                           " \"nocolon.example\": {\"auth\": \"dXA=\"},"
                           " \"control.example\": {\"auth\": \"dTpwCg==\"},"
                           " \"array.example\": []},"
                           " \"credHelpers\": {\"helper.example\": \"x\"}, \"x\": 1.5}";

static void test_find(void)
{
        static const struct {
                const char *host, *repository;
                int r; /* 2: some failure */
                const char *user, *password, *identity;
        } cases[] = {
                { "r.example", "os", 1, "u", "p", NULL },
                { "r.example", "os/acl", 1, "deep", "er", NULL },
                { "r.example", "os/acl/more", 1, "deep", "er", NULL },
                { "r.example", "os/aclx", 1, "u", "p", NULL }, /* parts are whole */
                { "r.example:5000", "os", 1, "a", "b:c", NULL },
                { "r.example:5001", "os", 0, NULL, NULL, NULL }, /* a port is part of the name */
                { "docker.io", "library/x", 1, "hub", "pw", NULL },
                { "acr.example", "os", 1, NULL, NULL, "t0ken" },
                { "direct.example", "os", 1, NULL, NULL, NULL },
                { "helper.example", "os", 0, NULL, NULL, NULL },
                { "example", "r.example", 0, NULL, NULL, NULL },
                { "bad.example", "os", 2, NULL, NULL, NULL },
                { "nocolon.example", "os", 2, NULL, NULL, NULL },
                { "control.example", "os", 2, NULL, NULL, NULL }, /* a line end would begin another header */
                { "array.example", "os", 0, NULL, NULL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(auth_entry_done) AuthEntry e = { 0 };
                Why why = { 0 };
                int r = authfile_find(file, sizeof(file) - 1, cases[i].host, cases[i].repository, &e, &why);

                if (cases[i].r == 2 ? r >= 0 : r != cases[i].r)
                        fprintf(stderr, "case %zu: %s -> %d %s\n", i, cases[i].host, r, why.text);
                assert(cases[i].r == 2 ? r < 0 : r == cases[i].r);
                assert(r >= 0 || (why.kind == WHY_HOST && !strstr(why.text, "!!")));
                assert(r <= 0 || (streq0(e.user, cases[i].user) && streq0(e.password, cases[i].password) &&
                                  streq0(e.identity_token, cases[i].identity)));
        }
}

static void test_odd_files(void)
{
        static const struct {
                const char *text;
                int r;
        } cases[] = {
                { "{}", 0 },
                { "{\"auths\": []}", 0 },
                { "{\"auths\": {}}", 0 },
                { "", -1 },
                { "[]", 0 },
                { "{\"auths\": {\"h\": {\"auth\": \"dTpw\"}, \"h\": {}}}", -1 }, /* which one? */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(auth_entry_done) AuthEntry e = { 0 };
                int r = authfile_find(cases[i].text, strlen(cases[i].text), "h", "os", &e, NULL);

                assert(cases[i].r < 0 ? r < 0 : r == cases[i].r);
        }
}

int main(void)
{
        test_find();
        test_odd_files();
        return 0;
}
