/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "fetch/omaha-xml.h"

#include <assert.h>
#include <stdio.h>

#define APP_START                                                                                            \
        "<response protocol=\"3.0\" server=\"nebraska\"><daystart elapsed_seconds=\"0\"></daystart><app "    \
        "appid=\"A\" status=\"ok\">"
#define APP_END "</app></response>"
#define OFFER                                                                                                \
        "<updatecheck status=\"ok\"><urls><url codebase=\"https://cdn.example/acl/\"></url></urls>"          \
        "<manifest version=\"1.2.3\"><packages><package name=\"acl.cosi\" hash=\"QUJD\" size=\"512345678\" " \
        "required=\"true\"></package>"

static int parse(const char *text, OmahaReply *ret, Why *why)
{
        return omaha_parse(text, strlen(text), ret, why);
}

static void test_offer(void)
{
        _cleanup_(omaha_reply_done) OmahaReply r = { 0 };

        assert(parse(APP_START "<ping status=\"ok\"></ping>" OFFER
                               "<package name=\"x.release.json\" hash=\"\" hash_sha256=\"c2hh\" size=\"0\" "
                               "required=\"false\"/></packages>"
                               "<actions><action event=\"postinstall\" sha256=\"QUJD\" "
                               "DisablePayloadBackoff=\"true\"></action></actions>"
                               "</manifest></updatecheck><event status=\"ok\"></event>" APP_END,
                     &r, NULL) == 0);
        assert(r.n_apps == 1 && r.n_checks == 1 && r.n_urls == 1 && r.n_manifests == 1 && r.n_events == 1 &&
               r.status == 0);
        assert(streq(r.protocol, "3.0") && streq(r.app, "A") && streq(r.app_status, "ok") &&
               streq(r.check_status, "ok"));
        assert(streq(r.codebase, "https://cdn.example/acl/") && streq(r.version, "1.2.3") &&
               r.n_packages == 2);
        assert(streq(r.packages[0].name, "acl.cosi") && streq(r.packages[0].hash, "QUJD") &&
               streq(r.packages[0].hash_sha256, "") && r.packages[0].size == 512345678);
        assert(streq(r.packages[1].hash_sha256, "c2hh") && r.packages[1].size == 0);
}

static void test_odd(void)
{
        _cleanup_(omaha_reply_done) OmahaReply a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 }, e = { 0 };

        /* a status without anything else; entities that XML has by itself */
        assert(parse("<?xml version='1.0' encoding='UTF-8'?><response protocol=\"3.0\"><app "
                     "appid=\"&lt;&#65;&amp;\" "
                     "status=\"error-unknownApplication\"/></response>\n\n",
                     &a, NULL) == 0);
        assert(streq(a.app, "<A&") && a.n_checks == 0 && !a.check_status && !a.codebase);
        /* the same names elsewhere are other things */
        assert(parse("<response protocol=\"3.0\"><x><app appid=\"B\" status=\"ok\"/></x><package "
                     "name=\"p\"/><manifest "
                     "version=\"9\"/><app appid=\"A\" status=\"ok\"><manifest version=\"8\"/><urls><url "
                     "codebase=\"c\"/></urls>"
                     "<updatecheck status=\"noupdate\"><event/></updatecheck></app></response>",
                     &b, NULL) == 0);
        assert(b.n_apps == 1 && streq(b.app, "A") && b.n_manifests == 0 && !b.version && b.n_packages == 0 &&
               b.n_urls == 0 && b.n_events == 0 && streq(b.check_status, "noupdate"));
        /* two of what there must be one of: the first, and the number */
        assert(parse(APP_START OFFER
                     "</packages></manifest><manifest version=\"2.0.0\"><packages><package name=\"no.cosi\"/>"
                     "</packages></manifest></updatecheck></app><app appid=\"B\" status=\"bad\">" APP_END,
                     &c, NULL) == 0);
        assert(c.n_manifests == 2 && c.n_apps == 2 && streq(c.app, "A") && streq(c.version, "1.2.3") &&
               c.n_packages == 1);
        /* nothing but the root */
        assert(parse("<response/>", &d, NULL) == 0 && !d.protocol && d.n_apps == 0 && !d.app);
        assert(parse(APP_START OFFER "<package/></packages></manifest></updatecheck>" APP_END, &e, NULL) ==
               0);
        assert(e.n_packages == 2 && streq(e.packages[1].name, "") && e.packages[1].size == 0);
}

static char *many(const char *start, const char *each, size_t n, const char *end)
{
        Str s = STR_NULL;

        str_add(&s, start);
        for (size_t i = 0; i < n; i++)
                str_add(&s, each);
        str_add(&s, end);
        return str_take(&s);
}

static void refused(const char *text, const char *because)
{
        OmahaReply r = { .status = 7 };
        Why why = { 0 };

        if (parse(text, &r, &why) >= 0 || !strstr(why.text, because))
                fprintf(stderr, "%.80s...: \"%s\", not \"%s\"\n", text, why.text, because);
        assert(r.status == 7 && !r.app); /* untouched */
        assert(why.kind == WHY_NETWORK && streq(why.code, "omaha-reply") && strstr(why.text, because));
}

static void test_refused(void)
{
        static const struct {
                const char *text, *because;
        } cases[] = {
                { "", "empty" }, /* with 200: the request was not understood */
                { "<!DOCTYPE html><html></html>", "document type declaration" },
                { "<html><body/></html>",
                  "another document" }, /* with 200: another path of the same server */
                { "{\"error\": 1}", "not one of Omaha" },
                { "<response protocol=\"3.0\">", "not one of Omaha" },
                { "<response/><response/>", "not one of Omaha" },
                { "<!DOCTYPE response [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><response "
                  "protocol=\"&b;\"/>",
                  "document type" },
                { "<!DOCTYPE response SYSTEM \"http://evil/x.dtd\"><response/>", "document type" },
                { "<response protocol=\"&x;\"/>", "not one of Omaha" },
                { "<response protocol=\"&#0;\"/>", "not one of Omaha" },
                { "<response protocol=\"&#10;\"/>", "control character" },
                { "<response protocol=\"\xff\"/>", "not one of Omaha" },
                { "<response a=\"1\" a=\"2\"/>", "not one of Omaha" },
                { "<?xml version='1.0' encoding='UTF-16'?><response protocol=\"\xff\"/>",
                  "not one of Omaha" },
                { APP_START "<updatecheck status=\"ok\"><manifest><packages><package "
                            "size=\"-1\"/></packages></manifest></updatecheck>" APP_END,
                  "size" },
                { APP_START "<updatecheck status=\"ok\"><manifest><packages><package "
                            "size=\"99999999999999999999\"/></packages></manifest></updatecheck>" APP_END,
                  "size" },
        };
        _cleanup_(free_charp) char *deep = many("<response>", "<a>", 20, ""),
                                   *long_ = many("<response>", "<a/>", 5000, "</response>"), *wide = NULL,
                                   *text = many("<response protocol=\"", "x", OMAHA_TEXT_MAX + 1, "\"/>"),
                                   *events = many(APP_START, "<event/>", OMAHA_COUNT_MAX + 1, APP_END),
                                   *files = many(APP_START OFFER, "<package name=\"x\"/>", OMAHA_PACKAGES_MAX,
                                                 "</packages></manifest></updatecheck>" APP_END),
                                   *big = many("<response>", " ", OMAHA_REPLY_MAX, "</response>");
        Str s = STR_NULL;

        str_add(&s, "<response");
        for (size_t i = 0; i < 40; i++)
                str_addf(&s, " a%zu=\"\"", i);
        str_add(&s, "/>");
        wide = str_take(&s);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                refused(cases[i].text, cases[i].because);
        refused(deep, "deeper");
        refused(long_, "deeper, longer or wider");
        refused(wide, "deeper, longer or wider");
        refused(text, "deeper, longer or wider");
        refused(events, "too many elements");
        refused(files, "too many packages");
        refused(big, "too long");
}

/* What waits behind what stopped it does not count, and is not reached. */
static void test_stopped(void)
{
        refused("<response protocol=\"3.0\"><app appid=\"&#9;\" status=\"ok\"/><app appid=\"A\" "
                "status=\"ok\"/></response>",
                "control character");
}

int main(void)
{
        test_offer();
        test_odd();
        test_refused();
        test_stopped();
        return 0;
}
