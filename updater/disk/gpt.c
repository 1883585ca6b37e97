/* SPDX-License-Identifier: MIT */

/* The table of a whole disk. Both copies are read and must be whole and say the same: a disk with a damaged
 * copy has a story that an updater does not know, and an admin should. Where libfdisk, the reader that the
 * rest of the machine's tools go by, sees other partitions than this one does, nothing is touched either.
 *
 * One story is known: attributes were being written when the power went (ours in gpt-attrs.c, or GRUB counting a
 * try down). Then the copies differ in attribute words alone, or one of them has the checksum of its other
 * state, and what counts is what GRUB and libfdisk go by: the primary where its entries fit its header, else
 * the backup.
 *
 * The backup may stand before the end of the disk: that is a disk that was enlarged, not a damaged one. */

#include "base/fd.h"
#include "base/str.h"
#include "disk/gpt.h"

#include <errno.h>
#include <inttypes.h>
#include <libfdisk/libfdisk.h>
#include <stdio.h>

static void free_uint8p(uint8_t **p)
{
        free(*p);
}

static int read_at(int fd, const char *path, uint64_t offset, void *buf, size_t size, Why *why)
{
        ssize_t l = fd_pread_full(fd, buf, size, offset);

        if (l < 0)
                return fail_errno(why, (int) l, WHY_HOST, "%s: cannot read at byte %" PRIu64, path, offset);
        if ((size_t) l < size)
                return fail(why, -EBADMSG, WHY_HOST, "gpt",
                            "%s: ends at byte %" PRIu64 ", inside its partition table", path,
                            offset + (uint64_t) l);
        return 0;
}

/* One copy: the header at lba and the entries it names. */
static int read_copy(int fd, const char *path, const GptReader *r, uint64_t disk_size, uint64_t lba,
                     GptHeader *ret, uint8_t **ret_array)
{
        _cleanup_(free_uint8p) uint8_t *array = NULL;
        uint8_t sector[4096];
        GptHeader h;
        int result;

        if (lba >= disk_size / r->sector_size)
                return fail(r->why, -EBADMSG, r->kind, "gpt",
                            "%s: should be at LBA %" PRIu64 ", the disk has %" PRIu64 " sectors", r->what,
                            lba, disk_size / r->sector_size);
        result = read_at(fd, path, lba * r->sector_size, sector, r->sector_size, r->why);
        if (result < 0)
                return result;
        result = gpt_parse_header(r, sector, lba, &h);
        if (result < 0)
                return result;
        array = malloc(gpt_array_size(&h));
        if (!array)
                return -ENOMEM;
        result = read_at(fd, path, h.entries_lba * r->sector_size, array, gpt_array_size(&h), r->why);
        if (result < 0)
                return result;
        *ret = h;
        *ret_array = TAKE(array);
        return 0;
}

static bool same_geometry(const GptHeader *a, const GptHeader *b)
{
        return b->alternate_lba == a->my_lba && a->first_usable == b->first_usable &&
               a->last_usable == b->last_usable && memcmp(a->disk_guid, b->disk_guid, 16) == 0 &&
               a->n_entries == b->n_entries && a->entry_size == b->entry_size;
}

/* Equal but for the attributes. */
static bool same_partitions(const GptHeader *h, const uint8_t *a, const uint8_t *b)
{
        for (size_t i = 0; i < h->n_entries; i++, a += h->entry_size, b += h->entry_size)
                if (memcmp(a, b, GPT_ATTRS_OFFSET) != 0 ||
                    memcmp(a + GPT_ATTRS_OFFSET + 8, b + GPT_ATTRS_OFFSET + 8,
                           h->entry_size - GPT_ATTRS_OFFSET - 8) != 0)
                        return false;
        return true;
}

static bool is_whole(const GptHeader *h, const uint8_t *array)
{
        return gpt_crc32(array, gpt_array_size(h)) == h->entries_crc;
}

typedef struct Copy {
        GptHeader header;
        uint8_t *array;
} Copy;

static void copy_done(Copy *c)
{
        free(c->array);
}

/* The entries of the primary do not fit its header. If that is an attribute write that was interrupted, the
 * backup counts: 1. */
static int backup_instead(int fd, const char *path, const GptReader *quiet, uint64_t disk_size, const Copy *a,
                          Copy *b)
{
        int r = read_copy(fd, path, quiet, disk_size, a->header.alternate_lba, &b->header, &b->array);

        if (r == -ENOMEM)
                return r;
        return r >= 0 && same_geometry(&a->header, &b->header) && is_whole(&b->header, b->array) &&
               same_partitions(&a->header, a->array, b->array);
}

static int check_backup(int fd, const GptReader *r, const char *path, uint64_t disk_size, const Copy *a,
                        bool *ret_torn)
{
        _cleanup_(copy_done) Copy b = { .array = NULL };
        int result = read_copy(fd, path, r, disk_size, a->header.alternate_lba, &b.header, &b.array);

        if (result < 0)
                return result;
        if (!same_geometry(&a->header, &b.header) || !same_partitions(&a->header, a->array, b.array))
                return fail_hint(r->why,
                                 fail(r->why, -EBADMSG, WHY_HOST, "gpt",
                                      "%s: primary and backup GPT do not agree", path),
                                 "repair the partition table with sgdisk or fdisk, then try again");
        *ret_torn = a->header.entries_crc != b.header.entries_crc ||
                    memcmp(a->array, b.array, gpt_array_size(&b.header)) != 0;
        return 0;
}

static int read_both(int fd, const char *path, uint64_t disk_size, uint32_t sector_size, Partition *parts,
                     size_t *ret_n, bool *ret_torn, Why *why)
{
        _cleanup_(copy_done) Copy a = { .array = NULL }, b = { .array = NULL };
        char primary[512], backup[512];
        GptReader r = { .what = primary, .kind = WHY_HOST, .sector_size = sector_size, .why = why };
        GptReader quiet = { .what = backup, .kind = WHY_HOST, .sector_size = sector_size };
        int result;

        (void) snprintf(primary, sizeof(primary), "%.400s: primary GPT", path);
        (void) snprintf(backup, sizeof(backup), "%.400s: backup GPT", path);
        result = read_copy(fd, path, &r, disk_size, 1, &a.header, &a.array);
        if (result < 0)
                return result;
        if (a.header.last_usable >= disk_size / sector_size)
                return fail(why, -EBADMSG, WHY_HOST, "gpt",
                            "%s: says that sector %" PRIu64 " is usable, the disk has %" PRIu64, primary,
                            a.header.last_usable, disk_size / sector_size);
        if (!is_whole(&a.header, a.array)) {
                result = backup_instead(fd, path, &quiet, disk_size, &a, &b);
                if (result < 0)
                        return result;
                if (result > 0) {
                        *ret_torn = true;
                        r.what = backup;
                        return gpt_parse_entries(&r, &b.header, b.array, parts, ret_n);
                }
        }
        result = gpt_parse_entries(&r, &a.header, a.array, parts, ret_n);
        if (result < 0)
                return result;
        r.what = backup;
        return check_backup(fd, &r, path, disk_size, &a, ret_torn);
}

/* The second reader. */

static void unref_contextp(struct fdisk_context **c)
{
        if (*c)
                fdisk_unref_context(*c);
}

static void unref_tablep(struct fdisk_table **t)
{
        if (*t)
                fdisk_unref_table(*t);
}

/* libfdisk asks and warns in words for people; what it thinks shows in the table it returns. */
static int no_dialog(struct fdisk_context *cxt _unused_, struct fdisk_ask *ask _unused_, void *data _unused_)
{
        return 0;
}

static bool same_partition(struct fdisk_partition *theirs, const Partition *ours, uint32_t sector_size)
{
        struct fdisk_parttype *type = fdisk_partition_get_type(theirs);
        const char *uuid = fdisk_partition_get_uuid(theirs);
        const char *type_uuid = type ? fdisk_parttype_get_string(type) : NULL;

        return fdisk_partition_get_partno(theirs) + 1 == ours->number && uuid && type_uuid &&
               str_fold_cmp(uuid, ours->partuuid) == 0 && str_fold_cmp(type_uuid, ours->type) == 0 &&
               fdisk_partition_get_start(theirs) * sector_size == ours->offset &&
               fdisk_partition_get_size(theirs) * sector_size == ours->size;
}

static bool table_has(struct fdisk_table *table, const Partition *ours, uint32_t sector_size)
{
        for (size_t i = 0; i < fdisk_table_get_nents(table); i++)
                if (same_partition(fdisk_table_get_partition(table, i), ours, sector_size))
                        return true;
        return false;
}

static int second_opinion(int fd, const char *path, uint32_t sector_size, const Partition *parts, size_t n,
                          Why *why)
{
        _cleanup_(unref_contextp) struct fdisk_context *cxt = fdisk_new_context();
        _cleanup_(unref_tablep) struct fdisk_table *table = NULL;
        int r;

        if (!cxt)
                return -ENOMEM;
        (void) fdisk_set_ask(cxt, no_dialog, NULL);
        (void) fdisk_disable_dialogs(cxt, 1);
        (void) fdisk_save_user_sector_size(cxt, sector_size, sector_size);
        r = fdisk_assign_device_by_fd(cxt, fd, path, 1);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s: libfdisk cannot read it", path);
        r = fdisk_is_label(cxt, GPT) ? fdisk_get_partitions(cxt, &table) : -EBADMSG;
        if (r < 0)
                return fail(why, -EBADMSG, WHY_HOST, "gpt", "%s: libfdisk sees no GPT here", path);
        if (fdisk_table_get_nents(table) != n)
                return fail(why, -EBADMSG, WHY_HOST, "gpt", "%s: %zu partitions, but libfdisk sees %zu", path,
                            n, fdisk_table_get_nents(table));
        for (size_t i = 0; i < n; i++)
                if (!table_has(table, &parts[i], sector_size))
                        return fail(why, -EBADMSG, WHY_HOST, "gpt", "%s: libfdisk sees another partition %u",
                                    path, parts[i].number);
        return 0;
}

int gpt_read(int fd, const char *path, uint64_t disk_size, uint32_t sector_size, Partition *parts,
             size_t *ret_n, bool *ret_torn, Why *why)
{
        bool torn = false;
        size_t n = 0;
        int r;

        r = read_both(fd, path, disk_size, sector_size, parts, &n, &torn, why);
        if (r < 0)
                return r;
        r = second_opinion(fd, path, sector_size, parts, n, why);
        if (r < 0)
                return r;
        *ret_n = n;
        *ret_torn = torn;
        return 0;
}

int gpt_find_sector_size(int fd, const char *path, uint32_t *ret, Why *why)
{
        static const uint32_t sizes[] = { 512, 4096 };
        uint8_t sector[4096];
        uint32_t found = 0;

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                GptReader r = { .what = path, .sector_size = sizes[i] };
                ssize_t l = fd_pread_full(fd, sector, sizes[i], sizes[i]);
                GptHeader h;

                if (l < 0)
                        return fail_errno(why, (int) l, WHY_HOST, "%s", path);
                if ((size_t) l < sizes[i] || gpt_parse_header(&r, sector, 1, &h) < 0)
                        continue;
                if (found)
                        return fail(why, -EBADMSG, WHY_HOST, "gpt",
                                    "%s: has a GPT for sectors of 512 and one for sectors of 4096 bytes",
                                    path);
                found = sizes[i];
        }
        if (!found)
                return fail(why, -EBADMSG, WHY_HOST, "gpt",
                            "%s: no valid primary GPT, neither for sectors of 512 nor of 4096 bytes", path);
        *ret = found;
        return 0;
}
