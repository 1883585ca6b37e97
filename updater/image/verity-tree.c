/* SPDX-License-Identifier: MIT */

#include "image/verity-tree.h"

#include <errno.h>
#include <inttypes.h>

#define HASHES_PER_BLOCK (VERITY_BLOCK / VERITY_ROOT_SIZE)

struct VerityTree {
        Verity *verity;
        VerityLeaves leaves;
        void *ctx;
        uint64_t data_blocks;
        unsigned n_levels;
        uint64_t blocks[VERITY_LEVELS_MAX]; /* of each level, from the leaves up */
        uint8_t *expect, *next; /* hashes of the blocks of the level that comes, and of the one below it */
        unsigned level;         /* that comes; n_levels: the superblock */
        uint64_t index;         /* of the block in it that comes */
        bool over;
        uint8_t block[VERITY_BLOCK];
        size_t used;
};

VerityTree *verity_tree_free(VerityTree *t)
{
        if (!t)
                return NULL;
        verity_free(t->verity);
        free(t->expect);
        free(t->next);
        free(t);
        return NULL;
}

void verity_tree_freep(VerityTree **t)
{
        *t = verity_tree_free(*t);
}

static int no_blocks(void *ctx _unused_, uint64_t offset _unused_, const uint8_t block[VERITY_BLOCK] _unused_)
{
        return 0;
}

int verity_tree_new(const VerityParams *params, const uint8_t root[VERITY_ROOT_SIZE], VerityLeaves leaves,
                    void *ctx, VerityTree **ret)
{
        _cleanup_(verity_tree_freep) VerityTree *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        *t = (VerityTree){ .leaves = leaves, .ctx = ctx, .data_blocks = params->data_blocks };
        r = verity_new(params, no_blocks, NULL, &t->verity);
        if (r < 0)
                return r;
        for (uint64_t below = t->data_blocks; below > 1; t->n_levels++)
                t->blocks[t->n_levels] = below = (below + HASHES_PER_BLOCK - 1) / HASHES_PER_BLOCK;
        t->level = t->n_levels;
        t->expect = malloc(VERITY_ROOT_SIZE);
        if (!t->expect)
                return -ENOMEM;
        memcpy(t->expect, root, VERITY_ROOT_SIZE);
        *ret = TAKE(t);
        return 0;
}

static int refuse(const VerityTree *t, Why *why)
{
        return fail(why, -EBADMSG, WHY_TRUST, "tree",
                    "hash image: block %" PRIu64 " of level %u is not what the root hash promises", t->index,
                    t->level);
}

/* The next level down; its blocks' hashes are what has just been read. */
static int descend(VerityTree *t)
{
        if (t->level == 0) {
                t->over = true;
                return 0;
        }
        t->level--;
        t->index = 0;
        if (t->level + 1 < t->n_levels) { /* the top level's one hash is the root: it is there */
                free(t->expect);
                t->expect = TAKE(t->next);
        }
        if (t->level == 0)
                return 0;
        t->next = calloc((size_t) t->blocks[t->level], VERITY_BLOCK);
        return t->next ? 0 : -ENOMEM;
}

static int take_block(VerityTree *t, const uint8_t *block, Why *why)
{
        uint8_t hash[VERITY_ROOT_SIZE];
        int r;

        if (t->level == t->n_levels) { /* the superblock, which nothing here needs */
                if (t->n_levels == 0) {
                        t->over = true;
                        return t->leaves(t->ctx, 0, 1, t->expect, why);
                }
                return descend(t);
        }
        r = verity_hash_block(t->verity, block, hash);
        if (r < 0)
                return r;
        if (memcmp(hash, t->expect + (size_t) t->index * VERITY_ROOT_SIZE, sizeof(hash)) != 0)
                return refuse(t, why);
        if (t->level == 0) {
                uint64_t first = t->index * HASHES_PER_BLOCK;

                r = t->leaves(t->ctx, first,
                              (uint32_t) MIN(t->data_blocks - first, (uint64_t) HASHES_PER_BLOCK), block,
                              why);
                if (r < 0)
                        return r;
        } else {
                memcpy(t->next + (size_t) t->index * VERITY_BLOCK, block, VERITY_BLOCK);
        }
        return ++t->index == t->blocks[t->level] ? descend(t) : 0;
}

int verity_tree_put(VerityTree *t, const void *data, size_t size, Why *why)
{
        const uint8_t *p = data;

        while (size > 0 && !t->over) {
                size_t n = MIN(size, VERITY_BLOCK - t->used);
                int r;

                memcpy(t->block + t->used, p, n);
                t->used += n;
                p += n;
                size -= n;
                if (t->used < VERITY_BLOCK)
                        break;
                t->used = 0;
                r = take_block(t, t->block, why);
                if (r < 0)
                        return r == -ENOMEM ? fail_errno(why, r, WHY_HOST, "hash image") : r;
        }
        return 0;
}

int verity_tree_finish(VerityTree *t, Why *why)
{
        return t->over ? 0 : fail(why, -EBADMSG, WHY_TRUST, "tree", "hash image: it is too short");
}
