/* SPDX-License-Identifier: MIT */

#include "fetch/spawn.h"
#include "fetch/values.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PROGRAM       "gybe-fetch"
#define USER_FALLBACK 65534u /* nobody, on every distribution */
#define EXE_PATH_MAX  4096u
#define FDS_ASIDE     16 /* descriptors are moved here first, so that 0-3 can be filled without looking */
#define SOCKET_BUFFER (1024 * 1024) /* some records in flight let both processes work at the same time */

/* --- finding the program --- */

static int open_program(const char *dir, char **ret_path)
{
        _cleanup_(free_charp) char *path = str_printf("%s/" PROGRAM, dir);
        struct stat st;
        int fd;

        if (!path)
                return -ENOMEM;
        fd = open(path, O_PATH | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                (void) close(fd);
                return -ENOENT;
        }
        *ret_path = TAKE(path);
        return fd;
}

static int own_folder(char **ret)
{
        char buf[EXE_PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", buf, sizeof(buf) - 1);
        char *slash, *dir;

        if (n < 0)
                return -errno;
        buf[n] = 0;
        slash = strrchr(buf, '/');
        if (!slash)
                return -ENOENT;
        *slash = 0;
        dir = strdup(buf);
        if (!dir)
                return -ENOMEM;
        *ret = dir;
        return 0;
}

/* A program that runs from a build folder must not meet the installed one of another version: the nearest
 * comes first. */
static int find_program(const Env *env, char **ret_path, Why *why)
{
        _cleanup_(free_charp) char *beside = NULL;
        const char *dirs[] = { secure_getenv("GYBE_LIBEXEC"), NULL,
                               env->libexec ? env->libexec : GYBE_LIBEXECDIR };
        int fd = -ENOENT;

        (void) own_folder(&beside); /* without /proc only the installed one can be found */
        dirs[1] = beside;
        for (size_t i = 0; i < ELEMENTSOF(dirs); i++) {
                if (!dirs[i] || !*dirs[i])
                        continue;
                fd = open_program(dirs[i], ret_path);
                if (fd >= 0 || fd != -ENOENT)
                        break;
        }
        if (fd < 0)
                return fail_hint(why, fail_errno(why, fd, WHY_HOST, "%s/" PROGRAM, dirs[2]),
                                 "install it, or name its folder in GYBE_LIBEXEC");
        return fd;
}

/* --- who it runs as --- */

typedef struct Identity {
        bool change;
        uid_t uid;
        gid_t gid;
} Identity;

static Identity find_identity(void)
{
        const struct passwd *pw;

        if (geteuid() != 0)
                return (Identity){ 0 };
        pw = getpwnam(PROGRAM);
        if (!pw)
                pw = getpwnam("nobody");
        if (!pw || pw->pw_uid == 0)
                return (Identity){ true, USER_FALLBACK, USER_FALLBACK };
        return (Identity){ true, pw->pw_uid, pw->pw_gid };
}

/* Root of a user namespace that has no second user (unshare -r) is nobody's root: there is no one to become
 * and nothing to protect from. The capabilities over that namespace go away all the same, in the child's
 * sandbox. */
static bool namespace_has_one_user(void)
{
        _cleanup_(close_fdp) int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
        unsigned long inside, outside, count;
        char buf[256] = "";

        if (fd < 0 || fd_read_full(fd, buf, sizeof(buf) - 1) < 0)
                return false;
        return sscanf(buf, "%lu %lu %lu", &inside, &outside, &count) == 3 && count == 1 && outside != 0 &&
               !strchr(strchr(buf, '\n') ? strchr(buf, '\n') + 1 : "", '\n');
}

static int become(const Identity *id)
{
        if (!id->change)
                return 0;
        for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
                (void) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* best effort: the user change is what counts */
        if (setgroups(0, NULL) < 0 || setresgid(id->gid, id->gid, id->gid) < 0 ||
            setresuid(id->uid, id->uid, id->uid) < 0)
                return namespace_has_one_user() ? 0 : -errno;
        return 0;
}

/* --- the child, between fork and exec --- */

/* Only what the program reads: where the proxy is, and the switches of debug builds. */
static const char *const environ_kept[] = {
        "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",    "ALL_PROXY",
        "no_proxy",   "NO_PROXY",    "GYBE_DEBUG",  "ASAN_OPTIONS", "UBSAN_OPTIONS",
};

static int make_environ(char ***ret)
{
        _cleanup_(strv_freep) char **v = NULL;
        int r = strv_add(&v, "PATH=/usr/bin:/bin");

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(environ_kept); i++) {
                const char *value = getenv(environ_kept[i]);
                _cleanup_(free_charp) char *pair = NULL;

                if (!value)
                        continue;
                pair = str_printf("%s=%s", environ_kept[i], value);
                r = pair ? strv_add(&v, pair) : -ENOMEM;
        }
        if (r < 0)
                return r;
        *ret = TAKE(v);
        return 0;
}

/* 0-2 lead nowhere (a hostile child may not even draw on the terminal), 3 is the socket, nothing else
 * survives exec. */
static int arrange_fds(int sock, int exe_fd, int *ret_exe_fd)
{
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        int high_sock = fcntl(sock, F_DUPFD_CLOEXEC, FDS_ASIDE);
        int high_exe = fcntl(exe_fd, F_DUPFD_CLOEXEC, FDS_ASIDE);

        if (null_fd < 0 || high_sock < 0 || high_exe < 0 || dup2(null_fd, STDIN_FILENO) < 0 ||
            dup2(null_fd, STDOUT_FILENO) < 0)
                return -errno;
        if (!getenv("GYBE_DEBUG") && dup2(null_fd, STDERR_FILENO) < 0)
                return -errno;
        if (dup2(high_sock, SPAWN_SOCKET_FD) < 0)
                return -errno;
        /* everything of ours is close-on-exec from birth; this is for what a caller's library forgot */
        (void) syscall(SYS_close_range, SPAWN_SOCKET_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC);
        *ret_exe_fd = high_exe;
        return 0;
}

static int child(int sock, int exe_fd, const char *path, const Identity *id, char *const envp[], pid_t parent,
                 Why *why)
{
        char *const argv[] = { (char *) PROGRAM, NULL };
        sigset_t none;
        int r;

        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) setsid(); /* Ctrl-C is for the job; and no terminal to push characters into */
        (void) umask(0077);
        r = chdir("/") < 0 ? -errno : arrange_fds(sock, exe_fd, &exe_fd);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", path);
        r = become(id);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s: cannot become user %u", path, (unsigned) id->uid);
        /* after the change of user, which clears it; and the parent may be gone already */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                return fail(why, -ESRCH, WHY_HOST, "system", "%s: the caller is gone", path);
        (void) syscall(SYS_execveat, exe_fd, "", argv, envp, AT_EMPTY_PATH);
        return fail_errno(why, -errno, WHY_HOST, "%s", path);
}

static void child_main(int sock, int exe_fd, const char *path, const Identity *id, char *const envp[],
                       pid_t parent)
{
        WirePack p = WIRE_PACK_NULL;
        Why why = { 0 };
        int r = child(sock, exe_fd, path, id, envp, parent, &why);

        value_put_why(&p, r, &why);
        if (!p.failed)
                (void) wire_send(sock, WIRE_FAIL, 0, p.bytes.data, p.bytes.size, NULL, 0);
        _exit(127);
}

/* --- the parent --- */

int spawn_start(const Env *env, Spawn *ret, Why *why)
{
        _cleanup_(close_fdp) int ours = -1, theirs = -1, exe_fd = -1;
        _cleanup_(free_charp) char *path = NULL;
        _cleanup_(strv_freep) char **envp = NULL;
        int pair[2], size = SOCKET_BUFFER, r;
        Identity id = find_identity();
        pid_t self = getpid(), pid;

        exe_fd = find_program(env, &path, why);
        if (exe_fd < 0)
                return exe_fd;
        r = make_environ(&envp);
        if (r >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                r = -errno;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, PROGRAM);
        ours = pair[0];
        theirs = pair[1];
        if (setsockopt(theirs, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
                (void) setsockopt(theirs, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* only speed */
        pid = fork();
        if (pid < 0)
                return fail_errno(why, -errno, WHY_HOST, PROGRAM);
        if (pid == 0)
                child_main(theirs, exe_fd, path, &id, envp, self);
        *ret = (Spawn){ .sock = take_fd(&ours), .pid = pid };
        return 0;
}

void spawn_stop(Spawn *s)
{
        close_fdp(&s->sock);
        if (s->pid > 0) {
                (void) kill(s->pid, SIGKILL);
                while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        *s = SPAWN_NULL;
}

int spawn_explain(Spawn *s, Why *why)
{
        int status = 0;

        if (s->pid > 0) {
                /* it closed its socket: it is gone or has no business to be there */
                (void) usleep(50 * 1000);
                if (waitpid(s->pid, &status, WNOHANG) == s->pid)
                        s->pid = 0;
                spawn_stop(s);
        }
        if (WIFSIGNALED(status))
                return fail_hint(why,
                                 fail(why, -EPROTO, WHY_HOST, "fetch-died",
                                      PROGRAM ": killed by signal %i (%s)", WTERMSIG(status),
                                      strsignal(WTERMSIG(status))),
                                 WTERMSIG(status) == SIGSYS
                                         ? "its sandbox refused a system call: please report it"
                                         : "please report it");
        return fail(why, -EPROTO, WHY_HOST, "fetch-died", PROGRAM ": ended unexpectedly (exit code %i)",
                    WEXITSTATUS(status));
}
