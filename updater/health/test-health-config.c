/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "health/health.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static int parse(const char *text, HealthConfig *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;

        assert(json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "test", WHY_USAGE, &j, NULL) >= 0);
        return health_config_parse(json_get(j, "health"), ret, why);
}

static void test_defaults(void)
{
        _cleanup_(health_config_done) HealthConfig c = { 0 };

        assert(parse("{}", &c, NULL) >= 0);
        assert(!c.units && c.n_http == 0 && c.failed_units && c.restart_limit == 3 && c.timeout_sec == 120 &&
               !c.masks);
}

static void test_all(void)
{
        _cleanup_(health_config_done) HealthConfig c = { 0 };

        assert(parse("{\"health\":{\"units\":[\"kubelet.service\",\"a@b\\\\x2dc.mount\",\"kubelet.service\"],"
                     "\"http\":[{\"url\":\"http://127.0.0.1:10248/"
                     "healthz\",\"required\":false,\"status\":204,"
                     "\"timeout\":\"5s\",\"retryFor\":\"1m30s\"},{\"url\":\"https://[::1]:8443\"}],"
                     "\"failedUnits\":false,\"restartLimit\":0,\"timeout\":90,\"masks\":[\"backup@*."
                     "service\"],"
                     "\"laterGybe\":{}}}",
                     &c, NULL) >= 0);
        assert(strv_len(c.units) == 2 && streq(c.units[0], "kubelet.service"));
        assert(c.n_http == 2 && !c.http[0].required && c.http[0].status == 204 &&
               c.http[0].timeout_sec == 5 && c.http[0].retry_for_sec == 90);
        assert(c.http[1].required && c.http[1].status == 0 && c.http[1].timeout_sec == 10 &&
               c.http[1].retry_for_sec == 120);
        assert(!c.failed_units && c.restart_limit == 0 && c.timeout_sec == 90);
        assert(streq(c.masks[0], "backup@*.service"));
}

/* A wrong one is said by its member, and nothing of the section is used. */
static void test_wrong(void)
{
        static const struct {
                const char *text, *says;
        } cases[] = {
                { "{\"health\":[]}", "health must be an object" },
                { "{\"health\":{\"units\":\"kubelet.service\"}}", "health.units must be a list" },
                { "{\"health\":{\"units\":[1]}}", "health.units must be a list of unit names" },
                { "{\"health\":{\"units\":[\"kubelet\"]}}", "\"kubelet\" is not a unit's name" },
                { "{\"health\":{\"units\":[\".service\"]}}", "\".service\" is not a unit's name" },
                { "{\"health\":{\"units\":[\"a/b.service\"]}}", "is not a unit's name" },
                { "{\"health\":{\"units\":[\"*.service\"]}}",
                  "is not a unit's name" }, /* masks take patterns */
                { "{\"health\":{\"http\":[\"http://x/\"]}}", "health.http must be a list of objects" },
                { "{\"health\":{\"http\":[{}]}}", "health.http must be a list of objects" },
                { "{\"health\":{\"http\":[{\"url\":\"file:/etc/passwd\"}]}}", "http and https" },
                { "{\"health\":{\"http\":[{\"url\":\"http:///x\"}]}}", "http and https" },
                { "{\"health\":{\"http\":[{\"url\":\"http://u:p@h/\"}]}}", "without user and password" },
                { "{\"health\":{\"http\":[{\"url\":\"http://h/a b\"}]}}", "http and https" },
                { "{\"health\":{\"http\":[{\"url\":\"http://h/\",\"status\":99}]}}", "100 to 599" },
                { "{\"health\":{\"http\":[{\"url\":\"http://h/\",\"status\":\"200\"}]}}", "100 to 599" },
                { "{\"health\":{\"http\":[{\"url\":\"http://h/\",\"required\":1}]}}",
                  "neither true nor false" },
                { "{\"health\":{\"http\":[{\"url\":\"http://h/\",\"timeout\":\"0s\"}]}}", "a timeout" },
                { "{\"health\":{\"http\":[{\"url\":\"http://h/\",\"timeout\":\"2m\"}]}}", "a timeout" },
                { "{\"health\":{\"http\":[{\"url\":\"http://h/\",\"retryFor\":\"2h\"}]}}", "a retryFor" },
                { "{\"health\":{\"http\":[{\"url\":\"http://h/\"},{\"url\":\"http://h/\"}]}}", "twice" },
                { "{\"health\":{\"failedUnits\":\"yes\"}}", "failedUnits must be true or false" },
                { "{\"health\":{\"restartLimit\":1001}}", "0 to 1000" },
                { "{\"health\":{\"restartLimit\":\"3\"}}", "0 to 1000" },
                { "{\"health\":{\"timeout\":\"soon\"}}", "timeout must be a duration" },
                { "{\"health\":{\"timeout\":0}}", "timeout must be a duration" },
                { "{\"health\":{\"timeout\":\"61m\"}}", "timeout must be a duration" },
                { "{\"health\":{\"masks\":[\"a b.service\"]}}", "health.masks" },
                { "{\"health\":{\"masks\":[\"\"]}}", "health.masks" },
                /* a good part beside a bad one */
                { "{\"health\":{\"units\":[\"kubelet.service\"],\"restartLimit\":-1}}", "0 to 1000" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(health_config_done) HealthConfig c = { 0 };
                Why why = { 0 };

                assert(parse(cases[i].text, &c, &why) == -EINVAL);
                if (why.kind != WHY_USAGE || !strstr(why.text, cases[i].says))
                        (void) fprintf(stderr, "%s\n  %s\n", cases[i].text, why.text);
                assert(why.kind == WHY_USAGE && strstr(why.text, cases[i].says));
                assert(!c.units && c.n_http == 0 && c.restart_limit == 3 && c.timeout_sec == 120);
        }
}

static void test_too_many(void)
{
        static const struct {
                const char *member, *says;
                unsigned max;
        } cases[] = {
                { "units", "65 entries; gybe takes 64", HEALTH_UNITS_MAX },
                { "masks", "65 entries; gybe takes 64", HEALTH_MASKS_MAX },
                { "http", "17 entries; gybe takes 16", HEALTH_HTTP_MAX },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (unsigned n = cases[i].max; n <= cases[i].max + 1; n++) {
                        _cleanup_(health_config_done) HealthConfig c = { 0 };
                        _cleanup_(free_charp) char *text = NULL;
                        Str s = STR_NULL;
                        Why why = { 0 };

                        str_addf(&s, "{\"health\":{\"%s\":[", cases[i].member);
                        for (unsigned k = 0; k < n; k++) {
                                char entry[64];

                                if (streq(cases[i].member, "http"))
                                        (void) snprintf(entry, sizeof(entry), "{\"url\":\"http://h/%u\"}", k);
                                else
                                        (void) snprintf(entry, sizeof(entry), "\"u%u.service\"", k);
                                str_addf(&s, "%s%s", k > 0 ? "," : "", entry);
                        }
                        str_add(&s, "]}}");
                        text = str_take(&s);
                        assert((parse(text, &c, &why) >= 0) == (n == cases[i].max));
                        assert(n == cases[i].max || strstr(why.text, cases[i].says));
                }
}

int main(void)
{
        test_defaults();
        test_all();
        test_wrong();
        test_too_many();
        return 0;
}
