/* SPDX-License-Identifier: MIT */

#include "fetch/ostree-patch.h"
#include "base/fd.h"
#include "image/blockpatch.h"

#include <errno.h>

#define BLOCK BLOCKPATCH_BLOCK

struct PatchRun {
        BlockPatch patch;
        Rebuilt *rebuilt;
        uint32_t range, block; /* the next ones */
        uint32_t done;         /* of that range: a long one is asked for in pieces */
        BlockRange want[FETCH_OLD_RANGES_MAX];
        size_t n_want;
        int old;
};

PatchRun *patch_run_free(PatchRun *run)
{
        if (!run)
                return NULL;
        close_fdp(&run->old);
        free(run);
        return NULL;
}

void patch_run_freep(PatchRun **run)
{
        *run = patch_run_free(*run);
}

int patch_run_new(const void *data, size_t size, Rebuilt *rebuilt, PatchRun **ret, Why *why)
{
        _cleanup_(patch_run_freep) PatchRun *run = calloc(1, sizeof(*run));
        int r;

        if (!run)
                return fail_errno(why, -ENOMEM, WHY_HOST, "OSTree: blocks");
        run->old = -1;
        run->rebuilt = rebuilt;
        r = blockpatch_parse(data, size, &run->patch, why);
        if (r < 0)
                return r;
        *ret = TAKE(run);
        return 0;
}

static const uint8_t *next_block(PatchRun *run)
{
        return run->patch.blocks + (size_t) run->block++ * BLOCK;
}

/* What was wanted is there, or not: then it is passed over. */
static int work_off(PatchRun *run, Why *why)
{
        bool there = run->old >= 0;
        uint64_t at = 0;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < run->n_want; i++)
                for (uint32_t k = 0; r >= 0 && k < run->want[i].count; k++, at += BLOCK) {
                        const uint8_t *diff = next_block(run);
                        uint8_t block[BLOCK];

                        there = there && fd_pread_full(run->old, block, BLOCK, at) == (ssize_t) BLOCK;
                        for (size_t b = 0; there && b < BLOCK; b++)
                                block[b] ^= diff[b];
                        if (there)
                                r = rebuilt_add(run->rebuilt, block, BLOCK, why);
                }
        run->n_want = 0;
        close_fdp(&run->old);
        run->old = -1;
        return r;
}

static int add_alone(PatchRun *run, uint32_t count, Why *why)
{
        int r = 0;

        for (; r >= 0 && count > 0; count--)
                r = rebuilt_add(run->rebuilt, next_block(run), BLOCK, why);
        return r;
}

int patch_run(PatchRun *run, const BlockRange **ret, size_t *ret_n, Why *why)
{
        uint32_t sum = 0;
        int r = work_off(run, why);

        while (r >= 0 && run->range < run->patch.n_ranges) {
                BlockRange range = blockpatch_range(&run->patch, run->range);

                if (range.first == BLOCKPATCH_ALONE) {
                        if (run->n_want > 0)
                                break; /* blocks come in order */
                        r = add_alone(run, range.count, why);
                        run->range++;
                        continue;
                }
                if (run->n_want == FETCH_OLD_RANGES_MAX || sum == FETCH_OLD_BLOCKS_MAX)
                        break;
                range.first += run->done;
                range.count = MIN(range.count - run->done, FETCH_OLD_BLOCKS_MAX - sum);
                run->want[run->n_want++] = range;
                sum += range.count;
                run->done += range.count;
                if (run->done == blockpatch_range(&run->patch, run->range).count) {
                        run->range++;
                        run->done = 0;
                }
        }
        if (r < 0)
                return r;
        *ret = run->want;
        *ret_n = run->n_want;
        return run->n_want > 0;
}

void patch_run_give(PatchRun *run, int fd)
{
        close_fdp(&run->old);
        run->old = fd;
}
