/* SPDX-License-Identifier: MIT */

#include "base/run.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#define KILL_GRACE_MS 2000

static int64_t now_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void run_result_done(RunResult *r)
{
        bytes_done(&r->output);
}

static char *const clean_environ[] = {
        (char *) "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", (char *) "LANG=C.UTF-8",
        NULL
};

static void child(char *const argv[], const RunOptions *o, char *const *env, int out_fd)
{
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        sigset_t none;

        (void) setpgid(0, 0);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) signal(SIGPIPE, SIG_DFL); /* scripts with a pipe in them count on it */
        if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(out_fd, STDOUT_FILENO) < 0 ||
            dup2(out_fd, STDERR_FILENO) < 0)
                _exit(126);
        if (o->cwd_fd >= 0 && fchdir(o->cwd_fd) < 0)
                _exit(126);
        if (o->exe_fd >= 0) {
                /* fexecve() cannot run a #! script from a close-on-exec descriptor */
                char path[32];

                (void) fcntl(o->exe_fd, F_SETFD, 0);
                (void) snprintf(path, sizeof(path), "/proc/self/fd/%i", o->exe_fd);
                (void) execve(path, argv, env);
        } else
                (void) execve(argv[0], argv, env);
        (void) dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
}

/* Keeps the last max bytes: what a failing check says last is what explains it. */
static int keep_tail(Bytes *b, const uint8_t *data, size_t n, size_t max)
{
        int r = bytes_append(b, data, n);

        if (r < 0)
                return r;
        if (b->size > max) {
                memmove(b->data, b->data + (b->size - max), max);
                b->size = max;
                b->data[max] = 0;
        }
        return 0;
}

/* The same program in a unit of its own: nothing of our sandbox, and everything that it leaves behind ends with it. When we are
 * killed first, its own limit ends it. */
static int outside_argv(const char *starter, char *const argv[], const RunOptions *o, char ***ret)
{
        static const char *const fixed[] = { "--quiet", "--wait", "--pipe", "--collect",
                                             "--service-type=exec" };
        _cleanup_(free_charp) char *limit = NULL;
        _cleanup_(strv_freep) char **v = NULL;
        int r = strv_add(&v, starter);

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(fixed); i++)
                r = strv_add(&v, fixed[i]);
        if (r >= 0 && o->timeout_sec > 0) {
                limit = str_printf("--property=RuntimeMaxSec=%llus",
                                   (unsigned long long) o->timeout_sec + KILL_GRACE_MS / 1000);
                r = limit ? strv_add(&v, limit) : -ENOMEM;
        }
        for (char *const *e = o->environ ? o->environ : clean_environ; r >= 0 && *e; e++) {
                _cleanup_(free_charp) char *set = str_printf("--setenv=%s", *e);

                r = set ? strv_add(&v, set) : -ENOMEM;
        }
        if (r >= 0)
                r = strv_add(&v, "--");
        for (; r >= 0 && *argv; argv++)
                r = strv_add(&v, *argv);
        if (r < 0)
                return r;
        *ret = TAKE(v);
        return 0;
}

static int run_here(char *const argv[], const RunOptions *options, char *const *env, RunResult *ret)
{
        _cleanup_(run_result_done) RunResult result = { .exit_code = -1 };
        _cleanup_(close_fdp) int read_fd = -1, write_fd = -1;
        int64_t deadline =
                options->timeout_sec > 0 ? now_ms() + (int64_t) options->timeout_sec * 1000 : INT64_MAX;
        bool reaped = false;
        int pipe_fd[2], status = 0;
        pid_t pid;

        if (pipe2(pipe_fd, O_CLOEXEC) < 0)
                return -errno;
        read_fd = pipe_fd[0];
        write_fd = pipe_fd[1];
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                child(argv, options, env, write_fd);
        (void) setpgid(pid, pid);
        (void) close(write_fd);
        write_fd = -1;

        /* The output may outlive the program (a daemon it left behind) and the program its output: the deadline is over
         * both, and a program that has ended gets no more than a moment for its children. */
        for (;;) {
                struct pollfd p = { .fd = read_fd, .events = POLLIN };
                int64_t left = deadline - now_ms();
                uint8_t buf[4096];
                ssize_t n;
                int r;

                if (!reaped && waitpid(pid, &status, WNOHANG) == pid) {
                        reaped = true;
                        deadline = MIN(deadline, now_ms() + KILL_GRACE_MS);
                        left = deadline - now_ms();
                }
                if (left <= 0)
                        break;
                r = poll(&p, 1, (int) MIN(left, (int64_t) 100));
                if (r < 0 && errno != EINTR)
                        break;
                if (r <= 0)
                        continue;
                n = read(read_fd, buf, sizeof(buf));
                if (n <= 0) {
                        if (reaped)
                                break;
                        /* nobody holds the pipe any more: only the exit is left to wait for */
                        (void) usleep(10 * 1000);
                        continue;
                }
                r = keep_tail(&result.output, buf, (size_t) n, options->output_max);
                if (r < 0) {
                        (void) kill(-pid, SIGKILL);
                        if (!reaped)
                                (void) waitpid(pid, &status, 0);
                        return r;
                }
        }
        (void) kill(-pid, SIGKILL);
        if (!reaped) {
                result.timed_out = true;
                (void) waitpid(pid, &status, 0);
        }
        if (WIFEXITED(status))
                result.exit_code = WEXITSTATUS(status);
        else if (WIFSIGNALED(status))
                result.signal = WTERMSIG(status);
        *ret = result;
        result.output = BYTES_NULL;
        return 0;
}

int run(char *const argv[], const RunOptions *options, RunResult *ret)
{
        const char *starter = options->outside ? secure_getenv(RUN_OUTSIDE) : NULL;
        _cleanup_(strv_freep) char **v = NULL;
        int r;

        if (!starter || !*starter)
                return run_here(argv, options, options->environ ? options->environ : clean_environ, ret);
        r = outside_argv(starter, argv, options, &v);
        return r < 0 ? r : run_here(v, options, clean_environ, ret);
}
