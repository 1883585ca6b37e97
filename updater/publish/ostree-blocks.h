/* SPDX-License-Identifier: MIT */
#pragma once

/* What a host cannot make out of a static delta and of the image it runs: blocks of the new image that are in none of its files.
 * Found by doing what a host does, and put beside the delta as a block patch (image/blockpatch.h). For this room alone. */

#include "publish/cosiview.h"
#include "publish/ostree-repo.h"

typedef struct OstreeBlocks {
        const OstreeRepo *repo;
        const Env *env;
        Meter *meter;
        CosiView *view; /* of the new COSI; borrowed */
        uint8_t to[OSTREE_ID];
        int image; /* its /usr, unpacked; -1: nobody has needed it yet */
        uint32_t n_blocks;
} OstreeBlocks;

void ostree_blocks_done(OstreeBlocks *b);
/* From this commit, whose COSI is in the repository, at path (in it). 1 made, 0 there already, or none is needed or possible. The
 * delta must be there. ret_size: of the file, 0 none. */
int ostree_blocks_make(OstreeBlocks *b, const uint8_t from[OSTREE_ID], const char *cosi, uint64_t *ret_size,
                       Why *why);
