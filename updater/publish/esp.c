/* SPDX-License-Identifier: MIT */

/* mkfs.vfat with --invariant and a serial that follows from the content, then mmd and mcopy in sorted order
 * with the clock standing still at SOURCE_DATE_EPOCH, in UTC. Nothing is mounted and nothing needs root. */

#include "publish/esp.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/run.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define TREE_DEPTH_MAX   16u
#define PATH_LENGTH_MAX  255u
#define TOOL_TIMEOUT_SEC 600u
#define FAT_EPOCH        UINT64_C(315532800) /* 1980: the oldest time a FAT can say */

void esp_tree_done(EspTree *tree)
{
        for (size_t i = 0; i < tree->n_files; i++) {
                free(tree->files[i].path);
                (void) close(tree->files[i].fd);
        }
        free(tree->files);
        *tree = (EspTree){ 0 };
}

const EspFile *esp_tree_find(const EspTree *tree, const char *path)
{
        for (size_t i = 0; i < tree->n_files; i++)
                if (str_fold_cmp(tree->files[i].path, path) == 0)
                        return &tree->files[i];
        return NULL;
}

/* mtools would take ':', '*' and friends for something else, and FAT cannot hold them */
static bool path_is_fat(const char *path)
{
        size_t n = strlen(path);

        if (n == 0 || n > PATH_LENGTH_MAX || path[0] == '/' || path[n - 1] == '/' || strstr(path, "//") ||
            strstr(path, "../") || str_ends(path, ".") || strstr(path, "./"))
                return false;
        for (; *path; path++)
                if ((unsigned char) *path < 0x20 || (unsigned char) *path > 0x7e ||
                    strchr("\"*:<>?\\|[]", *path))
                        return false;
        return true;
}

/* Takes fd on success. Keeps the list sorted. */
static int insert(EspTree *tree, const char *path, int *fd, const char *source, Why *why)
{
        EspFile file = { .fd = *fd };
        EspFile *more;
        size_t at = 0;
        struct stat st;
        int r;

        if (!path_is_fat(path))
                return fail(why, -EINVAL, WHY_USAGE, "esp-path", "%s: cannot be a path on the ESP", path);
        if (esp_tree_find(tree, path))
                return fail(why, -EEXIST, WHY_USAGE, "esp-path", "%s: given twice for the ESP", path);
        if (tree->n_files >= ESP_FILES_MAX)
                return fail(why, -EFBIG, WHY_USAGE, "esp-path", "more than %u files for the ESP",
                            ESP_FILES_MAX);
        if (fstat(*fd, &st) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s", source);
        if (!S_ISREG(st.st_mode))
                return fail(why, -EINVAL, WHY_USAGE, "esp-path", "%s: not a regular file", source);
        file.size = (uint64_t) st.st_size;
        r = sha256_fd_hex(*fd, file.sha256);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", source);
        more = reallocarray(tree->files, tree->n_files + 1, sizeof(*more));
        if (more)
                tree->files = more;
        file.path = more ? strdup(path) : NULL;
        if (!file.path)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", path);
        while (at < tree->n_files && strcmp(tree->files[at].path, path) < 0)
                at++;
        memmove(more + at + 1, more + at, (tree->n_files - at) * sizeof(*more));
        more[at] = file;
        tree->n_files++;
        *fd = -1;
        return 0;
}

int esp_tree_add(EspTree *tree, const char *path, const char *source, Why *why)
{
        _cleanup_(close_fdp) int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", source);
        return insert(tree, path, &fd, source, why);
}

int esp_tree_add_text(EspTree *tree, const char *path, const char *text, Why *why)
{
        _cleanup_(close_fdp) int fd = memfd_create("esp-text", MFD_CLOEXEC);
        int r = fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", path);
        return insert(tree, path, &fd, path, why);
}

static int add_dir(EspTree *tree, int dir_fd, const char *prefix, unsigned depth, Why *why)
{
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_list(dir_fd, ".", &names);

        if (r < 0 || depth > TREE_DEPTH_MAX)
                return fail_errno(why, r < 0 ? r : -ELOOP, WHY_USAGE, "ESP tree: %s", prefix);
        for (char **name = names; name && *name; name++) {
                _cleanup_(free_charp) char *path = str_printf("%s%s%s", prefix, *prefix ? "/" : "", *name);
                _cleanup_(close_fdp) int fd =
                        openat(dir_fd, *name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
                struct stat st;

                if (!path)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "ESP tree");
                if (fd < 0 || fstat(fd, &st) < 0)
                        return fail_errno(why, -errno, WHY_USAGE, "ESP tree: %s", path);
                r = S_ISDIR(st.st_mode) ? add_dir(tree, fd, path, depth + 1, why)
                                        : insert(tree, path, &fd, path, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

int esp_tree_add_dir(EspTree *tree, const char *dir, Why *why)
{
        _cleanup_(close_fdp) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", dir);
        return add_dir(tree, fd, "", 0, why);
}

uint64_t esp_size_min(uint32_t sector_size)
{
        uint64_t clusters =
                UINT64_C(65536) * (sector_size + 2 * 4); /* data, and an entry in each of two FATs */

        return ((clusters + MIB - 1) / MIB + 1) * MIB;
}

uint64_t esp_size_needed(const EspTree *tree, uint32_t sector_size)
{
        uint64_t sum = 0;

        /* 4 KiB clusters are the largest mkfs.vfat takes below 8 GiB; every file may bring a folder and a long name */
        for (size_t i = 0; i < tree->n_files; i++)
                sum += (tree->files[i].size + 4095) / 4096 * 4096 + UINT64_C(8192);
        sum += sum / 64 + MIB; /* two FATs of four bytes a 512-byte cluster, reserved sectors */
        return MAX((sum + MIB - 1) / MIB * MIB, esp_size_min(sector_size));
}

static int content_serial(const EspTree *tree, uint8_t out[4])
{
        Str text = STR_NULL;
        _cleanup_(free_charp) char *all = NULL;
        uint8_t hash[SHA256_SIZE];
        int r;

        for (size_t i = 0; i < tree->n_files; i++)
                str_addf(&text, "%s %s\n", tree->files[i].sha256, tree->files[i].path);
        all = str_take(&text);
        r = all ? sha256(all, strlen(all), hash) : -ENOMEM;
        if (r >= 0)
                memcpy(out, hash, 4);
        return r;
}

/* argv[0] is /usr/bin/env: the tools live in /usr/sbin here and in /usr/bin there */
static int run_tool(char *const argv[], uint64_t epoch, Why *why)
{
        _cleanup_(free_charp) char *when = str_printf("SOURCE_DATE_EPOCH=%" PRIu64, MAX(epoch, FAT_EPOCH));
        _cleanup_(run_result_done) RunResult result = { 0 };
        char *variables[] = { (char *) "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                              (char *) "TZ=UTC",
                              (char *) "LC_ALL=C",
                              (char *) "MTOOLS_SKIP_CHECK=1",
                              (char *) "MTOOLSRC=/dev/null",
                              when,
                              NULL };
        RunOptions o = { .exe_fd = -1,
                         .cwd_fd = -1,
                         .environ = variables,
                         .timeout_sec = TOOL_TIMEOUT_SEC,
                         .output_max = 400 };
        int r;

        if (!when)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", argv[1]);
        r = run(argv, &o, &result);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", argv[1]);
        if (result.exit_code == 0)
                return 0;
        r = fail(why, -EIO, WHY_HOST, "esp-tool", "%s: failed (%s %i): %s", argv[1],
                 result.exit_code >= 0 ? "exit" : "signal",
                 result.exit_code >= 0 ? result.exit_code : result.signal,
                 result.output.data ? (const char *) result.output.data : "");
        return result.exit_code == 127 ? fail_hint(why, r, "install dosfstools and mtools") : r;
}

/* Every folder on the way to path that was not made yet. made: the last path that was handled. */
static int make_folders(const char *image, const char *path, const char *made, uint64_t epoch, Why *why)
{
        for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
                size_t n = (size_t) (slash - path) + 1;
                _cleanup_(free_charp) char *folder = NULL;
                char *argv[] = { (char *) "/usr/bin/env", (char *) "mmd", (char *) "-i",
                                 (char *) image,          NULL,           NULL };
                int r;

                /* sorted: a folder that exists was also on the way to the file before */
                if (strncmp(path, made, n) == 0)
                        continue;
                folder = str_printf("::/%.*s", (int) n - 1, path);
                argv[4] = folder;
                r = folder ? run_tool(argv, epoch, why) : -ENOMEM;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int copy_file(const char *image, const EspFile *file, uint64_t epoch, Why *why)
{
        _cleanup_(free_charp) char *source = str_printf("/proc/%i/fd/%i", (int) getpid(), file->fd);
        _cleanup_(free_charp) char *target = str_printf("::/%s", file->path);
        char *argv[] = { (char *) "/usr/bin/env", (char *) "mcopy", (char *) "-Q", (char *) "-i",
                         (char *) image,          source,           target,        NULL };

        return source && target ? run_tool(argv, epoch, why) : fail_errno(why, -ENOMEM, WHY_HOST, "mcopy");
}

static int format_fat(const char *image, uint32_t sector_size, const char *serial, uint64_t epoch, Why *why)
{
        _cleanup_(free_charp) char *sector = str_printf("%" PRIu32, sector_size);
        char *argv[] = { (char *) "/usr/bin/env",
                         (char *) "mkfs.vfat",
                         (char *) "--invariant",
                         (char *) "-i",
                         (char *) serial,
                         (char *) "-F",
                         (char *) "32",
                         (char *) "-n",
                         (char *) ESP_LABEL,
                         (char *) "-S",
                         sector,
                         (char *) image,
                         NULL };

        return sector ? run_tool(argv, epoch, why) : fail_errno(why, -ENOMEM, WHY_HOST, "mkfs.vfat");
}

static int fill_image(const EspTree *tree, const char *image, uint64_t epoch, Why *why)
{
        const char *before = "";

        for (size_t i = 0; i < tree->n_files; i++) {
                int r = make_folders(image, tree->files[i].path, before, epoch, why);

                if (r >= 0)
                        r = copy_file(image, &tree->files[i], epoch, why);
                if (r < 0)
                        return r;
                before = tree->files[i].path;
        }
        return 0;
}

int esp_image_make(const EspTree *tree, uint64_t size, uint32_t sector_size, uint64_t epoch,
                   const char *work_dir, EspImage *ret, Why *why)
{
        _cleanup_(free_charp) char *path = str_printf("%s/.gybe-esp.XXXXXX", work_dir);
        _cleanup_(close_fdp) int fd = -1;
        uint8_t id[4];
        char serial[9];
        int r;

        if (size < esp_size_min(sector_size))
                return fail(why, -EINVAL, WHY_USAGE, "esp-size",
                            "an ESP of %" PRIu64 " bytes is too small for FAT32, which needs %" PRIu64
                            " with sectors of %" PRIu32,
                            size, esp_size_min(sector_size), sector_size);
        if (!path)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ESP image");
        fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s", path);
        r = ftruncate(fd, (off_t) size) < 0 ? -errno : content_serial(tree, id);
        if (r < 0) {
                (void) unlink(path);
                return fail_errno(why, r, WHY_HOST, "ESP image of %" PRIu64 " bytes", size);
        }
        (void) snprintf(serial, sizeof(serial), "%02X%02X%02X%02X", id[0], id[1], id[2], id[3]);
        r = format_fat(path, sector_size, serial, epoch, why);
        if (r >= 0)
                r = fill_image(tree, path, epoch, why);
        (void) unlink(path);
        if (r < 0)
                return r;
        ret->fd = take_fd(&fd);
        (void) snprintf(ret->serial, sizeof(ret->serial), "%.4s-%s", serial, serial + 4);
        return 0;
}
