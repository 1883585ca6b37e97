/* SPDX-License-Identifier: MIT */

#include "slot/tree-writer.h"
#include "image/verity-tree.h"

#include <errno.h>

void tree_writer_done(TreeWriter *t)
{
        free(t->tree);
        free(t->scratch);
        *t = (TreeWriter){ 0 };
}

int tree_writer_init(TreeWriter *t, SlotAreas *areas, const VerityParams *params)
{
        *t = (TreeWriter){ .areas = areas, .params = *params };
        t->tree = area_buffer(SLOT_UNIT);
        t->scratch = area_buffer(SLOT_UNIT);
        return t->tree && t->scratch ? 0 : -ENOMEM;
}

static int wipe_block(void *ctx, uint64_t offset, Why *why)
{
        TreeWriter *t = ctx;
        _cleanup_(free_bufferp) uint8_t *zeroes = area_buffer(VERITY_BLOCK);

        if (!zeroes)
                return -ENOMEM;
        memset(zeroes, 0, VERITY_BLOCK);
        return area_write(t->areas->hash, offset, zeroes, VERITY_BLOCK, why);
}

/* Step 1, once. Where the new superblock will stand whatever is there is overwritten: one of a kind that we cannot read is
 * a superblock all the same. Inline, the old image's may stand elsewhere, behind more data or less. */
int tree_writer_disown(void *ctx, Why *why)
{
        TreeWriter *t = ctx;
        int r;

        if (t->touched)
                return 0;
        r = wipe_block(t, t->areas->hash_offset, why);
        if (r < 0)
                return r;
        if (t->areas->hash == t->areas->data) {
                r = superblock_scan(t->areas->data, wipe_block, t, why);
                if (r < 0)
                        return r;
        }
        r = area_sync(t->areas->hash, why);
        if (r < 0)
                return r;
        t->touched = true;
        return 0;
}

int tree_writer_flush(TreeWriter *t)
{
        uint64_t written = 0;
        int r;

        if (t->used == 0)
                return 0;
        r = patch_area(t->areas->hash, t->areas->hash_offset + t->at, t->tree, t->scratch, t->used,
                       tree_writer_disown, t, &written, t->why);
        if (r < 0)
                return r;
        t->written += written;
        t->used = 0;
        return 0;
}

/* Finished hash blocks. Those of one level follow each other; where a level above gets its turn, a new run begins. The
 * superblock waits for step 4. */
int tree_writer_take(void *ctx, uint64_t offset, const uint8_t block[VERITY_BLOCK])
{
        TreeWriter *t = ctx;
        int r;

        if (offset == 0)
                return 0;
        if (t->used == SLOT_UNIT || (t->used > 0 && offset != t->at + t->used)) {
                r = tree_writer_flush(t);
                if (r < 0)
                        return r;
        }
        if (t->used == 0)
                t->at = offset;
        memcpy(t->tree + t->used, block, VERITY_BLOCK);
        t->used += VERITY_BLOCK;
        return 0;
}

/* Step 3. Also where nothing was written now: who wrote it before may have been killed before it was on the disk. */
static int sync_all(TreeWriter *t, Why *why)
{
        int r = area_sync(t->areas->data, why);

        return r < 0 || t->areas->hash == t->areas->data ? r : area_sync(t->areas->hash, why);
}

/* Step 4. Only the superblock itself counts: what else its block held before is nobody's business. */
static int write_superblock(TreeWriter *t, Why *why)
{
        uint64_t written = 0;
        int r;

        verity_superblock_format(&t->params, t->tree);
        r = patch_area(t->areas->hash, t->areas->hash_offset, t->tree, t->scratch, VERITY_BLOCK, NULL, NULL,
                       &written, why);
        if (r < 0 || written == 0)
                return r;
        t->written += written;
        return area_sync(t->areas->hash, why);
}

int tree_writer_finish(TreeWriter *t, Why *why)
{
        int r = sync_all(t, why);

        return r < 0 ? r : write_superblock(t, why);
}

static int no_leaves(void *ctx _unused_, uint64_t first _unused_, uint32_t count _unused_,
                     const uint8_t *hashes _unused_, Why *why _unused_)
{
        return 0;
}

/* The kernel will go by the tree on the disk: it, too, is read back, and its root is the promised one. With that its leaves are
 * those of the data, which had the same root. */
int tree_writer_check(TreeWriter *t, const uint8_t root[VERITY_ROOT_SIZE], Why *why)
{
        _cleanup_(verity_tree_freep) VerityTree *tree = NULL;
        uint64_t size = 0;
        int r = verity_hash_size(t->params.data_blocks, &size);

        if (r >= 0)
                r = verity_tree_new(&t->params, root, no_leaves, NULL, &tree);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "hash tree");
        for (uint64_t at = 0; r >= 0 && at < size; at += SLOT_UNIT) {
                size_t n = (size_t) MIN((uint64_t) SLOT_UNIT, size - at);

                r = area_read(t->areas->hash, t->areas->hash_offset + at, t->scratch, n, why);
                if (r >= 0 && at == 0) {
                        verity_superblock_format(&t->params, t->tree);
                        if (memcmp(t->tree, t->scratch, VERITY_BLOCK) != 0)
                                return fail(why, -EBADMSG, WHY_TRUST, "root-hash",
                                            "%s: the verity superblock is not what was written",
                                            area_partition(t->areas->hash)->label);
                }
                if (r >= 0)
                        r = verity_tree_put(tree, t->scratch, n, why);
        }
        return r < 0 ? r : verity_tree_finish(tree, why);
}
