/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "policy/policy.h"
#include "policy/zone.h"

#include <assert.h>
#include <stdio.h>

static PolicyZone *utc;

static void add(Policy *p, const char *what, const char *text)
{
        assert(policy_parse(text, strlen(text), what, p, NULL) >= 0);
        for (size_t i = 0; i < p->n_windows; i++)
                p->windows[i].zone = utc;
}

static uint64_t at(const char *text)
{
        uint64_t t;

        assert(parse_time(text, &t) >= 0);
        return t;
}

static const Json *rule(const Json *e, const char *name)
{
        json_foreach (r, json_get(e, "rules")) {
                if (streq0(json_get_str(r, "rule"), name))
                        return r;
        }
        return NULL;
}

static bool says(const Json *object, const char *key, const char *value)
{
        if (!streq0(json_get_str(object, key), value)) {
                (void) fprintf(stderr, "%s: %s, not %s\n", key,
                               json_get_str(object, key) ? json_get_str(object, key) : "-",
                               value ? value : "-");
                return false;
        }
        return true;
}

static Json *explain(Policy *p, bool unattended)
{
        PolicySubject s = { .version = "3.0.2",
                            .serial = 2,
                            .issued = at("2026-11-04T06:00:00Z"),
                            .machine_id = "0123456789abcdef0123456789abcdef",
                            .unattended = unattended };

        add(p, "/usr/lib/gybe/policy.d/50-fleet.json",
            "{\"automation\":\"finalize\",\"soak\":\"90s\",\"rollout\":{\"percent\":100,\"ramp\":\"48h\"},"
            "\"minimumAge\":\"1d\","
            "\"windows\":[{\"days\":[\"sat\",\"sun\"],\"start\":\"22:00\",\"end\":\"04:00\",\"timezone\":"
            "\"Etc/UTC\"}],\"zebra\":1}");
        add(p, "/etc/gybe/policy.d/90-operator.json",
            "{\"hold\":{\"until\":\"2026-11-06T00:00:00Z\",\"by\":\"ops\",\"reason\":\"release "
            "party\"},\"skip\":[\"2.9\"]}");
        return policy_explain(p, &s, at("2026-11-04T12:00:00Z"));
}

static void test_document(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        _cleanup_(json_unrefp) Json *e = explain(&p, true);
        const Json *r, *d;

        assert(says(e, "schema", "gybe.policy/1") && says(e, "at", "2026-11-04T12:00:00Z"));
        assert(json_len(json_get(e, "rules")) == _POLICY_RULE_MAX && json_len(json_get(e, "files")) == 2);
        r = rule(e, "hold");
        assert(says(r, "verdict", "wait") && says(r, "until", "2026-11-06T00:00:00Z") &&
               says(r, "changes", "2026-11-06T00:00:00Z") &&
               says(r, "source", "/etc/gybe/policy.d/90-operator.json") &&
               says(json_get(r, "value"), "by", "ops") &&
               says(r, "because",
                    "3.0.2: updates are held until 2026-11-06T00:00:00Z by ops: release party"));
        r = rule(e, "automation");
        assert(says(r, "verdict", "wait") && says(r, "value", "finalize") &&
               says(json_get(r, "doors"), "finalize", "go") && says(json_get(r, "doors"), "reboot", "wait") &&
               says(r, "because", "3.0.2: automation is \"finalize\": a person has to say reboot"));
        r = rule(e, "minimumAge");
        assert(says(r, "verdict", "wait") && says(r, "changes", "2026-11-05T06:00:00Z") &&
               says(r, "value", "1d"));
        r = rule(e, "window");
        assert(says(r, "verdict", "wait") && says(r, "changes", "2026-11-07T22:00:00Z") &&
               says(r, "source", "/usr/lib/gybe/policy.d/50-fleet.json"));
        assert(says(rule(e, "pin"), "source", "default") && says(rule(e, "pin"), "verdict", "go"));
        d = json_get(json_get(e, "doors"), "finalize");
        assert(says(d, "answer", "wait") && says(d, "rule", "window") &&
               says(d, "until", "2026-11-07T22:00:00Z"));
        assert(says(json_get(json_get(e, "doors"), "fetch"), "rule", "hold"));
        assert(says(json_get(json_get(e, "fields"), "soak"), "value", "1m30s") &&
               says(json_get(json_get(e, "fields"), "soak"), "source",
                    "/usr/lib/gybe/policy.d/50-fleet.json") &&
               says(json_get(json_get(e, "fields"), "deadline"), "source", "default"));
        assert(json_len(json_get(e, "problems")) == 1);
        /* the ramp's turn may come first; nothing comes before that, the age, or the hold's end */
        assert(parse_time(json_get_str(e, "nextChange"), &(uint64_t){ 0 }) >= 0);
}

static void test_person(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        _cleanup_(json_unrefp) Json *e = explain(&p, false);

        assert(says(rule(e, "automation"), "verdict", "go") &&
               json_members(json_get(rule(e, "automation"), "doors")) == 0);
}

/* No line is wider than a terminal, whatever stands in the rules. */
static void check_width(const char *text)
{
        size_t n = 0;

        for (; *text; text++) {
                if (*text == '\n') {
                        n = 0;
                        continue;
                }
                n += ((unsigned char) *text & 0xc0) != 0x80;
                assert(n <= 80);
        }
}

static void test_text(void)
{
        static const char want[] =
                " At 2026-11-04T12:00:00Z, about 3.0.2\n"
                "\n"
                " NOW   RULE        VALUE                       CHANGES           FROM\n"
                " go    policy-file all files were read         -\n"
                " wait  automation  finalize                    -                 usr/50-fleet\n"
                " go    pin         -                           -                 default\n"
                " go    skip        2.9                         -                 etc/90-operator\n"
                " wait  hold        by ops: release party       2026-11-06 00:00Z etc/90-operator\n"
                " wait  minimumAge  1d                          2026-11-05 06:00Z usr/50-fleet\n"
                " wait  rollout     100 % over 2d               2026-11-04 13:21Z usr/50-fleet\n"
                " wait  window      sat,sun 22:00-04:00 UTC     2026-11-07 22:00Z usr/50-fleet\n"
                "\n"
                " fetch     wait until 2026-11-06T00:00:00Z: 3.0.2: updates are held until\n"
                "           2026-11-06T00:00:00Z by ops: release party\n"
                " finalize  wait until 2026-11-07T22:00:00Z: 3.0.2: the host's maintenance window\n"
                "           opens at 2026-11-07T22:00:00Z\n"
                " reboot    wait: 3.0.2: automation is \"finalize\": a person has to say reboot\n"
                "\n"
                " Next change: 2026-11-04T13:21:41Z\n"
                " ! /usr/lib/gybe/policy.d/50-fleet.json: zebra: not known to gybe";
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        _cleanup_(json_unrefp) Json *e = explain(&p, true);
        _cleanup_(free_charp) char *text = policy_explain_text(e);

        check_width(text);
        if (!str_starts(text, want))
                (void) fputs(text, stderr);
        assert(str_starts(text, want));
}

static void test_odd_rules(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT, empty = POLICY_DEFAULT;
        PolicySubject s = { .unattended = true };
        _cleanup_(json_unrefp) Json *e = NULL, *none = NULL;
        _cleanup_(free_charp) char *text = NULL, *no_text = NULL;

        add(&p, "/run/gybe/policy.d/a-file-with-a-very-long-name-indeed.json",
            "{\"skip\":[\"a\",\"b\",\"c\","
            "\"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\"],"
            "\"hold\":{\"reason\":\"Überraschend lange Begründung, für die es gute Gründe gibt, "
            "ÄÖÜäöüß\"},\"rollout\":{\"percent\":0},"
            "\"windows\":[{\"start\":\"00:00\",\"end\":\"24:00\"},{\"start\":\"05:00\",\"end\":\"05:00\"}]}");
        p.windows[0].zone = NULL;
        p.broken = strdup("/etc/gybe/policy.d/"
                          "aVeryLongNameWithoutAnyBlankInItWhichNobodyWouldWriteButSomebodyMayGenerate."
                          "json: not a JSON object");
        e = policy_explain(&p, &s, 1790000000);
        text = policy_explain_text(e);
        assert(text && strstr(text, "a file was left out") && strstr(text, "held") == NULL);
        none = policy_explain(&empty, &s, 0);
        no_text = policy_explain_text(none);
        check_width(no_text);
        assert(strstr(no_text, "all files were read"));
}

int main(void)
{
        assert(policy_zone_utc("UTC", &utc) >= 0);
        test_document();
        test_person();
        test_text();
        test_odd_rules();
        (void) policy_zone_free(utc);
        return 0;
}
