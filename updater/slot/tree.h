/* SPDX-License-Identifier: MIT */
#pragma once

/* Inside of the room: where a slot's hash tree is, and writing only what differs. */

#include "slot/slot.h"

/* The unit of all reading and writing here: lab.md B. Memory is a few of these, whatever the image's size. */
#define SLOT_UNIT (128u * 1024u)

/* Both areas of a slot, and where in the second the superblock is. Inline: the same area twice. */
typedef struct SlotAreas {
        Area *data, *hash;
        uint64_t hash_offset;
} SlotAreas;

void slot_areas_done(SlotAreas *a);
/* inline_offset counts only where there is no HASH partition. */
int slot_areas_open(Disk *disk, const SlotParts *parts, uint64_t inline_offset, bool writable, SlotAreas *ret,
                    Why *why);
/* Data and tree of p lie inside the areas: -ENOSPC with a sentence when not. */
int slot_areas_fit(const SlotAreas *a, const VerityParams *p, Why *why);

/* The superblock at offset. 1 found, 0 there is none, negative errno. *ret_block (VERITY_BLOCK bytes, aligned) is what is
 * there in every case. */
int superblock_read(Area *area, uint64_t offset, VerityParams *ret, uint8_t *ret_block, Why *why);

/* Inline trees are found by looking: a block that says it is a superblock, behind as many data blocks as it names. Old
 * images leave theirs behind, so there may be several. Calls found for each until it returns non-zero; returns that. */
typedef int (*SuperblockFound)(void *ctx, uint64_t offset, Why *why);
int superblock_scan(Area *area, SuperblockFound found, void *ctx, Why *why);

/* Makes size bytes at offset what want says: reads what is there, writes the runs of blocks that differ. before is called
 * ahead of each write and may be NULL. Blocks that cannot be read are written: a disk gets well that way. scratch has size
 * bytes; both buffers are aligned, size at most SLOT_UNIT. */
typedef int (*PatchBefore)(void *ctx, Why *why);
int patch_area(Area *area, uint64_t offset, const uint8_t *want, uint8_t *scratch, size_t size,
               PatchBefore before, void *ctx, uint64_t *ret_written, Why *why);

static inline void free_bufferp(uint8_t **p)
{
        free(*p);
}
