/* SPDX-License-Identifier: MIT */

/* From a whole ACL disk image to regions. The table is copied verbatim, the hash tree that is already there
 * is proved against /usr block by block, and every partition becomes a region. */

#include "publish/build.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define COMPARE_CHUNK (1u * MIB)

static int by_offset(const void *a, const void *b)
{
        const BuildRegion *x = a, *y = b;

        return x->part.offset < y->part.offset ? -1 : x->part.offset > y->part.offset;
}

/* Labels that occur once and that we know get their role. */
static int take_partitions(Build *b, const Disk *disk, Why *why)
{
        for (size_t i = 0; i < disk_n_partitions(disk); i++) {
                BuildRegion *region = &b->regions[b->n_regions++];
                unsigned count = 0;

                region->part = *disk_partition(disk, i);
                region->range = (ByteRange){ .fd = b->disk_fd,
                                             .offset = region->part.offset,
                                             .size = region->part.size,
                                             .what = b->o->disk };
                region->role = layout_part_of_label(region->part.label);
                if (region->role < _PART_MAX && !disk_find_label(disk, region->part.label, &count))
                        return fail(why, -EINVAL, WHY_USAGE, "disk-layout",
                                    "%s: %u partitions are labelled %s", b->o->disk, count,
                                    region->part.label);
        }
        qsort(b->regions, b->n_regions, sizeof(b->regions[0]), by_offset);
        return 0;
}

static int need(Build *b, LayoutPart role, BuildRegion **ret, Why *why)
{
        *ret = build_region(b, role);
        if (*ret)
                return 0;
        return fail(why, -EINVAL, WHY_USAGE, "disk-layout", "%s: no partition labelled %s", b->o->disk,
                    layout_label(role));
}

static int read_table(Build *b, Why *why)
{
        uint8_t head[2 * 4096];
        uint64_t size = 0;
        ssize_t n = fd_pread_full(b->disk_fd, head, (size_t) 2 * b->lba_size, 0);
        int r = n < 0 ? fail_errno(why, (int) n, WHY_HOST, "%s", b->o->disk)
                      : gpt_region_measure(head, (size_t) n, b->lba_size, &size, why);

        if (r < 0)
                return r;
        b->gpt.data = calloc(1, (size_t) size + 1);
        b->gpt.size = (size_t) size;
        n = b->gpt.data ? fd_pread_full(b->disk_fd, b->gpt.data, b->gpt.size, 0) : -ENOMEM;
        return n < 0 ? fail_errno(why, (int) n, WHY_HOST, "%s", b->o->disk) : 0;
}

/* Parameters from the superblock; then /usr and the tree are exactly as long as it says. */
static int read_superblock(Build *b, BuildRegion *usr, BuildRegion *hash, Why *why)
{
        uint8_t block[VERITY_BLOCK] = { 0 };
        uint64_t tree = 0;
        bool zero = false;
        int r = range_read(&hash->range, 0, block, sizeof(block), &zero, why);

        if (r >= 0 && zero)
                memset(block, 0, sizeof(block));
        if (r >= 0)
                r = verity_superblock_parse(block, sizeof(block), &b->params, why);
        if (r >= 0)
                r = verity_hash_size(b->params.data_blocks, &tree);
        if (r < 0)
                return r;
        if (b->params.data_blocks > usr->range.size / VERITY_BLOCK || tree > hash->range.size)
                return fail(why, -EINVAL, WHY_USAGE, "disk-verity",
                            "%s: HASH-A is for %" PRIu64 " blocks, more than USR-A or HASH-A can hold",
                            b->o->disk, b->params.data_blocks);
        usr->range.size = b->params.data_blocks * VERITY_BLOCK;
        hash->range.size = tree;
        b->usr = usr->range;
        return 0;
}

static int compare_ranges(const ByteRange *a, const ByteRange *c, Why *why)
{
        _cleanup_(free_charp) char *x = malloc(COMPARE_CHUNK), *y = malloc(COMPARE_CHUNK);

        if (!x || !y)
                return fail_errno(why, -ENOMEM, WHY_HOST, "comparing the hash tree");
        for (uint64_t at = 0; at < a->size; at += COMPARE_CHUNK) {
                size_t n = (size_t) MIN(a->size - at, (uint64_t) COMPARE_CHUNK);
                bool zero_x = false, zero_y = false;
                int r = range_read(a, at, (uint8_t *) x, n, &zero_x, why);

                if (r >= 0)
                        r = range_read(c, at, (uint8_t *) y, n, &zero_y, why);
                if (r < 0)
                        return r;
                if (zero_x != zero_y || (!zero_x && memcmp(x, y, n) != 0))
                        return fail(why, -EBADMSG, WHY_IMAGE, "disk-verity",
                                    "%s: the tree in HASH-A is not the tree of USR-A (from byte %" PRIu64 ")",
                                    a->what, at);
        }
        return 0;
}

/* The tree is computed again from /usr with the disk's own salt and UUID; it must be the one that is there.
 */
static int prove_tree(Build *b, const BuildRegion *hash, Why *why)
{
        const VerityParams found = b->params;
        char salt[2 * VERITY_SALT_MAX + 1], uuid[37];
        BuildOptions same = *b->o;
        const BuildOptions *given = b->o;
        int r;

        hex_encode(found.salt, found.salt_size, salt);
        uuid_format_text(found.uuid, uuid);
        same.salt = found.salt_size > 0 ? salt : "-";
        same.uuid = uuid;
        b->o = &same;
        r = build_verity(b, why);
        b->o = given;
        return r < 0 ? r : compare_ranges(&hash->range, &b->hash, why);
}

static void name_slot(Build *b, unsigned slot, LayoutPart usr)
{
        const struct {
                LayoutPart part;
                char *id;
        } names[] = { { usr, b->ids[slot].data_partuuid },
                      { usr + 1, b->ids[slot].hash_partuuid },
                      { usr + 2, b->ids[slot].sig_partuuid } };

        layout_slot_ids(slot, &b->ids[slot]);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const BuildRegion *region = build_region(b, names[i].part);

                if (region)
                        (void) snprintf(names[i].id, 37, "%s", region->part.partuuid);
        }
}

static int find_signature(Build *b, Why *why)
{
        const BuildRegion *sig = build_region(b, PART_HASH_SIG_A);
        uint8_t block[4096];
        bool zero = true;
        int r = sig ? range_read(&sig->range, 0, block, sizeof(block), &zero, why) : 0;

        b->has_signature = !zero;
        return r;
}

int build_from_disk(Build *b, Why *why)
{
        _cleanup_(disk_freep) Disk *disk = NULL;
        BuildRegion *usr, *hash, *esp;
        ByteRange whole;
        int r = disk_open(b->env, b->o->disk, false, &disk, why);

        if (r < 0)
                return r;
        b->lba_size = disk_sector_size(disk);
        b->disk_fd = open(b->o->disk, O_RDONLY | O_CLOEXEC);
        if (b->disk_fd < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", b->o->disk);
        r = range_of_fd(b->disk_fd, b->o->disk, &whole, why);
        b->disk_size = whole.size / b->lba_size * b->lba_size;
        if (r >= 0)
                r = take_partitions(b, disk, why);
        if (r < 0 || (r = need(b, PART_USR_A, &usr, why)) < 0 || (r = need(b, PART_HASH_A, &hash, why)) < 0 ||
            (r = need(b, PART_ESP, &esp, why)) < 0)
                return r;
        name_slot(b, 0, PART_USR_A);
        name_slot(b, 1, PART_USR_B);
        r = read_table(b, why);
        if (r >= 0)
                r = read_superblock(b, usr, hash, why);
        if (r >= 0)
                r = prove_tree(b, hash, why);
        if (r < 0 || b->o->print_verity)
                return r;
        r = find_signature(b, why);
        if (r >= 0)
                r = build_scan_esp(b, &esp->range, why);
        return r < 0 ? r : build_check_boot(b, why);
}
