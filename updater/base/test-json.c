/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/json.h"
#include "base/str.h"

#include <assert.h>
#include <stdio.h>

static const struct {
        const char *text;
        unsigned flags;
        bool good;
} cases[] = {
        { "{}", 0, true },
        { "{\"a\":1,\"b\":[true,false,null,\"x\"]}", 0, true },
        { " [1, 18446744073709551615, -5] ", 0, true },
        { "{\"a\":1,\"a\":2}", 0, false },                /* the same name twice */
        { "{\"a\":1,\"\\u0061\":2}", 0, false },          /* ... spelled differently */
        { "[{\"a\":{\"b\":1,\"b\":1}}]", 0, false },      /* ... far down */
        { "{\"a\":{\"x\":1},\"b\":{\"x\":1}}", 0, true }, /* in two objects it is two names */
        { "{\"a:b\":\"c:d\"}", 0, true },                 /* colons inside strings are no names */
        { "{\"a\":1.5}", 0, false },
        { "{\"a\":1e3}", 0, false },
        { "{\"a\":01}", 0, false },
        { "{\"a\":18446744073709551616}", 0, false },
        { "{\"a\":-9223372036854775809}", 0, false },
        { "{\"a\":+1}", 0, false },
        { "{\"a\":NaN}", 0, false },
        { "{\"a\":1,}", 0, false },
        { "[1,]", 0, false },
        { "{\"a\":[1 , ] }", 0, false },
        { "[1, /* no more */ ]", JSON_COMMENTS, false },
        { "[1, // no more\n]", JSON_COMMENTS, false },
        { "[,]", 0, false },
        { "[1,,2]", 0, false },
        { "{,}", 0, false },
        { "[\",\"]", 0, true }, /* a comma inside a string is no comma */
        { "[[1],[2],{}]", 0, true },
        { "{\"sl\xc3\xb6t\":\"\xe2\x82\xac \xf0\x9f\x9a\x80\"}", 0,
          true }, /* letters of two, three and four bytes */
        { "{\"a\":\"x\x1f\"}", 0, false },
        { "{\"a\":\"\xc3\"}", 0, false }, /* half a letter */
        { "{\"a\":True}", 0, false },
        { "{\"a\":nullnull}", 0, false },
        { "[1-2]", 0, false },
        { "[-]", 0, false },
        { "[Infinity]", 0, false },
        { "{'a':1}", 0, false },
        { "{\"a\":\"\xff\"}", 0, false }, /* not UTF-8 */
        { "{\"a\":\"x\\u0000y\"}", 0, false },
        { "{\"a\":\"x\ny\"}", 0, false },
        { "{} x", 0, false },
        { "{}{}", 0, false },
        { "", 0, false },
        { "{", 0, false },
        { "\"open", 0, false },
        { "[[[[1]]]]", 0, true },
        { "[[[[[1]]]]]", 0, false }, /* deeper than 4, the limit of this test */
        { "[[[[]]]]", 0, true },
        { "[[[[[]]]]]", 0, false }, /* ... also where nothing is in it */
        { "[[[[],[],{}]],[[[]]]]", 0, true },
        { "[[[{\"a\":{}}]]]", 0, false },
        { "{\"a\":1 /* b */}", 0, false },
        { "{\"a\":1 /* \"b\" : 2 */, // c\n \"d\":2}", JSON_COMMENTS, true },
        { "{\"a\":\"/* no comment */\"}", 0, true },
        { "{\"a\":1 /* open", JSON_COMMENTS, false },
        { "{\"a\":[1.5,-0.25,1e3,2E-7,0.0,1.5e+10,0e0]}", JSON_FRACTIONS, true },
        { "{\"a\":1.}", JSON_FRACTIONS, false },
        { "{\"a\":.5}", JSON_FRACTIONS, false },
        { "{\"a\":1e}", JSON_FRACTIONS, false },
        { "{\"a\":01.5}", JSON_FRACTIONS, false },
        { "{\"a\":1.5.5}", JSON_FRACTIONS, false },
        { "{\"a\":1.5+1}", JSON_FRACTIONS, false },
};

static void test_parse(void)
{
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_unrefp) Json *j = NULL;
                Why why = { 0 };
                int r = json_parse(cases[i].text, strlen(cases[i].text), cases[i].flags, 4, "test", WHY_IMAGE,
                                   &j, &why);

                if ((r >= 0) != cases[i].good)
                        fprintf(stderr, "case %zu: %s -> %i %s\n", i, cases[i].text, r, why.text);
                assert((r >= 0) == cases[i].good);
                assert(r >= 0 || why.text[0]);
        }
}

static void test_values(void)
{
        static const char text[] =
                "{\"n\":18446744073709551615,\"neg\":-1,\"s\":\"x\",\"t\":\"2026-11-04T06:00:00Z\","
                "\"d\":\"1h30m\",\"o\":{\"k\":1}}";
        static const char patch[] = "{\"o\":{\"l\":2},\"s\":[1]}";
        _cleanup_(json_unrefp) Json *j = NULL, *p = NULL;
        _cleanup_(free_charp) char *out = NULL;
        uint64_t v = 7;

        assert(json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "t", WHY_IMAGE, &j, NULL) >= 0);
        assert(json_get_u64(j, "n", &v) == 1 && v == UINT64_MAX);
        assert(json_get_u64(j, "neg", &v) == -22 && v == UINT64_MAX);
        assert(json_get_u64(j, "missing", &v) == 0);
        assert(json_get_u64(j, "s", &v) == -22);
        assert(streq(json_get_str(j, "s"), "x"));
        assert(json_get_time(j, "t", &v) == 1 && v == 1793772000);
        assert(json_get_duration(j, "d", &v) == 1 && v == 5400);
        assert(json_parse(patch, strlen(patch), 0, JSON_DEPTH_MAX, "p", WHY_IMAGE, &p, NULL) >= 0);
        json_merge(j, p);
        assert(json_members(json_get(j, "o")) == 2 && json_len(json_get(j, "s")) == 1);
        out = json_format(j, false);
        assert(out && strstr(out, "\"n\":18446744073709551615"));
}

int main(void)
{
        test_parse();
        test_values();
        return 0;
}
