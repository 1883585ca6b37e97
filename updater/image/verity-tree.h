/* SPDX-License-Identifier: MIT */
#pragma once

/* A hash image as it is published, block after block from its beginning, held to the root hash: what comes out are leaf hashes
 * that are proved. Memory is the levels above the leaves, 1/128 of the image's hashes. */

#include "image/verity.h"

typedef struct VerityTree VerityTree;

/* count leaf hashes (32 bytes each) of the data blocks from first on; negative stops */
typedef int (*VerityLeaves)(void *ctx, uint64_t first, uint32_t count, const uint8_t *hashes, Why *why);

int verity_tree_new(const VerityParams *params, const uint8_t root[VERITY_ROOT_SIZE], VerityLeaves leaves,
                    void *ctx, VerityTree **ret);
VerityTree *verity_tree_free(VerityTree *t);
void verity_tree_freep(VerityTree **t);
/* Bytes of any number. -EBADMSG with WHY_TRUST: this is not the tree of that root. What follows the tree is ignored. */
int verity_tree_put(VerityTree *t, const void *data, size_t size, Why *why);
/* Everything was there. */
int verity_tree_finish(VerityTree *t, Why *why);
