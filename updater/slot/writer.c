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
 * When nothing differs nothing is written at all, not even a superblock.
 *
 * Everything is read back and hashed behind the writing (behind.h), and the tree grows from what was read: nothing is hashed
 * twice, and when the last byte has come little is left to do. Inline trees, and a host that gives no thread, have the leaves
 * hashed on their way to the disk instead; who wants them verified asks slot_verify().
 *
 * A root that is not the promised one is the server's fault or the medium's. Which one, a sum of each unit tells that is made on its
 * way to the disk and again when it comes back.
 *
 * Looking at what the disk holds costs as much as writing it. So a slot that proves to hold something else is written without
 * looking, but for a sample; and blocks of zeroes are first believed to be there: reading back finds out. */

#include "slot/behind.h"
#include "slot/tree-writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#define STRANGE_UNITS 64u  /* without one block in place: what follows will be another image's, too */
#define SAMPLE_UNITS  32u  /* ... and one in so many is looked at all the same */
#define SETTLE_UNITS  128u /* 16 MiB: then what was written is on the medium and can be read back */
#define ALLOW_UNITS                                                                                          \
        4u /* read back for each unit written: evenly, not in bursts that the neighbours would feel */

struct SlotWriter {
        SlotAreas areas;
        Verity *verity;
        SlotCount count;
        uint64_t total, done; /* bytes of the image; done excludes what is in unit */

        uint8_t *unit; /* the image's next bytes */
        size_t unit_used;
        TreeWriter tree;

        Behind *behind;
        BehindUnit *back;          /* what was read back */
        uint64_t settled, allowed; /* blocks on the medium; and those that may be read by now */
        uint8_t *believed;         /* a bit for each block: zeroes that were not written */
        uint8_t zero[VERITY_ROOT_SIZE];
        uint64_t *sums;   /* of each unit, as it should come back */
        uint64_t odd;     /* first block of the first unit that came back otherwise; UINT64_MAX none */
        bool disbelieves; /* the slot has something else where the image has zeroes */
        uint64_t strange; /* units since one had a block in place */
        SlotProgress progress;
        void *ctx;
};

SlotWriter *slot_writer_free(SlotWriter *w)
{
        if (!w)
                return NULL;
        behind_free(w->behind);
        slot_areas_done(&w->areas);
        verity_free(w->verity);
        free(w->unit);
        free(w->back);
        free(w->believed);
        free(w->sums);
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

void slot_writer_set_progress(SlotWriter *w, SlotProgress progress, void *ctx)
{
        w->progress = progress;
        w->ctx = ctx;
}

/* --- reading back --- */

static bool is_believed(const SlotWriter *w, uint64_t block)
{
        return w->believed[block / 8] >> (block % 8) & 1;
}

static void forget(SlotWriter *w, uint64_t block)
{
        w->believed[block / 8] &= (uint8_t) ~(1u << (block % 8));
}

/* Blocks that should be zeroes are not: they are written now, and looked at once more at the end. From now on the disk is looked
 * at where the image has zeroes. */
static int write_zeroes(SlotWriter *w, uint64_t first, uint32_t count)
{
        size_t size = (size_t) count * VERITY_BLOCK;
        int r = tree_writer_disown(&w->tree, w->tree.why);

        w->disbelieves = true;
        memset(w->tree.scratch, 0, size);
        if (r >= 0)
                r = area_write(w->areas.data, first * VERITY_BLOCK, w->tree.scratch, size, w->tree.why);
        w->count.written += size;
        w->count.skipped -= size;
        return r;
}

/* What was written has to be there. Where zeroes were believed to be, a bad sector is not: it gets well by being written. */
static int check_readable(const SlotWriter *w)
{
        for (uint32_t i = 0; i < w->back->count && w->back->unreadable != 0; i++)
                if (w->back->unreadable >> i & 1 && !is_believed(w, w->back->first + i))
                        return fail_errno(w->tree.why, -EIO, WHY_HOST, "%s: cannot read back byte %" PRIu64,
                                          area_partition(w->areas.data)->label,
                                          (w->back->first + i) * VERITY_BLOCK);
        return 0;
}

/* Of the unit that was read back: which zeroes were believed for good reason? The others keep their bit. */
static int judge_zeroes(SlotWriter *w)
{
        uint32_t count = w->back->count, n;
        int r = check_readable(w);

        for (uint32_t i = 0; r >= 0 && i < count; i += n) {
                for (n = 0; i + n < count && is_believed(w, w->back->first + i + n) &&
                            memcmp(w->back->hashes[i + n], w->zero, VERITY_ROOT_SIZE) != 0;
                     n++) {
                        memcpy(w->back->hashes[i + n], w->zero, VERITY_ROOT_SIZE);
                        w->back->sums[i + n] = 0;
                }
                if (n > 0)
                        r = write_zeroes(w, w->back->first + i, n);
                else
                        forget(w, w->back->first + i + n++);
        }
        return r;
}

static uint64_t join(uint64_t sum, uint64_t of_block)
{
        return (sum ^ of_block) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static void compare_sums(SlotWriter *w)
{
        uint64_t sum = 0;

        for (uint32_t i = 0; i < w->back->count; i++)
                sum = join(sum, w->back->sums[i]);
        if (sum != w->sums[w->back->first / BEHIND_BLOCKS] && w->odd == UINT64_MAX)
                w->odd = w->back->first;
}

/* What was read back goes into the tree. wait: at least one unit of it. */
static int take_back(SlotWriter *w, bool wait)
{
        int r;

        while ((r = behind_take(w->behind, wait, w->back, w->tree.why)) > 0) {
                r = judge_zeroes(w);
                compare_sums(w);
                for (uint32_t i = 0; r >= 0 && i < w->back->count; i++)
                        r = verity_add_leaf(w->verity, w->back->hashes[i]);
                if (r < 0)
                        return r;
                w->count.read_back += (uint64_t) w->back->count * VERITY_BLOCK;
                wait = false;
        }
        return r;
}

static int settle(SlotWriter *w)
{
        int r = area_sync(w->areas.data, w->tree.why);

        if (r >= 0)
                w->settled = w->done / VERITY_BLOCK;
        return r;
}

static void allow(SlotWriter *w, uint64_t units)
{
        uint64_t blocks = MIN(w->settled, w->allowed + units * BEHIND_BLOCKS);

        if (blocks == w->allowed)
                return;
        w->allowed = blocks;
        behind_allow(w->behind, blocks);
}

static int keep_behind(SlotWriter *w)
{
        int r = 0;

        if (!w->behind)
                return 0;
        if (w->done / VERITY_BLOCK - w->settled >= SETTLE_UNITS * BEHIND_BLOCKS)
                r = settle(w);
        allow(w, ALLOW_UNITS);
        return r < 0 ? r : take_back(w, false);
}

static bool is_any_believed(const SlotWriter *w, uint64_t at, size_t size)
{
        for (size_t i = 0; i < size; i += VERITY_BLOCK)
                if (is_believed(w, (at + i) / VERITY_BLOCK))
                        return true;
        return false;
}

static int read_unit_back(SlotWriter *w, uint64_t at, size_t size)
{
        int r = area_read(w->areas.data, at, w->tree.scratch, size, w->tree.why);

        for (size_t i = 0; r >= 0 && i < size; i += VERITY_BLOCK)
                if (is_believed(w, (at + i) / VERITY_BLOCK) && !verity_block_is_zero(w->tree.scratch + i))
                        r = fail(w->tree.why, -EIO, WHY_HOST, "read-back",
                                 "%s: byte %" PRIu64 " reads back as something else than was written",
                                 area_partition(w->areas.data)->label, at + i);
        if (r >= 0 && w->progress)
                r = w->progress(w->ctx, w->count.read_back, w->total);
        return r;
}

/* What judge_zeroes() has written behind the reader. */
static int read_zeroes_back(SlotWriter *w)
{
        int r = w->disbelieves ? settle(w) : 0;

        for (uint64_t at = 0; r >= 0 && w->disbelieves && at < w->total; at += SLOT_UNIT) {
                size_t size = (size_t) MIN((uint64_t) SLOT_UNIT, w->total - at);

                if (is_any_believed(w, at, size))
                        r = read_unit_back(w, at, size);
        }
        return r;
}

static int catch_up(SlotWriter *w)
{
        int r = settle(w);

        while (r >= 0 && w->count.read_back < w->total) {
                allow(w, ALLOW_UNITS);
                r = take_back(w, true);
                if (r >= 0 && w->progress)
                        r = w->progress(w->ctx, w->count.read_back, w->total);
        }
        return r < 0 ? r : read_zeroes_back(w);
}

/* --- writing --- */

/* Blocks of zeroes are left out; the others as they are, whatever is there. */
static int write_blindly(SlotWriter *w, uint64_t *ret_written)
{
        size_t run;

        for (size_t at = 0; at < w->unit_used; at += run) {
                bool zero = verity_block_is_zero(w->unit + at);
                int r;

                for (run = VERITY_BLOCK; at + run < w->unit_used; run += VERITY_BLOCK)
                        if (verity_block_is_zero(w->unit + at + run) != zero)
                                break;
                if (zero) {
                        for (size_t i = 0; i < run; i += VERITY_BLOCK) {
                                uint64_t block = (w->done + at + i) / VERITY_BLOCK;

                                w->believed[block / 8] |= (uint8_t) (1u << (block % 8));
                        }
                        continue;
                }
                r = tree_writer_disown(&w->tree, w->tree.why);
                if (r >= 0)
                        r = area_write(w->areas.data, w->done + at, w->unit + at, run, w->tree.why);
                if (r < 0)
                        return r;
                *ret_written += run;
        }
        return 0;
}

static size_t zero_bytes(const SlotWriter *w)
{
        size_t n = 0;

        for (size_t i = 0; i < w->unit_used; i += VERITY_BLOCK)
                n += verity_block_is_zero(w->unit + i) ? VERITY_BLOCK : 0;
        return n;
}

static bool may_be_blind(const SlotWriter *w, size_t zeroes)
{
        if (!w->behind || (zeroes > 0 && w->disbelieves))
                return false;
        return zeroes == w->unit_used || (w->strange >= STRANGE_UNITS && w->strange % SAMPLE_UNITS != 0);
}

static void sum_unit(SlotWriter *w)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < w->unit_used; i += VERITY_BLOCK)
                sum = join(sum, behind_sum(w->unit + i));
        w->sums[w->done / SLOT_UNIT] = sum;
}

/* Leaves for those who are not read back. */
static int hash_unit(SlotWriter *w)
{
        int r = 0;

        for (size_t i = 0; r >= 0 && !w->behind && i < w->unit_used; i += VERITY_BLOCK)
                r = verity_block_is_zero(w->unit + i) ? verity_add_zero(w->verity, 1)
                                                      : verity_add(w->verity, w->unit + i);
        return r;
}

/* The unit goes to the disk where it differs. */
static int flush_unit(SlotWriter *w)
{
        size_t zeroes = zero_bytes(w);
        bool blind = may_be_blind(w, zeroes);
        uint64_t written = 0;
        int r;

        if (w->unit_used == 0)
                return 0;
        if (w->behind)
                sum_unit(w);
        r = blind ? write_blindly(w, &written)
                  : patch_area(w->areas.data, w->done, w->unit, w->tree.scratch, w->unit_used,
                               tree_writer_disown, &w->tree, &written, w->tree.why);
        if (r >= 0)
                r = hash_unit(w);
        if (r < 0)
                return r;
        if (zeroes < w->unit_used)
                w->strange = !blind && w->unit_used - written > zeroes ? 0 : w->strange + 1;
        w->count.written += written;
        w->count.skipped += w->unit_used - written;
        w->done += w->unit_used;
        w->unit_used = 0;
        return keep_behind(w);
}

/* Not for inline trees: the thread's reading and the tree's writing would be in the same area. */
static int look_back(SlotWriter *w, Disk *disk, const SlotParts *parts, const VerityParams *verity, Why *why)
{
        static const uint8_t zeroes[VERITY_BLOCK];
        int r;

        if (!parts->hash)
                return 0;
        w->believed = calloc((size_t) (verity->data_blocks / 8) + 1, 1);
        w->sums = calloc((size_t) (verity->data_blocks / BEHIND_BLOCKS) + 1, sizeof(*w->sums));
        w->back = malloc(sizeof(*w->back));
        r = w->believed && w->sums && w->back ? verity_hash_block(w->verity, zeroes, w->zero) : -ENOMEM;
        if (r >= 0)
                r = behind_open(disk, parts->data, verity, 1, &w->behind, why);
        return r == -EAGAIN ? 0 : r; /* no thread: then without */
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
        w->odd = UINT64_MAX;
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
        if (r >= 0)
                r = look_back(w, disk, parts, verity, why);
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

static int fail_size(const SlotWriter *w, Why *why)
{
        return fail(why, -EBADMSG, WHY_TRUST, "size",
                    "%s: the image ends after %" PRIu64 " of the %" PRIu64 " bytes that it should have",
                    area_partition(w->areas.data)->label, w->done + w->unit_used, w->total);
}

/* 0: the medium gives back what it was given, so that was not the promised image. */
static int judge_medium(const SlotWriter *w, Why *why)
{
        const char *label = area_partition(w->areas.data)->label;

        if (w->odd == UINT64_MAX)
                return 0;
        (void) fail(why, -EIO, WHY_HOST, "read-back",
                    "%s: the 128 KiB at byte %" PRIu64 " read back as something else than was written", label,
                    w->odd * VERITY_BLOCK);
        return fail_hint(why, -EIO, "the disk is at fault, or its memory, not the image");
}

int slot_writer_finish(SlotWriter *w, const uint8_t *expect_root, uint8_t ret_root[32], Why *why)
{
        uint8_t root[VERITY_ROOT_SIZE];
        int r;

        w->tree.why = why;
        if (w->done + w->unit_used != w->total)
                return fail_size(w, why);
        r = flush_unit(w);
        if (r >= 0 && w->behind)
                r = catch_up(w);
        if (r < 0)
                return r;
        r = verity_finish(w->verity, root);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "hash tree");
        memcpy(ret_root, root, sizeof(root));
        r = tree_writer_flush(&w->tree);
        if (r < 0 || (expect_root && memcmp(root, expect_root, sizeof(root)) != 0))
                return r < 0 ? r : judge_medium(w, why);
        r = tree_writer_finish(&w->tree, why);
        w->count.tree_written = w->tree.written;
        if (r < 0 || !w->behind)
                return r < 0 ? r : 0;
        r = tree_writer_check(&w->tree, root, why);
        return r < 0 ? r : 1;
}
