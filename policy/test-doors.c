/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "policy/policy.h"
#include "policy/zone.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static PolicyZone *utc;

static void add(Policy *p, const char *text)
{
        assert(policy_parse(text, strlen(text), "test", p, NULL) >= 0);
        for (size_t i = 0; i < p->n_windows; i++)
                p->windows[i].zone = utc;
}

static uint64_t at(const char *text)
{
        uint64_t t;

        if (!*text)
                return UINT64_MAX;
        assert(parse_time(text, &t) >= 0);
        return t;
}

#define MACHINE "0123456789abcdef0123456789abcdef"
#define ISSUED  "2026-11-04T06:00:00Z"
/* a Wednesday */
#define NOW "2026-11-04T12:00:00Z"

enum {
        UNATTENDED = 1,
        OVERRIDE = 2,
        NO_RELEASE = 4,
        NO_ISSUED = 8,
        NO_MACHINE = 16,
};

static PolicySubject subject(unsigned flags)
{
        return (PolicySubject){
                .version = flags & NO_RELEASE ? NULL : "3.0.2",
                .serial = 2,
                .issued = flags & NO_ISSUED ? 0 : at(ISSUED),
                .machine_id = flags & NO_MACHINE ? NULL : MACHINE,
                .unattended = flags & UNATTENDED,
                .override = flags & OVERRIDE,
        };
}

static const struct {
        const char *policy;
        PolicyDoor door;
        unsigned flags;
        PolicyAnswer answer;
        const char *until, *rule; /* "" for ever */
} cases[] = {
        { "{}", POLICY_FETCH, 0, POLICY_GO, "", NULL },
        /* a person is the automation */
        { "{\"automation\":\"check\"}", POLICY_FETCH, 0, POLICY_GO, "", NULL },
        { "{\"automation\":\"check\"}", POLICY_FETCH, UNATTENDED, POLICY_WAIT, "", "automation" },
        { "{}", POLICY_FETCH, UNATTENDED, POLICY_GO, "", NULL },
        { "{}", POLICY_FINALIZE, UNATTENDED, POLICY_WAIT, "", "automation" },
        { "{\"automation\":\"finalize\"}", POLICY_FINALIZE, UNATTENDED, POLICY_GO, "", NULL },
        { "{\"automation\":\"finalize\"}", POLICY_REBOOT, UNATTENDED, POLICY_WAIT, "", "automation" },
        { "{\"automation\":\"full\"}", POLICY_REBOOT, UNATTENDED, POLICY_GO, "", NULL },
        /* pin and skip: two doors, and no word passes them */
        { "{\"pin\":\"3.0.2\"}", POLICY_FETCH, 0, POLICY_GO, "", NULL },
        { "{\"pin\":\"3.0.1\"}", POLICY_FETCH, OVERRIDE, POLICY_NEVER, "", "pin" },
        { "{\"pin\":\"3.0.1\"}", POLICY_FINALIZE, 0, POLICY_NEVER, "", "pin" },
        { "{\"pin\":\"3.0.1\"}", POLICY_REBOOT, 0, POLICY_GO, "", NULL },
        { "{\"skip\":[\"3.0.2\"]}", POLICY_FETCH, OVERRIDE, POLICY_NEVER, "", "skip" },
        { "{\"skip\":[\"3.0.1\"]}", POLICY_FETCH, 0, POLICY_GO, "", NULL },
        /* hold: every door, until its end */
        { "{\"hold\":{}}", POLICY_FETCH, 0, POLICY_WAIT, "", "hold" },
        { "{\"hold\":{}}", POLICY_REBOOT, UNATTENDED | OVERRIDE, POLICY_WAIT, "", "automation" },
        { "{\"hold\":{}}", POLICY_REBOOT, OVERRIDE, POLICY_GO, "", NULL },
        { "{\"hold\":{\"until\":\"2026-11-05T00:00:00Z\"}}", POLICY_FINALIZE, 0, POLICY_WAIT,
          "2026-11-05T00:00:00Z", "hold" },
        { "{\"hold\":{\"until\":\"2026-11-04T12:00:00Z\"}}", POLICY_FINALIZE, 0, POLICY_GO, "", NULL },
        { "{\"hold\":{\"until\":\"2026-11-04T12:00:01Z\"}}", POLICY_REBOOT, 0, POLICY_WAIT,
          "2026-11-04T12:00:01Z", "hold" },
        /* asking is harmless; flipping is not, whatever it is called */
        { "{\"hold\":{}}", POLICY_FETCH, NO_RELEASE, POLICY_GO, "", NULL },
        { "{\"hold\":{}}", POLICY_FINALIZE, NO_RELEASE, POLICY_WAIT, "", "hold" },
        /* age counts from issued, to the second */
        { "{\"minimumAge\":\"6h\"}", POLICY_FETCH, 0, POLICY_GO, "", NULL },
        { "{\"minimumAge\":21601}", POLICY_FETCH, 0, POLICY_WAIT, "2026-11-04T12:00:01Z", "minimumAge" },
        { "{\"minimumAge\":21601}", POLICY_FETCH, OVERRIDE, POLICY_GO, "", NULL },
        { "{\"minimumAge\":21601}", POLICY_FINALIZE, 0, POLICY_GO, "", NULL },
        { "{\"minimumAge\":1}", POLICY_FETCH, NO_ISSUED, POLICY_WAIT, "", "minimumAge" },
        /* rollout: who cannot say who they are is the last, not left out of everybody's */
        { "{\"rollout\":{\"percent\":0}}", POLICY_FETCH, 0, POLICY_WAIT, "", "rollout" },
        { "{\"rollout\":{\"percent\":0}}", POLICY_FETCH, OVERRIDE, POLICY_GO, "", NULL },
        { "{\"rollout\":{\"percent\":99}}", POLICY_FETCH, NO_MACHINE, POLICY_WAIT, "", "rollout" },
        { "{\"rollout\":{\"percent\":100}}", POLICY_FETCH, NO_MACHINE, POLICY_GO, "", NULL },
        { "{\"rollout\":{\"ramp\":\"48h\"}}", POLICY_FETCH, NO_MACHINE, POLICY_WAIT, "2026-11-06T06:00:00Z",
          "rollout" },
        { "{\"rollout\":{\"ramp\":\"48h\"}}", POLICY_FETCH, NO_ISSUED, POLICY_WAIT, "", "rollout" },
        { "{\"rollout\":{\"percent\":0}}", POLICY_FINALIZE, 0, POLICY_GO, "", NULL },
        /* windows: not at fetch */
        { "{\"windows\":[{\"start\":\"22:00\",\"end\":\"04:00\"}]}", POLICY_FETCH, 0, POLICY_GO, "", NULL },
        { "{\"windows\":[{\"start\":\"22:00\",\"end\":\"04:00\"}]}", POLICY_FINALIZE, 0, POLICY_WAIT,
          "2026-11-04T22:00:00Z", "window" },
        { "{\"windows\":[{\"start\":\"22:00\",\"end\":\"04:00\"}]}", POLICY_REBOOT, OVERRIDE, POLICY_GO, "",
          NULL },
        { "{\"windows\":[{\"start\":\"12:00\",\"end\":\"12:01\"}]}", POLICY_REBOOT, 0, POLICY_GO, "", NULL },
        /* together: never before wait; the later wait speaks, and T is when both agree */
        { "{\"pin\":\"1\",\"hold\":{}}", POLICY_FETCH, 0, POLICY_NEVER, "", "pin" },
        { "{\"hold\":{\"until\":\"2026-11-06T05:00:00Z\"},\"windows\":[{\"start\":\"22:00\",\"end\":\"04:"
          "00\"}]}",
          POLICY_FINALIZE, 0, POLICY_WAIT, "2026-11-06T22:00:00Z", "hold" },
        { "{\"hold\":{\"until\":\"2026-11-06T03:00:00Z\"},\"windows\":[{\"start\":\"22:00\",\"end\":\"04:"
          "00\"}]}",
          POLICY_FINALIZE, 0, POLICY_WAIT, "2026-11-06T03:00:00Z", "hold" },
        { "{\"hold\":{\"until\":\"2026-11-04T13:00:00Z\"},\"windows\":[{\"days\":[\"sat\"],\"start\":\"22:"
          "00\","
          "\"end\":\"04:00\"}]}",
          POLICY_FINALIZE, 0, POLICY_WAIT, "2026-11-07T22:00:00Z", "window" },
        { "{\"hold\":{\"until\":\"2026-11-04T13:00:00Z\"},\"windows\":[{\"days\":[\"sat\"],\"start\":\"22:"
          "00\","
          "\"end\":\"04:00\"}]}",
          POLICY_FINALIZE, UNATTENDED, POLICY_WAIT, "", "automation" },
};

static void test_doors(void)
{
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
                PolicySubject s = subject(cases[i].flags);
                PolicyVerdict v;
                Why why = { 0 };

                add(&p, cases[i].policy);
                policy_ask(&p, cases[i].door, &s, at(NOW), &v);
                if (v.answer != cases[i].answer || !streq0(v.rule, cases[i].rule) ||
                    (v.answer == POLICY_WAIT && v.until != at(cases[i].until))) {
                        (void) fprintf(stderr, "%s at %s: %s by %s until %llu: %s\n", cases[i].policy,
                                       policy_door_name(cases[i].door), policy_answer_name(v.answer),
                                       v.rule ? v.rule : "-", (unsigned long long) v.until, v.because);
                        assert(false);
                }
                assert((v.answer == POLICY_GO) == !*v.because);
                if (v.answer == POLICY_GO) {
                        assert(policy_require(&p, cases[i].door, &s, at(NOW), NULL, &why) == 0);
                        continue;
                }
                assert(policy_require(&p, cases[i].door, &s, at(NOW), NULL, &why) == -EPERM);
                assert(why.kind == WHY_POLICY && streq(why.code, v.rule) && streq(why.text, v.because) &&
                       why.hint[0]);
                /* T is exact: a second earlier it does not go, then it does */
                if (v.answer == POLICY_WAIT && v.until != UINT64_MAX) {
                        PolicyVerdict then;

                        policy_ask(&p, cases[i].door, &s, v.until - 1, &then);
                        assert(then.answer == POLICY_WAIT && then.until == v.until);
                        policy_ask(&p, cases[i].door, &s, v.until, &then);
                        assert(then.answer == POLICY_GO);
                }
        }
}

/* Walking from change to change sees every change that a walk second by second would. */
static void test_next_change(void)
{
        static const char *const rules =
                "{\"automation\":\"full\",\"minimumAge\":\"6h30m\",\"rollout\":{\"ramp\":\"12h\"},"
                "\"hold\":{\"until\":\"2026-11-04T22:30:00Z\"},"
                "\"windows\":[{\"start\":\"22:00\",\"end\":\"23:00\"},"
                "{\"days\":[\"thu\"],\"start\":\"05:00\",\"end\":\"06:00\"}]}";
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT, empty = POLICY_DEFAULT;
        PolicySubject s = subject(UNATTENDED);
        uint64_t t = at(NOW), end = at("2026-11-06T00:00:00Z"), next;
        PolicyVerdict was[_POLICY_DOOR_MAX], v;
        unsigned changes = 0;

        add(&p, rules);
        next = policy_next_change(&p, &s, t);
        for (PolicyDoor d = 0; d < _POLICY_DOOR_MAX; d++)
                policy_ask(&p, d, &s, t, &was[d]);
        for (; t < end; t++) {
                if (t == next) {
                        next = policy_next_change(&p, &s, t);
                        changes++;
                        assert(next > t);
                        for (PolicyDoor d = 0; d < _POLICY_DOOR_MAX; d++)
                                policy_ask(&p, d, &s, t, &was[d]);
                }
                for (PolicyDoor d = 0; d < _POLICY_DOOR_MAX; d++) {
                        policy_ask(&p, d, &s, t, &v);
                        assert(v.answer == was[d].answer);
                        if (v.answer == POLICY_WAIT)
                                assert(v.until == was[d].until);
                }
        }
        assert(changes >= 7);
        assert(policy_next_change(&empty, &s, end) == UINT64_MAX);
}

static void test_override_is_told(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        _cleanup_(json_unrefp) Json *names = NULL;
        PolicySubject s = subject(OVERRIDE);
        unsigned overrode = 0;

        add(&p, "{\"hold\":{},\"minimumAge\":\"7h\",\"rollout\":{\"percent\":0},"
                "\"windows\":[{\"start\":\"22:00\",\"end\":\"04:00\"}]}");
        assert(policy_require(&p, POLICY_FETCH, &s, at(NOW), &overrode, NULL) == 0);
        names = policy_rules_json(overrode);
        assert(json_len(names) == 3 && streq(json_str(json_at(names, 0)), "hold") &&
               streq(json_str(json_at(names, 1)), "minimumAge") &&
               streq(json_str(json_at(names, 2)), "rollout"));
        assert(policy_require(&p, POLICY_FINALIZE, &s, at(NOW), &overrode, NULL) == 0);
        assert(overrode & 1u << POLICY_RULE_WINDOW);
        /* what needs no override is not said to have had one */
        overrode = 0;
        assert(policy_require(&p, POLICY_FINALIZE, &s, at("2026-11-04T23:00:00Z"), &overrode, NULL) == 0 &&
               overrode == 1u << POLICY_RULE_HOLD);
}

/* A file that was left out may have held the one rule that mattered. */
static void test_broken(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        PolicySubject agent = subject(UNATTENDED), person = subject(0);
        PolicyVerdict v;

        add(&p, "{\"automation\":\"full\"}");
        p.broken = strdup("/etc/gybe/policy.d/50.json: not JSON");
        for (PolicyDoor d = 0; d < _POLICY_DOOR_MAX; d++) {
                policy_ask(&p, d, &agent, at(NOW), &v);
                assert(v.answer == POLICY_WAIT && v.until == UINT64_MAX && streq(v.rule, "policy-file") &&
                       strstr(v.because, "50.json"));
                policy_ask(&p, d, &person, at(NOW), &v);
                assert(v.answer == POLICY_GO);
        }
}

/* Long words are cut, and not inside a character. */
static void test_long_words(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
        PolicySubject s = subject(0);
        PolicyVerdict v;
        Str text = STR_NULL;

        str_add(&text, "{\"hold\":{\"by\":\"");
        for (unsigned i = 0; i < 200; i++)
                str_add(&text, "\xe2\x82\xac");
        str_add(&text, "\",\"reason\":\"");
        for (unsigned i = 0; i < 200; i++)
                str_add(&text, "\xf0\x9f\x98\x80");
        str_add(&text, "\"}}");
        add(&p, text.text);
        str_done(&text);
        policy_ask(&p, POLICY_FETCH, &s, at(NOW), &v);
        assert(v.answer == POLICY_WAIT && strlen(v.because) > 400);
        /* the last character is whole: three bytes of "EUR" or four of a face */
        size_t n = strlen(v.because);
        assert(memcmp(v.because + n - 3, "\xe2\x82\xac", 3) == 0 ||
               memcmp(v.because + n - 4, "\xf0\x9f\x98\x80", 4) == 0);
}

int main(void)
{
        assert(policy_zone_utc("UTC", &utc) >= 0);
        test_doors();
        test_next_change();
        test_override_is_told();
        test_broken();
        test_long_words();
        (void) policy_zone_free(utc);
        return 0;
}
