/* SPDX-License-Identifier: MIT */
#undef NDEBUG

#include "base/file.h"
#include "base/str.h"
#include "control/operator.h"
#include "state/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/test-operator-XXXXXX";
static Env env = ENV_NULL;

static void test_user_name(void)
{
        static const char passwd[] = "root:x:0:0:root:/root:/bin/bash\n"
                                     "broken\n"
                                     ":x:5:5::/:\n"
                                     "half:x:6\n"
                                     "odd\033[1m:x:8:8::/:\n"
                                     "alice:x:1000:1000:Alice:/home/alice:/bin/sh\n"
                                     "big:x:99999999999999999999:1::/:\n"
                                     "last:x:42:42::/:/bin/sh";
        static const struct {
                uint64_t uid;
                const char *name;
        } cases[] = { { 0, "root" }, { 1000, "alice" }, { 42, "last" }, { 5, NULL },
                      { 6, NULL },   { 8, NULL },       { 7, NULL } };
        char path[64];
        FILE *f;

        (void) snprintf(path, sizeof(path), "%s/etc", dir);
        assert(mkdir(path, 0755) >= 0);
        (void) snprintf(path, sizeof(path), "%s/etc/passwd", dir);
        f = fopen(path, "w");
        assert(f && fputs(passwd, f) >= 0 && fclose(f) == 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *name = operator_name(&env, cases[i].uid);

                assert(streq0(name, cases[i].name));
        }
}

static const JobRequester alice = { .uid = 1000, .name = "alice", .how = "dbus" };
static const JobRequester nameless = { .uid = 4242, .how = "cli" };

/* The newest event; the caller unrefs. */
static Json *last_event(size_t *ret_n)
{
        _cleanup_(json_unrefp) Json *events = NULL;
        uint64_t broken = 1;

        assert(history_read(&env, &events, &broken, NULL) >= 0 && broken == 0);
        *ret_n = json_len(events);
        return json_ref(json_at(events, *ret_n - 1));
}

static void test_rules(void)
{
        static const struct {
                PolicyChange change;
                const JobRequester *by;
                int r;
                const char *verb;
        } cases[] = {
                { { .verb = POLICY_PIN, .version = "3.0.2" }, &alice, 0, "pin" },
                { { .verb = POLICY_PIN, .version = "3.0.2" }, &alice, -ENODATA, NULL }, /* so already */
                { { .verb = POLICY_UNPIN }, &alice, 0, "unpin" },
                { { .verb = POLICY_UNPIN }, &alice, -ENODATA, NULL },
                { { .verb = POLICY_SKIP, .version = "3.0.3" }, &alice, 0, "skip" },
                { { .verb = POLICY_UNSKIP, .version = "3.0.3" }, &alice, 0, "unskip" },
                { { .verb = POLICY_HOLD, .until = 1900000000, .reason = "fair" }, &nameless, 0, "hold" },
                { { .verb = POLICY_UNHOLD }, &alice, 0, "unhold" },
        };
        size_t expected = 0, n;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_unrefp) Json *e = NULL;
                Why why = { 0 };
                uint64_t uid;

                assert(operator_change_rule(&env, &cases[i].change, cases[i].by, &why) == cases[i].r);
                assert(cases[i].r == 0 || why.kind == WHY_NOTHING);
                expected += cases[i].r == 0;
                e = last_event(&n);
                assert(n == expected); /* what changed nothing is no event */
                if (cases[i].r < 0)
                        continue;
                assert(streq0(json_get_str(e, "event"), "policy-changed"));
                assert(streq0(json_get_str(e, "verb"), cases[i].verb));
                assert(streq0(json_get_str(e, "user"), cases[i].by->name));
                assert(streq0(json_get_str(e, "how"), cases[i].by->how));
                assert(json_get_u64(e, "uid", &uid) > 0 && uid == cases[i].by->uid);
        }
}

/* Who holds is said in the rule itself, so that others can ask. */
static void test_hold_by(void)
{
        const PolicyChange hold = { .verb = POLICY_HOLD, .until = UINT64_MAX };
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT, q = POLICY_DEFAULT;

        assert(operator_change_rule(&env, &hold, &alice, NULL) == 0);
        assert(policy_load(&env, &p, NULL) >= 0 && p.held && streq0(p.hold_by, "alice"));
        assert(operator_change_rule(&env, &hold, &nameless, NULL) == 0);
        assert(policy_load(&env, &q, NULL) >= 0 && streq0(q.hold_by, "uid 4242"));
}

static void test_quarantine(void)
{
        static const char a[65] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                          b[65] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
        _cleanup_(json_unrefp) Json *e = NULL;
        char id[QUARANTINE_ID_SIZE];
        unsigned cleared = 77;
        Why why = { 0 }, busy = { 0 };
        size_t n;
        int lock;

        assert(operator_clear_quarantine(&env, NULL, &alice, &cleared, &why) == -ENODATA && cleared == 77);
        assert(why.kind == WHY_NOTHING);
        assert(quarantine_add(&env, a, b, "3.0.2", REASON_DEADLINE, "bad", NULL) >= 0);
        assert(quarantine_add(&env, b, a, "3.0.3", REASON_DEADLINE, "bad", NULL) >= 0);
        assert(quarantine_id(a, b, id) >= 0);
        lock = state_lock(&env, NULL);
        assert(lock >= 0);
        assert(operator_clear_quarantine(&env, id, &alice, &cleared, &busy) == -EBUSY);
        assert(busy.kind == WHY_BUSY);
        (void) close(lock);
        assert(operator_clear_quarantine(&env, id, &alice, &cleared, NULL) == 0 && cleared == 1);
        e = last_event(&n);
        assert(streq0(json_get_str(e, "event"), "quarantine-cleared") && streq0(json_get_str(e, "id"), id));
        assert(operator_clear_quarantine(&env, NULL, &alice, &cleared, NULL) == 0 && cleared == 1);
}

int main(void)
{
        int tmp;

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        test_user_name();
        test_rules();
        test_hold_by();
        test_quarantine();
        env_done(&env);
        tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(tmp >= 0 && dir_remove(tmp, strrchr(dir, '/') + 1) >= 0);
        (void) close(tmp);
        return 0;
}
