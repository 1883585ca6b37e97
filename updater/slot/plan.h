/* SPDX-License-Identifier: MIT */
#pragma once

/* Where each block of an image comes from. The image is known by its list of cut leaf hashes (image/index.h); what is here is
 * known by hashing it with the image's salt. Nothing of a plan is believed: a leaf is six bytes, a disk may change between
 * planning and copying, and an index may lie. A wrong plan costs bytes; the root hash read back from the slot is the judge.
 *
 *      plan_new -> plan_add_source (the spare slot first, then whatever there is) -> plan_groups, plan_put_leaves
 *               -> plan_decide -> plan_at, plan_next_range
 *
 * Memory: 6 bytes a block of the image and of every source until plan_decide(), 10 bytes a block of the image after it. */

#include "image/verity.h"

typedef struct BlockSource BlockSource;

/* Blocks of 4096 bytes, numbered from 0, that may be taken over: a slot, or a file of rebuilt contents one behind another, each
 * padded with zeroes to a whole block as a file system would store it. A source says nothing about hashes and finds nothing:
 * it is read once in order when it is added (that is when its blocks are hashed) and then here and there while the slot is
 * assembled, so it must be able to give the same bytes twice, and stays open until the plan is freed. Blocks of zeroes need no
 * source. */
struct BlockSource {
        const char *name; /* for sentences: "USR-A", "static delta" */
        bool rebuilt;     /* counted as rebuilt, not as copied */
        uint32_t n_blocks;
        /* count blocks (1 to BLOCK_SOURCE_UNIT) from number first on, into buf, which is aligned for direct I/O. -EIO: they
         * cannot be read; that is no failure of an update, they are looked for elsewhere. Every other negative ends it. */
        int (*read)(void *self, uint32_t first, uint32_t count, void *buf, Why *why);
        void *self; /* borrowed */
};

#define BLOCK_SOURCE_UNIT 32u /* blocks a read: SLOT_UNIT */
#define BLOCK_SOURCES_MAX 4u  /* the two slots, and what was rebuilt */
