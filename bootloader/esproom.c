/* SPDX-License-Identifier: MIT */

/* Room for names. A FAT folder is a chain of clusters, and when it is full Linux appends one: it marks the new cluster as
 * used, clears it, and links it to the chain, all inside one system call and without a flush of the disk's cache in between.
 * (A dirsync mount waits for each of these writes, but fs/fat sends no flush either, so a disk with a cache may still
 * keep the link and lose the mark.) A power cut that leaves the link alone leaves a chain that breaks off; firmware then
 * refuses to list the folder, and in EFI/Linux that hides the old UKI too: nothing boots.
 *
 * So a folder that firmware reads is never made to grow where it is. One that is too full is written again beside itself,
 * roomy from the start, checked, and exchanged with the old one: its own entry in the parent, a single sector, is old or
 * new, and both lead to the same names and bytes. What is not yet exchanged nobody reads, so there any order will do.
 * The second FAT and FSInfo need no care: firmware reads the first FAT only, and the free count is a hint.
 *
 * How full a folder is, the kernel tells only in passing: fs/fat counts d_off in bytes of the folder. */

#include "bootloader/esp.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define SPARE        ESP_SPARE /* an upper-case 8.3 name takes one place, any other two or more */
#define PROBE        "GYBE.TMP"
#define PLACE        32u   /* bytes of one place in a folder */
#define ROOMY        4096u /* 128 places: years of updates, and one cluster on most other ESPs */
#define FILLERS_MAX  8u    /* each takes 21 places */
#define REBUILD_DEEP 3u    /* EFI/Linux/x.extra.d/file is one */

unsigned esp_places(const char *name)
{
        return (unsigned) (strlen(name) + 12) / 13 +
               1; /* as if it needed a long name; bytes are no fewer than UTF-16 units */
}

/* --- how much room --- */

static bool is_dot(const char *name)
{
        return streq(name, ".") || streq(name, "..");
}

/* Longest run of free places. Every entry is counted as long as it could be, so that the answer is never too large. */
unsigned esp_room_of(const EspPlace *entries, size_t n, uint64_t size)
{
        uint64_t at = 0, best = 0;

        for (size_t i = 0; i <= n; i++) {
                uint64_t start = i < n ? entries[i].start : size;

                if (start > at)
                        best = MAX(best, (start - at) / PLACE);
                if (i < n)
                        at = entries[i].start + (uint64_t) entries[i].places * PLACE;
        }
        return (unsigned) MIN(best, UINT64_C(1) << 16);
}

static int list_places(int dir_fd, EspPlace **ret, size_t *ret_n)
{
        _cleanup_(close_fdp) int fd = dir_open(dir_fd, ".");
        EspPlace *list = NULL;
        uint64_t start = 0;
        size_t n = 0;
        DIR *dir;

        if (fd < 0)
                return fd;
        dir = fdopendir(fd);
        if (!dir)
                return -errno;
        (void) take_fd(&fd);
        errno = 0;
        for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
                EspPlace *more = realloc(list, (n + 1) * sizeof(*more));

                if (!more) {
                        errno = ENOMEM;
                        break;
                }
                list = more;
                list[n++] = (EspPlace){ start, is_dot(e->d_name) ? 1 : esp_places(e->d_name) };
                start = e->d_off > 0 ? (uint64_t) e->d_off : start;
                errno = 0;
        }
        if (errno != 0) {
                int r = -errno;

                free(list);
                (void) closedir(dir);
                return r;
        }
        (void) closedir(dir);
        *ret = list;
        *ret_n = n;
        return 0;
}

int esp_room(const Esp *esp, int dir_fd, unsigned *ret)
{
        EspPlace *list = NULL;
        struct stat st;
        size_t n = 0;
        int r;

        if (!esp->vfat) {
                *ret = UINT16_MAX;
                return 0;
        }
        if (fstat(dir_fd, &st) < 0)
                return -errno;
        r = list_places(dir_fd, &list, &n);
        if (r >= 0)
                *ret = esp_room_of(list, n, (uint64_t) st.st_size);
        free(list);
        return r;
}

/* --- the same folder once more --- */

static int copy_tree(int from, int to, unsigned deep);

static int copy_one(int from, int to, const char *name, unsigned deep)
{
        _cleanup_(close_fdp) int in = -1, out = -1;
        struct stat st;
        int r;

        if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode)) {
                if (deep == 0)
                        return -ELOOP;
                in = dir_open(from, name);
                out = in < 0 ? in : dir_make(to, name, 0700);
                return out < 0 ? out : copy_tree(in, out, deep - 1);
        }
        in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (in < 0)
                return -errno;
        out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (out < 0)
                return -errno;
        r = file_copy_bytes(in, out, (uint64_t) st.st_size);
        if (r >= 0 && fsync(out) < 0)
                r = -errno;
        (void) posix_fadvise(out, 0, 0, POSIX_FADV_DONTNEED); /* compared as the disk has it */
        return r;
}

static int copy_tree(int from, int to, unsigned deep)
{
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_list(from, ".", &names);

        for (char **n = names; r >= 0 && *n; n++)
                r = copy_one(from, to, *n, deep);
        return r < 0 ? r : fsync(to) < 0 ? -errno : 0;
}

static int compare_one(int a, int b, const char *name, unsigned deep);

static int compare_trees(int a, int b, unsigned deep)
{
        _cleanup_(strv_freep) char **x = NULL, **y = NULL;
        size_t i = 0;
        int r = dir_list(a, ".", &x);

        if (r >= 0)
                r = dir_list(b, ".", &y);
        for (; r >= 0 && x[i] && y[i]; i++)
                r = streq(x[i], y[i]) ? compare_one(a, b, x[i], deep) : -EUCLEAN;
        return r < 0 ? r : x[i] || y[i] ? -EUCLEAN : 0;
}

static int compare_one(int a, int b, const char *name, unsigned deep)
{
        _cleanup_(close_fdp) int x = -1, y = -1;
        char p[65], q[65];
        int r = esp_file_digest(a, name, p, NULL);

        if (r == -EISDIR) {
                x = dir_open(a, name);
                y = dir_open(b, name);
                return x < 0 ? x : y < 0 ? y : deep == 0 ? -ELOOP : compare_trees(x, y, deep - 1);
        }
        if (r >= 0)
                r = esp_file_digest(b, name, q, NULL);
        return r < 0 ? r : streq(p, q) ? 0 : -EUCLEAN;
}

static int make_file(int dir_fd, const char *name)
{
        _cleanup_(close_fdp) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        return fd < 0 ? -errno : 0;
}

/* Long names make it grow; it keeps its clusters when they go. */
static int make_roomy(int dir_fd)
{
        char name[256];
        struct stat st;
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < FILLERS_MAX; i++) {
                (void) snprintf(name, sizeof(name), "%0255u", i);
                if (fstat(dir_fd, &st) < 0)
                        return -errno;
                if (st.st_size >= ROOMY)
                        break;
                r = make_file(dir_fd, name);
        }
        for (unsigned i = 0; r >= 0 && i < FILLERS_MAX; i++) {
                (void) snprintf(name, sizeof(name), "%0255u", i);
                r = unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
        }
        return r;
}

/* --- the exchange --- */

static int names_it(int dir_fd, const char *name)
{
        _cleanup_(free_charp) char *found = NULL;

        return esp_find(dir_fd, name, &found);
}

/* A cut in the middle of the exchange can leave both names on the same clusters, where emptying one would empty the other:
 * a file made in one of them then shows in the other. */
static int are_twins(int spare, int live)
{
        int r = make_file(spare, PROBE);

        if (r < 0)
                return r;
        r = names_it(live, PROBE);
        if (unlinkat(spare, PROBE, 0) < 0 && r >= 0)
                r = -errno;
        return r;
}

static int drop_spare(const Esp *esp, int parent, int live)
{
        _cleanup_(close_fdp) int spare = dir_open(parent, SPARE);
        int r;

        if (spare == -ENOENT)
                return 0;
        r = spare < 0 ? spare : are_twins(spare, live);
        if (r > 0)
                return -EEXIST;
        if (r >= 0)
                r = dir_remove(parent, SPARE);
        return r < 0 ? r : esp_sync(esp);
}

/* Old and new clusters are both on the disk and stay there until the parent's entry is. */
static int exchange(const Esp *esp, int parent, const char *name, int old, int new)
{
        int r;

        if (renameat2(parent, SPARE, parent, name, RENAME_EXCHANGE) < 0)
                return errno == EINVAL || errno == ENOSYS ? -EOPNOTSUPP : -errno;
        r = fsync(new) < 0 || fsync(old) < 0 || fsync(parent) < 0 ? -errno : 0;
        return r < 0 ? r : esp_sync(esp);
}

int esp_rebuild(const Esp *esp, int parent, const char *name)
{
        _cleanup_(close_fdp) int live = dir_open(parent, name), new = -1;
        int r;

        if (live < 0)
                return live;
        r = drop_spare(esp, parent, live);
        if (r < 0)
                return r;
        new = dir_make(parent, SPARE, 0700);
        r = new < 0 ? new : make_roomy(new);
        if (r >= 0)
                r = copy_tree(live, new, REBUILD_DEEP);
        if (r >= 0)
                r = esp_sync(esp);
        if (r >= 0)
                r = compare_trees(live, new, REBUILD_DEEP);
        if (r >= 0)
                r = exchange(esp, parent, name, live, new);
        if (r < 0) {
                if (new >= 0 && r != -EIO) /* after -EIO nobody knows what is where */
                        (void) drop_spare(esp, parent, live);
                return r;
        }
        return drop_spare(esp, parent, new);
}

/* --- door --- */

/* The folder that holds path, and the name as it is spelled there. */
static int open_parent(const Esp *esp, const char *path, int *ret_fd, char **ret_name)
{
        const char *slash = strrchr(path, '/');
        _cleanup_(free_charp) char *folder = slash ? strndup(path, (size_t) (slash - path)) : strdup(".");
        _cleanup_(close_fdp) int fd = -1;
        int r;

        if (!folder)
                return -ENOMEM;
        fd = slash ? esp_dir(esp->fd, folder) : dir_open(esp->fd, ".");
        r = fd < 0 ? fd : esp_find(fd, slash ? slash + 1 : path, ret_name);
        if (r > 0)
                *ret_fd = take_fd(&fd);
        return r < 0 ? r : r == 0 ? -ENOENT : 0;
}

static int fail_room(const Esp *esp, const char *path, int r, Why *why)
{
        if (r == -EEXIST) {
                (void) fail(why, r, WHY_HOST, "esp-damaged",
                            "ESP %s: %s and a copy of it share their contents after a power cut", esp->path,
                            path);
                return fail_hint(why, r, "run fsck.vfat on the unmounted ESP, or reboot, and try again");
        }
        if (r == -EOPNOTSUPP || r == -ENFILE) {
                (void) fail(why, r, WHY_HOST, "esp-folder-full",
                            "ESP %s: the folder %s is full, and growing it could leave a host that does not "
                            "start if the "
                            "power fails%s",
                            esp->path, path,
                            r == -EOPNOTSUPP ? "; this kernel cannot exchange it for a larger copy" : "");
                return fail_hint(why, r,
                                 "remove what does not belong there, or give the ESP larger clusters "
                                 "(mkfs.vfat -s 8)");
        }
        return fail_errno(why, r, WHY_HOST, "making room in %s on the ESP %s", path, esp->path);
}

int esp_make_room(const Esp *esp, const char *path, unsigned places, Why *why)
{
        _cleanup_(close_fdp) int parent = -1, dir = -1;
        _cleanup_(free_charp) char *name = NULL;
        unsigned room = 0, beside = 0;
        int r;

        if (!esp->vfat)
                return 0;
        r = open_parent(esp, path, &parent, &name);
        if (r == -ENOENT)
                return 0;
        dir = r < 0 ? r : dir_open(parent, name);
        r = dir < 0 ? dir : drop_spare(esp, parent, dir);
        if (r >= 0)
                r = esp_room(esp, dir, &room);
        if (r >= 0 && room >= places)
                return 0;
        if (r >= 0)
                r = esp_room(esp, parent, &beside);
        /* one more than it takes: a volume label is an entry that is not listed */
        if (r >= 0)
                r = beside > 1 ? esp_rebuild(esp, parent, name) : -ENFILE;
        return r < 0 ? fail_room(esp, path, r, why) : 0;
}

int esp_check_room(const Esp *esp, const char *path, unsigned places, Why *why)
{
        _cleanup_(close_fdp) int dir = esp_dir(esp->fd, path);
        unsigned room = 0;
        int r = dir < 0 ? dir : esp_room(esp, dir, &room);

        if (r == -ENOENT)
                return 0;
        return r < 0 || room < places ? fail_room(esp, path, r < 0 ? r : -ENFILE, why) : 0;
}

/* What a rebuild will need while both copies are there; 0 when there is room. */
int esp_rebuild_size(const Esp *esp, const char *path, unsigned places, uint64_t cluster, uint64_t *ret)
{
        _cleanup_(close_fdp) int parent = -1, dir = -1;
        _cleanup_(free_charp) char *name = NULL;
        unsigned room = 0;
        uint64_t size = 0;
        int r;

        *ret = 0;
        if (!esp->vfat)
                return 0;
        r = open_parent(esp, path, &parent, &name);
        if (r == -ENOENT)
                return 0;
        dir = r < 0 ? r : dir_open(parent, name);
        r = dir < 0 ? dir : esp_room(esp, dir, &room);
        if (r < 0 || room >= places)
                return r;
        r = esp_tree_size(parent, name, cluster, &size);
        if (r >= 0)
                *ret = size + ROOMY;
        return r;
}
