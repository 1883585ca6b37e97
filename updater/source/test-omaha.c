/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "source/omaha.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static void test_version(void)
{
        static const struct {
                const char *in, *out; /* NULL: none */
        } cases[] = {
                { "3.0.20261104", "3.0.20261104" },
                { "202606.05.0", "202606.5.0" }, /* strict semver has no leading zeroes */
                { "4152.2.3", "4152.2.3" },
                { "3.0", "3.0.0" },
                { "12", "12.0.0" },
                { "00.00.00", "0.0.0" },
                { "v1.2.3", "1.2.3" },
                { "1.2.3.4", "1.2.3000004" },
                { "1.2.3.1000000", NULL }, /* would be the next third number */
                { "1.2.18446744073709551.1", NULL },
                { "1.2.3.4.5", NULL },
                { "1.2.3-rc.01", "1.2.3-rc.1" },
                { "1.2-rc1", "1.2.0-rc1" },
                { "4.0~rc1", "4.0.0-rc1" },
                { "4.0~00", "4.0.0-0" },
                { "1.2.3+build.7", "1.2.3" }, /* is not compared by anybody */
                { "1.2.3-a+b", "1.2.3-a" },
                { "1.2.3-", NULL },
                { "1.2.3-a..b", NULL },
                { "1.2.3-a_b", NULL },
                { "1..3", NULL },
                { ".1", NULL },
                { "1.", NULL },
                { "", NULL },
                { "rolling", NULL },
                { "1.2.3 ", NULL },
                { "-1.2.3", NULL },
                { "99999999999999999999.0.0", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char out[OMAHA_VERSION_SIZE] = "untouched";
                int r = omaha_version(cases[i].in, out);

                if ((r >= 0) != !!cases[i].out || (r >= 0 && !streq(out, cases[i].out)))
                        fprintf(stderr, "\"%s\" -> %d \"%s\"\n", cases[i].in, r, out);
                assert((r >= 0) == !!cases[i].out);
                assert(streq(out, r >= 0 ? cases[i].out : "untouched"));
                /* what came out stays as it is: both ends may do it */
                assert(r < 0 || (omaha_version(out, out) == 0 && streq(out, cases[i].out)));
        }
}

static void test_machine_id(void)
{
        char id[OMAHA_ID_SIZE];

        /* printf 0123456789abcdef0123456789abcdef | xxd -r -p | sha384sum */
        assert(omaha_machine_id("0123456789abcdef0123456789abcdef", id) == 0);
        assert(streq(id, "3d999098-59bc-89f2-b234-a39b484169de"));
        assert(omaha_machine_id("0123", id) == -EINVAL && omaha_machine_id("", id) == -EINVAL);
}

static OmahaAsk ask(void)
{
        return (OmahaAsk){ .app = "app-1",
                           .track = "stable",
                           .version = "1.2.3",
                           .machine_id = "m",
                           .arch = "x86_64",
                           .session_id = "s",
                           .request_id = "r",
                           .ping = true,
                           .check = true };
}

static void test_request(void)
{
        OmahaReport report = { .event = OMAHA_COMPLETE, .previous_version = "1.2.2" };
        _cleanup_(free_charp) char *text = NULL, *second = NULL, *third = NULL;
        OmahaAsk a = ask();
        char *e, *p, *u;

        assert(omaha_format(&a, &text) == 0);
        assert(streq(
                text,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                "<request protocol=\"3.0\" version=\"gybe-" GYBE_VERSION
                "\" updaterversion=\"gybe-" GYBE_VERSION
                "\" installsource=\"ondemandupdate\" ismachine=\"1\" requestid=\"{r}\" sessionid=\"{s}\">\n"
                " <os platform=\"linux\" arch=\"amd64\"/>\n"
                " <app appid=\"app-1\" version=\"1.2.3\" track=\"stable\" board=\"amd64-usr\" "
                "machineid=\"m\" "
                "delta_okay=\"false\">\n"
                "  <ping active=\"1\"/>\n"
                "  <updatecheck/>\n"
                " </app>\n"
                "</request>\n"));
        a.arch = "aarch64";
        a.report = &report;
        a.scheduled = true;
        a.alias = "a \"b\" <c> & 'd'\x1b\xc3\xa4";
        assert(omaha_format(&a, &second) == 0);
        assert(strstr(second, "arch=\"aarch64\"") && strstr(second, "board=\"arm64-usr\""));
        assert(strstr(second, "installsource=\"scheduler\"") && !strstr(second, "CoreOSUpdateEngine"));
        assert(strstr(second, "machinealias=\"a &quot;b&quot; &lt;c&gt; &amp; 'd'?\xc3\xa4\""));
        e = strstr(second, "<event eventtype=\"3\" eventresult=\"2\" previousversion=\"1.2.2\"/>");
        p = strstr(second, "<ping");
        u = strstr(second, "<updatecheck");
        assert(e && e < p && p < u);
        report = (OmahaReport){ .event = OMAHA_ERROR, .error_code = 44, .previous_version = "" };
        a.ping = a.check = false;
        assert(omaha_format(&a, &third) == 0);
        assert(strstr(
                third,
                "<event eventtype=\"3\" eventresult=\"0\" errorcode=\"44\" previousversion=\"0.0.0\"/>"));
        assert(!strstr(third, "<ping") && !strstr(third, "<updatecheck"));
}

/* The only pairs that Nebraska's table has, but for 3/1, which the Flatcar application ignores. */
static void test_events(void)
{
        static const char *const pairs[_OMAHA_EVENT_MAX] = {
                [OMAHA_DOWNLOADING] = "eventtype=\"13\" eventresult=\"1\"",
                [OMAHA_DOWNLOADED] = "eventtype=\"14\" eventresult=\"1\"",
                [OMAHA_INSTALLED] = "eventtype=\"800\" eventresult=\"1\"",
                [OMAHA_COMPLETE] = "eventtype=\"3\" eventresult=\"2\"",
                [OMAHA_ERROR] = "eventtype=\"3\" eventresult=\"0\"",
        };

        for (OmahaEvent e = 0; e < _OMAHA_EVENT_MAX; e++) {
                _cleanup_(free_charp) char *text = NULL;
                OmahaReport report = { .event = e };
                OmahaAsk a = ask();

                a.report = &report;
                assert(omaha_format(&a, &text) == 0 && strstr(text, pairs[e]));
                assert(omaha_event_from_name(omaha_event_name(e)) == e);
                assert(omaha_event_is_terminal(e) == (e >= OMAHA_COMPLETE));
        }
        assert(omaha_event_from_name("granted") < 0 && omaha_event_from_name(NULL) < 0);
}

static OmahaPackage packages[4];

static OmahaReply reply(void)
{
        packages[0] = (OmahaPackage){ .name = (char *) "acl.cosi",
                                      .hash = (char *) "",
                                      .hash_sha256 = (char *) "" };
        return (OmahaReply){ .status = 200,
                             .n_apps = 1,
                             .n_checks = 1,
                             .n_urls = 1,
                             .n_manifests = 1,
                             .protocol = (char *) "3.0",
                             .app = (char *) "app-1",
                             .app_status = (char *) "ok",
                             .check_status = (char *) "ok",
                             .codebase = (char *) "https://cdn/acl/",
                             .version = (char *) "1.2.4",
                             .packages = packages,
                             .n_packages = 1 };
}

static void judged(const OmahaReply *r, const OmahaAsk *a, int expect, const char *code)
{
        Why why = { 0 };
        int k = omaha_judge(r, a, &why);

        if (k != expect || (code && !streq(why.code, code)))
                fprintf(stderr, "judged %d %s: %s, not %d %s\n", k, why.code, why.text, expect,
                        code ? code : "");
        assert(k == expect && (!code || streq(why.code, code)));
        assert((k < 0 || code) == (why.kind != WHY_NONE));
}

static void test_statuses(void)
{
        static const struct {
                const char *status, *code;
                int verdict;
        } cases[] = {
                { "error-updateInProgressOnInstance", "omaha-in-progress", OMAHA_IN_PROGRESS },
                { "error-updatesDisabled", "omaha-disabled", OMAHA_WAIT },
                { "error-maxUpdatesPerPeriodLimitReached", "omaha-period", OMAHA_WAIT },
                { "error-maxConcurrentUpdatesLimitReached", "omaha-concurrent", OMAHA_WAIT },
                { "error-maxTimedOutUpdatesLimitReached", "omaha-timed-out", OMAHA_WAIT },
                { "error-couldNotCheckUpdatesStats", "omaha-stats", OMAHA_WAIT },
                { "error-noPackageFound", "omaha-no-package", OMAHA_REFUSED },
                { "error-unknownApplicationOrGroup", "omaha-unknown-group", OMAHA_REFUSED },
                { "error-failedToRetrieveUpdatePackageInfo", "omaha-unknown-group", OMAHA_REFUSED },
                { "error-instanceRegistrationFailed", "omaha-registration", OMAHA_REFUSED },
                { "error-of-tomorrow", "omaha-refused", OMAHA_REFUSED },
                { "", "omaha-refused", OMAHA_REFUSED },
        };
        OmahaReport report = { .event = OMAHA_ERROR };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                OmahaReply r = reply();
                OmahaAsk a = ask();

                r.app_status = (char *) cases[i].status;
                r.check_status = (char *) "error-internal";
                judged(&r, &a, cases[i].verdict, cases[i].code);
                /* an unknown application ends it before the events are seen */
                a.report = &report;
                judged(&r, &a, cases[i].verdict, cases[i].code);
        }
}

static void test_shapes(void)
{
        OmahaReport report = { .event = OMAHA_ERROR };
        OmahaReply r = reply();
        OmahaAsk a = ask();

        judged(&r, &a, OMAHA_OFFER, NULL);
        r.check_status = (char *) "noupdate";
        judged(&r, &a, OMAHA_NOUPDATE, NULL);
        r.check_status = (char *) "error-internal";
        judged(&r, &a, OMAHA_REFUSED, "omaha-refused");
        r = reply(), r.status = 400;
        judged(&r, &a, -EAGAIN, "omaha-status");
        r = reply(), r.protocol = (char *) "2.0";
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.n_apps = 2;
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.n_apps = 0, r.app = NULL;
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.app = (char *) "APP-1"; /* byte for byte */
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.app_status = NULL;
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.n_checks = 0;
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.n_checks = 2;
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.check_status = NULL;
        judged(&r, &a, OMAHA_REFUSED, "omaha-refused");
        r = reply(), r.n_manifests = 2; /* for those who copy packages */
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.version = NULL;
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.n_packages = 0;
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.codebase = NULL, r.n_urls = 0;
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), r.n_events = 1; /* never sent */
        judged(&r, &a, -EBADMSG, "omaha-reply");
        r = reply(), a.report = &report;
        judged(&r, &a, -EBADMSG, "omaha-reply"); /* sent, and not acknowledged */
        r.n_events = 1;
        judged(&r, &a, OMAHA_OFFER, NULL);
        a.check = false, r.n_checks = 0;
        judged(&r, &a, OMAHA_NOTED, NULL);
}

static void test_places(void)
{
        static const struct {
                const char *codebase, *name, *extra; /* extra: one more file */
                const char *cosi, *release;          /* both NULL: refused */
        } cases[] = {
                { "https://h/acl/", "x.cosi", NULL, "https://h/acl/x.cosi", "https://h/acl/x.release.json" },
                { "https://h/acl", "x.cosi", NULL, "https://h/acl/x.cosi", "https://h/acl/x.release.json" },
                { "https://h", "x.cosi", NULL, "https://h/x.cosi", "https://h/x.release.json" },
                { "http://h:80/a?sig=1", "x.cosi", NULL, "http://h:80/a/x.cosi?sig=1",
                  "http://h:80/a/x.release.json?sig=1" },
                { "https://h/a/?sig=1", "d/x.cosi", NULL, "https://h/a/d/x.cosi?sig=1",
                  "https://h/a/d/x.release.json?sig=1" },
                { "https://h/a/", "x.cosi", "x.release.json", "https://h/a/x.cosi",
                  "https://h/a/x.release.json" },
                { "https://h/a/", "x.cosi", "other.release.json", "https://h/a/x.cosi",
                  "https://h/a/other.release.json" },
                { "https://h/a/", "x.cosi", "notes.txt", "https://h/a/x.cosi", "https://h/a/x.release.json" },
                { "https://h/a/", "x.cosi", "https://i/y.release.json", "https://h/a/x.cosi",
                  "https://i/y.release.json" },
                { "https://h/a/", "x.release.json", NULL, NULL, "https://h/a/x.release.json" },
                { "https://h/a/", "https://i/b/x.cosi?t", NULL, "https://i/b/x.cosi?t",
                  "https://i/b/x.release.json?t" },
                { "https://h/a/", "oci://r/n@sha256:00", NULL, "oci://r/n@sha256:00", "oci://r/n@sha256:00" },
                { "https://h/a/", "http://i/x.cosi", NULL, NULL, NULL },
                { "https://h/a/", "file:///x.cosi", NULL, NULL, NULL },
                { "https://h/a/", "/x.cosi", NULL, NULL, NULL },
                { "https://h/a/", "../x.cosi", NULL, NULL, NULL },
                { "https://h/a/", "%2e%2e/x.cosi", NULL, NULL, NULL },
                { "https://h/a/", "//i/x.cosi", NULL, NULL, NULL },
                { "https://h/a/", "x.cosi?a=b", NULL, NULL, NULL },
                { "https://h/a/", "x y.cosi", NULL, NULL, NULL },
                { "https://h/a/", "https://i/x y.cosi", NULL, NULL, NULL },
                { "https://h/a/", "", NULL, NULL, NULL },
                { "https://h/a/", "flatcar_production_update.gz", NULL, NULL, NULL },
                { "https://h/a/", "x.cosi", "../y.release.json", NULL, NULL },
                { "file:///srv/", "x.cosi", NULL, NULL, NULL }, /* the job would open it as root */
                { "/srv/", "x.cosi", NULL, NULL, NULL },
                { "", "x.cosi", NULL, NULL, NULL },
                { "https://", "x.cosi", NULL, NULL, NULL },
                { "https://h/\x7f/", "x.cosi", NULL, NULL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(offer_done) Offer o = { 0 };
                OmahaReply r = reply();
                Why why = { 0 };
                int k;

                r.codebase = (char *) cases[i].codebase;
                packages[0].name = (char *) cases[i].name;
                packages[0].size = 77;
                packages[1] = (OmahaPackage){ .name = (char *) cases[i].extra,
                                              .hash = (char *) "",
                                              .hash_sha256 = (char *) "" };
                r.n_packages = cases[i].extra ? 2 : 1;
                k = omaha_offer(&r, OMAHA_HASH_IGNORE, &o, &why);
                if ((k >= 0) != !!cases[i].release || !streq0(o.cosi_url, cases[i].cosi) ||
                    !streq0(o.release_url, cases[i].release))
                        fprintf(stderr, "case %zu: %d %s %s %s\n", i, k, o.cosi_url ? o.cosi_url : "",
                                o.release_url ? o.release_url : "", why.text);
                assert((k >= 0) == !!cases[i].release && (k < 0) == (why.kind != WHY_NONE));
                assert(streq0(o.cosi_url, cases[i].cosi) && streq0(o.release_url, cases[i].release));
                assert(k < 0 || (o.by_omaha && !o.explicit_ && o.cosi_size == (cases[i].cosi ? 77 : 0)));
        }
}

static void test_hashes(void)
{
        static const struct {
                const char *hash;
                bool good; /* as SHA-384 of the metadata */
        } cases[] = {
                { "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4", true },
                { "", false },
                { "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", false },                 /* SHA-1 */
                { "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", false }, /* SHA-256 */
                { "OLBgp1GsljhM2TJ+sbHjaiH9txEUvgdDTAzHv2P24donTt6/529l+9Ua0vFImLlb",
                  true }, /* SHA-384 of nothing */
                { "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                  true }, /* hex of a SHA-256: as configured */
                { "OLBgp1GsljhM2TJ+sbHjaiH9txEUvgdDTAzHv2P24donTt6/529l+9Ua0vFImLl", false }, /* cut */
                { "OLBgp1GsljhM2TJ-sbHjaiH9txEUvgdDTAzHv2P24donTt6_529l-9Ua0vFImLlb",
                  false }, /* another alphabet */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(offer_done) Offer a = { 0 }, b = { 0 };
                OmahaReply r = reply();
                Why why = { 0 };
                int k;

                packages[0].hash = (char *) cases[i].hash;
                k = omaha_offer(&r, OMAHA_HASH_METADATA_SHA384, &a, &why);
                assert((k >= 0) == cases[i].good && (k < 0 || strlen(a.metadata_sha384) == 96));
                assert(k >= 0 || (why.kind == WHY_TRUST && streq(why.code, "omaha-hash")));
                assert(omaha_offer(&r, OMAHA_HASH_IGNORE, &b, NULL) == 0 && !b.metadata_sha384[0]);
        }
        assert(omaha_hash_from_name("ignore") == OMAHA_HASH_IGNORE &&
               omaha_hash_from_name("metadata-sha384") == OMAHA_HASH_METADATA_SHA384);
        assert(omaha_hash_from_name("sha1") < 0 && omaha_hash_from_name(NULL) < 0);
}

static void test_contradictions(void)
{
        Offer o = { .by_omaha = true, .omaha_version = (char *) "3.0.5" };
        Release rel = { .version = (char *) "3.00.5", .cosi.size = 100 };
        Why why = { 0 };

        memset(rel.cosi.metadata_sha384, 'a', 96);
        assert(omaha_offer_check(&o, &rel, &why) == 0);
        o.cosi_size = 100;
        memset(o.metadata_sha384, 'a', 96);
        assert(omaha_offer_check(&o, &rel, &why) == 0 && why.kind == WHY_NONE);
        o.cosi_size = 101;
        assert(omaha_offer_check(&o, &rel, &why) < 0 && why.kind == WHY_TRUST);
        o.cosi_size = 0, o.metadata_sha384[5] = 'b';
        assert(omaha_offer_check(&o, &rel, NULL) < 0);
        o.metadata_sha384[0] = 0, rel.version = (char *) "3.0.6";
        assert(omaha_offer_check(&o, &rel, NULL) < 0);
        rel.version = (char *) "x";
        assert(omaha_offer_check(&o, &rel, NULL) < 0);
        o.by_omaha = false; /* somebody else's offer is none of its business */
        assert(omaha_offer_check(&o, &rel, NULL) == 0);
}

static void test_redact(void)
{
        char out[200];

        omaha_url_redact("https://user:pw@h:8000/v1/update/s3cret?x", out, sizeof(out));
        assert(streq(out, "https://h:8000/..."));
        omaha_url_redact("nonsense/s3cret", out, sizeof(out));
        assert(streq(out, "..."));
}

int main(void)
{
        test_version();
        test_machine_id();
        test_request();
        test_events();
        test_statuses();
        test_shapes();
        test_places();
        test_hashes();
        test_contradictions();
        test_redact();
        return 0;
}
