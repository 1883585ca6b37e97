/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/evidence.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define UUID  "11111111-2222-4333-8444-555555555555"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DIR   "var/lib/gybe/evidence"

/* --- the cause --- */

static const struct {
        const char *because;
        Reason reason;
        const char *message, *deadline, *dump, *journal;
        CrashBlame blame;
        bool watchdog;
        const char *kind, *cause;
        BootStage stage;
} cases[] = {
        { "a failing check", REASON_HEALTH_FALLBACK, "required.d/10-net: exit 1: no route", NULL, NULL, NULL,
          CRASH_OTHER, false, "health", "required.d/10-net: exit 1: no route", STAGE_SETTLING },
        { "a failing check, and the message was lost", REASON_HEALTH_FALLBACK, NULL, NULL, NULL, NULL,
          CRASH_OTHER, false, "health", "a health check failed", STAGE_SETTLING },
        { "a message with control characters", REASON_HEALTH_FALLBACK, "x\033[2J\n", NULL, NULL, NULL,
          CRASH_OTHER, false, "health", "x?[2J?", STAGE_SETTLING },
        { "the deadline, and a failed unit", REASON_DEADLINE, NULL,
          "not committed within 90 s of boot, waiting jobs and failed units:\n"
          "12 multi-user.target start waiting\n13 slow.service start running\n"
          "? kubelet.service loaded failed failed The kubelet\n",
          NULL, NULL, CRASH_OTHER, false, "deadline",
          "not committed within 90 s of boot: kubelet.service had failed", STAGE_NOTHING },
        { "the deadline, and a job that waits", REASON_DEADLINE, NULL,
          "not committed within 900 s of boot, waiting jobs and failed units:\n"
          "12 multi-user.target start waiting\n13 slow.service start running\n",
          NULL, "Switching root.\n", CRASH_OTHER, false, "deadline",
          "not committed within 900 s of boot: slow.service was still being started", STAGE_SWITCH_ROOT },
        { "the deadline, and an image without a shell", REASON_DEADLINE, NULL, "", NULL, NULL, CRASH_OTHER,
          false, "deadline", "not committed in time, counted from the start of boot", STAGE_NOTHING },
        { "a panic of its own", REASON_FIRMWARE_FALLBACK, NULL, NULL,
          "[ 1.0] systemd[1]: Running in initrd.\n[ 2.0] Kernel panic - not syncing: VFS: no root\n", NULL,
          CRASH_BY_TIME, false, "panic", "kernel panic: VFS: no root (furthest seen: initrd)", STAGE_INITRD },
        { "somebody else's panic", REASON_FIRMWARE_FALLBACK, NULL, NULL,
          "[ 2.0] Kernel panic - not syncing: VFS: no root\n", NULL, CRASH_OTHER, false, "silent",
          "nothing was seen of it, neither a crash dump nor a journal: a power cut, a reset, or a hang "
          "before it could "
          "write",
          STAGE_NOTHING },
        { "the disk", REASON_POWER_LOSS_RETRY, NULL, NULL,
          "[ 17.0] device-mapper: verity: 254:0: data block 7 is corrupted\n"
          "[ 17.1] Kernel panic - not syncing: dm-verity device corrupted\n",
          NULL, CRASH_BY_ROOTHASH, false, "verity",
          "its slot is damaged: device-mapper: verity: 254:0: data block 7 is corrupted", STAGE_KERNEL },
        { "the watchdog", REASON_POWER_LOSS_RETRY, NULL, NULL, NULL, "Switching root.\n", CRASH_OTHER, true,
          "watchdog", "the hardware watchdog reset it (furthest seen: switch-root)", STAGE_SWITCH_ROOT },
        { "a person", REASON_POWER_LOSS_RETRY, NULL, NULL, NULL,
          "Reached target multi-user.target - x\nSystem is rebooting.\n", CRASH_OTHER, false, "rebooted",
          "it was rebooted before it was committed (furthest seen: multi-user.target)", STAGE_MULTI_USER },
        { "a unit", REASON_POWER_LOSS_RETRY, NULL, NULL, NULL,
          "Switching root.\nFailed to start foo.service - Foo.\n", CRASH_OTHER, false, "unit",
          "Failed to start foo.service - Foo. (furthest seen: switch-root)", STAGE_SWITCH_ROOT },
        { "no word", REASON_POWER_LOSS_RETRY, NULL, NULL, NULL, "Switching root.\nall is well\n", CRASH_OTHER,
          false, "silent", "it ended without a word (furthest seen: switch-root; last: all is well)",
          STAGE_SWITCH_ROOT },
};

static void test_cause(void)
{
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                CrashDump dump = { .text = (char *) cases[i].dump, .blame = cases[i].blame };
                Evidence e = { .reason = cases[i].reason,
                               .deadline = (char *) cases[i].deadline,
                               .watchdog_reset = cases[i].watchdog,
                               .dumps = { &dump, cases[i].dump != NULL } };

                if (cases[i].dump)
                        boot_trace_scan(&dump.trace, cases[i].dump);
                if (cases[i].journal)
                        boot_trace_scan(&e.trace, cases[i].journal);
                evidence_conclude(&e, cases[i].message);
                if (!streq(e.cause, cases[i].cause) || e.stage != cases[i].stage)
                        fprintf(stderr, "%s: %s: %s, %s\n", cases[i].because, e.kind, e.cause,
                                boot_stage_name(e.stage));
                assert(streq(e.kind, cases[i].kind) && streq(e.cause, cases[i].cause) &&
                       e.stage == cases[i].stage);
        }
}

/* --- the files --- */

static char *filled(size_t n, char c)
{
        char *s = malloc(n + 1);

        memset(s, c, n);
        s[n] = '\0';
        return s;
}

/* However much there is, and however it grows when it is written. */
static void test_bounds(void)
{
        static const char fill[] = { 'x', '"', '\\', '\n', '/' };

        for (size_t i = 0; i < sizeof(fill); i++) {
                _cleanup_(free_charp) char *text = filled(EVIDENCE_TEXT_MAX, fill[i]), *out = NULL,
                                           *big = NULL;
                _cleanup_(json_unrefp) Json *doc = NULL, *health = json_new_object();
                CrashDump dumps[32];
                Evidence e = {
                        .update_id = (char *) UUID, .attempt = 1, .kind = "panic", .dumps = { dumps, 32 }
                };

                for (size_t k = 0; k < ELEMENTSOF(dumps); k++)
                        dumps[k] = (CrashDump){ .name = text, .text = text, .blame = CRASH_BY_ROOTHASH };
                for (size_t k = 0; k < ELEMENTSOF(dumps); k++)
                        dumps[k].name = (char *) "x";
                e.journal = e.deadline = text;
                big = filled(EVIDENCE_FILE_MAX, 'h');
                json_set_str(health, "output", big);
                e.health = health;
                assert(evidence_format(&e, &out) == 0 && strlen(out) <= EVIDENCE_FILE_MAX);
                assert(json_parse(out, strlen(out), 0, JSON_DEPTH_MAX, "evidence", WHY_HOST, &doc, NULL) ==
                       0);
                assert(streq(json_get_str(doc, "schema"), "gybe.evidence/1") && !json_get(doc, "health"));
                assert(json_len(json_get(doc, "dumps")) == 32 && json_get_str(doc, "journal"));
        }
}

static void test_names(void)
{
        static const struct {
                const char *id;
                const char *name;
        } names[] = {
                { UUID, UUID "-2.json" },
                { NULL, "unknown-2.json" },
                { "", "unknown-2.json" },
                { "../../etc/passwd", "unknown-2.json" },
                { "0123456789abcdef0123456789abcdef0123456789abcdef", "unknown-2.json" },
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char name[64];

                evidence_name(names[i].id, 2, name);
                assert(streq(name, names[i].name));
        }
}

static void test_save(void)
{
        char dir[] = "/tmp/test-evidence.XXXXXX";
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(free_charp) char *rm = NULL;
        _cleanup_(env_done) Env env = ENV_NULL;
        CrashDump dump = { .name = (char *) "x", .text = (char *) "text\n", .sha256 = HEX_B };
        Evidence e = { .update_id = (char *) UUID, .kind = "panic", .dumps = { &dump, 1 } };
        struct stat st;
        Why why = { 0 };

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) == 0);
        assert(evidence_has_dump(&env, HEX_B, NULL) == 0);
        for (e.attempt = 1; e.attempt <= 12; e.attempt++) {
                /* a clock that goes backwards does not take away what was just written */
                const struct timespec times[2] = { { 2000000000 - e.attempt, 0 },
                                                   { 2000000000 - e.attempt, 0 } };
                char name[128];

                assert(evidence_save(&env, &e, &why) == 0);
                (void) snprintf(name, sizeof(name), DIR "/" UUID "-%u.json", e.attempt);
                assert(fstatat(env.root_fd, name, &st, 0) == 0 && (st.st_mode & 0777) == 0600);
                if (e.attempt < 12)
                        assert(utimensat(env.root_fd, name, times, 0) == 0);
        }
        assert(dir_list(env.root_fd, DIR, &names) == 0 && strv_len(names) == 8);
        assert(fstatat(env.root_fd, DIR, &st, 0) == 0 && (st.st_mode & 0777) == 0700);
        assert(evidence_has_dump(&env, HEX_B, NULL) == 1);
        dump.sha256[0] = 'c';
        assert(evidence_has_dump(&env, dump.sha256, NULL) == 0);
        e.attempt = 13;
        assert(evidence_save(&env, &e, &why) == 0);
        assert(evidence_has_dump(&env, dump.sha256, NULL) == 1);
        assert(evidence_has_dump(&env, dump.sha256, UUID "-13.json") ==
               0); /* the own one is being written again */
        rm = str_printf("rm -r %s", dir);
        assert(system(rm) == 0);
}

int main(void)
{
        test_cause();
        test_bounds();
        test_names();
        test_save();
        return 0;
}
