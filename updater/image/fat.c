/* SPDX-License-Identifier: MIT */

/* A FAT file system as Linux and firmware see it: the boot sector's numbers, one allocation table, folders of
 * 32-byte entries with long names in front of short ones. fat_open() walks everything once: it follows every
 * chain and marks every cluster, so that a loop, two files sharing a cluster or a file longer than its chain
 * is refused before any byte of any file is handed out, and no later walk can run away. */

#include "image/fat.h"
#include "image/fat-name.h"
#include "image/fat-table.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define FOLDER_MAX (2u * 1024u * 1024u) /* 65536 entries of 32 bytes, the format's own limit */
#define ENTRY      FAT_ENTRY_SIZE
#define CHUNK      (128u * 1024u)

enum { ATTR_VOLUME = 0x08, ATTR_FOLDER = 0x10, ATTR_LONG = 0x0f, ATTR_MASK = 0x3f };

Fat *fat_free(Fat *fat)
{
        if (!fat)
                return NULL;
        free(fat->files);
        free(fat->seen);
        free(fat);
        return NULL;
}

void fat_freep(Fat **fat)
{
        fat_free(*fat);
}

size_t fat_n_files(const Fat *fat)
{
        return fat->n_files;
}

const FatFile *fat_file(const Fat *fat, size_t i)
{
        return &fat->files[i];
}

const char *fat_serial(const Fat *fat)
{
        return fat->serial;
}

const FatFile *fat_find(const Fat *fat, const char *path)
{
        while (*path == '/')
                path++;
        for (size_t i = 0; i < fat->n_files; i++)
                if (str_fold_cmp(fat->files[i].path, path) == 0)
                        return &fat->files[i];
        return NULL;
}

/* --- folders --- */

static bool is_dot_entry(const uint8_t *e)
{
        return memcmp(e, ".          ", 11) == 0 || memcmp(e, "..         ", 11) == 0;
}

/* A folder that is being listed; its entries go to fat->files, from first_file on. */
typedef struct Folder {
        const char *path; /* "" for the root */
        unsigned depth;
        size_t first_file;
        FatLongName name;
} Folder;

static int add_file(Fat *fat, const Folder *d, const FatFile *file, Why *why)
{
        if (fat->n_files == FAT_ENTRIES_MAX)
                return fail(why, -E2BIG, fat->kind, "fat", "ESP image: more than %u files and folders",
                            FAT_ENTRIES_MAX);
        for (size_t i = d->first_file; i < fat->n_files; i++)
                if (str_fold_cmp(fat->files[i].path, file->path) == 0)
                        return fat_bad_file(fat, why, file->path, "is there twice");
        if (fat->n_files == fat->allocated) {
                size_t n = fat->allocated ? fat->allocated * 2 : 16;
                FatFile *files = realloc(fat->files, n * sizeof(*files));

                if (!files)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "ESP image");
                fat->files = files;
                fat->allocated = n;
        }
        fat->files[fat->n_files++] = *file;
        return 0;
}

static int check_chain(Fat *fat, const FatFile *file, Why *why)
{
        uint32_t length = 0;
        int r;

        if (file->is_dir && file->first_cluster == FAT_NO_CLUSTER)
                return fat_bad_file(fat, why, file->path, "a folder without a cluster");
        r = fat_claim_chain(fat, file->first_cluster, file->path, &length, why);
        if (r < 0)
                return r;
        if (file->is_dir)
                return (uint64_t) length * fat->cluster_size <= MAX(FOLDER_MAX, fat->cluster_size)
                               ? 0
                               : fat_bad_file(fat, why, file->path, "a folder of more than 2 MiB");
        return file->size <= (uint64_t) length * fat->cluster_size
                       ? 0
                       : fat_bad_file(fat, why, file->path, "is longer than its chain of clusters");
}

static int take_file(Fat *fat, Folder *d, const uint8_t *e, Why *why)
{
        char name[FAT_NAME_BYTES];
        FatFile file = { .is_dir = e[11] & ATTR_FOLDER,
                         .size = fat_le32(e + 28),
                         .first_cluster = fat_le16(e + 26) };
        int r, n;

        r = fat_long_belongs(&d->name, e) ? fat_long_name(&d->name, name) : fat_short_name(e, name);
        d->name.parts = 0;
        if (r == -ENOMEM)
                return fail_errno(why, r, WHY_HOST, "ESP image");
        if (r < 0)
                return fat_bad_file(fat, why, d->path, "an entry with a name that no file may have");
        n = snprintf(file.path, sizeof(file.path), "%s%s%s", d->path, *d->path ? "/" : "", name);
        if (n < 0 || (size_t) n >= sizeof(file.path))
                return fat_bad_file(fat, why, d->path, "a path that is too long");
        if (fat->bits == 32) /* elsewhere these bytes belong to OS/2 */
                file.first_cluster |= (uint32_t) (fat_le16(e + 20) & 0x0fff) << 16;
        if (file.is_dir)
                file.size = 0;
        if (file.is_dir && d->depth == FAT_DEPTH_MAX)
                return fat_bad_file(fat, why, file.path, "folders are nested too deeply");
        r = check_chain(fat, &file, why);
        return r < 0 ? r : add_file(fat, d, &file, why);
}

/* 1 the end of the folder was among them */
static int take_entries(Fat *fat, Folder *d, const uint8_t *p, size_t size, Why *why)
{
        for (const uint8_t *e = p; e < p + size; e += ENTRY) {
                int r;

                if (e[0] == 0)
                        return 1;
                if (e[0] == 0xe5) {
                        d->name.parts = 0;
                        continue;
                }
                if ((e[11] & ATTR_MASK) == ATTR_LONG) {
                        fat_long_take(&d->name, e);
                        continue;
                }
                if (e[11] & ATTR_VOLUME || is_dot_entry(e)) {
                        d->name.parts = 0;
                        continue;
                }
                r = take_file(fat, d, e, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int list_range(Fat *fat, Folder *d, uint64_t offset, uint64_t size, Why *why)
{
        uint8_t buf[FAT_SECTOR_MAX];
        int r = 0;

        while (r == 0 && size > 0) {
                size_t n = (size_t) MIN(size, (uint64_t) sizeof(buf));

                r = fat_read_at(fat, offset, buf, n, why);
                if (r >= 0)
                        r = take_entries(fat, d, buf, n, why);
                offset += n;
                size -= n;
        }
        return r;
}

static int list_chain(Fat *fat, Folder *d, uint32_t cluster, Why *why)
{
        while (cluster != FAT_NO_CLUSTER) {
                int r = list_range(fat, d, fat_cluster_offset(fat, cluster), fat->cluster_size, why);

                if (r != 0)
                        return r;
                r = fat_next_cluster(fat, cluster, &cluster, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int list_root(Fat *fat, Why *why)
{
        Folder root = { .path = "", .depth = 1 };
        FatFile chain = { .path = "/", .is_dir = true, .first_cluster = fat->root_cluster };
        int r;

        if (fat->bits != 32)
                return list_range(fat, &root, fat->root, fat->root_size, why);
        r = check_chain(fat, &chain, why);
        return r < 0 ? r : list_chain(fat, &root, fat->root_cluster, why);
}

static unsigned path_depth(const char *path)
{
        unsigned depth = 1;

        for (; *path; path++)
                depth += *path == '/';
        return depth;
}

/* The list of files is the queue of folders: breadth first, no recursion. */
static int list_all(Fat *fat, Why *why)
{
        int r = list_root(fat, why);

        for (size_t i = 0; r >= 0 && i < fat->n_files; i++) {
                char path[FAT_PATH_MAX];
                Folder d = { .path = path, .first_file = fat->n_files };

                if (!fat->files[i].is_dir)
                        continue;
                memcpy(path, fat->files[i].path, sizeof(path)); /* the list moves while it grows */
                d.depth = path_depth(path) + 1;
                r = list_chain(fat, &d, fat->files[i].first_cluster, why);
        }
        return r < 0 ? r : 0;
}

int fat_open(FatRead read, void *ctx, uint64_t size, WhyKind kind, Fat **ret, Why *why)
{
        _cleanup_(fat_freep) Fat *fat = calloc(1, sizeof(*fat));
        int r;

        if (!fat)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ESP image");
        fat->read = read;
        fat->ctx = ctx;
        fat->kind = kind;
        r = fat_read_boot_sector(fat, size, why);
        if (r < 0)
                return r;
        fat->seen = calloc(1, fat->n_clusters / 8 + 1);
        if (!fat->seen)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ESP image");
        r = list_all(fat, why);
        if (r < 0)
                return r;
        free(fat->seen);
        fat->seen = NULL;
        *ret = TAKE(fat);
        return 0;
}

/* --- contents --- */

/* The cluster that holds byte offset of the file, from where the last reading was. */
static int seek_cluster(Fat *fat, const FatFile *file, uint64_t offset, uint32_t *ret, Why *why)
{
        uint32_t index = (uint32_t) (offset / fat->cluster_size);

        if (fat->cursor.first != file->first_cluster || fat->cursor.index > index ||
            fat->cursor.cluster == FAT_NO_CLUSTER) {
                fat->cursor.first = fat->cursor.cluster = file->first_cluster;
                fat->cursor.index = 0;
        }
        while (fat->cursor.index < index) {
                uint32_t next = FAT_NO_CLUSTER;
                int r = fat_next_cluster(fat, fat->cursor.cluster, &next, why);

                if (r < 0)
                        return r;
                if (next == FAT_NO_CLUSTER) /* fat_open() saw a longer chain: the image changed under us */
                        return fat_bad_file(fat, why, file->path, "its chain of clusters became shorter");
                fat->cursor.cluster = next;
                fat->cursor.index++;
        }
        *ret = fat->cursor.cluster;
        return 0;
}

/* How many bytes from offset on lie behind each other in the image, up to max. */
static int contiguous(Fat *fat, const FatFile *file, uint64_t offset, size_t max, uint64_t *ret_at,
                      size_t *ret_n, Why *why)
{
        uint32_t cluster = 0, inside = (uint32_t) (offset % fat->cluster_size);
        size_t n = fat->cluster_size - inside;
        int r = seek_cluster(fat, file, offset, &cluster, why);

        if (r < 0)
                return r;
        *ret_at = fat_cluster_offset(fat, cluster) + inside;
        while (n < max) {
                uint32_t next = 0;

                r = fat_next_cluster(fat, cluster, &next, why);
                if (r < 0)
                        return r;
                if (next != cluster + 1)
                        break;
                cluster = next;
                n += fat->cluster_size;
        }
        *ret_n = MIN(n, max);
        return 0;
}

int fat_pread(Fat *fat, const FatFile *file, uint64_t offset, void *buf, size_t size, Why *why)
{
        if (offset > file->size || size > file->size - offset)
                return fail(why, -EINVAL, fat->kind, "fat", "ESP image: \"%.200s\": reading beyond its end",
                            file->path);
        for (uint8_t *p = buf; size > 0;) {
                uint64_t at = 0;
                size_t n = 0;
                int r = contiguous(fat, file, offset, size, &at, &n, why);

                if (r >= 0)
                        r = fat_read_at(fat, at, p, n, why);
                if (r < 0)
                        return r;
                p += n;
                offset += n;
                size -= n;
        }
        return 0;
}

int fat_map(Fat *fat, const FatFile *file, FatRun each, void *ctx, Why *why)
{
        for (uint64_t offset = 0; offset < file->size;) {
                uint64_t at = 0;
                size_t n = 0;
                int r = contiguous(fat, file, offset, (size_t) (file->size - offset), &at, &n, why);

                if (r >= 0)
                        r = each(ctx, at, n);
                if (r != 0)
                        return r;
                offset += n;
        }
        return 0;
}

static void free_bufferp(uint8_t **p)
{
        free(*p);
}

int fat_read_file(Fat *fat, const FatFile *file, FatSink sink, void *ctx, Why *why)
{
        _cleanup_(free_bufferp) uint8_t *buf = malloc(CHUNK);
        uint64_t offset = 0;

        if (!buf)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ESP image");
        while (offset < file->size) {
                size_t n = (size_t) MIN((uint64_t) CHUNK, file->size - offset);
                int r = fat_pread(fat, file, offset, buf, n, why);

                if (r < 0)
                        return r;
                r = sink(ctx, buf, n);
                if (r != 0)
                        return r;
                offset += n;
        }
        return 0;
}
