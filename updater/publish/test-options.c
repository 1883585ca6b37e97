/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "publish/options.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>

typedef struct Values {
        bool flag;
        const char *text;
        char **list;
        uint64_t number, size, duration, time;
} Values;

static int parse(Values *v, char ***rest, Why *why, char *const argv[])
{
        const Option options[] = {
                { NULL, 0, OPTION_HEADING, NULL, NULL, "heading" },
                { "flag", 'f', OPTION_FLAG, &v->flag, NULL, "a flag" },
                { "text", 0, OPTION_TEXT, &v->text, "T", "a text\nin two lines" },
                { "list", 'l', OPTION_LIST, &v->list, "L", "a list" },
                { "number", 0, OPTION_NUMBER, &v->number, "N", "a number" },
                { "size", 0, OPTION_SIZE, &v->size, "SIZE", "a size" },
                { "valid", 0, OPTION_DURATION, &v->duration, "TIME", "a duration" },
                { "at", 0, OPTION_TIME, &v->time, "T", "a time" },
        };
        _cleanup_(free_charp) char *help = options_help(options, ELEMENTSOF(options), "use", "story");

        assert(help && strstr(help, "-f, --flag") && strstr(help, "--text T") && strstr(help, "heading"));
        return options_parse(options, ELEMENTSOF(options), "verb", argv, rest, why);
}

#define ARGV(...) ((char *[]){ __VA_ARGS__, NULL })
#define A(s)      ((char *) (s))

static void test_values(void)
{
        _cleanup_(strv_freep) char **rest = NULL;
        Values v = { 0 };
        Why why = { 0 };

        assert(parse(&v, &rest, &why,
                     ARGV(A("one"), A("-f"), A("--text"), A("--odd"), A("--list=a=b"), A("-l"), A("c"),
                          A("--number"), A("18446744073709551615"), A("--size"), A("3M"), A("--valid=90d"),
                          A("--at"), A("2026-11-04T06:00:00Z"), A("--"), A("--flag"), A("-"))) == 0);
        assert(v.flag && streq(v.text, "--odd") && streq(v.list[0], "a=b") && streq(v.list[1], "c") &&
               !v.list[2]);
        assert(v.number == UINT64_MAX && v.size == 3 * MIB && v.duration == 90 * 86400 &&
               v.time == 1793772000);
        assert(streq(rest[0], "one") && streq(rest[1], "--flag") && streq(rest[2], "-") && !rest[3]);
        strv_freep(&v.list);
}

static void test_refused(void)
{
        char *const *cases[] = {
                ARGV(A("--nope")),       ARGV(A("--tex"), A("x")),     ARGV(A("--text")),
                ARGV(A("--flag=yes")),   ARGV(A("--number"), A("-1")), ARGV(A("--number=")),
                ARGV(A("--size=1Q")),    ARGV(A("--size=K")),          ARGV(A("--size=99999999999999T")),
                ARGV(A("--valid=soon")), ARGV(A("--at=yesterday")),    ARGV(A("-x")),
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char **rest = NULL;
                Values v = { 0 };
                Why why = { 0 };

                assert(parse(&v, &rest, &why, cases[i]) < 0 && why.kind == WHY_USAGE && *why.hint && !rest);
                strv_freep(&v.list);
        }
}

int main(void)
{
        test_values();
        test_refused();
        return 0;
}
