/* SPDX-License-Identifier: MIT */

/* A FAT file system as Linux and firmware see it: the boot sector's numbers, one allocation table, folders of
 * 32-byte entries with long names in front of short ones. fat_open() walks everything once: it follows every
 * chain and marks every cluster, so that a loop, two files sharing a cluster or a file longer than its chain
 * is refused before any byte of any file is handed out, and no later walk can run away. */

#include "image/fat.h"
#include "image/fat-name.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define SECTOR_MIN   512u
#define SECTOR_MAX   4096u
#define CLUSTER_MAX  (512u * 1024u) /* 128 sectors of 4096 bytes: the most a boot sector can say */
#define FAT12_MAX    4084u          /* clusters; the border that Linux and Microsoft share */
#define FAT16_MAX    65524u
#define FAT32_MAX    0x0ffffff4u
#define FOLDER_MAX   (2u * 1024u * 1024u) /* 65536 entries of 32 bytes, the format's own limit */
#define ENTRY        FAT_ENTRY_SIZE
#define TABLE_WINDOW 4096u
#define CHUNK        (128u * 1024u)
#define NO_CLUSTER   0u

enum { ATTR_VOLUME = 0x08, ATTR_FOLDER = 0x10, ATTR_LONG = 0x0f, ATTR_MASK = 0x3f };

struct Fat {
        FatRead read;
        void *ctx;
        WhyKind kind;
        unsigned bits;                     /* 12, 16, 32 */
        uint32_t cluster_size, n_clusters; /* clusters are numbered from 2 */
        uint64_t table, table_size;        /* bytes: the allocation table in use */
        uint64_t root, root_size;          /* bytes: the fixed root folder of FAT12/16 */
        uint32_t root_cluster;             /* FAT32 */
        uint64_t data;                     /* bytes: cluster 2 */
        char serial[10];
        FatFile *files;
        size_t n_files, allocated;
        uint8_t *seen; /* one bit a cluster, while fat_open() walks */
        uint64_t window_at;
        size_t window_size;
        uint8_t window[TABLE_WINDOW]; /* of the table */
        struct {
                uint32_t first, index,
                        cluster; /* the last one fat_pread() came to: reading on is not walking anew */
        } cursor;
};

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

static int bad(const Fat *fat, Why *why, const char *how)
{
        return fail(why, -EBADMSG, fat->kind, "fat", "ESP image: not a valid FAT file system: %s", how);
}

static int bad_file(const Fat *fat, Why *why, const char *path, const char *how)
{
        return fail(why, -EBADMSG, fat->kind, "fat", "ESP image: \"%.200s\": %s", path, how);
}

static int read_at(Fat *fat, uint64_t offset, void *buf, size_t n, Why *why)
{
        int r = fat->read(fat->ctx, offset, buf, n);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "ESP image: reading") : 0;
}

static uint32_t le32(const uint8_t *p)
{
        return fat_le16(p) | (uint32_t) fat_le16(p + 2) << 16;
}

/* --- the boot sector --- */

static bool is_power_of_two(uint32_t v)
{
        return v != 0 && (v & (v - 1)) == 0;
}

/* What does not depend on the kind of FAT. As liberal as Linux: no signature and no jump is asked for. */
static const char *boot_sector_fault(const uint8_t *b)
{
        uint32_t sector = fat_le16(b + 11), media = b[21];

        if (!is_power_of_two(sector) || sector < SECTOR_MIN || sector > SECTOR_MAX)
                return "a sector size that is not 512 to 4096";
        if (!is_power_of_two(b[13]))
                return "a cluster size that is no power of two";
        if (fat_le16(b + 14) == 0)
                return "no reserved sector for itself";
        if (b[16] == 0)
                return "no allocation table";
        if (media < 0xf8 && media != 0xf0)
                return "an unknown media byte";
        if ((uint32_t) fat_le16(b + 17) * ENTRY % sector != 0)
                return "a root folder that does not end with a sector";
        return NULL;
}

/* Which copy of a FAT32 table is in use, when they are not kept equal. */
static uint32_t active_table(const uint8_t *b)
{
        uint16_t flags = fat_le16(b + 40);

        return flags & 0x80 ? flags & 0x0f : 0;
}

static int set_kind(Fat *fat, bool is_fat32, Why *why)
{
        if (is_fat32)
                fat->bits = 32;
        else
                fat->bits = fat->n_clusters <= FAT12_MAX ? 12 : 16;
        if (fat->n_clusters == 0)
                return bad(fat, why, "no room for a single cluster");
        if (fat->n_clusters > (fat->bits == 32 ? FAT32_MAX : FAT16_MAX))
                return bad(fat, why, "more clusters than its kind of FAT can count");
        if ((uint64_t) (fat->n_clusters + 2) * fat->bits > fat->table_size * 8)
                return bad(fat, why, "an allocation table that is too small for its clusters");
        return 0;
}

/* extended: the signature, the serial number, the label */
static void set_serial(Fat *fat, const uint8_t *extended)
{
        if (extended[0] == 0x28 || extended[0] == 0x29)
                (void) snprintf(fat->serial, sizeof(fat->serial), "%04X-%04X", fat_le16(extended + 3),
                                fat_le16(extended + 1));
}

/* All products of 16- and 32-bit numbers from here on are made of 64-bit ones. */
static int read_boot_sector(Fat *fat, uint64_t size, Why *why)
{
        uint8_t b[SECTOR_MIN];
        uint64_t sector, total, table_sectors, tables, root_sectors, before;
        const char *fault;
        bool is_fat32;
        int r;

        if (size < sizeof(b))
                return bad(fat, why, "shorter than a boot sector");
        r = read_at(fat, 0, b, sizeof(b), why);
        if (r < 0)
                return r;
        fault = boot_sector_fault(b);
        if (fault)
                return bad(fat, why, fault);
        sector = fat_le16(b + 11);
        total = fat_le16(b + 19) ? fat_le16(b + 19) : le32(b + 32);
        is_fat32 = fat_le16(b + 22) == 0;
        table_sectors = is_fat32 ? le32(b + 36) : fat_le16(b + 22);
        tables = b[16];
        root_sectors = (uint64_t) fat_le16(b + 17) * ENTRY / sector;
        if (table_sectors == 0)
                return bad(fat, why, "an empty allocation table");
        if (is_fat32 != (root_sectors == 0))
                return bad(fat, why, "a root folder of the wrong kind");
        before = fat_le16(b + 14) + tables * table_sectors + root_sectors;
        if (total > size / sector)
                return bad(fat, why, "longer than its image");
        if (before >= total)
                return bad(fat, why, "no room for data");
        if (is_fat32 && active_table(b) >= tables)
                return bad(fat, why, "an active allocation table that is not there");
        fat->cluster_size = (uint32_t) (sector * b[13]);
        fat->n_clusters = (uint32_t) ((total - before) / b[13]);
        fat->table = (fat_le16(b + 14) + (is_fat32 ? active_table(b) : 0) * table_sectors) * sector;
        fat->table_size = table_sectors * sector;
        fat->root = (fat_le16(b + 14) + tables * table_sectors) * sector;
        fat->root_size = root_sectors * sector;
        fat->root_cluster = is_fat32 ? le32(b + 44) & 0x0fffffff : NO_CLUSTER;
        fat->data = before * sector;
        r = set_kind(fat, is_fat32, why);
        if (r < 0)
                return r;
        set_serial(fat, b + (is_fat32 ? 66 : 38));
        return 0;
}

/* --- chains --- */

/* size bytes of the table, at most 4 */
static int read_table(Fat *fat, uint64_t at, uint8_t *ret, size_t size, Why *why)
{
        if (at < fat->window_at || at + size > fat->window_at + fat->window_size) {
                uint64_t begin = at / SECTOR_MIN * SECTOR_MIN;
                size_t n = (size_t) MIN((uint64_t) TABLE_WINDOW, fat->table_size - begin);
                int r;

                fat->window_size = 0;
                r = read_at(fat, fat->table + begin, fat->window, n, why);
                if (r < 0)
                        return r;
                fat->window_at = begin;
                fat->window_size = n;
        }
        memcpy(ret, fat->window + (at - fat->window_at), size);
        return 0;
}

/* The cluster behind this one: NO_CLUSTER at the end of a chain. Everything else that is not a cluster is an
 * error. */
static int next_cluster(Fat *fat, uint32_t cluster, uint32_t *ret, Why *why)
{
        uint32_t value, end;
        uint8_t b[4] = { 0 };
        int r;

        if (fat->bits == 12)
                r = read_table(fat, (uint64_t) cluster + cluster / 2, b, 2, why);
        else
                r = read_table(fat, (uint64_t) cluster * (fat->bits / 8), b, fat->bits / 8, why);
        if (r < 0)
                return r;
        value = le32(b);
        if (fat->bits == 12)
                value = cluster % 2 ? value >> 4 : value & 0xfff;
        else if (fat->bits == 32)
                value &= 0x0fffffff;
        end = fat->bits == 12 ? 0xff8 : fat->bits == 16 ? 0xfff8 : 0x0ffffff8;
        if (value >= end) {
                *ret = NO_CLUSTER;
                return 0;
        }
        if (value < 2 || value - 2 >= fat->n_clusters)
                return bad(fat, why, "a chain that leads nowhere");
        *ret = value;
        return 0;
}

static uint64_t cluster_offset(const Fat *fat, uint32_t cluster)
{
        return fat->data + (uint64_t) (cluster - 2) * fat->cluster_size;
}

/* Follows a chain to its end and marks its clusters. Each cluster is marked once, so this ends, and so does
 * every walk of a chain that passed here. *ret_length in clusters. */
static int claim_chain(Fat *fat, uint32_t first, const char *path, uint32_t *ret_length, Why *why)
{
        uint32_t length = 0;

        for (uint32_t c = first; c != NO_CLUSTER; length++) {
                int r;

                if (c < 2 || c - 2 >= fat->n_clusters)
                        return bad_file(fat, why, path, "begins in a cluster that does not exist");
                if (fat->seen[(c - 2) / 8] & 1u << (c - 2) % 8)
                        return bad_file(fat, why, path,
                                        "its chain of clusters loops or belongs to another file too");
                fat->seen[(c - 2) / 8] |= (uint8_t) (1u << (c - 2) % 8);
                r = next_cluster(fat, c, &c, why);
                if (r < 0)
                        return r;
        }
        *ret_length = length;
        return 0;
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
                        return bad_file(fat, why, file->path, "is there twice");
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

        if (file->is_dir && file->first_cluster == NO_CLUSTER)
                return bad_file(fat, why, file->path, "a folder without a cluster");
        r = claim_chain(fat, file->first_cluster, file->path, &length, why);
        if (r < 0)
                return r;
        if (file->is_dir)
                return (uint64_t) length * fat->cluster_size <= MAX(FOLDER_MAX, fat->cluster_size)
                               ? 0
                               : bad_file(fat, why, file->path, "a folder of more than 2 MiB");
        return file->size <= (uint64_t) length * fat->cluster_size
                       ? 0
                       : bad_file(fat, why, file->path, "is longer than its chain of clusters");
}

static int take_file(Fat *fat, Folder *d, const uint8_t *e, Why *why)
{
        char name[FAT_NAME_BYTES];
        FatFile file = { .is_dir = e[11] & ATTR_FOLDER,
                         .size = le32(e + 28),
                         .first_cluster = fat_le16(e + 26) };
        int r, n;

        r = fat_long_belongs(&d->name, e) ? fat_long_name(&d->name, name) : fat_short_name(e, name);
        d->name.parts = 0;
        if (r == -ENOMEM)
                return fail_errno(why, r, WHY_HOST, "ESP image");
        if (r < 0)
                return bad_file(fat, why, d->path, "an entry with a name that no file may have");
        n = snprintf(file.path, sizeof(file.path), "%s%s%s", d->path, *d->path ? "/" : "", name);
        if (n < 0 || (size_t) n >= sizeof(file.path))
                return bad_file(fat, why, d->path, "a path that is too long");
        if (fat->bits == 32) /* elsewhere these bytes belong to OS/2 */
                file.first_cluster |= (uint32_t) (fat_le16(e + 20) & 0x0fff) << 16;
        if (file.is_dir)
                file.size = 0;
        if (file.is_dir && d->depth == FAT_DEPTH_MAX)
                return bad_file(fat, why, file.path, "folders are nested too deeply");
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
        uint8_t buf[SECTOR_MAX];
        int r = 0;

        while (r == 0 && size > 0) {
                size_t n = (size_t) MIN(size, (uint64_t) sizeof(buf));

                r = read_at(fat, offset, buf, n, why);
                if (r >= 0)
                        r = take_entries(fat, d, buf, n, why);
                offset += n;
                size -= n;
        }
        return r;
}

static int list_chain(Fat *fat, Folder *d, uint32_t cluster, Why *why)
{
        while (cluster != NO_CLUSTER) {
                int r = list_range(fat, d, cluster_offset(fat, cluster), fat->cluster_size, why);

                if (r != 0)
                        return r;
                r = next_cluster(fat, cluster, &cluster, why);
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
        r = read_boot_sector(fat, size, why);
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
            fat->cursor.cluster == NO_CLUSTER) {
                fat->cursor.first = fat->cursor.cluster = file->first_cluster;
                fat->cursor.index = 0;
        }
        while (fat->cursor.index < index) {
                uint32_t next = NO_CLUSTER;
                int r = next_cluster(fat, fat->cursor.cluster, &next, why);

                if (r < 0)
                        return r;
                if (next == NO_CLUSTER) /* fat_open() saw a longer chain: the image changed under us */
                        return bad_file(fat, why, file->path, "its chain of clusters became shorter");
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
        *ret_at = cluster_offset(fat, cluster) + inside;
        while (n < max) {
                uint32_t next = 0;

                r = next_cluster(fat, cluster, &next, why);
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
                        r = read_at(fat, at, p, n, why);
                if (r < 0)
                        return r;
                p += n;
                offset += n;
                size -= n;
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
