/* SPDX-License-Identifier: MIT */

/* Old blocks and a patch make new ones; what cannot be had is left out, and nothing else. */

#include "fetch/ostree-patch.h"
#include "base/fd.h"
#include "image/blockpatch.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define BLOCK BLOCKPATCH_BLOCK
#define OLD   3000u
#define N     2400u /* more than is asked for at once */

static uint8_t new[N][BLOCK], packed[N][BLOCK], out[BLOCK];
static uint32_t from[N];

static void fill(uint8_t *block, uint32_t seed)
{
        for (size_t i = 0; i < BLOCK; i++)
                block[i] = (uint8_t) (seed * 31 + i * (seed % 7 + 1));
}

/* Every third block stands for itself in the first part; the rest is one long range. */
static void make_patch(Bytes *ret)
{
        for (uint32_t i = 0; i < N; i++) {
                uint8_t old[BLOCK];

                fill(new[i], i + 5000);
                memcpy(packed[i], new[i], BLOCK);
                from[i] = i < 900 && i % 3 == 0 ? BLOCKPATCH_ALONE : i + 10;
                if (from[i] == BLOCKPATCH_ALONE)
                        continue;
                fill(old, from[i]);
                for (size_t b = 0; b < BLOCK; b++)
                        packed[i][b] ^= old[b];
        }
        assert(blockpatch_build(from, packed[0], N, ret) == 0);
}

static int give(const BlockRange *ranges, size_t n, uint32_t cut)
{
        int fd = memfd_create("old", MFD_CLOEXEC);
        uint32_t sum = 0;
        uint64_t at = 0;

        assert(fd >= 0 && n > 0 && n <= FETCH_OLD_RANGES_MAX);
        for (size_t i = 0; i < n; i++)
                for (uint32_t k = 0; k < ranges[i].count; k++, sum++) {
                        assert(ranges[i].first + k < OLD);
                        fill(out, ranges[i].first + k);
                        if (sum < cut)
                                assert(fd_pwrite_full(fd, out, BLOCK, at) == 0);
                        at += BLOCK;
                }
        assert(sum <= FETCH_OLD_BLOCKS_MAX);
        return fd;
}

/* refuse: the how manieth question is not answered; cut: how many blocks of each answer there are */
static uint64_t run(const Bytes *patch, unsigned refuse, uint32_t cut, uint64_t limit, int *ret)
{
        _cleanup_(rebuilt_done) Rebuilt rebuilt = REBUILT_NULL;
        _cleanup_(patch_run_freep) PatchRun *p = NULL;
        const BlockRange *ranges = NULL;
        unsigned asked = 0;
        size_t n = 0;
        int r;

        rebuilt.fd = memfd_create("rebuilt", MFD_CLOEXEC);
        rebuilt.limit = limit;
        assert(patch_run_new(patch->data, patch->size, &rebuilt, &p, NULL) == 0);
        while ((r = patch_run(p, &ranges, &n, NULL)) > 0)
                patch_run_give(p, ++asked == refuse ? -1 : give(ranges, n, cut));
        for (uint64_t at = 0, i = 0; refuse == 0 && cut == UINT32_MAX && at < rebuilt.at; at += BLOCK, i++)
                assert(fd_pread_full(rebuilt.fd, out, BLOCK, at) == (ssize_t) BLOCK &&
                       memcmp(out, new[i], BLOCK) == 0);
        assert(rebuilt.at <= limit);
        *ret = r;
        return rebuilt.at / BLOCK;
}

int main(void)
{
        _cleanup_(bytes_done) Bytes patch = BYTES_NULL;
        uint64_t all = (uint64_t) N * BLOCK, some;
        int r = 0;

        make_patch(&patch);
        assert(run(&patch, 0, UINT32_MAX, all, &r) == N && r == 0);
        some = run(&patch, 1, UINT32_MAX, all, &r);
        assert(r == 0 && some < N && some > N - FETCH_OLD_BLOCKS_MAX - 1);
        some = run(&patch, 0, 1, all, &r);
        assert(r == 0 && some > 300 && some < 900);
        assert(run(&patch, 0, UINT32_MAX, 10 * BLOCK, &r) == 10 && r == -EFBIG);
        patch.data[12] ^= 1;
        assert(patch_run_new(patch.data, patch.size, NULL, &(PatchRun *){ NULL }, NULL) == -EBADMSG);
        return 0;
}
