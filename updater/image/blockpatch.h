/* SPDX-License-Identifier: MIT */
#pragma once

/* Blocks of an image that are in no file of it (what the file system keeps about its files), made from those of the image
 * before: file "blocks" beside the static delta between two commits of an OSTree repository. Most of them differ from the block
 * that lay in the same place by a few bytes, so that is what they are compared with. The file is one .xz stream of
 *
 *      head 16 | ranges: 8 bytes each | blocks: 4096 bytes each
 *
 *      head    "GYBEBLK1" | u32 ranges | u32 blocks. Numbers are little endian.
 *      range   u32 first | u32 count: these blocks of the image before, to be XORed with as many of the blocks that follow;
 *              first BLOCKPATCH_ALONE: that many blocks stand for themselves
 *
 * Nobody signs it, and nothing says where a block belongs: what comes out are blocks to be found by their hashes. */

#include "base/why.h"
#include "image/index.h"

#define BLOCKPATCH_FILE  "blocks"
#define BLOCKPATCH_HEAD  16u
#define BLOCKPATCH_BLOCK 4096u
#define BLOCKPATCH_ALONE UINT32_MAX

/* 128 MiB: some hundred times what 1 GiB of ext4 needs. A larger one is not made, and not read. */
#define BLOCKPATCH_BLOCKS_MAX 32768u
#define BLOCKPATCH_SIZE_MAX   (BLOCKPATCH_HEAD + BLOCKPATCH_BLOCKS_MAX * (BLOCKPATCH_BLOCK + 8u))
#define BLOCKPATCH_PACKED_MAX (32u * 1024u * 1024u)

typedef struct BlockPatch {
        const uint8_t *ranges, *blocks; /* borrowed */
        uint32_t n_ranges, n_blocks;
} BlockPatch;

/* The unpacked file. -EBADMSG with WHY_NETWORK: everything must add up. */
int blockpatch_parse(const void *data, size_t size, BlockPatch *ret, Why *why);
BlockRange blockpatch_range(const BlockPatch *patch, uint32_t i);

/* old: for each block the one of the image before that it is XORed with, or BLOCKPATCH_ALONE. */
int blockpatch_build(const uint32_t *old, const uint8_t *blocks, uint32_t n, Bytes *ret);
