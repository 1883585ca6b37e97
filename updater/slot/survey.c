/* SPDX-License-Identifier: MIT */

/* What the slots hold. Nothing of it is believed: all of the new image is hashed when it is read back. */

#include "slot/assemble.h"
#include "slot/behind.h"
#include "image/verity-tree.h"

#include <errno.h>

#define AHEAD_UNITS 64u /* read and not yet asked for: a pace that slows the one who asks slows the reading */

typedef struct Known {
        SlotPlan *plan;
        unsigned source;
        uint32_t n_blocks;
} Known;

static int put_known(void *ctx, uint64_t first, uint32_t count, const uint8_t *hashes, Why *why _unused_)
{
        const Known *k = ctx;

        if (first < k->n_blocks)
                plan_known(k->plan, k->source, (uint32_t) first,
                           (uint32_t) MIN((uint64_t) count, k->n_blocks - first), hashes);
        return 0;
}

/* The root that the stored tree has. */
static int own_root(Area *area, const VerityParams *p, uint8_t *block, uint8_t root[VERITY_ROOT_SIZE])
{
        _cleanup_(verity_freep) Verity *verity = NULL;
        int r = verity_new(p, NULL, NULL, &verity);

        if (r >= 0)
                r = area_read(area, VERITY_BLOCK, block, VERITY_BLOCK, NULL);
        return r < 0 ? r : verity_hash_block(verity, block, root);
}

static bool same_salt(const VerityParams *a, const VerityParams *b)
{
        return a->salt_size == b->salt_size && memcmp(a->salt, b->salt, a->salt_size) == 0;
}

/* 1 the slot's tree has told; 0 it has none, of another salt, or one that is not whole. What is behind the slot's image then
 * matches nothing. */
static int ask_tree(Disk *disk, const SlotParts *parts, const VerityParams *image, Known *k)
{
        _cleanup_(slot_areas_done) SlotAreas areas = { 0 };
        _cleanup_(free_bufferp) uint8_t *buf = area_buffer(SLOT_UNIT);
        _cleanup_(verity_tree_freep) VerityTree *tree = NULL;
        uint8_t root[VERITY_ROOT_SIZE];
        uint64_t size = 0;
        VerityParams own;
        int r;

        if (!parts->hash)
                return 0;
        if (!buf)
                return -ENOMEM;
        if (slot_areas_open(disk, parts, 0, false, &areas, NULL) < 0 ||
            superblock_read(areas.hash, 0, &own, buf, NULL) <= 0 || !same_salt(&own, image) ||
            own.data_blocks < 2 || slot_areas_fit(&areas, &own, NULL) < 0 ||
            verity_hash_size(own.data_blocks, &size) < 0 || own_root(areas.hash, &own, buf, root) < 0)
                return 0;
        r = verity_tree_new(&own, root, put_known, k, &tree);
        for (uint64_t at = 0; r >= 0 && at < size; at += SLOT_UNIT) {
                size_t n = (size_t) MIN((uint64_t) SLOT_UNIT, size - at);

                r = area_read(areas.hash, at, buf, n, NULL);
                if (r >= 0)
                        r = verity_tree_put(tree, buf, n, NULL);
        }
        return r == -ENOMEM ? r : r >= 0 && verity_tree_finish(tree, NULL) >= 0;
}

/* --- reading --- */

typedef struct Reading {
        Behind *behind; /* NULL: there is nothing to read */
        uint32_t n_blocks, taken;
} Reading;

static void readings_done(Reading (*list)[BLOCK_SOURCES_MAX])
{
        for (size_t i = 0; i < BLOCK_SOURCES_MAX; i++)
                behind_free((*list)[i].behind);
}

static bool is_over(const Reading *r)
{
        return !r->behind || r->taken == r->n_blocks;
}

/* Whatever has been read of this one; wait: at least one unit. Returns how many blocks. */
static int take_some(Reading *reading, SlotPlan *plan, unsigned source, BehindUnit *unit, bool wait, Why *why)
{
        int sum = 0, r = 0;

        behind_allow(reading->behind, MIN((uint64_t) reading->n_blocks,
                                          reading->taken + (uint64_t) AHEAD_UNITS * BEHIND_BLOCKS));
        while (!is_over(reading) && sum < (int) (AHEAD_UNITS / 2 * BEHIND_BLOCKS) &&
               (r = behind_take(reading->behind, wait, unit, why)) > 0) {
                plan_known(plan, source, (uint32_t) unit->first, unit->count, &unit->hashes[0][0]);
                reading->taken += unit->count;
                sum += (int) unit->count;
                wait = false;
        }
        return r < 0 ? r : sum;
}

/* All of them at the same time; who has the least is waited for. */
static int read_all(Reading list[], unsigned n, SlotPlan *plan, PlanProgress progress, void *ctx, Why *why)
{
        BehindUnit *unit = malloc(sizeof(*unit));
        int r = unit ? 0 : -ENOMEM;

        for (bool busy = true; r >= 0 && busy;) {
                unsigned last = n;

                busy = false;
                for (unsigned i = 0; i < n; i++)
                        if (!is_over(&list[i]) && (last == n || list[i].taken < list[last].taken))
                                last = i;
                for (unsigned i = 0; r >= 0 && i < n; i++) {
                        if (is_over(&list[i]))
                                continue;
                        busy = true;
                        r = take_some(&list[i], plan, i, unit, i == last, why);
                        if (r > 0 && progress)
                                r = progress(ctx, (uint32_t) r);
                }
        }
        free(unit);
        return r;
}

int slot_survey(Disk *disk, const SlotParts *const parts[], const SlotSource sources[], unsigned n,
                const VerityParams *image, SlotPlan *plan, PlanProgress progress, void *ctx, Why *why)
{
        _cleanup_(readings_done) Reading list[BLOCK_SOURCES_MAX] = { 0 };
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < n; i++) {
                Known known = { plan, i, sources[i].blocks.n_blocks };
                VerityParams all = *image;

                r = plan_add_room(plan, &sources[i].blocks, why);
                if (r >= 0)
                        r = ask_tree(disk, parts[i], image, &known);
                if (r != 0 || known.n_blocks == 0)
                        continue;
                all.data_blocks = list[i].n_blocks = known.n_blocks;
                r = behind_open(disk, area_partition(sources[i].area), &all, 1, &list[i].behind, why);
                if (r == -EAGAIN) /* no thread to be had */
                        r = plan_scan(plan, i, progress, ctx, why);
        }
        if (r >= 0)
                r = read_all(list, n, plan, progress, ctx, why);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "looking through the slots") : 0;
}
