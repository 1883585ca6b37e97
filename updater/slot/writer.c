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

#include "slot/tree.h"

#include <errno.h>
#include <inttypes.h>

struct SlotWriter {
        SlotAreas areas;
        VerityParams params;
        Verity *verity;
        SlotCount count;
        uint64_t total, done; /* bytes of the image; done excludes what is in unit */

        uint8_t *unit; /* the image's next bytes */
        size_t unit_used;
        uint8_t *tree;    /* hash blocks that follow each other on the disk, not yet written */
        uint64_t tree_at; /* of the first, from the superblock */
        size_t tree_used;
        uint8_t *scratch; /* what the disk holds */

        bool touched; /* step 1 is behind us */
        Why *why;     /* of the call that is running: the tree's callback has none of its own */
};

SlotWriter *slot_writer_free(SlotWriter *w)
{
        if (!w)
                return NULL;
        slot_areas_done(&w->areas);
        verity_free(w->verity);
        free(w->unit);
        free(w->tree);
        free(w->scratch);
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

static int wipe_block(void *ctx, uint64_t offset, Why *why)
{
        SlotWriter *w = ctx;
        _cleanup_(free_bufferp) uint8_t *zeroes = area_buffer(VERITY_BLOCK);

        if (!zeroes)
                return -ENOMEM;
        memset(zeroes, 0, VERITY_BLOCK);
        return area_write(w->areas.hash, offset, zeroes, VERITY_BLOCK, why);
}

/* Step 1, once. Where the new superblock will stand whatever is there is overwritten: one of a kind that we cannot read is
 * a superblock all the same. Inline, the old image's may stand elsewhere, behind more data or less. */
static int make_nobodys(void *ctx, Why *why)
{
        SlotWriter *w = ctx;
        int r;

        if (w->touched)
                return 0;
        r = wipe_block(w, w->areas.hash_offset, why);
        if (r < 0)
                return r;
        if (w->areas.hash == w->areas.data) {
                r = superblock_scan(w->areas.data, wipe_block, w, why);
                if (r < 0)
                        return r;
        }
        r = area_sync(w->areas.hash, why);
        if (r < 0)
                return r;
        w->touched = true;
        return 0;
}

static int flush_tree(SlotWriter *w)
{
        uint64_t written = 0;
        int r;

        if (w->tree_used == 0)
                return 0;
        r = patch_area(w->areas.hash, w->areas.hash_offset + w->tree_at, w->tree, w->scratch, w->tree_used,
                       make_nobodys, w, &written, w->why);
        if (r < 0)
                return r;
        w->count.tree_written += written;
        w->tree_used = 0;
        return 0;
}

/* Finished hash blocks. Those of one level follow each other; where a level above gets its turn, a new run begins. The
 * superblock waits for step 4. */
static int take_hash_block(void *ctx, uint64_t offset, const uint8_t block[VERITY_BLOCK])
{
        SlotWriter *w = ctx;
        int r;

        if (offset == 0)
                return 0;
        if (w->tree_used == SLOT_UNIT || (w->tree_used > 0 && offset != w->tree_at + w->tree_used)) {
                r = flush_tree(w);
                if (r < 0)
                        return r;
        }
        if (w->tree_used == 0)
                w->tree_at = offset;
        memcpy(w->tree + w->tree_used, block, VERITY_BLOCK);
        w->tree_used += VERITY_BLOCK;
        return 0;
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
        r = patch_area(w->areas.data, w->done, w->unit, w->scratch, w->unit_used, make_nobodys, w, &written,
                       w->why);
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
        w->params = *verity;
        w->total = verity->data_blocks * VERITY_BLOCK;
        r = slot_areas_open(disk, parts, w->total, true, &w->areas, why);
        if (r < 0)
                return r;
        r = slot_areas_fit(&w->areas, verity, why);
        if (r < 0)
                return r;
        w->unit = area_buffer(SLOT_UNIT);
        w->tree = area_buffer(SLOT_UNIT);
        w->scratch = area_buffer(SLOT_UNIT);
        if (!w->unit || !w->tree || !w->scratch)
                return -ENOMEM;
        r = verity_new(verity, take_hash_block, w, &w->verity);
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
        w->why = why;
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

/* Step 3. */
static int sync_all(SlotWriter *w, Why *why)
{
        int r;

        if (!w->touched)
                return 0;
        r = area_sync(w->areas.data, why);
        return r < 0 || w->areas.hash == w->areas.data ? r : area_sync(w->areas.hash, why);
}

/* Step 4. Only the superblock itself counts: what else its block held before is nobody's business. */
static int write_superblock(SlotWriter *w, Why *why)
{
        uint64_t written = 0;
        int r;

        verity_superblock_format(&w->params, w->unit);
        r = patch_area(w->areas.hash, w->areas.hash_offset, w->unit, w->scratch, VERITY_BLOCK, NULL, NULL,
                       &written, why);
        if (r < 0 || written == 0)
                return r;
        w->count.tree_written += written;
        return area_sync(w->areas.hash, why);
}

int slot_writer_finish(SlotWriter *w, uint8_t ret_root[32], Why *why)
{
        uint8_t root[VERITY_ROOT_SIZE];
        int r;

        w->why = why;
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
        r = flush_tree(w);
        if (r < 0)
                return r;
        r = sync_all(w, why);
        if (r < 0)
                return r;
        r = write_superblock(w, why);
        if (r < 0)
                return r;
        memcpy(ret_root, root, sizeof(root));
        return 0;
}
