/* SPDX-License-Identifier: MIT */

#include "control/kube-exec.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_US                                                                                           \
        (60u * UINT64_C(1000000)) /* it may speak to a cloud; whoever waits longer waits for ever */
#define OUTPUT_MAX (256u * 1024u)
#define SAID_MAX   2048u

struct KubeExecRun {
        pid_t pid;
        int out, err;
        Bytes output, said;
        char *api_version, *hint;
        sd_event_source *child, *timer, *out_source, *err_source;
        int status;
        bool ended, closed, too_much;
        Why why;
        void (*on_end)(void *ctx, KubeCredential *credential, const Why *why);
        void *ctx;
};

KubeExecRun *kube_exec_free(KubeExecRun *r)
{
        if (!r)
                return NULL;
        (void) sd_event_source_disable_unref(r->child);
        (void) sd_event_source_disable_unref(r->timer);
        (void) sd_event_source_disable_unref(r->out_source);
        (void) sd_event_source_disable_unref(r->err_source);
        if (r->pid > 0) {
                (void) kill(-r->pid, SIGKILL); /* what it started, too */
                if (!r->ended)
                        (void) waitpid(r->pid, NULL, 0);
        }
        close_fdp(&r->out);
        close_fdp(&r->err);
        if (r->output.data)
                explicit_bzero(r->output.data, r->output.size);
        bytes_done(&r->output);
        bytes_done(&r->said);
        free(r->api_version);
        free(r->hint);
        free(r);
        return NULL;
}

static void judge(KubeExecRun *r, KubeCredential *ret)
{
        if (r->why.kind != WHY_NONE)
                return;
        if (r->too_much)
                (void) fail(&r->why, -EFBIG, WHY_USAGE, "exec-plugin",
                            "exec plugin: it printed more than %u bytes", OUTPUT_MAX);
        else if (!WIFEXITED(r->status) || WEXITSTATUS(r->status) != 0)
                (void) fail(&r->why, -EIO, WHY_NETWORK, "exec-plugin",
                            "exec plugin: it ended with %s %d: %.300s",
                            WIFEXITED(r->status) ? "exit code" : "signal",
                            WIFEXITED(r->status) ? WEXITSTATUS(r->status) : WTERMSIG(r->status),
                            r->said.data ? (const char *) r->said.data : "");
        else
                (void) kube_credential_parse(r->output.data ? r->output.data : (const uint8_t *) "",
                                             r->output.size, r->api_version, ret, &r->why);
}

static void finish(KubeExecRun *r)
{
        _cleanup_(kube_credential_done) KubeCredential c = { 0 };
        void (*on_end)(void *ctx, KubeCredential *credential, const Why *why) = r->on_end;
        void *ctx = r->ctx;
        Why why;

        judge(r, &c);
        why = r->why;
        if (r->hint && why.kind != WHY_NONE)
                (void) fail_hint(&why, -EIO, "%.200s", r->hint);
        (void) kube_exec_free(r);
        on_end(ctx, why.kind == WHY_NONE ? &c : NULL, &why);
}

static int on_child(sd_event_source *s _unused_, const siginfo_t *si, void *userdata)
{
        KubeExecRun *r = userdata;

        /* in the shape that waitpid() has it */
        r->status = si->si_code == CLD_EXITED ? (si->si_status & 0xff) << 8 : si->si_status & 0x7f;
        r->ended = true;
        if (r->closed)
                finish(r);
        return 0;
}

static int on_timeout(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
        KubeExecRun *r = userdata;

        (void) fail(&r->why, -ETIMEDOUT, WHY_NETWORK, "exec-plugin",
                    "exec plugin: it did not end within %llu s", (unsigned long long) (TIMEOUT_US / 1000000));
        finish(r);
        return 0;
}

/* 1 there may be more, 0 it is closed */
static int take_bytes(int fd, Bytes *to, size_t max, bool *ret_too_much)
{
        char buf[4096];
        ssize_t n = read(fd, buf, sizeof(buf));

        if (n < 0)
                return errno == EAGAIN || errno == EINTR;
        if (n == 0)
                return 0;
        if (to->size + (size_t) n > max || bytes_append(to, buf, (size_t) n) < 0)
                *ret_too_much = true;
        explicit_bzero(buf, sizeof(buf));
        return 1;
}

static int on_output(sd_event_source *s, int fd, uint32_t events _unused_, void *userdata)
{
        KubeExecRun *r = userdata;

        if (take_bytes(fd, &r->output, OUTPUT_MAX, &r->too_much) > 0)
                return 0;
        r->closed = true;
        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        if (r->ended)
                finish(r);
        return 0;
}

static int on_said(sd_event_source *s, int fd, uint32_t events _unused_, void *userdata)
{
        KubeExecRun *r = userdata;
        bool ignored = false;

        if (take_bytes(fd, &r->said, SAID_MAX, &ignored) == 0)
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

static char **environment(const KubeConfig *c, const Bytes *ca)
{
        _cleanup_(free_charp) char *info = NULL, *line = NULL;
        char **env = NULL;
        bool good = kube_exec_info(c, ca, &info) >= 0;

        line = good ? str_printf("KUBERNETES_EXEC_INFO=%s", info) : NULL;
        for (char **e = environ; good && *e; e++)
                if (!str_starts(*e, "NOTIFY_SOCKET=") && !str_starts(*e, "WATCHDOG_"))
                        good = strv_add(&env, *e) >= 0;
        for (char **e = c->exec.env; good && e && *e; e++)
                good = strv_add(&env, *e) >= 0;
        if (!line || !good || strv_add(&env, line) < 0)
                return strv_free(env);
        return env;
}

static char **arguments(const KubeConfig *c, const char *folder)
{
        _cleanup_(free_charp) char *path = NULL;
        char **argv = NULL;
        bool good;

        if (strchr(c->exec.command, '/') && c->exec.command[0] != '/') {
                path = str_printf("%s/%s", folder, c->exec.command);
                good = path && strv_add(&argv, path) >= 0;
        } else
                good = strv_add(&argv, c->exec.command) >= 0;
        for (char **a = c->exec.args; good && a && *a; a++)
                good = strv_add(&argv, *a) >= 0;
        return good ? argv : strv_free(argv);
}

static int spawn(char **argv, char **env, int out, int err, pid_t *ret)
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none, all;
        int r;

        (void) sigemptyset(&none);
        (void) sigfillset(&all);
        if (posix_spawnattr_init(&attr) != 0)
                return -ENOMEM;
        if (posix_spawn_file_actions_init(&actions) != 0) {
                (void) posix_spawnattr_destroy(&attr);
                return -ENOMEM;
        }
        r = posix_spawnattr_setsigmask(&attr, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(&attr, &all);
        if (r == 0)
                r = posix_spawnattr_setpgroup(&attr, 0);
        if (r == 0)
                r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                            POSIX_SPAWN_SETPGROUP);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
        if (r == 0)
                r = posix_spawnp(ret, argv[0], &actions, &attr, argv, env);
        (void) posix_spawn_file_actions_destroy(&actions);
        (void) posix_spawnattr_destroy(&attr);
        return -r;
}

static int start(KubeExecRun *r, const KubeConfig *c, const Bytes *ca, const char *folder, Why *why)
{
        _cleanup_(strv_freep) char **argv = arguments(c, folder), **env = environment(c, ca);
        int out[2] = { -1, -1 }, err[2] = { -1, -1 }, error = -ENOMEM;

        if (argv && env)
                error = pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ? -errno : 0;
        if (error >= 0)
                error = spawn(argv, env, out[1], err[1], &r->pid);
        r->out = out[0];
        r->err = err[0];
        close_fdp(&out[1]);
        close_fdp(&err[1]);
        if (error < 0) {
                r->pid = 0;
                return fail_errno(why, error, WHY_USAGE, "exec plugin %s", c->exec.command);
        }
        (void) fcntl(r->out, F_SETFL, O_NONBLOCK);
        (void) fcntl(r->err, F_SETFL, O_NONBLOCK);
        return 0;
}

int kube_exec_begin(sd_event *event, const KubeConfig *config, const Bytes *ca, const char *folder,
                    void (*on_end)(void *ctx, KubeCredential *credential, const Why *why), void *ctx,
                    KubeExecRun **ret, Why *why)
{
        KubeExecRun *r = calloc(1, sizeof(*r));
        int error;

        if (!r)
                return -ENOMEM;
        *r = (KubeExecRun){ .out = -1, .err = -1, .on_end = on_end, .ctx = ctx };
        r->api_version = strdup(config->exec.api_version);
        r->hint = config->exec.install_hint ? strdup(config->exec.install_hint) : NULL;
        error = r->api_version ? start(r, config, ca, folder, why) : -ENOMEM;
        if (error >= 0)
                error = sd_event_add_child(event, &r->child, r->pid, WEXITED, on_child, r);
        if (error >= 0)
                error = sd_event_add_time_relative(event, &r->timer, CLOCK_MONOTONIC, TIMEOUT_US, 0,
                                                   on_timeout, r);
        if (error >= 0)
                error = sd_event_add_io(event, &r->out_source, r->out, EPOLLIN, on_output, r);
        if (error >= 0)
                error = sd_event_add_io(event, &r->err_source, r->err, EPOLLIN, on_said, r);
        if (error < 0) {
                (void) kube_exec_free(r);
                return fail_errno(why, error, WHY_HOST, "exec plugin");
        }
        *ret = r;
        return 0;
}
