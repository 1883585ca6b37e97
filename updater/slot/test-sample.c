/* SPDX-License-Identifier: MIT */

/* Whether a slot is worth being read, from a thirtieth of it. What is planned with it is in test-assemble.c. */

#undef NDEBUG
#include "slot/plan.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define BLOCKS 200000u

typedef struct Source {
        uint32_t shift,
                every; /* the image's block (number + shift), in one stretch of 4000 out of so many; 0: never */
        uint32_t n_read;
        int error;
} Source;

static void make_block(uint32_t number, uint8_t *block)
{
        uint64_t x = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);

        memset(block, 0, VERITY_BLOCK);
        if (number / 3000 % 3 != 1) /* the rest is zeroes */
                memcpy(block, &x, sizeof(x));
}

static int read_source(void *self, uint32_t first, uint32_t count, void *buf, Why *why _unused_)
{
        Source *s = self;

        if (s->error < 0)
                return s->error;
        for (uint32_t i = 0; i < count; i++) {
                uint32_t n = first + i;
                bool shared = s->every > 0 && n / 4000 % s->every == 0;

                make_block(shared ? n + s->shift : n + 7 * BLOCKS,
                           (uint8_t *) buf + (size_t) i * VERITY_BLOCK);
        }
        s->n_read += count;
        return 0;
}

static void make_index(const VerityParams *params, Bytes *ret, IndexHead *ret_head)
{
        static const uint8_t root[32];
        uint8_t *leaves = calloc(BLOCKS, INDEX_LEAF_SIZE), block[VERITY_BLOCK], hash[VERITY_ROOT_SIZE];
        Verity *verity = NULL;

        assert(leaves && verity_new(params, NULL, NULL, &verity) >= 0);
        for (uint32_t i = 0; i < BLOCKS; i++) {
                make_block(i, block);
                assert(verity_hash_block(verity, block, hash) >= 0);
                memcpy(leaves + (size_t) i * INDEX_LEAF_SIZE, hash, INDEX_LEAF_SIZE);
        }
        assert(index_build(root, leaves, BLOCKS, 0, NULL, 0, ret) >= 0);
        assert(index_head_parse(ret->data, ret->size, ret_head, NULL) >= 0);
        verity_free(verity);
        free(leaves);
}

static int stop(void *ctx, uint32_t blocks _unused_)
{
        return *(int *) ctx;
}

int main(void)
{
        static const struct {
                uint32_t shift, every, n_blocks;
                int error, stop, r;
        } cases[] = {
                { 0, 1, BLOCKS, 0, 0, 1 },
                { 777, 1, BLOCKS, 0, 0, 1 }, /* moved */
                { 0, 5, BLOCKS, 0, 0, 1 },
                { 0, 0, BLOCKS, 0, 0, 0 },    /* its zeroes are no reason */
                { 0, 0, 4096, 0, 0, 1 },      /* small */
                { 0, 1, BLOCKS, -EIO, 0, 0 }, /* a bad disk has nothing to give */
                { 0, 1, BLOCKS, -ENXIO, 0, -ENXIO },
                { 0, 0, BLOCKS, 0, -EINTR, -EINTR },
        };
        const VerityParams params = { .data_blocks = BLOCKS, .salt_size = 32 };
        Bytes index = BYTES_NULL;
        SlotPlan *plan = NULL;
        IndexHead head;

        make_index(&params, &index, &head);
        assert(plan_new(&params, &plan) >= 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Source s = { .shift = cases[i].shift, .every = cases[i].every, .error = cases[i].error };
                const BlockSource source = {
                        .name = "slot", .n_blocks = cases[i].n_blocks, .read = read_source, .self = &s
                };
                int stopped = cases[i].stop;
                Why why = { 0 };

                assert(plan_sample(plan, &source, index.data + index_groups_at(&head), head.n_groups, stop,
                                   &stopped, &why) == cases[i].r);
                assert(s.n_read <= 16 * 512);
        }
        plan_free(plan);
        bytes_done(&index);
        return 0;
}
