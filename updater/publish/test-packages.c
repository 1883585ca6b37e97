/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "publish/packages.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>

static void test_accepted(void)
{
        static const struct {
                const char *in, *out;
        } cases[] = {
                { "", "[]" },
                { "bash 5.2.15-2+b7 amd64\n",
                  "[{\"name\":\"bash\",\"version\":\"5.2.15\",\"release\":\"2+b7\",\"arch\":\"amd64\"}]" },
                { "x 1:2-3-4 all",
                  "[{\"name\":\"x\",\"version\":\"1:2-3\",\"release\":\"4\",\"arch\":\"all\"}]" },
                /* native: no revision */
                { "dpkg 1.21 amd64\n",
                  "[{\"name\":\"dpkg\",\"version\":\"1.21\",\"release\":\"0\",\"arch\":\"amd64\"}]" },
                { "# rpm\n\nbash 5.2.15 1.azl3 x86_64\r\n",
                  "[{\"name\":\"bash\",\"version\":\"5.2.15\",\"release\":\"1.azl3\",\"arch\":\"x86_64\"}]" },
                { " [{\"name\":\"a\",\"version\":\"1\",\"extra\":[]}]",
                  "[{\"name\":\"a\",\"version\":\"1\",\"release\":\"0\",\"arch\":\"noarch\"}]" },
                { "[]", "[]" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_unrefp) Json *list = NULL;
                _cleanup_(free_charp) char *text = NULL;
                Why why = { 0 };

                assert(packages_parse(cases[i].in, strlen(cases[i].in), "packages", &list, &why) == 0);
                text = json_format(list, false);
                assert(text && streq(text, cases[i].out));
        }
}

static void test_refused(void)
{
        static const struct {
                const char *in, *sentence;
        } cases[] = {
                { "bash 5.2-1 amd64\nbash\n", "line 2" },
                { "bash 5.2-1\n", "line 1" },
                { "a b c d e\n", "line 1" },
                { "{\"name\":\"a\"}", "not an array" },
                { "[{\"version\":\"1\"}]", "without name" },
                { "[1]", "without name" },
                { "[", "packages" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Json *list = NULL;
                Why why = { 0 };

                assert(packages_parse(cases[i].in, strlen(cases[i].in), "packages", &list, &why) < 0);
                assert(!list && why.kind == WHY_USAGE && strstr(why.text, cases[i].sentence));
        }
}

int main(void)
{
        test_accepted();
        test_refused();
        return 0;
}
