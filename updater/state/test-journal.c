/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/state.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void put(const Env *env, const char *name, const char *text)
{
        _cleanup_(close_fdp) int fd = env_make_dir(env, STATE_DIR, 0700);

        assert(fd >= 0 && file_replace(fd, name, text, strlen(text), 0600) >= 0);
}

static char *get(const Env *env, const char *path)
{
        Bytes b = BYTES_NULL;

        return env_read(env, path, 1 << 20, &b) < 0 ? NULL : b.data ? (char *) b.data : strdup("");
}

static void test_names(void)
{
        for (Phase p = 0; p < _PHASE_MAX; p++)
                assert(phase_name(p) && phase_from_name(phase_name(p)) == p);
        for (Outcome o = 0; o < _OUTCOME_MAX; o++)
                assert(outcome_name(o) && outcome_from_name(outcome_name(o)) == o);
        for (Reason r = 0; r < _REASON_MAX; r++)
                assert(reason_name(r) && reason_from_name(reason_name(r)) == r);
        assert(!phase_name(_PHASE_MAX) && !phase_name(_PHASE_INVALID));
        assert(phase_from_name("Staged") == _PHASE_INVALID && phase_from_name(NULL) == _PHASE_INVALID);
        /* the closed list of the design, word by word */
        assert(streq(reason_name(REASON_POWER_LOSS_RETRY), "power-loss-retry"));
        assert(streq(outcome_name(OUTCOME_ROLLED_BACK), "rolled-back"));
}

static void fill(Journal *j)
{
        *j = (Journal){ .phase = PHASE_PROBATION,
                        .outcome = OUTCOME_ROLLED_BACK,
                        .reason = REASON_DEADLINE,
                        .serial = 2026110400,
                        .floor_serial = 2026090900,
                        .slot = 'b',
                        .data_size = 356515840,
                        .hash_size = 2813952,
                        .rollback = true,
                        .no_reboot = true,
                        .attempt = 2,
                        .armed = true,
                        .deadline = 1793772900,
                        .finalized_at = 1793772100,
                        .reboot_asked_at = 1793772200,
                        .reboot_asks = 3,
                        .reboot_told = true,
                        .issued = 1793772000 };
        j->update_id = strdup("0f0e");
        j->version = strdup("3.0.20261104");
        j->product = strdup("azure-container-linux");
        j->release_sha256 = strdup(HEX_A);
        j->source = strdup("https://example.org/index.json");
        j->entry = strdup("vmlinuz-101-azlb0.efi");
        j->boot_id = strdup("1b4e28ba-2fa1-11d2-883f-b9a761bde3fb");
        j->message = strdup("line with \"quotes\" and \xc3\xbc");
        j->reboot_blocked = strdup("unattended-upgrades blocks it");
        j->failed_kind = strdup("panic");
        j->failed_stage = strdup("initrd");
        j->cause = strdup("kernel panic: x");
        j->evidence = strdup("0f0e-1.json");
        memcpy(j->roothash, HEX_A, 65);
        memcpy(j->uki_sha256, HEX_B, 65);
        memcpy(j->running_roothash, HEX_B, 65);
        memcpy(j->sig_sha256, HEX_A, 65);
        j->files = calloc(2, sizeof(JournalFile));
        j->n_files = 2;
        j->files[0] = (JournalFile){ .kind = strdup("uki"), .name = strdup("vmlinuz-0.efi"), .size = 7 };
        memcpy(j->files[0].sha256, HEX_B, 65);
        j->files[1] =
                (JournalFile){ .kind = strdup("addon"), .name = strdup("op.addon.efi"), .carried = true };
        j->revoked_serials = calloc(2, sizeof(uint64_t));
        j->revoked_serials[0] = 7;
        j->revoked_serials[1] = UINT64_MAX;
        j->n_revoked_serials = 2;
        assert(strv_add(&j->revoked_roothashes, HEX_A) >= 0);
}

static void test_round_trip(const Env *env)
{
        _cleanup_(journal_done) Journal j = { 0 }, k = { 0 };
        _cleanup_(free_charp) char *once = NULL, *twice = NULL;
        bool lost = true;
        struct stat st;

        fill(&j);
        assert(journal_save(env, &j, NULL) >= 0);
        assert(journal_load(env, &k, &lost, NULL) >= 0 && !lost && !k.lost_because);
        assert(k.phase == PHASE_PROBATION && k.outcome == OUTCOME_ROLLED_BACK && k.reason == REASON_DEADLINE);
        assert(k.n_files == 2 && k.files[1].carried && !k.files[0].carried && k.files[0].size == 7);
        assert(k.revoked_serials[1] == UINT64_MAX && k.armed && k.attempt == 2 && k.slot == 'b' &&
               k.rollback && k.no_reboot);
        assert(k.reboot_asks == 3 && k.reboot_told && k.reboot_asked_at == 1793772200 &&
               k.finalized_at == 1793772100 && streq(k.sig_sha256, HEX_A));
        assert(streq(k.cause, "kernel panic: x") && streq(k.evidence, "0f0e-1.json") &&
               streq(k.failed_stage, "initrd") && streq(k.failed_kind, "panic"));
        assert(journal_format(&j, &once) >= 0 && journal_format(&k, &twice) >= 0 && streq(once, twice));
        assert(fstatat(env->root_fd, "var/lib/gybe/journal.json", &st, 0) >= 0 &&
               (st.st_mode & 0777) == 0600);
        assert(fstatat(env->root_fd, "var/lib/gybe", &st, 0) >= 0 && (st.st_mode & 0777) == 0700);
}

/* Asked for again after a while, and after a longer while; reported when it was in vain three times. */
static void test_reboot_wait(void)
{
        static const struct {
                unsigned asks;
                uint64_t asked_at, now, again_at;
                bool never, blocked;
        } cases[] = {
                { 0, 0, 5000, 0, false },
                { 1, 1000, 1000, 1900, false },
                { 1, 1000, 9999, 1900, false },
                { 2, 1000, 9999, 2800, false },
                { 3, 1000, 1899, 4600, false },
                { 3, 1000, 1900, 4600, true },
                { 30, 1000, 99999, 22600, true }, /* every six hours from then on */
                { UINT32_MAX, 1000, 1000, 22600, false },
                { 1, 5000, 1000, 1000, false }, /* the clock was set back */
                { 3, 5000, 1000, 1000, true },
                { 1, 1000, 1000, 1900, false, true }, /* refused: it disturbs nobody */
                { 3, 1000, 1900, 1900, true, true },
                { 30, 1000, 99999, 1900, true, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Journal j = { .reboot_asks = cases[i].asks,
                              .reboot_asked_at = cases[i].asked_at,
                              .reboot_blocked = cases[i].blocked ? (char *) "apt" : NULL };
                RebootWait w;

                reboot_wait(&j, cases[i].now, &w);
                assert(w.again_at == cases[i].again_at && w.never == cases[i].never);
        }
}

/* One asking after the other, and then another reboot. */
static void test_reboot_asked(void)
{
        _cleanup_(journal_done) Journal j = { 0 };

        assert(reboot_asked(&j, 1000, "apt") >= 0 && j.reboot_asks == 1 && streq(j.reboot_blocked, "apt"));
        assert(reboot_asked(&j, 2000, NULL) >= 0 && j.reboot_asks == 2 && !j.reboot_blocked);
        assert(j.reboot_asked_at == 2000);
        j.reboot_told = true;
        reboot_forget(&j);
        assert(j.reboot_asks == 0 && j.reboot_asked_at == 0 && !j.reboot_told);
        for (Phase p = 0; p < _PHASE_MAX; p++) {
                j.phase = p;
                j.reason = REASON_TARGET_BOOTED;
                assert(!journal_given_up(&j));
                j.reason = REASON_DEADLINE;
                assert(journal_given_up(&j) == (p == PHASE_PROBATION));
        }
}

static void test_unknown_survives(const Env *env)
{
        _cleanup_(journal_done) Journal j = { 0 };
        _cleanup_(free_charp) char *text = NULL, *begun = NULL;
        bool lost = true;

        put(env, "journal.json",
            "{\"schema\":\"gybe.journal/"
            "1\",\"phase\":\"trusted\",\"slotDirty\":true,\"message\":\"old\",\"future\":{\"a\":[1]},"
            "\"reason\":\"not-yet-invented\",\"files\":[{\"kind\":\"uki\",\"name\":\"x\",\"size\":1,"
            "\"later\":2}]}");
        assert(journal_load(env, &j, &lost, NULL) >= 0 && !lost);
        assert(j.phase == PHASE_TRUSTED && j.slot_dirty && j.reason == REASON_NONE);
        free(j.message);
        j.message = NULL;
        j.slot_dirty = false;
        assert(journal_save(env, &j, NULL) >= 0);
        text = get(env, STATE_DIR "/journal.json");
        assert(strstr(text, "\"future\"") && strstr(text, "\"later\""));
        assert(!strstr(text, "\"old\"") &&
               !strstr(text, "slotDirty")); /* what was unset does not come back */

        journal_begin(&j);
        assert(j.phase == PHASE_IDLE && j.n_files == 0 && journal_format(&j, &begun) >= 0);
        assert(strstr(begun, "\"future\"") && !strstr(begun, "\"uki\""));
}

static void test_lost(const Env *env)
{
        static const struct {
                const char *text, *because;
        } cases[] = {
                { "", "JSON" },                                               /* zero length after a cut */
                { "{\"schema\":\"gybe.journal/1\",\"phase\":\"sta", "JSON" }, /* torn */
                { "{\"schema\":\"gybe.journal/2\",\"phase\":\"idle\"}", "newer" }, /* newer major */
                { "{\"schema\":\"gybe.journal/10\",\"phase\":\"idle\"}", "newer" },
                { "{\"schema\":\"gybe.journal/2.1\",\"phase\":\"idle\"}", "newer" },
                { "{\"schema\":\"gybe.journal/1.x\",\"phase\":\"idle\"}", "schema" },
                { "{\"schema\":\"gybe.journal/1.\",\"phase\":\"idle\"}", "schema" },
                { "{\"schema\":\"gybe.journal/.1\",\"phase\":\"idle\"}", "schema" },
                { "{\"schema\":\"gybe.trust/1\",\"phase\":\"idle\"}", "schema" }, /* somebody else's */
                { "{\"phase\":\"idle\"}", "schema" },
                { "[]", "object" },
                { "{\"schema\":\"gybe.journal/1\"}", "phase" },
                { "{\"schema\":\"gybe.journal/1\",\"phase\":\"flying\"}", "phase" },
                { "{\"schema\":\"gybe.journal/1\",\"phase\":\"staged\"}", "phase" }, /* of what? */
                { "{\"schema\":\"gybe.journal/"
                  "1\",\"phase\":\"finalized\",\"updateId\":\"x\",\"slot\":\"a\",\"roothash\":\"" HEX_A "\"}",
                  "entry" },
                { "{\"schema\":\"gybe.journal/1\",\"phase\":\"idle\",\"entry\":\"../x\"}", "file name" },
                { "{\"schema\":\"gybe.journal/1\",\"phase\":\"idle\",\"slot\":\"c\"}", "slot" },
                { "{\"schema\":\"gybe.journal/1\",\"phase\":\"idle\",\"roothash\":\"12\"}", "hex" },
                { "{\"schema\":\"gybe.journal/1\",\"phase\":\"idle\",\"serial\":-1}", "number" },
                { "{\"schema\":\"gybe.journal/1\",\"phase\":\"idle\",\"attempt\":4294967297}", "range" },
                { "{\"schema\":\"gybe.journal/"
                  "1\",\"phase\":\"idle\",\"files\":[{\"kind\":\"uki\",\"name\":\"a/b\"}]}",
                  "file name" },
                { "{\"schema\":\"gybe.journal/1\",\"phase\":\"idle\",\"phase\":\"idle\"}", "twice" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(journal_done) Journal j = { 0 };
                _cleanup_(free_charp) char *kept = NULL;
                bool lost = false;

                put(env, "journal.json", cases[i].text);
                assert(journal_load(env, &j, &lost, NULL) >= 0);
                if (!lost || !strstr(j.lost_because, cases[i].because))
                        fprintf(stderr, "case %zu: %s\n", i, lost ? j.lost_because : "not lost");
                assert(lost && strstr(j.lost_because, cases[i].because));
                assert(j.phase == PHASE_IDLE && !j.update_id);
                /* the next save keeps the evidence and heals */
                assert(journal_save(env, &j, NULL) >= 0);
                kept = get(env, STATE_DIR "/journal.json.lost");
                assert(kept && streq(kept, cases[i].text));
                journal_done(&j);
                assert(journal_load(env, &j, &lost, NULL) >= 0 && !lost);
        }
}

/* A minor version is nothing that could be misread. */
static void test_minor(const Env *env)
{
        _cleanup_(journal_done) Journal j = { 0 };
        bool lost = true;

        put(env, "journal.json", "{\"schema\":\"gybe.journal/1.3\",\"phase\":\"idle\",\"version\":\"3\"}");
        assert(journal_load(env, &j, &lost, NULL) >= 0 && !lost && streq(j.version, "3"));
}

static void test_missing_and_errors(const Env *env)
{
        _cleanup_(journal_done) Journal j = { 0 }, bad = { 0 };
        _cleanup_(free_charp) char *before = NULL, *after = NULL;
        Why why = { 0 };
        bool lost = true;

        assert(unlinkat(env->root_fd, "var/lib/gybe/journal.json", 0) >= 0);
        assert(journal_load(env, &j, &lost, NULL) >= 0 && !lost && j.phase == PHASE_IDLE);

        /* a folder in its place is lost, not fatal */
        assert(mkdirat(env->root_fd, "var/lib/gybe/journal.json", 0700) >= 0);
        assert(journal_load(env, &j, &lost, NULL) >= 0 && lost);
        assert(unlinkat(env->root_fd, "var/lib/gybe/journal.json", AT_REMOVEDIR) >= 0);

        /* a journal nobody could go on from is refused, and the good one stays */
        journal_done(&j);
        assert(journal_save(env, &j, NULL) >= 0);
        before = get(env, STATE_DIR "/journal.json");
        bad.phase = PHASE_FINALIZED;
        assert(journal_save(env, &bad, &why) < 0 && why.kind == WHY_HOST && streq(why.code, "bug"));
        after = get(env, STATE_DIR "/journal.json");
        assert(streq(before, after));
}

static void test_lock(const Env *env)
{
        Why why = { 0 };
        int a = state_lock(env, NULL), b;
        char pid[64];

        assert(a >= 0);
        b = state_lock(env, &why);
        assert(b == -EBUSY && why.kind == WHY_BUSY && why_exit_code(&why) == 5);
        (void) snprintf(pid, sizeof(pid), "process %ld", (long) getpid());
        assert(strstr(why.text, pid));
        (void) close(a);
        b = state_lock(env, NULL);
        assert(b >= 0);
        (void) close(b);
}

int main(void)
{
        char root[] = "/tmp/test-journal.XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        test_names();
        test_round_trip(&env);
        test_reboot_wait();
        test_reboot_asked();
        test_unknown_survives(&env);
        test_lost(&env);
        test_minor(&env);
        test_missing_and_errors(&env);
        test_lock(&env);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        return 0;
}
