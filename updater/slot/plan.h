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

#include "image/index.h"
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

/* Where one block of the image comes from. */
typedef enum PlanFrom {
        PLAN_IN_PLACE, /* the slot holds it where it belongs */
        PLAN_ZERO,     /* zeroes, and the slot holds something else there */
        PLAN_COPIED,   /* a block of a slot */
        PLAN_REBUILT,  /* a block of a rebuilt file */
        PLAN_FETCHED,
        _PLAN_FROM_MAX,
        _PLAN_FROM_INVALID = -22,
} PlanFrom;

const char *plan_from_name(PlanFrom from);

typedef struct PlanBlock {
        PlanFrom from;
        unsigned source; /* of PLAN_COPIED and PLAN_REBUILT: in the order in which they were added */
        uint32_t block;  /* of it */
        bool stashed; /* it must be read before anything is written: the slot itself has it, and it would be gone */
} PlanBlock;

typedef struct SlotPlan SlotPlan;

/* life cycle */

/* -EOPNOTSUPP when the image is larger than what is planned. */
int plan_new(const VerityParams *params, SlotPlan **ret);
SlotPlan *plan_free(SlotPlan *plan);
void plan_freep(SlotPlan **plan);

/* Reads and hashes all of it. The first source is the slot that will be written. The source is borrowed as long as the plan
 * lives. */
typedef int (*PlanProgress)(void *ctx, uint32_t blocks); /* so many more; negative stops */
int plan_add_source(SlotPlan *plan, const BlockSource *source, PlanProgress progress, void *ctx, Why *why);

/* The same in two steps, and room for leaves that are found out otherwise (assemble.h). plan_known() may leave some out: they match
 * nothing. */
int plan_add_room(SlotPlan *plan, const BlockSource *source, Why *why);
int plan_scan(SlotPlan *plan, unsigned source, PlanProgress progress, void *ctx, Why *why);
void plan_known(SlotPlan *plan, unsigned source, uint32_t first, uint32_t count, const uint8_t *hashes);

/* Ahead of reading all of a source: do stretches of it, spread over it, hold any group of the image's index (checked by
 * index_groups_check())? 1 yes, or it is too small to be asked; 0 no: hardly more than zeroes and chance will be found there. */
int plan_sample(const SlotPlan *plan, const BlockSource *source, const uint8_t *groups, uint32_t n_groups,
                PlanProgress progress, void *ctx, Why *why);

/* The groups of the image's index, checked by index_groups_check(); borrowed until plan_decide(). Those that some source can
 * make are known from here on. */
int plan_groups(SlotPlan *plan, const uint8_t *groups, uint32_t n_groups, Why *why);
/* The leaves that must still be fetched: at most max ranges from *cursor (0 at first) on; returns how many. */
size_t plan_unknown(const SlotPlan *plan, uint32_t *cursor, BlockRange *ranges, size_t max);
/* The leaves of these ranges. -EBADMSG with WHY_IMAGE: a group has another name than its leaves. */
int plan_put_leaves(SlotPlan *plan, const BlockRange *ranges, size_t n, const uint8_t *leaves, size_t size,
                    Why *why);
/* Instead of all that: the full leaf hashes (32 bytes each) of count blocks from first on, out of the published tree. */
void plan_put_hashes(SlotPlan *plan, uint32_t first, uint32_t count, const uint8_t *hashes);

/* All leaves are known: each block gets its place. */
int plan_decide(SlotPlan *plan, Why *why);

/* questions, after plan_decide() */

uint32_t plan_n_blocks(const SlotPlan *plan);
const BlockSource *plan_source(const SlotPlan *plan, unsigned i);
PlanBlock plan_at(const SlotPlan *plan, uint32_t block);
const uint8_t *plan_leaf(const SlotPlan *plan, uint32_t block); /* INDEX_LEAF_SIZE bytes */
/* Blocks of each kind. */
void plan_count(const SlotPlan *plan, uint32_t ret[_PLAN_FROM_MAX]);
/* The blocks to fetch: at most max ranges and max_blocks blocks from *cursor (0 at first) on; returns how many. */
size_t plan_next_range(const SlotPlan *plan, uint32_t *cursor, BlockRange *ranges, size_t max,
                       uint32_t max_blocks);
/* Blocks whose place was lost before they were written: those of the slot itself that are read first of all. *cursor as above;
 * false: no more. */
#define PLAN_STASH_MAX 1024u /* 4 MiB; what would need more is fetched */
size_t plan_n_stashed(const SlotPlan *plan);
uint32_t plan_stashed(const SlotPlan *plan, size_t i); /* block of the first source; rising */

/* changes */

void plan_set(SlotPlan *plan, uint32_t block, PlanFrom from); /* PLAN_FETCHED, PLAN_IN_PLACE */
