/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "policy/policy.h"

#include <assert.h>

static int parse(Policy *p, const char *text)
{
        return policy_parse(text, strlen(text), "test", p, NULL);
}

static void test_parse(void)
{
        static const struct {
                const char *text;
                bool good;
        } cases[] = {
                { "{}", true },
                { "{\"attempts\":3,\"deadline\":\"10m\"}", true },
                { "{\"attempts\":0}", false },
                { "{\"attempts\":11}", false },
                { "{\"deadline\":\"soon\"}", false },
                { "{\"hold\":{}}", true },
                { "{\"hold\":true}", false },
                { "{\"hold\":{\"until\":\"tomorrow\"}}", false },
                { "{\"skip\":\"1\"}", false },
                { "{\"skip\":[1]}", false },
                { "{\"pin\":7}", false },
                { "[]", false },
                { "", false },
                { "// a comment\n{\"windows\":[],\"unknown\":{}}", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
                assert((parse(&p, cases[i].text) >= 0) == cases[i].good);
        }
}

static bool goes(const Policy *p, PolicyDoor door, const char *version, uint64_t now, const char *rule)
{
        PolicySubject s = { .version = version };
        PolicyVerdict v;

        policy_ask(p, door, &s, now, &v);
        assert(streq0(v.rule, rule));
        return v.answer == POLICY_GO;
}

static void test_merge(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;

        assert(goes(&p, POLICY_FETCH, "1", 100, NULL));
        assert(parse(&p, "{\"skip\":[\"1\"],\"attempts\":5}") >= 0);
        assert(!goes(&p, POLICY_FETCH, "1", 100, "skip") && goes(&p, POLICY_FETCH, "2", 100, NULL));
        /* a later file replaces what it says, and only that */
        assert(parse(&p, "{\"skip\":[],\"pin\":\"2\"}") >= 0 && p.attempts == 5);
        assert(!goes(&p, POLICY_FETCH, "1", 100, "pin") && goes(&p, POLICY_FETCH, "2", 100, NULL));
        assert(parse(&p, "{\"hold\":{\"until\":\"1970-01-01T00:10:00Z\",\"by\":\"ops\",\"reason\":\"freeze\"}"
                         "}") >= 0);
        assert(!goes(&p, POLICY_FETCH, "2", 599, "hold") && goes(&p, POLICY_FETCH, "2", 600, NULL));
}

int main(void)
{
        test_parse();
        test_merge();
        return 0;
}
