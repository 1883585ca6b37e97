/* SPDX-License-Identifier: MIT */

/* The hash tree grows from the leaves while data blocks flow by: every level holds the one block it is
 * filling. A full block is handed out at its final place and its own hash goes one level up. On the disk the
 * levels stand root first, so every level's place is known from the number of data blocks alone.
 *
 * With a single data block there is no tree at all: its hash is the root, and the hash area is the
 * superblock. That is what veritysetup and the kernel do. */

#include "base/digest.h"
#include "image/verity.h"

#include <errno.h>
#include <inttypes.h>

#define HASHES_PER_BLOCK (VERITY_BLOCK / VERITY_ROOT_SIZE)
#define DATA_BLOCKS_MAX  (UINT64_C(1) << 51) /* 2^63 bytes: what a file offset can name */

/* The superblock as it lies on the disk, little endian. */
#define SB_SIZE            512u
#define SB_SIGNATURE       0u  /* 8 bytes */
#define SB_VERSION         8u  /* u32 */
#define SB_HASH_TYPE       12u /* u32 */
#define SB_UUID            16u /* 16 bytes */
#define SB_ALGORITHM       32u /* 32 bytes, padded with NULs */
#define SB_DATA_BLOCK_SIZE 64u /* u32 */
#define SB_HASH_BLOCK_SIZE 68u /* u32 */
#define SB_DATA_BLOCKS     72u /* u64 */
#define SB_SALT_SIZE       80u /* u16 and 6 bytes of nothing */
#define SB_SALT            88u /* 256 bytes */

static const uint8_t sb_signature[8] = { 'v', 'e', 'r', 'i', 't', 'y', 0, 0 };
static const uint8_t sb_algorithm[32] = { 's', 'h', 'a', '2', '5', '6' };

typedef struct Level {
        uint64_t next; /* byte offset in the hash area of the block being filled */
        size_t used;   /* bytes of it */
        uint8_t block[VERITY_BLOCK];
} Level;

struct Verity {
        VerityParams params;
        VerityEmit emit;
        void *ctx;
        Digest *digest; /* begun anew for each block: copying the state after the salt takes longer than hashing the salt */
        uint64_t added;
        bool zero_known;
        uint8_t zero[VERITY_ROOT_SIZE];
        uint8_t root[VERITY_ROOT_SIZE];
        unsigned n_levels;
        Level levels[VERITY_LEVELS_MAX]; /* 0 holds the hashes of data blocks */
};

static void put_le(uint8_t *p, uint64_t value, unsigned bytes)
{
        for (unsigned i = 0; i < bytes; i++)
                p[i] = (uint8_t) (value >> (8 * i));
}

static uint64_t get_le(const uint8_t *p, unsigned bytes)
{
        uint64_t v = 0;

        for (unsigned i = 0; i < bytes; i++)
                v |= (uint64_t) p[i] << (8 * i);
        return v;
}

/* Blocks of each level from the leaves up, and how many levels there are. */
static int tree_shape(uint64_t data_blocks, uint64_t blocks[VERITY_LEVELS_MAX], unsigned *ret_levels)
{
        unsigned n = 0;

        if (data_blocks == 0 || data_blocks > DATA_BLOCKS_MAX)
                return -ERANGE;
        for (uint64_t below = data_blocks; below > 1; n++) {
                below = (below + HASHES_PER_BLOCK - 1) / HASHES_PER_BLOCK;
                blocks[n] = below;
        }
        *ret_levels = n;
        return 0;
}

int verity_hash_size(uint64_t data_blocks, uint64_t *ret)
{
        uint64_t blocks[VERITY_LEVELS_MAX], sum = 1; /* the superblock */
        unsigned n = 0;
        int r;

        r = tree_shape(data_blocks, blocks, &n);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < n; i++)
                sum += blocks[i];
        *ret = sum * VERITY_BLOCK;
        return 0;
}

void verity_superblock_format(const VerityParams *p, uint8_t out[VERITY_BLOCK])
{
        memset(out, 0, VERITY_BLOCK);
        memcpy(out + SB_SIGNATURE, sb_signature, sizeof(sb_signature));
        put_le(out + SB_VERSION, 1, 4);
        put_le(out + SB_HASH_TYPE, 1, 4);
        memcpy(out + SB_UUID, p->uuid, sizeof(p->uuid));
        memcpy(out + SB_ALGORITHM, sb_algorithm, sizeof(sb_algorithm));
        put_le(out + SB_DATA_BLOCK_SIZE, VERITY_BLOCK, 4);
        put_le(out + SB_HASH_BLOCK_SIZE, VERITY_BLOCK, 4);
        put_le(out + SB_DATA_BLOCKS, p->data_blocks, 8);
        put_le(out + SB_SALT_SIZE, p->salt_size, 2);
        memcpy(out + SB_SALT, p->salt, p->salt_size);
}

static int superblock_refuse(Why *why, const char *what, uint64_t value)
{
        return fail(why, -EBADMSG, WHY_IMAGE, "verity-superblock",
                    "verity superblock: %s %" PRIu64 " is not supported", what, value);
}

int verity_superblock_parse(const uint8_t *data, size_t size, VerityParams *ret, Why *why)
{
        VerityParams p = { 0 };
        uint64_t blocks[VERITY_LEVELS_MAX];
        unsigned n;

        if (size < SB_SIZE || memcmp(data + SB_SIGNATURE, sb_signature, sizeof(sb_signature)) != 0)
                return fail(why, -EBADMSG, WHY_IMAGE, "verity-superblock",
                            "verity superblock: the signature is missing, there is no hash tree here");
        if (get_le(data + SB_VERSION, 4) != 1)
                return superblock_refuse(why, "version", get_le(data + SB_VERSION, 4));
        if (get_le(data + SB_HASH_TYPE, 4) != 1)
                return superblock_refuse(why, "hash type", get_le(data + SB_HASH_TYPE, 4));
        if (memcmp(data + SB_ALGORITHM, sb_algorithm, sizeof(sb_algorithm)) != 0)
                return fail(why, -EBADMSG, WHY_IMAGE, "verity-superblock",
                            "verity superblock: algorithm %.32s, only sha256 is supported",
                            (const char *) data + SB_ALGORITHM);
        if (get_le(data + SB_DATA_BLOCK_SIZE, 4) != VERITY_BLOCK)
                return superblock_refuse(why, "data block size", get_le(data + SB_DATA_BLOCK_SIZE, 4));
        if (get_le(data + SB_HASH_BLOCK_SIZE, 4) != VERITY_BLOCK)
                return superblock_refuse(why, "hash block size", get_le(data + SB_HASH_BLOCK_SIZE, 4));
        p.data_blocks = get_le(data + SB_DATA_BLOCKS, 8);
        if (tree_shape(p.data_blocks, blocks, &n) < 0)
                return superblock_refuse(why, "number of data blocks", p.data_blocks);
        p.salt_size = (size_t) get_le(data + SB_SALT_SIZE, 2);
        if (p.salt_size > VERITY_SALT_MAX)
                return superblock_refuse(why, "salt size", p.salt_size);
        memcpy(p.salt, data + SB_SALT, p.salt_size);
        memcpy(p.uuid, data + SB_UUID, sizeof(p.uuid));
        *ret = p;
        return 0;
}

Verity *verity_free(Verity *v)
{
        if (!v)
                return NULL;
        digest_free(v->digest);
        free(v);
        return NULL;
}

void verity_freep(Verity **v)
{
        *v = verity_free(*v);
}

int verity_new(const VerityParams *params, VerityEmit emit, void *ctx, Verity **ret)
{
        _cleanup_(verity_freep) Verity *v = NULL;
        uint64_t blocks[VERITY_LEVELS_MAX], at = VERITY_BLOCK;
        int r;

        if (params->salt_size > VERITY_SALT_MAX)
                return -EINVAL;
        v = calloc(1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        v->params = *params;
        v->emit = emit;
        v->ctx = ctx;
        r = tree_shape(params->data_blocks, blocks, &v->n_levels);
        if (r < 0)
                return r;
        for (unsigned i = v->n_levels; i-- > 0; at += blocks[i] * VERITY_BLOCK)
                v->levels[i].next = at;
        r = digest_new(256, &v->digest);
        if (r < 0)
                return r;
        *ret = TAKE(v);
        return 0;
}

bool verity_block_is_zero(const uint8_t block[VERITY_BLOCK])
{
        return block[0] == 0 && memcmp(block, block + 1, VERITY_BLOCK - 1) == 0;
}

int verity_hash_block(Verity *v, const uint8_t block[VERITY_BLOCK], uint8_t out[32])
{
        int r;

        r = digest_update(v->digest, v->params.salt, v->params.salt_size);
        if (r >= 0)
                r = digest_update(v->digest, block, VERITY_BLOCK);
        return r < 0 ? r : digest_final(v->digest, out);
}

static int level_add(Verity *v, unsigned level, const uint8_t hash[VERITY_ROOT_SIZE]);

/* A level's block is as full as it will get: out with it, and its hash one level up. */
static int level_flush(Verity *v, unsigned level)
{
        Level *l = &v->levels[level];
        uint8_t hash[VERITY_ROOT_SIZE];
        int r;

        memset(l->block + l->used, 0, VERITY_BLOCK - l->used);
        r = v->emit ? v->emit(v->ctx, l->next, l->block) : 0;
        if (r < 0)
                return r;
        r = verity_hash_block(v, l->block, hash);
        if (r < 0)
                return r;
        l->next += VERITY_BLOCK;
        l->used = 0;
        return level_add(v, level + 1, hash);
}

/* Goes up at most VERITY_LEVELS_MAX times. */
static int level_add(Verity *v, unsigned level, const uint8_t hash[VERITY_ROOT_SIZE])
{
        Level *l = &v->levels[level];

        if (level == v->n_levels) {
                memcpy(v->root, hash, VERITY_ROOT_SIZE);
                return 0;
        }
        memcpy(l->block + l->used, hash, VERITY_ROOT_SIZE);
        l->used += VERITY_ROOT_SIZE;
        return l->used == VERITY_BLOCK ? level_flush(v, level) : 0;
}

int verity_add_leaf(Verity *v, const uint8_t hash[32])
{
        int r;

        if (v->added == v->params.data_blocks)
                return -ERANGE;
        if (v->added == 0 && v->emit) {
                uint8_t block[VERITY_BLOCK];

                verity_superblock_format(&v->params, block);
                r = v->emit(v->ctx, 0, block);
                if (r < 0)
                        return r;
        }
        v->added++;
        return level_add(v, 0, hash);
}

int verity_add(Verity *v, const uint8_t block[VERITY_BLOCK])
{
        uint8_t hash[VERITY_ROOT_SIZE];
        int r;

        r = verity_hash_block(v, block, hash);
        return r < 0 ? r : verity_add_leaf(v, hash);
}

int verity_add_zero(Verity *v, uint64_t n)
{
        static const uint8_t zeroes[VERITY_BLOCK];
        int r;

        if (n > v->params.data_blocks - v->added)
                return -ERANGE;
        if (n > 0 && !v->zero_known) {
                r = verity_hash_block(v, zeroes, v->zero);
                if (r < 0)
                        return r;
                v->zero_known = true;
        }
        for (; n > 0; n--) {
                r = verity_add_leaf(v, v->zero);
                if (r < 0)
                        return r;
        }
        return 0;
}

int verity_finish(Verity *v, uint8_t ret_root[VERITY_ROOT_SIZE])
{
        int r;

        if (v->added != v->params.data_blocks)
                return -EINVAL;
        for (unsigned i = 0; i < v->n_levels; i++)
                if (v->levels[i].used > 0) {
                        r = level_flush(v, i);
                        if (r < 0)
                                return r;
                }
        memcpy(ret_root, v->root, VERITY_ROOT_SIZE);
        return 0;
}
