/* SPDX-License-Identifier: MIT */

/* Files and folders on the ESP. FAT finds names without regard to case and keeps the spelling of whoever made them; the
 * folder that stands for an ESP in a test does not, so names are looked up both ways here and nowhere else.
 *
 * FAT is trusted with one thing only: a single sector is old or new. So a file is complete and synced before it gets its
 * name, and folders are synced after every rename. */

#include "bootloader/esp.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#define ESP_TREE_DEPTH 4u /* what is measured are addon folders */

int esp_open(const Env *env, const char *path, Esp *ret, Why *why)
{
        _cleanup_(close_fdp) int fd = env_open_dir(env, path);
        struct statfs fs;

        if (fd < 0)
                return fail_errno(why, fd, WHY_HOST, "ESP %s", path);
        if (fstatfs(fd, &fs) < 0)
                return fail_errno(why, -errno, WHY_HOST, "ESP %s", path);
        if (env_is_real(env) && fs.f_type != MSDOS_SUPER_MAGIC) {
                (void) fail(why, -ENOTSUP, WHY_HOST, "not-vfat", "ESP %s: it is not a FAT file system", path);
                return fail_hint(why, -ENOTSUP,
                                 "mount the ESP there, or name the right folder as \"esp\" in gybe.json");
        }
        *ret = (Esp){ .fd = take_fd(&fd), .path = path, .vfat = fs.f_type == MSDOS_SUPER_MAGIC };
        return 0;
}

void esp_done(Esp *esp)
{
        close_fdp(&esp->fd);
        esp->fd = -1;
}

int esp_find(int dir_fd, const char *name, char **ret)
{
        _cleanup_(strv_freep) char **names = NULL;
        const char *found = NULL;
        char *copy;
        int r;

        r = dir_list(dir_fd, ".", &names);
        if (r < 0)
                return r;
        for (char **n = names; *n; n++)
                if (streq(*n, name) || (!found && str_fold_cmp(*n, name) == 0))
                        found = *n;
        if (!found)
                return 0;
        copy = strdup(found);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 1;
}

/* Walks path part by part; create: missing folders are made. */
static int walk_dirs(int dir_fd, const char *path, bool create)
{
        _cleanup_(close_fdp) int at = dir_open(dir_fd, ".");
        _cleanup_(free_charp) char *copy = strdup(path);
        char *state = NULL;

        if (!copy)
                return -ENOMEM;
        if (at < 0)
                return at;
        for (char *part = strtok_r(copy, "/", &state); part; part = strtok_r(NULL, "/", &state)) {
                _cleanup_(free_charp) char *name = NULL;
                int r = esp_find(at, part, &name), next;

                if (r < 0 || (r == 0 && !create))
                        return r < 0 ? r : -ENOENT;
                next = r == 0 ? dir_make(at, part, 0700) : dir_open(at, name);
                if (next < 0)
                        return next;
                (void) close(at);
                at = next;
        }
        return take_fd(&at);
}

int esp_dir(int dir_fd, const char *path)
{
        return walk_dirs(dir_fd, path, false);
}

int esp_make_dir(int dir_fd, const char *path)
{
        return walk_dirs(dir_fd, path, true);
}

int esp_open_file(int dir_fd, const char *name)
{
        _cleanup_(free_charp) char *found = NULL;
        int r = esp_find(dir_fd, name, &found), fd;

        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        fd = openat(dir_fd, found, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        return fd < 0 ? -errno : fd;
}

int esp_file_digest(int dir_fd, const char *name, char ret[65], uint64_t *ret_size)
{
        _cleanup_(close_fdp) int fd = esp_open_file(dir_fd, name);
        struct stat st;
        int r;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EISDIR;
        r = sha256_fd_hex(fd, ret);
        if (r >= 0 && ret_size)
                *ret_size = (uint64_t) st.st_size;
        return r;
}

static int tree_size(int dir_fd, const char *name, uint64_t cluster, unsigned depth, uint64_t *sum)
{
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(close_fdp) int fd = -1;
        struct stat st;
        int r;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISDIR(st.st_mode)) {
                *sum += ((uint64_t) st.st_size + cluster - 1) / cluster * cluster;
                return 0;
        }
        *sum += cluster;
        if (depth == 0)
                return 0;
        fd = dir_open(dir_fd, name);
        if (fd < 0)
                return fd;
        r = dir_list(fd, ".", &names);
        for (char **n = names; r >= 0 && *n; n++)
                r = tree_size(fd, *n, cluster, depth - 1, sum);
        return r;
}

int esp_tree_size(int dir_fd, const char *name, uint64_t cluster, uint64_t *ret)
{
        _cleanup_(free_charp) char *found = NULL;
        uint64_t sum = 0;
        int r = esp_find(dir_fd, name, &found);

        if (r > 0)
                r = tree_size(dir_fd, found, cluster, ESP_TREE_DEPTH, &sum);
        if (r >= 0)
                *ret = sum;
        return r < 0 ? r : 0;
}

int esp_space(const Esp *esp, uint64_t *ret_free, uint64_t *ret_cluster)
{
        struct statvfs fs;

        if (fstatvfs(esp->fd, &fs) < 0)
                return -errno;
        if (fs.f_frsize == 0 ||
            __builtin_mul_overflow((uint64_t) fs.f_bavail, (uint64_t) fs.f_frsize, ret_free))
                return -ERANGE;
        *ret_cluster = fs.f_frsize;
        return 0;
}

/* syncfs() writes everything, but fs/fat has no hook in it that would flush the disk's cache; its fsync() does. */
int esp_sync(const Esp *esp)
{
        return syncfs(esp->fd) < 0 || fsync(esp->fd) < 0 ? -errno : 0;
}

int esp_remove(int dir_fd, const char *name)
{
        _cleanup_(free_charp) char *found = NULL;
        int r = esp_find(dir_fd, name, &found);

        return r <= 0 ? r : dir_remove(dir_fd, found);
}

/* On FAT an entry is part of what it names: rename makes an empty one and takes the old one away, and where the file begins
 * and how long it is gets there when the file is synced, not when the folder is. */
int esp_rename(int dir_fd, const char *from, const char *to)
{
        _cleanup_(close_fdp) int fd = openat(dir_fd, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

        if (fd < 0)
                return -errno;
        if (renameat(dir_fd, from, dir_fd, to) < 0)
                return -errno;
        return fsync(fd) < 0 || fsync(dir_fd) < 0 ? -errno : 0;
}

/* The same over an old file. Held open, that one keeps its clusters until the name leads to the new ones on the disk: free
 * clusters under a name that still leads there are a loader, or a loader.conf, that cannot be read. */
static int rename_over(int dir_fd, const char *from, const char *to)
{
        _cleanup_(close_fdp) int old = openat(dir_fd, to, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

        return old < 0 && errno != ENOENT ? -errno : esp_rename(dir_fd, from, to);
}

int esp_replace(int dir_fd, const char *name, const void *data, size_t size)
{
        _cleanup_(free_charp) char *tmp = str_printf("%s.new~", name);
        _cleanup_(close_fdp) int fd = -1;
        int r;

        if (!tmp)
                return -ENOMEM;
        fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        r = fd_write_full(fd, data, size);
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r >= 0)
                r = rename_over(dir_fd, tmp, name);
        if (r < 0)
                (void) unlinkat(dir_fd, tmp, 0);
        return r;
}

static bool same_content(int a, int b)
{
        char x[SHA256_HEX], y[SHA256_HEX];

        return sha256_fd_hex(a, x) >= 0 && sha256_fd_hex(b, y) >= 0 && streq(x, y);
}

/* The copy is complete under another name before it takes the place of the old file: there is always one of them. */
static int copy_over(int from_fd, uint64_t size, int to_dir, const char *name)
{
        _cleanup_(free_charp) char *tmp = str_printf("%s.new", name);
        _cleanup_(close_fdp) int to = -1;
        int r;

        if (!tmp)
                return -ENOMEM;
        r = esp_remove(to_dir, tmp);
        if (r < 0)
                return r;
        to = openat(to_dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (to < 0)
                return -errno;
        r = file_copy_bytes(from_fd, to, size);
        if (r >= 0 && fsync(to) < 0)
                r = -errno;
        if (r >= 0)
                r = rename_over(to_dir, tmp, name);
        if (r < 0)
                (void) unlinkat(to_dir, tmp, 0);
        return r;
}

int esp_copy(int from_dir, const char *from, int to_dir, const char *to)
{
        _cleanup_(close_fdp) int from_fd = esp_open_file(from_dir, from), old = -1;
        _cleanup_(free_charp) char *name = NULL;
        struct stat st;
        int r;

        if (from_fd < 0)
                return from_fd;
        if (fstat(from_fd, &st) < 0)
                return -errno;
        r = esp_find(to_dir, to, &name);
        if (r < 0)
                return r;
        if (r > 0) {
                old = openat(to_dir, name, O_RDONLY | O_CLOEXEC);
                if (old >= 0 && same_content(from_fd, old))
                        return 0;
        }
        r = copy_over(from_fd, (uint64_t) st.st_size, to_dir, name ? name : to);
        return r < 0 ? r : 1;
}
