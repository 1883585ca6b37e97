/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* What the agent is doing, in the words of update_engine; and the file that says who reboots. */

#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "control/compat.h"
#include "control/coordconf.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

typedef struct Case {
        AgentProperties p;
        unsigned pending;
        const char *operation, *version;
        double progress;
        int64_t size;
} Case;

#define WHAT(w, d, t) .progress = { .what = w, .done = d, .total = t }
#define JOB(v)        .job_id = "1", .job_verb = v
#define S(x)          "UPDATE_STATUS_" x

static const Case cases[] = {
        { { .phase = "idle" }, 0, S("IDLE"), "0.0.0", 0, 0 },
        { { .phase = "idle", .offered_version = "2", .last_check = 5 }, 0, S("IDLE"), "2", 0, 0 },
        { { .phase = "idle", JOB("check") }, 0, S("CHECKING_FOR_UPDATE"), "0.0.0", 0, 0 },
        { { .phase = "idle", JOB("update"), WHAT("checking", 0, 0) },
          0,
          S("CHECKING_FOR_UPDATE"),
          "0.0.0",
          0,
          0 },
        { { .phase = "trusted", .target_version = "2", JOB("stage"), WHAT("staging", 25, 100) },
          0,
          S("DOWNLOADING"),
          "2",
          0.25,
          100 },
        { { .phase = "trusted", .target_version = "2", JOB("stage"), WHAT("staging", 120, 100) },
          0,
          S("DOWNLOADING"),
          "2",
          1,
          100 },
        { { .phase = "trusted", .target_version = "2", JOB("update"), WHAT("verifying", 50, 100) },
          0,
          S("VERIFYING"),
          "2",
          0.5,
          100 },
        /* staged is not "reboot, please": whoever reboots now would reboot into the old slot */
        { { .phase = "staged", .target_version = "2" }, 0, S("IDLE"), "2", 0, 0 },
        { { .phase = "staged", .target_version = "2", JOB("finalize") }, 0, S("FINALIZING"), "2", 0, 0 },
        { { .phase = "finalized", .target_version = "2", JOB("finalize") }, 0, S("FINALIZING"), "2", 0, 0 },
        { { .phase = "finalized", .target_version = "2", .reboot_awaited = true, JOB("finalize") },
          0,
          S("FINALIZING"),
          "2",
          0,
          0 },
        { { .phase = "finalized", .target_version = "2", .reboot_awaited = true },
          0,
          S("UPDATED_NEED_REBOOT"),
          "2",
          0,
          0 },
        /* other jobs do not hide it */
        { { .phase = "finalized", .target_version = "2", .reboot_awaited = true, JOB("deliver") },
          0,
          S("UPDATED_NEED_REBOOT"),
          "2",
          0,
          0 },
        { { .phase = "finalized", .target_version = "2", .reboot_awaited = true, JOB("reboot") },
          0,
          S("UPDATED_NEED_REBOOT"),
          "2",
          0,
          0 },
        { { .phase = "finalized", .reboot_awaited = true },
          COMPAT_PENDING_ATTEMPT,
          S("UPDATED_NEED_REBOOT"),
          "0.0.0",
          0,
          0 },
        /* taken back: from the call on */
        { { .phase = "finalized", .reboot_awaited = true },
          COMPAT_PENDING_RESET,
          S("FINALIZING"),
          "0.0.0",
          0,
          0 },
        { { .phase = "finalized", .reboot_awaited = true, JOB("rollback") },
          COMPAT_PENDING_RESET,
          S("FINALIZING"),
          "0.0.0",
          0,
          0 },
        { { .phase = "idle" }, COMPAT_PENDING_ATTEMPT, S("CHECKING_FOR_UPDATE"), "0.0.0", 0, 0 },
        /* after the boot: journal.json still says finalized, but nothing is awaited; on trial, too */
        { { .phase = "finalized", .target_version = "2" }, 0, S("IDLE"), "2", 0, 0 },
        { { .phase = "probation", .target_version = "2", JOB("commit") }, 0, S("IDLE"), "2", 0, 0 },
        { { .phase = "idle", .outcome = "rolled-back", JOB("deliver") },
          0,
          S("REPORTING_ERROR_EVENT"),
          "0.0.0",
          0,
          0 },
        { { .phase = "idle", .outcome = "committed", JOB("deliver") }, 0, S("IDLE"), "0.0.0", 0, 0 },
};

static void test_status(void)
{
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const Case *c = &cases[i];
                CompatStatus s = compat_status(&c->p, c->pending);

                if (!streq(s.operation, c->operation))
                        fprintf(stderr, "%zu: %s, not %s\n", i, s.operation, c->operation);
                assert(streq(s.operation, c->operation) && streq(s.version, c->version));
                assert(s.progress == c->progress && s.size == c->size);
                assert(s.last_checked == (int64_t) c->p.last_check);
                assert(compat_needs_reboot(&s) == streq(c->operation, S("UPDATED_NEED_REBOOT")));
        }
}

static void test_coordinator(void)
{
        char dir[] = "/tmp/gybe-test-compat-XXXXXX", name[64] = "";
        Env env = ENV_NULL;
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        _cleanup_(free_charp) char *rm = NULL;
        static const char theirs[] = "STRATEGY=reboot\nNAME=locksmithd\nSTATE=running";
        int ours = -1, again = -1, other;

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        assert(coordconf_other(&env, name, sizeof(name)) == 0);
        assert(coordconf_hold(&env, &ours, "reboot", "reboot-planned", name, sizeof(name)) == 1 && ours >= 0);
        assert(coordconf_hold(&env, &ours, "reboot", "running", name, sizeof(name)) == 1);
        assert(env_read(&env, COORDCONF_PATH, 4096, &text) >= 0);
        assert(streq((char *) text.data, "NAME=gybe\nSTRATEGY=reboot\nSTATE=running\n"));
        /* ours is nobody else's */
        assert(coordconf_other(&env, name, sizeof(name)) == 0);
        assert(coordconf_hold(&env, &again, "reboot", "running", name, sizeof(name)) == 0 && again < 0);
        close_fdp(&ours);

        other = env_open_path(&env, COORDCONF_PATH, O_RDWR, 0);
        assert(other >= 0 && ftruncate(other, 0) == 0 && flock(other, LOCK_EX | LOCK_NB) == 0);
        assert(fd_pwrite_full(other, theirs, strlen(theirs), 0) >= 0);
        assert(coordconf_other(&env, name, sizeof(name)) == 1 && streq(name, "locksmithd"));
        ours = -1;
        assert(coordconf_hold(&env, &ours, "reboot", "running", name, sizeof(name)) == 0);
        assert(streq(name, "locksmithd") && ours < 0);
        assert(ftruncate(other, 0) == 0 && coordconf_other(&env, name, sizeof(name)) == 1);
        assert(streq(name, "somebody"));
        close_fdp(&other);
        assert(coordconf_other(&env, name, sizeof(name)) == 0); /* who let go is gone */
        rm = str_printf("rm -r %s", dir);
        assert(rm && system(rm) == 0);
        env_done(&env);
}

int main(void)
{
        test_status();
        test_coordinator();
        return 0;
}
