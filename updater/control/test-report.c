/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "control/report.h"
#include "base/str.h"

#include <assert.h>
#include <stdio.h>

static const ReportHost host = { "af8ba09061c3480182397d274a819ba0", "node-1", "acl", "stable" };

static Json *event_of(const char *event, const char *update, const char *reason, const char *outcome)
{
        Json *e = json_new_object();

        json_set_str(e, "event", event);
        json_set_str(e, "updateId", update);
        json_set_str(e, "reason", reason);
        json_set_str(e, "outcome", outcome);
        return e;
}

static void test_which(void)
{
        static const struct {
                const char *event, *reason, *outcome, *expect; /* NULL: nobody is told */
                bool progress;
        } table[] = {
                { "staged", NULL, NULL, "staged", true },
                { "finalized", NULL, NULL, "finalized", true },
                { "committed", "target-booted", "committed", "committed", false },
                { "committed", "operator", "rolled-back", "rolled-back", false },
                { "health-failed", NULL, NULL, "rejected", false },
                { "finalize-refused", NULL, NULL, "rejected", false },
                { "stage-failed", NULL, "rejected", "rejected", false },
                { "stage-failed", NULL, NULL, NULL, false }, /* a network that failed is no outcome */
                { "recovered", "health-fallback", "rolled-back", "rolled-back", false },
                { "recovered", "target-booted", NULL, "recovered", true },
                { "recovered", "power-loss-retry", NULL, "recovered", false },
                { "recovered", "interrupted-stage", "rejected", "rejected", false },
                { "superseded", NULL, NULL, NULL, false },
                { "rollback-asked", NULL, NULL, NULL, false },
                { "anything-later", NULL, NULL, NULL, false },
                { NULL, NULL, NULL, NULL, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(json_unrefp) Json *e =
                        event_of(table[i].event, "u", table[i].reason, table[i].outcome);
                _cleanup_(report_done) Report r = { 0 };

                assert(report_make(e, &host, 1000, &r) == (table[i].expect ? 1 : 0));
                if (table[i].expect)
                        assert(streq0(json_get_str(r.document, "event"), table[i].expect) &&
                               r.progress == table[i].progress);
        }
}

static void id_of(const char *event, const char *update, const char *reason, const char *outcome,
                  uint64_t now, char id[REPORT_ID_SIZE])
{
        _cleanup_(json_unrefp) Json *e = event_of(event, update, reason, outcome);
        _cleanup_(report_done) Report r = { 0 };

        assert(report_make(e, &host, now, &r) == 1);
        memcpy(id, r.id, REPORT_ID_SIZE);
}

static void test_ids(void)
{
        char a[REPORT_ID_SIZE], b[REPORT_ID_SIZE];
        uint8_t uuid[16];

        /* the same outcome, written down twice */
        id_of("committed", "u1", "target-booted", "committed", 1000, a);
        id_of("committed", "u1", "target-booted", "committed", 2000, b);
        assert(streq(a, b) && uuid_parse_text(a, uuid) == 0 && a[14] == '8');
        id_of("committed", "u2", "target-booted", "committed", 1000, b);
        assert(!streq(a, b));
        id_of("recovered", "u1", "firmware-fallback", "rolled-back", 1000, b);
        assert(!streq(a, b));
        {
                /* a release that is refused each time it is looked at */
                _cleanup_(json_unrefp) Json *e = event_of("refused", NULL, NULL, NULL);
                _cleanup_(report_done) Report first = { 0 }, again = { 0 };

                json_set_str(e, "release", "abc");
                assert(report_make(e, &host, 1, &first) == 1 && report_make(e, &host, 2, &again) == 1);
                assert(streq(first.id, again.id) && streq0(json_get_str(again.document, "release"), "abc"));
        }
        /* what may happen again is another report */
        id_of("recovered", "u1", "never-rebooted", NULL, 1000, a);
        id_of("recovered", "u1", "never-rebooted", NULL, 2000, b);
        assert(!streq(a, b));
        id_of("recovered", NULL, "reimaged", "rolled-back", 1000, a);
        id_of("recovered", NULL, "reimaged", "rolled-back", 2000, b);
        assert(!streq(a, b));
}

static void test_content(void)
{
        _cleanup_(json_unrefp) Json *e = event_of("recovered", "u1", "health-fallback", "rolled-back");
        _cleanup_(report_done) Report r = { 0 };
        _cleanup_(free_charp) char *text = NULL, *message = malloc(5000);
        const char *got;

        assert(message);
        for (size_t i = 0; i + 1 < 5000; i += 2)
                memcpy(message + i, "\xc3\xa4", 2);
        message[4998] = 0;
        json_set_str(e, "message", message);
        json_set_str(e, "health", "everything that a check printed");
        json_set_u64(e, "serial", 7);
        json_set_bool(e, "quarantined", true);
        assert(report_make(e, &host, 1793772000, &r) == 1);
        text = json_format(r.document, false);
        assert(text && strlen(text) < 4096 && !strstr(text, "printed"));
        assert(strstr(text, "\"at\":\"2026-11-04T06:00:00Z\"") && strstr(text, "\"serial\":7") &&
               strstr(text, "\"quarantined\":true") && strstr(text, "\"name\":\"node-1\""));
        got = json_get_str(r.document, "message");
        assert(strlen(got) == 1024); /* an even number of whole characters */
        message[1025] = 0;           /* and where the cut would be in the middle of one */
        memmove(message + 1, message, 1026);
        message[0] = 'x';
        json_set_str(e, "message", message);
        report_done(&r);
        assert(report_make(e, &host, 1793772000, &r) == 1);
        assert(strlen(json_get_str(r.document, "message")) == 1023);
}

static void test_verdicts(void)
{
        static const struct {
                unsigned status;
                ReportVerdict verdict;
        } table[] = {
                { 200, REPORT_DELIVERED }, { 204, REPORT_DELIVERED }, { 299, REPORT_DELIVERED },
                { 301, REPORT_LATER },     { 400, REPORT_REJECTED },  { 401, REPORT_LATER },
                { 403, REPORT_LATER },     { 404, REPORT_REJECTED },  { 408, REPORT_LATER },
                { 409, REPORT_REJECTED },  { 422, REPORT_REJECTED },  { 425, REPORT_LATER },
                { 429, REPORT_LATER },     { 499, REPORT_REJECTED },  { 500, REPORT_LATER },
                { 503, REPORT_LATER },     { 999, REPORT_LATER },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                assert(report_judge(table[i].status) == table[i].verdict);
}

int main(void)
{
        test_which();
        test_ids();
        test_content();
        test_verdicts();
        return 0;
}
