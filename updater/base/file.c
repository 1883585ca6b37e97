/* SPDX-License-Identifier: MIT */

#include "base/file.h"
#include "base/fd.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define DIR_DEPTH_MAX 16u /* dir_remove(): our own trees are two or three deep */

int file_read(int dir_fd, const char *name, size_t max, Bytes *ret)
{
        _cleanup_(close_fdp) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0)
                return -errno;
        return fd_read_all(fd, max, ret);
}

int file_replace(int dir_fd, const char *name, const void *data, size_t size, unsigned mode)
{
        _cleanup_(free_charp) char *tmp = str_printf("%s.new~", name);
        _cleanup_(close_fdp) int fd = -1;
        int r;

        if (!tmp)
                return -ENOMEM;
        /* One fixed temporary name: what a power cut leaves behind is overwritten the next time, never collected. */
        fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return -errno;
        r = fd_write_full(fd, data, size);
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && renameat(dir_fd, tmp, dir_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(dir_fd, tmp, 0);
                return r;
        }
        return fsync(dir_fd) < 0 ? -errno : 0;
}

int file_remove(int dir_fd, const char *name)
{
        if (unlinkat(dir_fd, name, 0) < 0)
                return errno == ENOENT ? 0 : -errno;
        return fsync(dir_fd) < 0 ? -errno : 1;
}

int dir_open(int dir_fd, const char *path)
{
        int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int dir_make(int dir_fd, const char *path, unsigned mode)
{
        _cleanup_(free_charp) char *copy = strdup(path);
        _cleanup_(close_fdp) int at = -1;
        char *state = NULL;

        if (!copy)
                return -ENOMEM;
        /* below a folder every path is relative to it; only the caller's own paths may be absolute */
        at = openat(dir_fd, dir_fd == AT_FDCWD && *path == '/' ? "/" : ".",
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (at < 0)
                return -errno;
        for (char *part = strtok_r(copy, "/", &state); part; part = strtok_r(NULL, "/", &state)) {
                _cleanup_(close_fdp) int next = -1;

                if (mkdirat(at, part, mode) >= 0) {
                        if (fsync(at) < 0)
                                return -errno;
                } else if (errno != EEXIST)
                        return -errno;
                next = openat(at, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (next < 0)
                        return -errno;
                (void) close(at);
                at = take_fd(&next);
        }
        return take_fd(&at);
}

int file_copy_bytes(int from_fd, int to_fd, uint64_t len)
{
        uint8_t buf[32 * 1024];

        while (len > 0) {
                size_t n = (size_t) MIN(len, (uint64_t) sizeof(buf));
                ssize_t l = fd_read_full(from_fd, buf, n);
                int r;

                if (l < 0)
                        return (int) l;
                if ((size_t) l != n)
                        return -EIO;
                r = fd_write_full(to_fd, buf, n);
                if (r < 0)
                        return r;
                len -= n;
        }
        return 0;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static void closedirp(DIR **d)
{
        if (*d)
                (void) closedir(*d);
}

int dir_list(int dir_fd, const char *path, char ***ret)
{
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(closedirp) DIR *d = NULL;
        int fd, r;

        fd = dir_open(dir_fd, path);
        if (fd < 0)
                return fd;
        d = fdopendir(fd);
        if (!d) {
                (void) close(fd);
                return -ENOMEM;
        }
        for (;;) {
                struct dirent *e;

                errno = 0;
                e = readdir(d);
                if (!e)
                        break;
                if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                        continue;
                r = strv_add(&names, e->d_name);
                if (r < 0)
                        return r;
        }
        if (errno > 0)
                return -errno;
        if (!names) {
                names = calloc(1, sizeof(char *));
                if (!names)
                        return -ENOMEM;
        }
        qsort(names, strv_len(names), sizeof(char *), compare_names);
        *ret = TAKE(names);
        return 0;
}

static int remove_tree(int dir_fd, const char *name, unsigned depth)
{
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(close_fdp) int fd = -1;
        int r;

        if (unlinkat(dir_fd, name, 0) >= 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return -errno;
        if (depth == 0)
                return -ELOOP;
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        r = dir_list(fd, ".", &names);
        if (r < 0)
                return r;
        for (char **n = names; *n; n++) {
                r = remove_tree(fd, *n, depth - 1);
                if (r < 0)
                        return r;
        }
        return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int dir_remove(int dir_fd, const char *name)
{
        int r = remove_tree(dir_fd, name, DIR_DEPTH_MAX);

        if (r < 0)
                return r;
        return fsync(dir_fd) < 0 ? -errno : 0;
}
