/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "control/schedule.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define V1  "1111111111111111111111111111111111111111111111111111111111111111"
#define V2  "2222222222222222222222222222222222222222222222222222222222222222"
#define V3  "3333333333333333333333333333333333333333333333333333333333333333"
#define UKI "4444444444444444444444444444444444444444444444444444444444444444"

#define FULL     "\"automation\":\"full\""
#define FINALIZE "\"automation\":\"finalize\""
#define HOUR     UINT64_C(3600)
#define NEVER    UINT64_MAX

static const Env *env;
static uint64_t noon; /* of a Saturday */

/* --- one situation, in words --- */

typedef enum Offered { NOTHING, OFFERS_V2, OFFERS_V3 } Offered;
typedef enum State {
        UNKNOWN,
        IDLE,
        STAGED_V2,
        FINALIZED_V2,
        TRIAL,
        GIVEN_UP,
        ROLLBACK_STAGED,
        ROLLBACK_ARMED
} State;

typedef struct Case {
        const char *what;
        const char *policy; /* members of the object */
        State state;
        Offered offered;
        /* more, where it matters */
        bool no_source, problem, quarantined, refused, no_reboot;
        unsigned stage_failures, finalize_failures, check_failures, reboot_asks;
        RetryKind kind;
        uint64_t failed_ago; /* of all of the above */
        const char *blocked_by;
        uint64_t unlock_in, deliver_in; /* seconds plus one; 0: nothing to do */
        uint64_t checked_ago;           /* 0: just now */

        Action due;
        Action headline;
        const char *rule;     /* of the headline */
        uint64_t headline_in; /* seconds; NEVER: not by itself */
} Case;

static void set_rules(const char *members)
{
        _cleanup_(free_charp) char *text = str_printf("{%s}", members ? members : FULL);
        _cleanup_(close_fdp) int fd = env_make_dir(env, "/etc/gybe/policy.d", 0755);

        assert(text && fd >= 0 && file_replace(fd, "10-test.json", text, strlen(text), 0644) >= 0);
}

static void set_facts(const Case *c, ScheduleFacts *f)
{
        *f = (ScheduleFacts){
                .status_known = c->state != UNKNOWN,
                .running_roothash = V1,
                .running_serial = 1,
                .machine_id = "0123456789abcdef0123456789abcdef",
                .offer_quarantined = c->quarantined ? "health-fallback" : NULL,
                .has_source = !c->no_source,
                .interval = HOUR,
                .problem = c->problem ? "gybe.json: product is not set" : NULL,
                .no_reboot = c->no_reboot,
                .unlock_at = c->unlock_in ? noon + c->unlock_in - 1 : NEVER,
                .deliver_at = c->deliver_in ? noon + c->deliver_in - 1 : NEVER,
                .started_at = noon - 2 * HOUR,
                .seed = 0,
        };
        switch (c->state) {
        case STAGED_V2:
        case ROLLBACK_STAGED:
                f->phase = PHASE_STAGED;
                break;
        case FINALIZED_V2:
        case ROLLBACK_ARMED:
                f->phase = PHASE_FINALIZED;
                break;
        case TRIAL:
        case GIVEN_UP:
                f->phase = PHASE_PROBATION;
                f->given_up = c->state == GIVEN_UP;
                break;
        default:
                f->phase = PHASE_IDLE;
                return;
        }
        f->rollback = c->state == ROLLBACK_STAGED || c->state == ROLLBACK_ARMED;
        f->update_id = "u2";
        f->version = "3.0.2";
        f->roothash = V2;
        f->serial = 2;
        f->issued = noon - 24 * HOUR;
        if (c->reboot_asks) {
                Journal j = { .reboot_asks = c->reboot_asks,
                              .reboot_asked_at = noon - c->failed_ago,
                              .reboot_blocked = (char *) c->blocked_by };
                RebootWait wait;

                reboot_wait(&j, noon, &wait);
                f->reboot_asks = c->reboot_asks;
                f->reboot_again_at = wait.again_at;
                f->reboot_never = wait.never;
                f->reboot_blocked = c->blocked_by;
        }
}

static void set_retry(Memory *m, Action a, unsigned failures, const Case *c)
{
        m->retry[a] = (Retry){ .kind = failures ? c->kind : RETRY_NONE,
                               .failures = failures,
                               .last = noon - c->failed_ago,
                               .text = "it did not work" };
}

static void set_memory(const Case *c, Memory *m)
{
        *m = (Memory){ .last_check = noon - (c->checked_ago ? c->checked_ago : 60) };
        if (c->offered != NOTHING) {
                m->offer.version = strdup(c->offered == OFFERS_V2 ? "3.0.2" : "3.0.3");
                m->offer.serial = c->offered == OFFERS_V2 ? 2 : 3;
                m->offer.issued = noon - HOUR;
                (void) strcpy(m->offer.roothash, c->offered == OFFERS_V2 ? V2 : V3);
                (void) strcpy(m->offer.uki_sha256, UKI);
        }
        if (c->refused)
                (void) strcpy(m->refused, m->offer.roothash);
        set_retry(m, ACTION_STAGE, c->stage_failures, c);
        set_retry(m, ACTION_FINALIZE, c->finalize_failures, c);
        set_retry(m, ACTION_CHECK, c->check_failures, c);
}

static void walk(const Case *cases, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                const Case *c = &cases[i];
                _cleanup_(policy_done) Policy policy = { 0 };
                ScheduleFacts f;
                Memory m;
                Schedule s;
                const ScheduleItem *h;

                set_rules(c->policy);
                assert(policy_load(env, &policy, NULL) >= 0);
                set_facts(c, &f);
                set_memory(c, &m);
                schedule_plan(&f, &policy, &m, noon, &s);
                h = &s.items[s.headline];
                if (s.due != c->due || s.headline != c->headline || !streq0(h->rule, c->rule) ||
                    h->at != (c->headline_in == NEVER ? NEVER : noon + c->headline_in)) {
                        (void) fprintf(stderr, "%s: due %s, headline %s, rule %s, in %lld: %s\n", c->what,
                                       action_name(s.due), action_name(s.headline), h->rule ? h->rule : "-",
                                       h->at == NEVER ? -1 : (long long) (h->at - noon), h->because);
                        assert(false);
                }
                /* Whatever is told has a sentence, and what is due is not in the future. */
                assert(c->headline == ACTION_NONE || h->because[0]);
                assert(s.wake > noon);
                memory_done(&m);
        }
}

static void test_actions(void)
{
        static const Case cases[] = {
                { "nobody has looked yet", .state = UNKNOWN, .due = ACTION_LOOK, .headline = ACTION_LOOK },
                { "up to date", .state = IDLE, .headline = ACTION_CHECK, .headline_in = HOUR },
                { "time to ask", .state = IDLE, .checked_ago = 2 * HOUR, .due = ACTION_CHECK,
                  .headline = ACTION_CHECK, .headline_in = (uint64_t) -HOUR },
                { "no source", .state = IDLE, .no_source = true, .headline = ACTION_NONE,
                  .headline_in = NEVER },
                { "an offer", .state = IDLE, .offered = OFFERS_V2, .due = ACTION_STAGE,
                  .headline = ACTION_STAGE },
                { "ask before taking: a newer one may be there", .state = IDLE, .offered = OFFERS_V2,
                  .checked_ago = 2 * HOUR, .due = ACTION_CHECK, .headline = ACTION_STAGE },
                { "staged", .state = STAGED_V2, .offered = OFFERS_V2, .due = ACTION_FINALIZE,
                  .headline = ACTION_FINALIZE },
                { "staged, and the check is due too: the window may close", .state = STAGED_V2,
                  .offered = OFFERS_V2, .checked_ago = 2 * HOUR, .due = ACTION_FINALIZE,
                  .headline = ACTION_FINALIZE },
                { "staged, and a newer one is offered", .state = STAGED_V2, .offered = OFFERS_V3,
                  .due = ACTION_STAGE, .headline = ACTION_STAGE },
                { "finalized", .state = FINALIZED_V2, .offered = OFFERS_V2, .due = ACTION_REBOOT,
                  .headline = ACTION_REBOOT },
                { "finalized, and a newer one is offered: a person's word only", .state = FINALIZED_V2,
                  .offered = OFFERS_V3, .due = ACTION_REBOOT, .headline = ACTION_REBOOT },
                { "finalized, and it would be time to ask", .state = FINALIZED_V2, .checked_ago = 9 * HOUR,
                  .reboot_asks = 1, .headline = ACTION_REBOOT, .rule = "retry", .headline_in = 900 },
                { "on trial: nothing", .state = TRIAL, .offered = OFFERS_V3, .checked_ago = 9 * HOUR,
                  .unlock_in = 1, .deliver_in = 1, .headline = ACTION_COMMIT, .headline_in = NEVER },
                { "given up: back", .state = GIVEN_UP, .due = ACTION_REBOOT, .headline = ACTION_REBOOT },
                { "given up, but whoever did it reboots", .state = GIVEN_UP, .no_reboot = true,
                  .headline = ACTION_REBOOT, .rule = "no-reboot", .headline_in = NEVER },
                { "a rollback that was interrupted is its operator's", .state = ROLLBACK_STAGED,
                  .offered = OFFERS_V3, .headline = ACTION_FINALIZE, .headline_in = NEVER },
                { "what runs is offered", .state = IDLE, .offered = NOTHING, .headline = ACTION_CHECK,
                  .headline_in = HOUR },
                { "reports go out, and the plan is told", .state = STAGED_V2, .policy = "", .deliver_in = 1,
                  .due = ACTION_DELIVER, .headline = ACTION_FINALIZE, .rule = "automation",
                  .headline_in = NEVER },
                { "others wait for the lock", .state = IDLE, .offered = OFFERS_V2, .unlock_in = 1,
                  .deliver_in = 1, .due = ACTION_UNLOCK, .headline = ACTION_STAGE },
                { "not yet", .state = IDLE, .unlock_in = 31, .headline = ACTION_CHECK, .headline_in = HOUR },
                { "the configuration is broken", .state = IDLE, .offered = OFFERS_V2, .problem = true,
                  .headline = ACTION_STAGE, .rule = "config", .headline_in = NEVER },
                { "the configuration is broken after the flip", .state = FINALIZED_V2, .problem = true,
                  .due = ACTION_REBOOT, .headline = ACTION_REBOOT },
        };

        walk(cases, ELEMENTSOF(cases));
}

static void test_rules(void)
{
        static const Case cases[] = {
                { "automation check: a person has to fetch", .policy = "\"automation\":\"check\"",
                  .state = IDLE, .offered = OFFERS_V2, .headline = ACTION_STAGE, .rule = "automation",
                  .headline_in = NEVER },
                { "automation stage", .policy = "\"automation\":\"stage\"", .state = IDLE,
                  .offered = OFFERS_V2, .due = ACTION_STAGE, .headline = ACTION_STAGE },
                { "automation stage: a person has to finalize", .policy = "\"automation\":\"stage\"",
                  .state = STAGED_V2, .headline = ACTION_FINALIZE, .rule = "automation",
                  .headline_in = NEVER },
                { "automation stage: a newer one all the same", .policy = "\"automation\":\"stage\"",
                  .state = STAGED_V2, .offered = OFFERS_V3, .due = ACTION_STAGE, .headline = ACTION_STAGE },
                { "automation finalize: a person has to reboot", .policy = FINALIZE, .state = FINALIZED_V2,
                  .headline = ACTION_REBOOT, .rule = "automation", .headline_in = NEVER },
                { "... but a reboot that somebody asked for is asked for again", .policy = FINALIZE,
                  .state = FINALIZED_V2, .reboot_asks = 1, .failed_ago = 1000, .due = ACTION_REBOOT,
                  .headline = ACTION_REBOOT, .rule = "retry" },
                { "held: nothing is fetched", .policy = FULL ",\"hold\":{\"reason\":\"audit\"}",
                  .state = IDLE, .offered = OFFERS_V2, .headline = ACTION_STAGE, .rule = "hold",
                  .headline_in = NEVER },
                { "held: the source is asked", .policy = FULL ",\"hold\":{}", .state = IDLE,
                  .checked_ago = 2 * HOUR, .due = ACTION_CHECK, .headline = ACTION_CHECK,
                  .headline_in = (uint64_t) -HOUR },
                { "held for an hour", .policy = FULL ",\"hold\":{\"until\":\"2026-11-21T13:00:00Z\"}",
                  .state = STAGED_V2, .headline = ACTION_FINALIZE, .rule = "hold", .headline_in = HOUR },
                { "held: no reboot either", .policy = FULL ",\"hold\":{}", .state = FINALIZED_V2,
                  .headline = ACTION_REBOOT, .rule = "hold", .headline_in = NEVER },
                { "held: the way back is open", .policy = FULL ",\"hold\":{}", .state = ROLLBACK_ARMED,
                  .due = ACTION_REBOOT, .headline = ACTION_REBOOT },
                { "pinned elsewhere", .policy = FULL ",\"pin\":\"3.0.1\"", .state = IDLE,
                  .offered = OFFERS_V2, .headline = ACTION_STAGE, .rule = "pin", .headline_in = NEVER },
                { "pinned to what runs: said, and asked for it only", .policy = FULL ",\"pin\":\"3.0.1\"",
                  .state = IDLE, .headline = ACTION_CHECK, .rule = "pin", .headline_in = HOUR },
                { "pinned to it", .policy = FULL ",\"pin\":\"3.0.2\"", .state = IDLE, .offered = OFFERS_V2,
                  .due = ACTION_STAGE, .headline = ACTION_STAGE },
                { "skipped while staged", .policy = FULL ",\"skip\":[\"3.0.2\"]", .state = STAGED_V2,
                  .headline = ACTION_FINALIZE, .rule = "skip", .headline_in = NEVER },
                { "skipped while staged, and another is offered", .policy = FULL ",\"skip\":[\"3.0.2\"]",
                  .state = STAGED_V2, .offered = OFFERS_V3, .due = ACTION_STAGE, .headline = ACTION_STAGE },
                { "a newer one that must wait keeps the staged one from nothing",
                  .policy = FULL ",\"skip\":[\"3.0.3\"]", .state = STAGED_V2, .offered = OFFERS_V3,
                  .due = ACTION_FINALIZE, .headline = ACTION_FINALIZE },
                { "too young", .policy = FULL ",\"minimumAge\":\"2h\"", .state = IDLE, .offered = OFFERS_V2,
                  .headline = ACTION_STAGE, .rule = "minimumAge", .headline_in = HOUR },
                { "the window opens at night",
                  .policy = FULL ",\"windows\":[{\"days\":[\"sat\"],\"start\":\"22:00\",\"end\":\"23:00\","
                                 "\"timezone\":\"UTC\"}]",
                  .state = STAGED_V2, .headline = ACTION_FINALIZE, .rule = "window",
                  .headline_in = 10 * HOUR },
                { "the window does not keep it from staging",
                  .policy = FULL ",\"windows\":[{\"days\":[\"sun\"],\"start\":\"22:00\",\"end\":\"23:00\","
                                 "\"timezone\":\"UTC\"}]",
                  .state = IDLE, .offered = OFFERS_V2, .due = ACTION_STAGE, .headline = ACTION_STAGE },
                { "finalized in the window, which closed before the reboot",
                  .policy = FULL ",\"windows\":[{\"days\":[\"sat\"],\"start\":\"10:00\",\"end\":\"12:00\","
                                 "\"timezone\":\"UTC\"}]",
                  .state = FINALIZED_V2, .headline = ACTION_REBOOT, .rule = "window",
                  .headline_in = 166 * HOUR },
                { "kured decides", .policy = FULL ",\"reboot\":{\"coordinator\":\"kured\"}",
                  .state = FINALIZED_V2, .headline = ACTION_REBOOT, .rule = "coordinator",
                  .headline_in = NEVER },
                { "whoever finalized wants to reboot himself", .state = FINALIZED_V2, .no_reboot = true,
                  .headline = ACTION_REBOOT, .rule = "no-reboot", .headline_in = NEVER },
                { "a broken drop-in", .policy = FULL ",\"windows\":7", .state = IDLE, .offered = OFFERS_V2,
                  .headline = ACTION_STAGE, .rule = "policy-file", .headline_in = NEVER },
        };

        walk(cases, ELEMENTSOF(cases));
}

static void test_failures(void)
{
        static const Case cases[] = {
                { "quarantined: never", .state = IDLE, .offered = OFFERS_V2, .quarantined = true,
                  .headline = ACTION_STAGE, .rule = "quarantine", .headline_in = NEVER },
                { "quarantined while another is staged: that one", .state = STAGED_V2, .offered = OFFERS_V3,
                  .quarantined = true, .due = ACTION_FINALIZE, .headline = ACTION_FINALIZE },
                { "refused by trust: not before something else is offered", .state = IDLE,
                  .offered = OFFERS_V2, .refused = true, .headline = ACTION_STAGE, .rule = "trust",
                  .headline_in = NEVER },
                { "network, once", .state = IDLE, .offered = OFFERS_V2, .stage_failures = 1,
                  .kind = RETRY_NETWORK, .headline = ACTION_STAGE, .rule = "retry", .headline_in = 60 },
                { "network, the pause is over", .state = IDLE, .offered = OFFERS_V2, .stage_failures = 1,
                  .kind = RETRY_NETWORK, .failed_ago = 60, .due = ACTION_STAGE, .headline = ACTION_STAGE },
                { "network, four times", .state = IDLE, .offered = OFFERS_V2, .stage_failures = 4,
                  .kind = RETRY_NETWORK, .headline = ACTION_STAGE, .rule = "retry", .headline_in = 480 },
                { "network, for days: an hour at most", .state = IDLE, .offered = OFFERS_V2,
                  .stage_failures = 60, .kind = RETRY_NETWORK, .headline = ACTION_STAGE, .rule = "retry",
                  .headline_in = HOUR },
                { "killed: soon", .state = IDLE, .offered = OFFERS_V2, .stage_failures = 1,
                  .kind = RETRY_VANISHED, .headline = ACTION_STAGE, .rule = "retry", .headline_in = 5 },
                { "a broken container: somebody may upload it again", .state = IDLE, .offered = OFFERS_V2,
                  .stage_failures = 1, .kind = RETRY_IMAGE, .headline = ACTION_STAGE, .rule = "retry",
                  .headline_in = HOUR },
                { "a disk that is full", .state = IDLE, .offered = OFFERS_V2, .stage_failures = 2,
                  .kind = RETRY_HOST, .headline = ACTION_STAGE, .rule = "retry", .headline_in = 600 },
                { "finalize was killed", .state = STAGED_V2, .finalize_failures = 1, .kind = RETRY_VANISHED,
                  .headline = ACTION_FINALIZE, .rule = "retry", .headline_in = 5 },
                { "finalize waits in vain for the reboot lock", .state = STAGED_V2, .finalize_failures = 1,
                  .kind = RETRY_RULE, .headline = ACTION_FINALIZE, .rule = "retry", .headline_in = 300 },
                { "the door says more than the pause",
                  .policy = FULL ",\"hold\":{\"until\":\"2026-11-21T13:00:00Z\"}", .state = STAGED_V2,
                  .finalize_failures = 1, .kind = RETRY_HOST, .headline = ACTION_FINALIZE, .rule = "hold",
                  .headline_in = HOUR },
                { "a check that failed is tried again before its time", .state = IDLE, .check_failures = 2,
                  .kind = RETRY_NETWORK, .headline = ACTION_CHECK, .rule = "retry", .headline_in = 120 },
                { "... but not after it", .state = IDLE, .check_failures = 9, .kind = RETRY_HOST,
                  .headline = ACTION_CHECK, .rule = "retry", .headline_in = HOUR },
                { "a feed that nobody may believe is asked at its time", .state = IDLE, .check_failures = 1,
                  .kind = RETRY_TRUST, .headline = ACTION_CHECK, .rule = "retry", .headline_in = HOUR },
        };

        walk(cases, ELEMENTSOF(cases));
}

static void test_reboots(void)
{
        static const Case cases[] = {
                { "asked a moment ago", .state = FINALIZED_V2, .reboot_asks = 1, .headline = ACTION_REBOOT,
                  .rule = "retry", .headline_in = 900 },
                { "asked a quarter of an hour ago", .state = FINALIZED_V2, .reboot_asks = 1,
                  .failed_ago = 900, .due = ACTION_REBOOT, .headline = ACTION_REBOOT, .rule = "retry" },
                { "each time with twice the patience", .state = FINALIZED_V2, .reboot_asks = 3,
                  .headline = ACTION_REBOOT, .rule = "retry", .headline_in = 3600 },
                { "then slowly", .state = FINALIZED_V2, .reboot_asks = 6, .headline = ACTION_REBOOT,
                  .rule = "retry", .headline_in = 6 * HOUR },
                { "also after a month", .state = FINALIZED_V2, .reboot_asks = 64, .headline = ACTION_REBOOT,
                  .rule = "retry", .headline_in = 6 * HOUR },
                { "inhibited", .state = FINALIZED_V2, .reboot_asks = 4, .blocked_by = "a backup inhibits it",
                  .headline = ACTION_REBOOT, .rule = "retry", .headline_in = 900 },
                { "a verdict against a trial: at once, whatever the flip was asked for", .state = GIVEN_UP,
                  .due = ACTION_REBOOT, .headline = ACTION_REBOOT },
                { "a verdict against a trial, and the machine stays", .state = GIVEN_UP, .reboot_asks = 1,
                  .failed_ago = 900, .due = ACTION_REBOOT, .headline = ACTION_REBOOT, .rule = "retry" },
                { "asked in the window, which is closed now",
                  .policy = FULL ",\"windows\":[{\"days\":[\"sat\"],\"start\":\"10:00\",\"end\":\"12:00\","
                                 "\"timezone\":\"UTC\"}]",
                  .state = FINALIZED_V2, .reboot_asks = 1, .failed_ago = 300, .headline = ACTION_REBOOT,
                  .rule = "window", .headline_in = 166 * HOUR },
        };

        walk(cases, ELEMENTSOF(cases));
}

/* --- when the source is asked --- */

static void test_check_times(void)
{
        ScheduleFacts f = { .interval = HOUR, .started_at = noon };
        Memory m = { 0 };
        unsigned tenths[10] = { 0 };

        /* The first one soon, but not all at once. */
        for (unsigned i = 0; i < 1000; i++) {
                char id[33];
                uint64_t at;

                (void) snprintf(id, sizeof(id), "%032x", i);
                f.seed = schedule_seed(id);
                assert(f.seed == schedule_seed(id));
                m.last_check = 0;
                at = schedule_check_at(&f, &m, noon);
                assert(at >= noon && at <= noon + 300);
                /* Then each machine at its own place in every hour. */
                m.last_check = noon;
                at = schedule_check_at(&f, &m, noon);
                assert(at > noon + HOUR / 2 - 1 && at <= noon + HOUR + HOUR / 2);
                assert(at % HOUR == f.seed % HOUR);
                tenths[at % HOUR / 360]++;
                m.last_check = at;
                assert(schedule_check_at(&f, &m, at) == at + HOUR);
                /* Late (it slept): at the next place again, not twice in a row. */
                m.last_check = at + 100;
                assert(schedule_check_at(&f, &m, at + 100) == at + HOUR);
                /* The clock was set back by a year: not a year of silence. */
                assert(schedule_check_at(&f, &m, at - 365 * 24 * HOUR) <=
                       at - 365 * 24 * HOUR + HOUR + HOUR / 2);
        }
        for (unsigned i = 0; i < ELEMENTSOF(tenths); i++)
                assert(tenths[i] > 60 && tenths[i] < 140);
        f.interval = 0; /* a bug elsewhere must not divide by it */
        (void) schedule_check_at(&f, &m, noon);
}

static void test_pauses(void)
{
        Retry r = { .kind = RETRY_NETWORK, .failures = 3, .last = noon };

        assert(memory_retry_at(&(Retry){ 0 }, noon, 7) == 0);
        assert(memory_retry_at(&r, noon, 0) == noon + 240);
        for (uint64_t seed = 0; seed < 256; seed++) {
                uint64_t at = memory_retry_at(&r, noon, seed);
                assert(at >= noon + 240 && at < noon + 300);
        }
        /* a clock that was set back */
        assert(memory_retry_at(&r, noon - 10 * HOUR, 0) == noon - 10 * HOUR + 240);
}

int main(void)
{
        char dir[] = "/tmp/gybe-test-schedule-XXXXXX";
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");
        Env e = ENV_NULL;

        assert(mkdtemp(dir));
        assert(env_open(dir, &e, NULL) >= 0);
        assert(parse_time("2026-11-21T12:00:00Z", &noon) >= 0);
        env = &e;
        test_actions();
        test_rules();
        test_failures();
        test_reboots();
        test_check_times();
        test_pauses();
        env_done(&e);
        assert(dir_remove(tmp, dir + strlen("/tmp/")) >= 0);
        return 0;
}
