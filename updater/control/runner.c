/* SPDX-License-Identifier: MIT */

#include "control/runner.h"
#include "base/fd.h"
#include "base/str.h"
#include "control/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

/* --- units --- */

static void unit_name(const char *id, char ret[80])
{
        (void) snprintf(ret, 80, "gybe-job@%s.service", id);
}

static int unit_start(void *ctx, const char *id, uint64_t *ret_pid _unused_, Why *why)
{
        const Runner *r = ctx;
        char unit[80];

        unit_name(id, unit);
        return systemd_start_unit(r->env, unit, why);
}

static int unit_runs(void *ctx, const char *id)
{
        const Runner *r = ctx;
        char unit[80];

        unit_name(id, unit);
        return systemd_unit_is_running(r->env, unit, NULL);
}

/* --- detached children --- */

/* In the grandchild: nobody's child but init's, in a session of its own, with nothing of ours open. Only system calls here:
 * between fork and exec. */
static void become_job(const char *program, char *const argv[])
{
        int null_fd = open("/dev/null", O_RDWR);
        sigset_t none;

        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        for (int sig = 1; sig < NSIG; sig++)
                (void) signal(sig, SIG_DFL);
        if (null_fd >= 0) {
                (void) dup2(null_fd, STDIN_FILENO);
                (void) dup2(null_fd, STDOUT_FILENO);
        }
        /* stderr stays: where the agent's messages go, the job's go */
        (void) close_range(3, ~0U, 0);
        (void) execv(program, argv);
        _exit(127);
}

/* The grandchild's number comes through a pipe: it is waited for, though not as a child. */
static int spawn_detached(const char *program, char *const argv[], uint64_t *ret_pid)
{
        _cleanup_(close_fdp) int read_fd = -1, write_fd = -1;
        int pipe_fd[2], status;
        pid_t pid;

        if (pipe2(pipe_fd, O_CLOEXEC) < 0)
                return -errno;
        read_fd = pipe_fd[0];
        write_fd = pipe_fd[1];
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                (void) setsid();
                pid = fork();
                if (pid == 0)
                        become_job(program, argv);
                _exit(pid > 0 && fd_write_full(write_fd, &pid, sizeof(pid)) >= 0 ? 0 : 1);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 ||
            fd_read_full(read_fd, &pid, sizeof(pid)) != (ssize_t) sizeof(pid))
                return -EAGAIN;
        *ret_pid = (uint64_t) pid;
        return 0;
}

/* Where GYBE_LIBEXEC says, beside this program (a build folder), where it would be installed. */
static int find_program(const Env *env, char **ret)
{
        const char *named = secure_getenv("GYBE_LIBEXEC");
        char self[4096] = "";
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash = n > 0 ? strrchr(self, '/') : NULL;
        const char *folders[] = { named, NULL, env->libexec };

        if (slash) {
                *slash = 0;
                folders[1] = self;
        }
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                char *path = folders[i] ? str_printf("%s/gybe-job", folders[i]) : NULL;

                if (folders[i] && !path)
                        return -ENOMEM;
                if (path && access(path, X_OK) >= 0) {
                        *ret = path;
                        return 0;
                }
                free(path);
        }
        return -ENOENT;
}

static int child_start(void *ctx, const char *id, uint64_t *ret_pid, Why *why)
{
        const Runner *r = ctx;
        _cleanup_(free_charp) char *program = NULL;
        const char *argv[10];
        size_t n = 0;
        int e;

        e = find_program(r->env, &program);
        if (e < 0)
                return fail_errno(why, e, WHY_HOST, "gybe-job");
        argv[n++] = program;
        if (r->env->root) {
                argv[n++] = "--root";
                argv[n++] = r->env->root;
        }
        if (r->disk) {
                argv[n++] = "--disk";
                argv[n++] = r->disk;
        }
        argv[n++] = "run";
        argv[n++] = id;
        argv[n] = NULL;
        e = spawn_detached(program, (char *const *) argv, ret_pid);
        return e < 0 ? fail_errno(why, e, WHY_HOST, "starting %s", program) : 0;
}

/* Not ours any more: its files tell. */
static int child_runs(void *ctx _unused_, const char *id _unused_)
{
        return -ENOSYS;
}

AgentRunner runner_for(Runner *r)
{
        if (env_is_real(r->env))
                return (AgentRunner){ .start = unit_start, .runs = unit_runs, .ctx = r };
        return (AgentRunner){ .start = child_start, .runs = child_runs, .ctx = r };
}
