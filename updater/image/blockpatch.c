/* SPDX-License-Identifier: MIT */

#include "image/blockpatch.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>

#define RANGE 8u

static const uint8_t magic[8] = "GYBEBLK1";

static uint32_t get_u32(const uint8_t *p)
{
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return le32toh(v);
}

static void put_u32(uint8_t *p, uint32_t v)
{
        v = htole32(v);
        memcpy(p, &v, sizeof(v));
}

BlockRange blockpatch_range(const BlockPatch *patch, uint32_t i)
{
        const uint8_t *p = patch->ranges + (size_t) i * RANGE;

        return (BlockRange){ get_u32(p), get_u32(p + 4) };
}

static int refuse(Why *why, const char *problem)
{
        return fail(why, -EBADMSG, WHY_NETWORK, "bad-blocks", "OSTree: blocks between two commits: %s",
                    problem);
}

static int check_ranges(const BlockPatch *patch, Why *why)
{
        uint64_t sum = 0;

        for (uint32_t i = 0; i < patch->n_ranges; i++) {
                BlockRange r = blockpatch_range(patch, i);

                if (r.count == 0)
                        return refuse(why, "a range of none");
                if (r.first != BLOCKPATCH_ALONE && (uint64_t) r.first + r.count > INDEX_BLOCKS_MAX)
                        return refuse(why, "a range that no image has");
                sum += r.count;
        }
        return sum == patch->n_blocks ? 0 : refuse(why, "its ranges have another number of blocks");
}

int blockpatch_parse(const void *data, size_t size, BlockPatch *ret, Why *why)
{
        const uint8_t *p = data;
        BlockPatch patch;
        int r;

        if (size < BLOCKPATCH_HEAD || memcmp(p, magic, sizeof(magic)) != 0)
                return refuse(why, "they do not begin as such");
        patch.n_ranges = get_u32(p + 8);
        patch.n_blocks = get_u32(p + 12);
        if (patch.n_blocks > BLOCKPATCH_BLOCKS_MAX || patch.n_ranges > patch.n_blocks)
                return refuse(why, "too many");
        if (size !=
            BLOCKPATCH_HEAD + (size_t) patch.n_ranges * RANGE + (size_t) patch.n_blocks * BLOCKPATCH_BLOCK)
                return refuse(why, "their size is not that of their parts");
        patch.ranges = p + BLOCKPATCH_HEAD;
        patch.blocks = patch.ranges + (size_t) patch.n_ranges * RANGE;
        r = check_ranges(&patch, why);
        if (r >= 0)
                *ret = patch;
        return r;
}

static bool continues(const uint32_t *old, uint32_t i)
{
        return i > 0 &&
               (old[i] == BLOCKPATCH_ALONE ? old[i - 1] == BLOCKPATCH_ALONE
                                           : old[i - 1] != BLOCKPATCH_ALONE && old[i] == old[i - 1] + 1);
}

int blockpatch_build(const uint32_t *old, const uint8_t *blocks, uint32_t n, Bytes *ret)
{
        _cleanup_(bytes_done) Bytes out = BYTES_NULL;
        uint8_t head[BLOCKPATCH_HEAD] = { 0 };
        uint32_t n_ranges = 0;
        int r;

        assert(n <= BLOCKPATCH_BLOCKS_MAX);
        memcpy(head, magic, sizeof(magic));
        r = bytes_append(&out, head, sizeof(head));
        for (uint32_t i = 0, end; r >= 0 && i < n; i = end, n_ranges++) {
                uint8_t range[RANGE];

                for (end = i + 1; end < n && continues(old, end);)
                        end++;
                put_u32(range, old[i]);
                put_u32(range + 4, end - i);
                r = bytes_append(&out, range, sizeof(range));
        }
        if (r >= 0)
                r = bytes_append(&out, blocks, (size_t) n * BLOCKPATCH_BLOCK);
        if (r < 0)
                return r;
        put_u32(out.data + 8, n_ranges);
        put_u32(out.data + 12, n);
        bytes_move(ret, &out);
        return 0;
}
