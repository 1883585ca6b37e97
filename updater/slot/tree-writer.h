/* SPDX-License-Identifier: MIT */
#pragma once

/* A hash tree on its way to the disk, and the order that makes a slot nobody's before it changes and somebody's after (the four
 * steps of writer.c). For this room alone. */

#include "slot/tree.h"

typedef struct TreeWriter {
        SlotAreas *areas; /* borrowed */
        VerityParams params;
        uint8_t *tree; /* hash blocks that follow each other on the disk, not yet written */
        uint64_t at;   /* of the first, from the superblock */
        size_t used;
        uint8_t *scratch; /* what the disk holds */
        uint64_t written; /* bytes, of tree and superblock */
        bool touched;     /* step 1 is behind us */
        Why *why;         /* of the call that is running: the tree's callback has none of its own */
} TreeWriter;

int tree_writer_init(TreeWriter *t, SlotAreas *areas, const VerityParams *params);
void tree_writer_done(TreeWriter *t);
/* Step 1, once: a PatchBefore whose ctx is the TreeWriter. */
int tree_writer_disown(void *t, Why *why);
/* Step 2: a VerityEmit, and the end of the tree. */
int tree_writer_take(void *t, uint64_t offset, const uint8_t block[VERITY_BLOCK]);
int tree_writer_flush(TreeWriter *t);
/* Steps 3 and 4: everything is on the disk, then the superblock is. */
int tree_writer_finish(TreeWriter *t, Why *why);
/* Reads superblock and tree back: they are what was to be written, and make this root. */
int tree_writer_check(TreeWriter *t, const uint8_t root[VERITY_ROOT_SIZE], Why *why);
