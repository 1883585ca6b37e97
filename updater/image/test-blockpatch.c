/* SPDX-License-Identifier: MIT */

#include "image/blockpatch.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>

#define N 6u

/* What is built is parsed again, and everything that does not add up is refused. */
static void test_round_trip(void)
{
        static const uint32_t old[N] = { 7, 8, BLOCKPATCH_ALONE, BLOCKPATCH_ALONE, 8, 9 };
        static const BlockRange expect[] = { { 7, 2 }, { BLOCKPATCH_ALONE, 2 }, { 8, 2 } };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        uint8_t blocks[N * BLOCKPATCH_BLOCK];
        BlockPatch p = { 0 };

        for (size_t i = 0; i < sizeof(blocks); i++)
                blocks[i] = (uint8_t) (i * 7 + i / 4096);
        assert(blockpatch_build(old, blocks, N, &b) == 0);
        assert(b.size == BLOCKPATCH_HEAD + 3 * 8 + sizeof(blocks));
        assert(blockpatch_parse(b.data, b.size, &p, NULL) == 0);
        assert(p.n_ranges == 3 && p.n_blocks == N && memcmp(p.blocks, blocks, sizeof(blocks)) == 0);
        for (uint32_t i = 0; i < 3; i++)
                assert(blockpatch_range(&p, i).first == expect[i].first &&
                       blockpatch_range(&p, i).count == expect[i].count);
        for (size_t n = 0; n < b.size; n += n < 64 ? 1 : 1000)
                assert(blockpatch_parse(b.data, n, &p, NULL) == -EBADMSG);
}

static void test_refuse(void)
{
        static const struct {
                size_t at;
                uint8_t to;
        } cases[] = {
                { 0, 'X' },              /* magic */
                { 8, 0 },     { 8, 2 },  /* ranges */
                { 12, 0 },    { 12, 3 }, /* blocks */
                { 11, 0x80 },            /* more ranges than fit 31 bits */
                { 20, 0 },    { 20, 1 }, /* a range of none, or of fewer than there are blocks */
                { 19, 0x08 },            /* behind any image */
        };
        static const uint32_t old[2] = { 1, 2 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        uint8_t blocks[2 * BLOCKPATCH_BLOCK] = { 1 };
        BlockPatch p = { 0 };
        Why why = { 0 };

        assert(blockpatch_build(old, blocks, 2, &b) == 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t before = b.data[cases[i].at];

                b.data[cases[i].at] = cases[i].to;
                why = (Why){ 0 };
                assert(blockpatch_parse(b.data, b.size, &p, &why) == -EBADMSG && why.kind == WHY_NETWORK);
                b.data[cases[i].at] = before;
        }
        assert(p.n_blocks == 0 && blockpatch_parse(b.data, b.size, &p, NULL) == 0);
}

static void test_empty(void)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        BlockPatch p = { 0 };

        assert(blockpatch_build(NULL, NULL, 0, &b) == 0);
        assert(blockpatch_parse(b.data, b.size, &p, NULL) == 0 && p.n_ranges == 0 && p.n_blocks == 0);
}

int main(void)
{
        test_round_trip();
        test_refuse();
        test_empty();
        return 0;
}
