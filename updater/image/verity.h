/* SPDX-License-Identifier: MIT */
#pragma once

/* dm-verity: superblock and hash tree, format 1, SHA-256, as `veritysetup format` writes them. The tree is computed while
 * the data flows by: memory is one hash block per level, whatever the image's size. Facts: acl-disk-and-boot.md 1.3. */

#include "base/why.h"

#define VERITY_BLOCK      4096u
#define VERITY_ROOT_SIZE  32u
#define VERITY_SALT_MAX   256u
#define VERITY_LEVELS_MAX 8u /* 128^8 blocks of 4 KiB are more bytes than 64 bits can count */

typedef struct VerityParams {
        uint64_t data_blocks;
        uint8_t uuid[16];
        size_t salt_size;
        uint8_t salt[VERITY_SALT_MAX];
} VerityParams;

/* Bytes of superblock block + tree; 0 and -ERANGE when data_blocks is 0 or absurd. */
int verity_hash_size(uint64_t data_blocks, uint64_t *ret);

void verity_superblock_format(const VerityParams *p,
                              uint8_t out[VERITY_BLOCK]); /* padded with zeroes to a block */
/* Refuses everything that is not: version 1, type 1, sha256, 4096/4096. Pure. */
int verity_superblock_parse(const uint8_t *data, size_t size, VerityParams *ret, Why *why);

/* Each finished block of the hash area (superblock included, first): offset from the start of the hash area. Blocks come
 * in the order in which they are finished, not by offset; each offset exactly once. */
typedef int (*VerityEmit)(void *ctx, uint64_t offset, const uint8_t block[VERITY_BLOCK]);

typedef struct Verity Verity;

/* emit NULL: only hashes and the root are wanted. */
int verity_new(const VerityParams *params, VerityEmit emit, void *ctx, Verity **ret);
Verity *verity_free(Verity *v);
void verity_freep(Verity **v);
/* Blocks of zeroes are a third of an image, and their hash is known. */
bool verity_block_is_zero(const uint8_t block[VERITY_BLOCK]);
/* The hash of one 4096-byte data block, with the salt. Thread-safe for distinct Digest contexts is not promised. */
int verity_hash_block(Verity *v, const uint8_t block[VERITY_BLOCK], uint8_t out[32]);
/* Adds the next data block, or n blocks of zeroes (hashed once). */
int verity_add(Verity *v, const uint8_t block[VERITY_BLOCK]);
int verity_add_zero(Verity *v, uint64_t n);
/* Adds the next leaf hash that was computed elsewhere (threads of gybe-release). */
int verity_add_leaf(Verity *v, const uint8_t hash[32]);
/* After exactly data_blocks blocks: emits what is left and says the root. */
int verity_finish(Verity *v, uint8_t ret_root[VERITY_ROOT_SIZE]);
