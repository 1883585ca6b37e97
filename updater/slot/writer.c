/* SPDX-License-Identifier: MIT */

/* Fills the spare slot. What the disk already holds is read and left; what differs is written, in units that the
 * neighbours can bear. The order is made for the moment when the power goes:
 *
 *   1. Before the first block changes, the old superblock is overwritten and that is on the disk: from now on this slot
 *      is nobody's.
 *   2. Data and tree, in any order.
 *   3. Both are on the disk.
 *   4. The new superblock, and it is on the disk: from now on this slot is what it says.
 *
 * When nothing differs nothing is written at all, not even a superblock. */

#include "slot/tree-writer.h"

#include <errno.h>
#include <inttypes.h>

struct SlotWriter {
        SlotAreas areas;
        Verity *verity;
        SlotCount count;
        uint64_t total, done; /* bytes of the image; done excludes what is in unit */

        uint8_t *unit; /* the image's next bytes */
        size_t unit_used;
        TreeWriter tree;
};

SlotWriter *slot_writer_free(SlotWriter *w)
{
        if (!w)
                return NULL;
        slot_areas_done(&w->areas);
        verity_free(w->verity);
        free(w->unit);
        tree_writer_done(&w->tree);
        free(w);
        return NULL;
}

void slot_writer_freep(SlotWriter **w)
{
        *w = slot_writer_free(*w);
}

const SlotCount *slot_writer_count(const SlotWriter *w)
{
        return &w->count;
}

static bool is_zero(const uint8_t *block)
{
        return block[0] == 0 && memcmp(block, block + 1, VERITY_BLOCK - 1) == 0;
}

/* The unit goes to the disk where it differs, and its hashes into the tree. */
static int flush_unit(SlotWriter *w)
{
        uint64_t written = 0;
        int r;

        if (w->unit_used == 0)
                return 0;
        r = patch_area(w->areas.data, w->done, w->unit, w->tree.scratch, w->unit_used, tree_writer_disown,
                       &w->tree, &written, w->tree.why);
        if (r < 0)
                return r;
        for (size_t i = 0; i < w->unit_used; i += VERITY_BLOCK) {
                r = is_zero(w->unit + i) ? verity_add_zero(w->verity, 1) : verity_add(w->verity, w->unit + i);
                if (r < 0)
                        return r;
        }
        w->count.written += written;
        w->count.skipped += w->unit_used - written;
        w->done += w->unit_used;
        w->unit_used = 0;
        return 0;
}

int slot_writer_open(Disk *disk, const SlotParts *parts, const VerityParams *verity, SlotWriter **ret,
                     Why *why)
{
        _cleanup_(slot_writer_freep) SlotWriter *w = calloc(1, sizeof(*w));
        uint64_t ignored;
        int r;

        if (!w)
                return -ENOMEM;
        r = verity_hash_size(verity->data_blocks, &ignored);
        if (r < 0)
                return fail(why, r, WHY_IMAGE, "size", "an image of %" PRIu64 " blocks cannot be written",
                            verity->data_blocks);
        w->total = verity->data_blocks * VERITY_BLOCK;
        r = slot_areas_open(disk, parts, w->total, true, &w->areas, why);
        if (r < 0)
                return r;
        r = slot_areas_fit(&w->areas, verity, why);
        if (r < 0)
                return r;
        w->unit = area_buffer(SLOT_UNIT);
        if (!w->unit || tree_writer_init(&w->tree, &w->areas, verity) < 0)
                return -ENOMEM;
        r = verity_new(verity, tree_writer_take, &w->tree, &w->verity);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "hash tree");
        *ret = TAKE(w);
        return 0;
}

static int check_room(const SlotWriter *w, uint64_t size, Why *why)
{
        if (size <= w->total - w->done - w->unit_used)
                return 0;
        return fail(why, -EFBIG, WHY_TRUST, "size",
                    "%s: the image is longer than the %" PRIu64 " bytes that it should have",
                    area_partition(w->areas.data)->label, w->total);
}

/* data NULL: zeroes. */
static int append(SlotWriter *w, const uint8_t *data, uint64_t size, Why *why)
{
        int r;

        r = check_room(w, size, why);
        if (r < 0)
                return r;
        w->tree.why = why;
        while (size > 0) {
                size_t n = (size_t) MIN((uint64_t) (SLOT_UNIT - w->unit_used), size);

                if (data)
                        memcpy(w->unit + w->unit_used, data, n);
                else
                        memset(w->unit + w->unit_used, 0, n);
                w->unit_used += n;
                size -= n;
                data = data ? data + n : NULL;
                if (w->unit_used < SLOT_UNIT)
                        break;
                r = flush_unit(w);
                if (r < 0)
                        return r;
        }
        return 0;
}

int slot_writer_put(SlotWriter *w, const void *data, size_t size, Why *why)
{
        return append(w, data, size, why);
}

int slot_writer_zero(SlotWriter *w, uint64_t size, Why *why)
{
        int r = append(w, NULL, size, why);

        if (r >= 0)
                w->count.zero += size;
        return r;
}

int slot_writer_finish(SlotWriter *w, uint8_t ret_root[32], Why *why)
{
        uint8_t root[VERITY_ROOT_SIZE];
        int r;

        w->tree.why = why;
        if (w->done + w->unit_used != w->total)
                return fail(why, -EBADMSG, WHY_TRUST, "size",
                            "%s: the image ends after %" PRIu64 " of the %" PRIu64
                            " bytes that it should have",
                            area_partition(w->areas.data)->label, w->done + w->unit_used, w->total);
        r = flush_unit(w);
        if (r < 0)
                return r;
        r = verity_finish(w->verity, root);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "hash tree");
        r = tree_writer_flush(&w->tree);
        if (r >= 0)
                r = tree_writer_finish(&w->tree, why);
        w->count.tree_written = w->tree.written;
        if (r < 0)
                return r;
        memcpy(ret_root, root, sizeof(root));
        return 0;
}
