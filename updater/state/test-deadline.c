/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/state.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/run.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define UNITS "etc/systemd/system/"
#define LINK  UNITS "sysinit.target.wants/gybe-deadline.timer"

static char *get(const Env *env, const char *path)
{
        Bytes b = BYTES_NULL;

        return file_read(env->root_fd, path, 1 << 20, &b) < 0 ? NULL : (char *) b.data;
}

static bool there(const Env *env, const char *path)
{
        struct stat st;

        return fstatat(env->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) >= 0;
}

static void test_arm_and_disarm(const Env *env)
{
        _cleanup_(free_charp) char *timer = NULL, *service = NULL;
        char target[64] = { 0 };
        struct stat st;
        Why why = { 0 };

        assert(deadline_disarm(env, NULL) == 0);
        assert(deadline_arm(env, "short", 900, &why) < 0 && why.kind == WHY_HOST);
        assert(deadline_arm(env, HEX_A, 0, NULL) < 0 && !there(env, UNITS "gybe-deadline.timer"));
        assert(deadline_possible(env) == -ENOENT); /* no /etc at all */
        assert(deadline_armed(env, HEX_A) == 0);
        assert(deadline_arm(env, HEX_A, 900, NULL) >= 0);
        assert(deadline_possible(env) == 0 && deadline_armed(env, HEX_A) == 1);
        assert(deadline_armed(env, HEX_B) == 0 && deadline_armed(env, "") == 0);
        timer = get(env, UNITS "gybe-deadline.timer");
        service = get(env, UNITS "gybe-deadline.service");
        assert(strstr(timer, "\nConditionKernelCommandLine=|usrhash=" HEX_A "\n") &&
               strstr(timer, "\nOnBootSec=900s\n"));
        assert(strstr(timer, "\nDefaultDependencies=no\n") && strstr(timer, "\nIgnoreOnIsolate=yes\n"));
        assert(!strstr(timer, "[Install]")); /* or preset-all would take it for its own */
        assert(strstr(service, "\nConditionKernelCommandLine=|usrhash=" HEX_A "\n"));
        assert(strstr(service, "\nConditionPathExists=/etc/systemd/system/gybe-deadline.timer\n"));
        assert(strstr(service, "\nSuccessAction=reboot-force\n") &&
               strstr(service, "\nFailureAction=reboot-force\n"));
        assert(strstr(service, "append:/var/lib/gybe/deadline/" HEX_A "\n"));
        assert(readlinkat(env->root_fd, LINK, target, sizeof(target) - 1) > 0 &&
               streq(target, "../gybe-deadline.timer"));
        assert(fstatat(env->root_fd, UNITS "gybe-deadline.timer", &st, 0) >= 0 &&
               (st.st_mode & 0777) == 0644);

        /* the other one replaces it */
        assert(deadline_arm(env, HEX_B, 60, NULL) >= 0);
        free(timer);
        timer = get(env, UNITS "gybe-deadline.timer");
        assert(strstr(timer, HEX_B) && !strstr(timer, HEX_A));
        assert(deadline_disarm(env, NULL) == 1 && deadline_disarm(env, NULL) == 0);
        assert(!there(env, UNITS "gybe-deadline.timer") && !there(env, UNITS "gybe-deadline.service") &&
               !there(env, LINK));
}

/* Whatever a power cut left of either sequence, doing it again ends well. */
static void test_leftovers(const Env *env)
{
        char target[64] = { 0 };

        assert(deadline_arm(env, HEX_A, 900, NULL) >= 0);
        assert(unlinkat(env->root_fd, UNITS "gybe-deadline.timer", 0) >=
               0); /* disarming, cut after its first step */
        assert(deadline_disarm(env, NULL) == 0 && !there(env, LINK) &&
               !there(env, UNITS "gybe-deadline.service"));
        assert(deadline_arm(env, HEX_A, 900, NULL) >= 0);
        assert(unlinkat(env->root_fd, LINK, 0) >= 0); /* arming, cut before its last step */
        assert(deadline_arm(env, HEX_A, 900, NULL) >= 0 && there(env, LINK));
        assert(unlinkat(env->root_fd, LINK, 0) >= 0);
        assert(symlinkat("/somewhere/else", env->root_fd, LINK) >= 0); /* not ours to believe */
        assert(deadline_arm(env, HEX_A, 900, NULL) >= 0);
        assert(readlinkat(env->root_fd, LINK, target, sizeof(target) - 1) > 0 &&
               streq(target, "../gybe-deadline.timer"));
        assert(deadline_disarm(env, NULL) == 1);
}

static void test_mark(const Env *env)
{
        _cleanup_(free_charp) char *seen = NULL, *bare = NULL;
        _cleanup_(close_fdp) int fd = -1;
        static const char said[] = "stuck.service start running\n\033[2J\xff%s\n";

        assert(deadline_fired(env, HEX_A, NULL, NULL) == 0);
        assert(deadline_arm(env, HEX_A, 900, NULL) >= 0);
        assert(deadline_fired(env, HEX_A, &seen, NULL) == 0 && !seen);
        fd = openat(env->root_fd, "var/lib/gybe/deadline/" HEX_A, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert(fd >= 0);
        assert(deadline_fired(env, HEX_A, &bare, NULL) == 1 &&
               streq(bare, "")); /* PID 1 opened it, nothing more */
        assert(fd_write_full(fd, said, sizeof(said) - 1) >= 0);
        assert(deadline_fired(env, HEX_A, &seen, NULL) == 1);
        assert(streq(seen, "stuck.service start running\n?[2J?%s\n"));
        assert(deadline_fired(env, HEX_B, NULL, NULL) == 0 && deadline_fired(env, "", NULL, NULL) == 0);
        assert(deadline_disarm(env, NULL) == 1 &&
               deadline_fired(env, HEX_A, NULL, NULL) == 1); /* the mark stays ... */
        assert(deadline_arm(env, HEX_A, 900, NULL) >= 0 &&
               deadline_fired(env, HEX_A, NULL, NULL) == 0); /* ... till then */
        assert(deadline_forget(env, NULL) >= 0 && deadline_forget(env, NULL) >= 0);
        assert(deadline_disarm(env, NULL) == 1);
}

/* systemd's own judgement of every unit we have. Paths it would not find on this machine are replaced. */
static void verify(const Env *env, const char *const *names)
{
        char *argv[8] = { (char *) "/usr/bin/systemd-analyze", (char *) "--recursive-errors=no",
                          (char *) "--man=no", (char *) "verify" };
        _cleanup_(run_result_done) RunResult result = { 0 };
        RunOptions options = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 64 * 1024 };
        size_t n = 4;

        for (; *names; names++)
                argv[n++] = str_printf("%s/%s", env->root, *names);
        assert(run(argv, &options, &result) >= 0);
        if (result.exit_code != 0 || result.output.size > 0)
                fprintf(stderr, "systemd-analyze verify: exit %d\n%s\n", result.exit_code,
                        result.output.data ? (char *) result.output.data : "");
        /* a machine may have complaints about units of its own */
        assert(result.exit_code == 0);
        assert(!result.output.data || !strstr((char *) result.output.data, "gybe-"));
        while (n > 4)
                free(argv[--n]);
}

static void test_verify(const Env *env)
{
        static const char *const deadline[] = { UNITS "gybe-deadline.timer", UNITS "gybe-deadline.service",
                                                NULL };

        assert(deadline_arm(env, HEX_A, 900, NULL) >= 0);
        verify(env, deadline);
}

int main(void)
{
        char root[] = "/tmp/test-deadline.XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");
        bool judge = access("/usr/bin/systemd-analyze", X_OK) >= 0;

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        env.root = root;
        test_arm_and_disarm(&env);
        test_leftovers(&env);
        test_mark(&env);
        if (judge)
                test_verify(&env);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        if (!judge)
                printf("no systemd-analyze here: the units' text was not judged\n");
        return judge ? 0 : 77;
}
