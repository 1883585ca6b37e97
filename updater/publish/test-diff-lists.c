/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "publish/diff.h"
#include "base/str.h"
#include "image/index.h"

#include <assert.h>

static Json *parse(const char *text)
{
        Json *j = NULL;

        assert(!text || json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "test", WHY_USAGE, &j, NULL) == 0);
        return j;
}

#define P(name, version, release, arch)                                                                      \
        "{\"name\":\"" name "\",\"version\":\"" version "\",\"release\":\"" release "\",\"arch\":\"" arch    \
        "\"}"
#define NOTHING "\"added\":[],\"removed\":[],\"changed\":[]"

static void test_packages(void)
{
        static const struct {
                const char *old, *new, *out;
                bool differs;
        } cases[] = {
                { NULL, NULL, "{\"old\":0,\"new\":0,\"without\":\"both\"}", false },
                { NULL, "[" P("a", "1", "0", "x") "]", "{\"old\":0,\"new\":1,\"without\":\"old\"}", true },
                { "[" P("a", "1", "0", "x") "]", "[]", "{\"old\":1,\"new\":0,\"without\":\"new\"}", true },
                /* order is nothing */
                { "[" P("a", "1", "0", "x") "," P("b", "1", "2", "x") "]",
                  "[" P("b", "1", "2", "x") "," P("a", "1", "0", "x") "]",
                  "{\"old\":2,\"new\":2," NOTHING "}", false },
                /* each kind once; a release that changes is a change */
                { "[" P("gone", "1", "0", "x") "," P("b", "1", "2", "x") "]",
                  "[" P("b", "1", "3", "x") "," P("come", "7", "0", "x") "]",
                  "{\"old\":2,\"new\":2,\"added\":[{\"name\":\"come\",\"version\":\"7\",\"arch\":\"x\"}],"
                  "\"removed\":[{\"name\":\"gone\",\"version\":\"1\",\"arch\":\"x\"}],\"changed\":[{\"name\":"
                  "\"b\",\"arch\":\"x\",\"old\":\"1-2\",\"new\":\"1-3\"}]}",
                  true },
                /* two kernels are installed, and one of them stays */
                { "[" P("k", "1", "0", "x") "," P("k", "2", "0", "x") "]",
                  "[" P("k", "2", "0", "x") "," P("k", "3", "0", "x") "]",
                  "{\"old\":2,\"new\":2,\"added\":[],\"removed\":[],\"changed\":[{\"name\":\"k\",\"arch\":"
                  "\"x\",\"old\":\"1\",\"new\":\"3\"}]}",
                  true },
                /* multiarch: each follows its own */
                { "[" P("l", "1", "0", "i") "," P("l", "1", "0", "x") "]", "[" P("l", "2", "0", "x") "]",
                  "{\"old\":2,\"new\":1,\"added\":[],\"removed\":[{\"name\":\"l\",\"version\":\"1\",\"arch\":"
                  "\"i\"}],\"changed\":[{\"name\":\"l\",\"arch\":\"x\",\"old\":\"1\",\"new\":\"2\"}]}",
                  true },
                /* a new architecture is no other package */
                { "[" P("n", "1", "0", "all") "]", "[" P("n", "1", "0", "x") "]",
                  "{\"old\":1,\"new\":1,\"added\":[],\"removed\":[],\"changed\":[{\"name\":\"n\",\"arch\":"
                  "\"x\",\"oldArch\":\"all\",\"old\":\"1\",\"new\":\"1\"}]}",
                  true },
                /* what others write */
                { "[{},{\"name\":1},{\"name\":\"a\",\"version\":2}]", "[{\"name\":\"a\"},{},{}]",
                  "{\"old\":3,\"new\":3," NOTHING "}", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_unrefp) Json *old = parse(cases[i].old), *new = parse(cases[i].new),
                                            *out = NULL;
                _cleanup_(free_charp) char *text = NULL;
                bool differs = !cases[i].differs;

                assert(diff_packages(old, new, &out, &differs) == 0);
                text = json_format(out, false);
                assert(text && streq(text, cases[i].out) && differs == cases[i].differs);
        }
}

#define WORDS(added, removed, order)                                                                         \
        "\"added\":[" added "],\"removed\":[" removed "],\"reordered\":" order "}"

static void test_words(void)
{
        static const struct {
                const char *old, *new, *out; /* NULL: they say the same */
        } cases[] = {
                { NULL, NULL, NULL },
                { NULL, "", NULL },
                { "quiet  ro", "quiet ro ", NULL },
                { "quiet", "quiet ro", "{" WORDS("\"ro\"", "", "false") },
                { "a=1 b", "b a=2", "{" WORDS("\"a=2\"", "\"a=1\"", "false") },
                { "x", NULL, "{" WORDS("", "\"x\"", "false") },
                /* the last one wins, so order says something */
                { "a=1 a=2", "a=2 a=1", "{" WORDS("", "", "true") },
                /* twice is not once */
                { "console=a", "console=a console=a", "{" WORDS("\"console=a\"", "", "false") },
                { "q=\"a b\"", "q=\"a c\"", "{" WORDS("\"q=a c\"", "\"q=a b\"", "false") },
                /* the root hash is told by itself ... */
                { "ro usrhash=11 q", "ro usrhash=22 q",
                  "{\"usrhash\":{\"old\":\"11\",\"new\":\"22\"}," WORDS("", "", "false") },
                { "usrhash=11 q", "usrhash=22 r",
                  "{\"usrhash\":{\"old\":\"11\",\"new\":\"22\"}," WORDS("\"r\"", "\"q\"", "false") },
                { "usrhash=11", "usrhash=11", NULL },
                /* ... but not where it comes or goes, nor where there are two */
                { "q", "q usrhash=22", "{" WORDS("\"usrhash=22\"", "", "false") },
                { "usrhash=1", "usrhash=1 usrhash=2", "{" WORDS("\"usrhash=2\"", "", "false") },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_unrefp) Json *out = NULL;
                _cleanup_(free_charp) char *text = NULL;

                assert(diff_words(cases[i].old, cases[i].new, &out) == (cases[i].out != NULL));
                text = out ? json_format(out, false) : NULL;
                assert(streq0(text, cases[i].out));
        }
}

static void test_lines(void)
{
        _cleanup_(json_unrefp) Json *out = NULL;
        _cleanup_(free_charp) char *text = NULL;

        assert(diff_lines("A=1\nV=1\n", "A=1\r\n\nV=2", "V=", &out) == 0 && !out);
        assert(diff_lines(NULL, "V=2", "V=", &out) == 0 && !out);
        assert(diff_lines("A=1 2\nV=1\n", "V=2\nA=1 3\nB=\n", "V=", &out) == 1);
        text = json_format(out, false);
        assert(streq0(text, "{" WORDS("\"A=1 3\",\"B=\"", "\"A=1 2\"", "false")));
}

static void test_leaves(void)
{
        static const uint8_t zero[] = "000000";
        uint8_t have[] = "ccccccaaaaaabbbbbbaaaaaa";
        /* there, zero, new, the same again, differs in the last byte, there */
        static const uint8_t want[] = "aaaaaa000000dddddddddddd"
                                      "bbbbbacccccc";

        leaves_sort(have, 4);
        assert(memcmp(have, "aaaaaaaaaaaabbbbbbcccccc", sizeof(have)) == 0);
        assert(leaves_lacking(have, 4, zero, want, (sizeof(want) - 1) / INDEX_LEAF_SIZE) == 3);
        assert(leaves_lacking(have, 0, zero, want, 1) == 1 && leaves_lacking(have, 4, zero, want, 0) == 0);
}

int main(void)
{
        test_packages();
        test_words();
        test_lines();
        test_leaves();
        return 0;
}
