/* SPDX-License-Identifier: MIT */
#pragma once

/* Fills the spare slot by a plan (plan.h), with the same promises as the writer (slot.h): nobody's before it changes, somebody's
 * only when everything is on the disk, and nothing written that is there. Then all of it is read back, and the tree and the root
 * come from what was read. Slots with a HASH partition only: an inline tree is the writer's business. */

#include "slot/plan.h"
#include "slot/slot.h"

/* A slot's data partition as a source of blocks, through its own descriptor. n_blocks 0: all of it. */
typedef struct SlotSource {
        Area *area;
        BlockSource blocks;
} SlotSource;

int slot_source_open(Disk *disk, const Partition *p, uint32_t n_blocks, SlotSource *ret, Why *why);
void slot_source_done(SlotSource *s);

/* Adds them to the plan, the spare slot first, and finds out what they hold: from a slot's own hash tree where that has the salt of
 * the image (then it is as good a hint as any, and 128 times shorter), else by reading all of it, on a thread for each slot.
 * parts[i] are those of sources[i]. progress: of what has to be read. */
int slot_survey(Disk *disk, const SlotParts *const parts[], const SlotSource sources[], unsigned n,
                const VerityParams *image, SlotPlan *plan, PlanProgress progress, void *ctx, Why *why);

typedef struct SlotAssembly SlotAssembly;

/* plan is decided, and borrowed; blocks that turn out not to be what they should be are set to be fetched in it */
int assembly_open(Disk *disk, const SlotParts *parts, const VerityParams *verity, SlotPlan *plan,
                  SlotAssembly **ret, Why *why);
SlotAssembly *assembly_free(SlotAssembly *a);
void assembly_freep(SlotAssembly **a);
const SlotCount *assembly_count(const SlotAssembly *a);

/* done of total, in bytes of the image; negative stops */
typedef int (*AssemblyProgress)(void *ctx, uint64_t done, uint64_t total);
void assembly_set_progress(SlotAssembly *a, AssemblyProgress progress, void *ctx);

/* First: zeroes, copies, rebuilt blocks. */
int assembly_copy(SlotAssembly *a, Why *why);
/* Then, again and again: these ranges (borrowed), and their bytes in order in pieces of whole blocks, aligned. */
void assembly_expect(SlotAssembly *a, const BlockRange *ranges, size_t n);
int assembly_put(SlotAssembly *a, const void *data, size_t size, Why *why);
/* Blocks that came with another leaf than the index says. One of the two lies; the root hash knows which. */
uint32_t assembly_n_contradictions(const SlotAssembly *a);

/* Reads all of it back, writes the tree. 1: the root is that one, and the slot is somebody's. 0: it is not; blocks with another leaf
 * than the plan says are set to be fetched, and when there are none assembly_judge() may be given the published tree. Else the slot
 * stays nobody's. */
int assembly_seal(SlotAssembly *a, const uint8_t root[VERITY_ROOT_SIZE], Why *why);
uint32_t assembly_n_stale(const SlotAssembly *a); /* what sealing has set to be fetched */
/* Proved leaf hashes: the blocks of the slot that have others are set to be fetched. A VerityLeaves, ctx is the assembly. */
int assembly_judge(void *a, uint64_t first, uint32_t count, const uint8_t *hashes, Why *why);
uint32_t assembly_n_wrong(const SlotAssembly *a); /* what judging has found */
