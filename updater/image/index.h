/* SPDX-License-Identifier: MIT */
#pragma once

/* The block index of an image, member gybe/usr.index of a COSI: the hash of every 4096-byte block (the leaves of the verity
 * tree, with the image's salt), cut to six bytes. Leaves stand in groups that end where their own content says so, so that two
 * versions of an image have most groups in common, wherever these lie. A client downloads the list of groups first; of a group
 * that it can make from its own disk it needs nothing more.
 *
 *      head 64 | groups: 10 bytes each | frames: 2 or 4 bytes each | leaves: 6 bytes a block
 *
 *      head    "GYBEIDX1" | u32 version | u32 groups | u64 blocks | root[32] | u32 frame size | u32 frames: its top bit says
 *              that sizes have four bytes. Numbers are little endian.
 *      group   u64 name: the first 8 bytes of the SHA-256 of its leaves | u16 blocks
 *      frame   compressed size of each zstd frame of the image, all of which but the last hold frame size bytes; none: 0
 *      leaf    the first six bytes of the salted SHA-256
 *
 * Nobody signs the index: it can only cost bytes. Six bytes match falsely about once in ten thousand updates, too. */

#include "base/why.h"

#define INDEX_MEMBER     "gybe/usr.index"
#define INDEX_VERSION    1u
#define INDEX_HEAD_SIZE  64u
#define INDEX_GROUP_SIZE 10u
#define INDEX_LEAF_SIZE  6u

/* Where groups end: behind a leaf whose first four bytes are a multiple of INDEX_GROUP_CUT and which differs from the one
 * before it (a run of zero blocks is no place to cut), but never before MIN and always at MAX blocks. 64 on average. */
#define INDEX_GROUP_MIN 16u
#define INDEX_GROUP_CUT 48u
#define INDEX_GROUP_MAX 1024u

/* 2^27 blocks are 512 GiB: no /usr is larger, and numbers of blocks fit 32 bits with flags to spare. */
#define INDEX_BLOCKS_MAX (UINT32_C(1) << 27)
#define INDEX_FRAMES_MAX (UINT32_C(1) << 26)
/* Of a frame: who wants less than this cannot be served by frames. The reader holds one, packed and unpacked. */
#define INDEX_FRAME_MAX (4u * 1024u * 1024u)

/* Blocks of an image that follow each other. */
typedef struct BlockRange {
        uint32_t first, count;
} BlockRange;

typedef struct IndexHead {
        uint32_t n_groups, n_blocks;
        uint8_t root[32]; /* of the image that this is about */
        uint32_t frame_size, n_frames;
        unsigned frame_width; /* 2 or 4 */
} IndexHead;

/* --- reading --- */

/* member_size: everything must add up to it. -EBADMSG with WHY_IMAGE for what is no index. */
int index_head_parse(const uint8_t data[INDEX_HEAD_SIZE], uint64_t member_size, IndexHead *ret, Why *why);
void index_head_format(const IndexHead *head, uint8_t out[INDEX_HEAD_SIZE]);
/* Where the parts begin in the member, and how long the list of groups is. */
uint64_t index_groups_at(const IndexHead *head);
size_t index_groups_size(const IndexHead *head);
uint64_t index_frames_at(const IndexHead *head);
size_t index_frames_size(const IndexHead *head);
uint64_t index_leaves_at(const IndexHead *head);

typedef struct IndexGroup {
        uint64_t name;
        uint32_t count;
} IndexGroup;

IndexGroup index_group(const uint8_t *groups, uint32_t i);
void index_group_format(const IndexGroup *group, uint8_t out[INDEX_GROUP_SIZE]);
/* Every group has 1 to INDEX_GROUP_MAX blocks, and together they have n_blocks. */
int index_groups_check(const uint8_t *groups, size_t size, uint32_t n_groups, uint32_t n_blocks, Why *why);
uint32_t index_frame(const IndexHead *head, const uint8_t *frames, uint32_t i);

/* --- groups of a list of leaves; both sides cut alike --- */

int index_group_name(const uint8_t *leaves, uint32_t count, uint64_t *ret);
/* How many blocks the group that begins here has; n are left. */
uint32_t index_group_length(const uint8_t *leaves, uint32_t n);

/* --- writing --- */

/* frames: raw sizes must be frame_size but for the last; NULL none. leaves are INDEX_LEAF_SIZE bytes each. */
int index_build(const uint8_t root[32], const uint8_t *leaves, uint32_t n_blocks, uint32_t frame_size,
                const uint32_t *frames, uint32_t n_frames, Bytes *ret);
