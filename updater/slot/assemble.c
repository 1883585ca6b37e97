/* SPDX-License-Identifier: MIT */

#include "slot/assemble.h"
#include "image/index.h"
#include "slot/behind.h"
#include "slot/tree-writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#define UNIT_BLOCKS (SLOT_UNIT / VERITY_BLOCK)

_Static_assert(UNIT_BLOCKS == BLOCK_SOURCE_UNIT, "a unit is a unit");

struct SlotAssembly {
        Disk *disk;
        SlotAreas areas;
        VerityParams params;
        SlotPlan *plan;
        Verity *hash; /* for single blocks */
        TreeWriter tree;
        SlotCount count;
        uint8_t *unit;
        uint8_t *stash; /* blocks that are overwritten before their turn */
        bool *stash_lost;
        AssemblyProgress progress;
        void *ctx;

        const BlockRange *ranges; /* what is coming in */
        size_t n_ranges, range;
        uint32_t at; /* blocks of ranges[range] that came */
        uint32_t n_contradictions, n_stale, n_wrong;
};

/* --- sources --- */

static int source_read(void *self, uint32_t first, uint32_t count, void *buf, Why *why)
{
        return area_read(self, (uint64_t) first * VERITY_BLOCK, buf, (size_t) count * VERITY_BLOCK, why);
}

int slot_source_open(Disk *disk, const Partition *p, uint32_t n_blocks, SlotSource *ret, Why *why)
{
        uint64_t blocks;
        Area *area;
        int r;

        r = area_open(disk, p, false, &area, why);
        if (r < 0)
                return r;
        blocks = MIN(area_size(area) / VERITY_BLOCK, (uint64_t) INDEX_BLOCKS_MAX);
        ret->area = area;
        ret->blocks = (BlockSource){ .name = area_partition(area)->label,
                                     .n_blocks = n_blocks > 0 ? (uint32_t) MIN(blocks, (uint64_t) n_blocks)
                                                              : (uint32_t) blocks,
                                     .read = source_read,
                                     .self = area };
        return 0;
}

void slot_source_done(SlotSource *s)
{
        area_free(s->area);
        *s = (SlotSource){ 0 };
}

/* --- life cycle --- */

SlotAssembly *assembly_free(SlotAssembly *a)
{
        if (!a)
                return NULL;
        tree_writer_done(&a->tree);
        slot_areas_done(&a->areas);
        verity_free(a->hash);
        free(a->unit);
        free(a->stash);
        free(a->stash_lost);
        free(a);
        return NULL;
}

void assembly_freep(SlotAssembly **a)
{
        *a = assembly_free(*a);
}

int assembly_open(Disk *disk, const SlotParts *parts, const VerityParams *verity, SlotPlan *plan,
                  SlotAssembly **ret, Why *why)
{
        _cleanup_(assembly_freep) SlotAssembly *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return fail_errno(why, -ENOMEM, WHY_HOST, "assembly");
        assert(parts->hash && verity->data_blocks == plan_n_blocks(plan));
        a->disk = disk;
        a->params = *verity;
        a->plan = plan;
        r = slot_areas_open(disk, parts, 0, true, &a->areas, why);
        if (r < 0)
                return r;
        r = slot_areas_fit(&a->areas, verity, why);
        if (r < 0)
                return r;
        a->unit = area_buffer(SLOT_UNIT);
        r = a->unit ? verity_new(verity, NULL, NULL, &a->hash) : -ENOMEM;
        if (r >= 0)
                r = tree_writer_init(&a->tree, &a->areas, verity);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "assembly");
        *ret = TAKE(a);
        return 0;
}

const SlotCount *assembly_count(const SlotAssembly *a)
{
        return &a->count;
}

void assembly_set_progress(SlotAssembly *a, AssemblyProgress progress, void *ctx)
{
        a->progress = progress;
        a->ctx = ctx;
}

static int tell(SlotAssembly *a, uint32_t blocks)
{
        uint64_t total = a->params.data_blocks * VERITY_BLOCK;

        return a->progress ? a->progress(a->ctx, (uint64_t) blocks * VERITY_BLOCK, total) : 0;
}

/* --- blocks --- */

/* 1 the block has the leaf that the plan says, 0 another one */
static int has_leaf(SlotAssembly *a, uint32_t block, const uint8_t *data)
{
        uint8_t hash[VERITY_ROOT_SIZE];
        int r = verity_hash_block(a->hash, data, hash);

        return r < 0 ? r : memcmp(hash, plan_leaf(a->plan, block), INDEX_LEAF_SIZE) == 0;
}

static int write_blocks(SlotAssembly *a, uint32_t first, uint32_t count, const uint8_t *data, Why *why)
{
        int r = tree_writer_disown(&a->tree, why);

        if (r >= 0)
                r = area_write(a->areas.data, (uint64_t) first * VERITY_BLOCK, data,
                               (size_t) count * VERITY_BLOCK, why);
        if (r >= 0)
                a->count.written += (uint64_t) count * VERITY_BLOCK;
        return r;
}

/* --- copying --- */

/* Blocks of the slot itself that would be gone when their turn comes. One that cannot be read is fetched. */
static int fill_stash(SlotAssembly *a, Why *why)
{
        size_t n = plan_n_stashed(a->plan);
        const BlockSource *s = n > 0 ? plan_source(a->plan, 0) : NULL;

        if (n == 0)
                return 0;
        a->stash = area_buffer(n * VERITY_BLOCK);
        a->stash_lost = calloc(n, sizeof(bool));
        if (!a->stash || !a->stash_lost)
                return fail_errno(why, -ENOMEM, WHY_HOST, "assembly");
        for (size_t i = 0; i < n; i++) {
                Why unread = { 0 };
                int r = s->read(s->self, plan_stashed(a->plan, i), 1, a->stash + i * VERITY_BLOCK, &unread);

                a->stash_lost[i] = r == -EIO;
                if (r < 0 && r != -EIO)
                        return fail(why, r, unread.kind, unread.code, "%s", unread.text);
        }
        return 0;
}

/* 0 it is in buf, -EIO it cannot be had */
static int take_stashed(const SlotAssembly *a, uint32_t block, uint8_t *buf)
{
        size_t low = 0, high = plan_n_stashed(a->plan);

        while (low < high) {
                size_t mid = low + (high - low) / 2;

                if (plan_stashed(a->plan, mid) < block)
                        low = mid + 1;
                else
                        high = mid;
        }
        if (low == plan_n_stashed(a->plan) || plan_stashed(a->plan, low) != block || a->stash_lost[low])
                return -EIO;
        memcpy(buf, a->stash + low * VERITY_BLOCK, VERITY_BLOCK);
        return 0;
}

static bool continues(const PlanBlock *first, const PlanBlock *next, uint32_t by)
{
        if (next->from != first->from || next->from == PLAN_ZERO)
                return next->from == first->from;
        return next->source == first->source && !first->stashed && !next->stashed &&
               next->block == first->block + by;
}

/* How many blocks from this one on come from the same place in one read. */
static uint32_t run_length(const SlotAssembly *a, uint32_t block, const PlanBlock *first)
{
        uint32_t n = 1, total = plan_n_blocks(a->plan);

        for (; n < UNIT_BLOCKS && block + n < total; n++) {
                PlanBlock next = plan_at(a->plan, block + n);

                if (!continues(first, &next, n))
                        break;
        }
        return n;
}

/* -EIO only of a single block */
static int read_run(SlotAssembly *a, const PlanBlock *from, uint32_t count, uint8_t *buf, Why *why)
{
        const BlockSource *s = plan_source(a->plan, from->source);
        Why unread = { 0 };
        int r = s->read(s->self, from->block, count, buf, &unread);

        if (r < 0 && r != -EIO)
                return fail(why, r, unread.kind, unread.code, "%s", unread.text);
        return r;
}

static void count_taken(SlotAssembly *a, PlanFrom from, uint32_t blocks)
{
        uint64_t bytes = (uint64_t) blocks * VERITY_BLOCK;

        if (from == PLAN_COPIED)
                a->count.copied += bytes;
        else if (from == PLAN_REBUILT)
                a->count.rebuilt += bytes;
        else if (from == PLAN_ZERO)
                a->count.zero += bytes;
}

static int copy_run(SlotAssembly *a, uint32_t block, uint32_t count, const PlanBlock *from, Why *why)
{
        int r = from->stashed ? take_stashed(a, from->block, a->unit)
                              : read_run(a, from, count, a->unit, why);

        if (r == -EIO && count == 1) {
                plan_set(a->plan, block, PLAN_FETCHED);
                return 0;
        }
        if (r == -EIO) {
                for (uint32_t i = 0; i < count; i++) {
                        PlanBlock one = *from;

                        one.block += i;
                        r = copy_run(a, block + i, 1, &one, why);
                        if (r < 0)
                                return r;
                }
                return 0;
        }
        /* what it is now will be seen when it is read back: nothing is hashed twice */
        if (r >= 0)
                r = write_blocks(a, block, count, a->unit, why);
        if (r >= 0)
                count_taken(a, from->from, count);
        return r;
}

static int zero_run(SlotAssembly *a, uint32_t block, uint32_t count, Why *why)
{
        int r;

        memset(a->unit, 0, (size_t) count * VERITY_BLOCK);
        r = write_blocks(a, block, count, a->unit, why);
        if (r >= 0)
                count_taken(a, PLAN_ZERO, count);
        return r;
}

int assembly_copy(SlotAssembly *a, Why *why)
{
        uint32_t total = plan_n_blocks(a->plan), n;
        int r = fill_stash(a, why);

        for (uint32_t i = 0; r >= 0 && i < total; i += n) {
                PlanBlock from = plan_at(a->plan, i);

                n = 1;
                if (from.from == PLAN_IN_PLACE)
                        a->count.skipped += VERITY_BLOCK;
                if (from.from == PLAN_IN_PLACE || from.from == PLAN_FETCHED)
                        continue;
                n = run_length(a, i, &from);
                r = from.from == PLAN_ZERO ? zero_run(a, i, n, why) : copy_run(a, i, n, &from, why);
                if (r >= 0)
                        r = tell(a, i + n);
        }
        free(a->stash);
        a->stash = NULL;
        return r;
}

/* --- what is fetched --- */

void assembly_expect(SlotAssembly *a, const BlockRange *ranges, size_t n)
{
        a->ranges = ranges;
        a->n_ranges = n;
        a->range = 0;
        a->at = 0;
}

int assembly_put(SlotAssembly *a, const void *data, size_t size, Why *why)
{
        const uint8_t *p = data;

        while (size > 0) {
                const BlockRange *range = &a->ranges[a->range];
                uint32_t first, n;
                int r;

                assert(a->range < a->n_ranges && size % VERITY_BLOCK == 0);
                first = range->first + a->at;
                n = MIN(range->count - a->at, (uint32_t) (size / VERITY_BLOCK));
                for (uint32_t i = 0; i < n; i++) {
                        r = has_leaf(a, first + i, p + (size_t) i * VERITY_BLOCK);
                        if (r < 0)
                                return fail_errno(why, r, WHY_HOST, "hash");
                        a->n_contradictions += r == 0;
                        plan_set(a->plan, first + i, PLAN_IN_PLACE);
                }
                r = write_blocks(a, first, n, p, why);
                if (r >= 0)
                        r = tell(a, first + n);
                if (r < 0)
                        return r;
                a->count.fetched += (uint64_t) n * VERITY_BLOCK;
                p += (size_t) n * VERITY_BLOCK;
                size -= (size_t) n * VERITY_BLOCK;
                a->at += n;
                if (a->at == range->count) {
                        a->range++;
                        a->at = 0;
                }
        }
        return 0;
}

uint32_t assembly_n_contradictions(const SlotAssembly *a)
{
        return a->n_contradictions;
}

/* --- reading back --- */

/* What cannot be read becomes something that no image holds. */
static int read_back(SlotAssembly *a, uint32_t first, uint32_t count, uint8_t *buf, Why *why)
{
        Why unread = { 0 };
        int r = source_read(a->areas.data, first, count, buf, &unread);

        if (r != -EIO)
                return r < 0 ? fail(why, r, unread.kind, unread.code, "%s", unread.text) : 0;
        r = 0;
        if (count == 1)
                memset(buf, 0xa5, VERITY_BLOCK);
        else
                for (uint32_t i = 0; r >= 0 && i < count; i++)
                        r = read_back(a, first + i, 1, buf + (size_t) i * VERITY_BLOCK, why);
        return r;
}

/* Into the tree. What has another leaf than it should have is known to be wrong even before the root is. */
static int seal_unit(SlotAssembly *a, Verity *verity, const BehindUnit *u)
{
        for (uint32_t i = 0; i < u->count; i++) {
                uint32_t block = (uint32_t) u->first + i;
                int r = verity_add_leaf(verity, u->hashes[i]);

                if (r < 0)
                        return r;
                if (memcmp(u->hashes[i], plan_leaf(a->plan, block), INDEX_LEAF_SIZE) == 0)
                        continue;
                plan_set(a->plan, block, PLAN_FETCHED);
                a->n_stale++;
        }
        return tell(a, (uint32_t) u->first + u->count);
}

/* Where there is no thread to be had. */
static int seal_alone(SlotAssembly *a, Verity *verity, BehindUnit *u, Why *why)
{
        uint32_t total = plan_n_blocks(a->plan);
        int r = 0;

        for (uint32_t at = 0; r >= 0 && at < total; at += u->count) {
                u->first = at;
                u->count = MIN(total - at, UNIT_BLOCKS);
                r = read_back(a, at, u->count, a->unit, why);
                for (uint32_t i = 0; r >= 0 && i < u->count; i++)
                        r = verity_hash_block(a->hash, a->unit + (size_t) i * VERITY_BLOCK, u->hashes[i]);
                if (r >= 0)
                        r = seal_unit(a, verity, u);
        }
        return r;
}

static int seal_behind(SlotAssembly *a, Verity *verity, BehindUnit *u, Why *why)
{
        uint64_t total = plan_n_blocks(a->plan);
        Behind *behind = NULL;
        int r = behind_open(a->disk, area_partition(a->areas.data), &a->params, BEHIND_LANES, &behind, why);

        if (r == -EAGAIN)
                return seal_alone(a, verity, u, why);
        for (uint64_t at = 0; r >= 0 && at < total; at += u->count) {
                behind_allow(behind, MIN(total, at + BEHIND_AHEAD * BEHIND_BLOCKS));
                r = behind_take(behind, true, u, why);
                if (r >= 0)
                        r = seal_unit(a, verity, u);
        }
        behind_free(behind);
        return r;
}

static int read_all_back(SlotAssembly *a, uint8_t root[VERITY_ROOT_SIZE], Why *why)
{
        _cleanup_(verity_freep) Verity *verity = NULL;
        BehindUnit *unit = malloc(sizeof(*unit));
        int r = unit ? verity_new(&a->params, tree_writer_take, &a->tree, &verity) : -ENOMEM;

        a->tree.used = 0;
        a->tree.why = why;
        a->n_stale = 0;
        if (r >= 0)
                r = area_sync(a->areas.data, why);
        if (r >= 0)
                r = seal_behind(a, verity, unit, why);
        free(unit);
        if (r >= 0)
                r = verity_finish(verity, root);
        if (r >= 0)
                r = tree_writer_flush(&a->tree);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", area_partition(a->areas.data)->label) : 0;
}

int assembly_seal(SlotAssembly *a, const uint8_t root[VERITY_ROOT_SIZE], Why *why)
{
        uint8_t found[VERITY_ROOT_SIZE];
        int r = read_all_back(a, found, why);

        if (r < 0)
                return r;
        if (memcmp(found, root, sizeof(found)) != 0)
                return 0;
        r = tree_writer_finish(&a->tree, why);
        a->count.tree_written = a->tree.written;
        if (r >= 0)
                r = tree_writer_check(&a->tree, root, why);
        return r < 0 ? r : 1;
}

uint32_t assembly_n_stale(const SlotAssembly *a)
{
        return a->n_stale;
}

/* --- judging --- */

int assembly_judge(void *ctx, uint64_t first, uint32_t count, const uint8_t *hashes, Why *why)
{
        SlotAssembly *a = ctx;
        int r = 0;

        plan_put_hashes(a->plan, (uint32_t) first, count, hashes);
        for (uint32_t at = 0; r >= 0 && at < count;) {
                uint32_t n = MIN(count - at, UNIT_BLOCKS);

                r = read_back(a, (uint32_t) first + at, n, a->unit, why);
                for (uint32_t i = 0; r >= 0 && i < n; i++) {
                        uint8_t hash[VERITY_ROOT_SIZE];

                        r = verity_hash_block(a->hash, a->unit + (size_t) i * VERITY_BLOCK, hash);
                        if (memcmp(hash, hashes + (size_t) (at + i) * VERITY_ROOT_SIZE, sizeof(hash)) == 0)
                                continue;
                        plan_set(a->plan, (uint32_t) first + at + i, PLAN_FETCHED);
                        a->n_wrong++;
                }
                at += n;
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", area_partition(a->areas.data)->label) : 0;
}

uint32_t assembly_n_wrong(const SlotAssembly *a)
{
        return a->n_wrong;
}
