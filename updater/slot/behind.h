/* SPDX-License-Identifier: MIT */
#pragma once

/* Inside of the room: reads an image back from the medium and hashes it, on a thread of its own or on two, while somebody else
 * still writes what comes later. It reads through a descriptor of its own and nothing that it was not told to be as it will stay; who told
 * that a block is finished and changes it afterwards has to look for himself. Hashes leave in the order of the blocks. Knows
 * nothing of trees, roots and what ought to be there. */

#include "image/verity.h"
#include "slot/tree.h"

#define BEHIND_BLOCKS (SLOT_UNIT / VERITY_BLOCK)
#define BEHIND_LANES  2u
#define BEHIND_AHEAD  128u /* units that may wait to be taken: 128 KiB of hashes of 16 MiB */

typedef struct Behind Behind;

/* Blocks that were read together, their leaf hashes and sums. A block that the medium does not give has its bit and the hash of
 * something that no image holds. */
typedef struct BehindUnit {
        uint64_t first;
        uint32_t count;
        uint32_t unreadable;
        uint8_t hashes[BEHIND_BLOCKS][VERITY_ROOT_SIZE];
        uint64_t sums[BEHIND_BLOCKS];
} BehindUnit;

_Static_assert(BEHIND_BLOCKS <= 32, "each block has its bit");

/* For who wrote a block and cannot hash it a second time: nobody's proof, but another one when something changed by itself. A
 * tenth of a hash's time. 0: of zeroes, and perhaps of others. */
uint64_t behind_sum(const uint8_t block[VERITY_BLOCK]);

/* disk and p are borrowed. lanes: how many threads, at most BEHIND_LANES. -EAGAIN and the like: there is no thread to be had. */
int behind_open(Disk *disk, const Partition *p, const VerityParams *params, unsigned lanes, Behind **ret,
                Why *why);
Behind *behind_free(Behind *b);

/* The first so many blocks are as they will stay, and area_sync() has seen them. Never less than before. */
void behind_allow(Behind *b, uint64_t blocks);
/* The next unit: 1 in *ret, 0 it is not there yet. wait: until it is, which it must have been allowed to be. Negative: the
 * reading has ended. */
int behind_take(Behind *b, bool wait, BehindUnit *ret, Why *why);
