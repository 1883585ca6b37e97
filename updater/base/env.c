/* SPDX-License-Identifier: MIT */

#include "base/env.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define LINE_MAX_BYTES (64u * 1024u) /* a kernel command line is 4 KiB at most, a mountinfo line 12 KiB */

static uint64_t real_now(void *ctx _unused_)
{
        struct timespec ts;

        if (clock_gettime(CLOCK_REALTIME, &ts) < 0 || ts.tv_sec < 0)
                return 0;
        return (uint64_t) ts.tv_sec;
}

int env_open(const char *root, Env *ret, Why *why)
{
        Env env = { .root = root, .now = real_now, .libexec = GYBE_LIBEXECDIR };

        env.root_fd = open(root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (env.root_fd < 0)
                return fail_errno(why, -errno, WHY_USAGE, "--root %s", root ? root : "/");
        *ret = env;
        return 0;
}

void env_done(Env *env)
{
        if (env->root_fd >= 0)
                (void) close(env->root_fd);
        *env = ENV_NULL;
}

uint64_t env_now(const Env *env)
{
        return env->now(env->ctx);
}

int env_open_path(const Env *env, const char *path, int flags, unsigned mode)
{
        struct open_how how = {
                .flags = (uint64_t) (flags | O_CLOEXEC),
                .mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
                .resolve = RESOLVE_IN_ROOT,
        };
        long fd;

        while (*path == '/')
                path++;
        if (!*path)
                path = ".";
        fd = syscall(SYS_openat2, env->root_fd, path, &how, sizeof(how));
        /* Without openat2 (a container's seccomp filter) only the real root can be served: there an absolute link
         * means what it says. */
        if (fd < 0 && (errno == ENOSYS || errno == EPERM) && env_is_real(env))
                fd = openat(env->root_fd, path, flags | O_CLOEXEC, mode);
        return fd < 0 ? -errno : (int) fd;
}

int env_read(const Env *env, const char *path, size_t max, Bytes *ret)
{
        _cleanup_(close_fdp) int fd = env_open_path(env, path, O_RDONLY | O_NONBLOCK, 0);

        return fd < 0 ? fd : fd_read_all(fd, max, ret);
}

int env_read_line(const Env *env, const char *path, char **ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char *line;
        int r;

        r = env_read(env, path, LINE_MAX_BYTES, &b);
        if (r < 0)
                return r;
        line = strndup(b.data ? (char *) b.data : "", strcspn(b.data ? (char *) b.data : "", "\n"));
        if (!line)
                return -ENOMEM;
        *ret = line;
        return 0;
}

int env_open_dir(const Env *env, const char *path)
{
        return env_open_path(env, path, O_RDONLY | O_DIRECTORY, 0);
}

int env_make_dir(const Env *env, const char *path, unsigned mode)
{
        _cleanup_(free_charp) char *parent = NULL;
        _cleanup_(close_fdp) int parent_fd = -1;
        const char *slash;
        int fd;

        /* The common case first; only what is missing is made, from the deepest folder that is there. */
        fd = env_open_dir(env, path);
        if (fd != -ENOENT)
                return fd;
        slash = strrchr(path, '/');
        if (!slash || slash == path)
                parent = strdup("/");
        else
                parent = strndup(path, (size_t) (slash - path));
        if (!parent)
                return -ENOMEM;
        parent_fd = streq(parent, "/") ? env_open_dir(env, "/") : env_make_dir(env, parent, mode);
        if (parent_fd < 0)
                return parent_fd;
        return dir_make(parent_fd, slash ? slash + 1 : path, mode);
}

int env_program(const Env *env, const char *path, char **ret)
{
        _cleanup_(close_fdp) int fd = env_open_path(env, path, O_PATH, 0);
        char link[64], *resolved;
        struct stat st;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
                return -EACCES;
        if (env_is_real(env))
                resolved = strdup(path);
        else {
                (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
                resolved = realpath(link, NULL);
        }
        if (!resolved)
                return errno == ENOMEM ? -ENOMEM : -ENOENT;
        *ret = resolved;
        return 0;
}

char *env_host_path(const Env *env, const char *path)
{
        return str_printf("%s%s%s", env->root ? env->root : "", *path == '/' ? "" : "/", path);
}
