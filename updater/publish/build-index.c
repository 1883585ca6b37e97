/* SPDX-License-Identifier: MIT */

/* The block index of a build: leaves out of the tree that was just made, sizes of frames out of the seek table that was just
 * written. */

#include "image/index.h"
#include "image/seektable.h"
#include "base/fd.h"
#include "base/str.h"
#include "publish/build.h"

#include <errno.h>

#define LEAVES_PER_BLOCK (VERITY_BLOCK / VERITY_ROOT_SIZE)

/* The leaf hashes are the last level of the tree, behind all others; an image of one block has none. */
static int read_leaves(const Build *b, uint32_t n, uint8_t *out, Why *why)
{
        uint64_t blocks = (n + LEAVES_PER_BLOCK - 1) / LEAVES_PER_BLOCK;
        uint64_t at = b->hash.size - blocks * VERITY_BLOCK;
        uint8_t block[VERITY_BLOCK];
        int r = 0;

        if (n == 1) {
                uint8_t root[VERITY_ROOT_SIZE];

                r = hex_decode(b->roothash, root, sizeof(root));
                memcpy(out, root, INDEX_LEAF_SIZE);
                return r;
        }
        for (uint32_t i = 0; i < n; i++) {
                bool zero = false;

                if (i % LEAVES_PER_BLOCK == 0) {
                        r = range_read(&b->hash, at, block, sizeof(block), &zero, why);
                        at += VERITY_BLOCK;
                }
                if (r < 0 || zero)
                        return r < 0 ? r
                                     : fail(why, -EIO, WHY_HOST, "hash-tree", "hash tree: a block is empty");
                memcpy(out + (size_t) i * INDEX_LEAF_SIZE, block + i % LEAVES_PER_BLOCK * VERITY_ROOT_SIZE,
                       INDEX_LEAF_SIZE);
        }
        return 0;
}

static int read_frames(const Pack *pack, const PackRegion *p, SeekTable *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes table = BYTES_NULL;
        uint64_t end = p->offset + p->cosi.image.compressed_size, size = 0;
        uint8_t footer[SEEKTABLE_FOOTER];

        if (fd_pread_full(pack->fd, footer, sizeof(footer), end - sizeof(footer)) !=
                    (ssize_t) sizeof(footer) ||
            seektable_footer(footer, &size) == 0)
                return fail(why, -EIO, WHY_HOST, "seek-table", "%s: its seek table is gone",
                            p->cosi.image.path);
        table.data = malloc((size_t) size);
        table.size = (size_t) size;
        if (!table.data)
                return fail_errno(why, -ENOMEM, WHY_HOST, "block index");
        if (fd_pread_full(pack->fd, table.data, table.size, end - size) != (ssize_t) size)
                return fail(why, -EIO, WHY_HOST, "seek-table", "%s: its seek table is gone",
                            p->cosi.image.path);
        return seektable_parse(table.data, table.size, p->cosi.image.compressed_size, ret, why);
}

static const PackRegion *usr_region(const Build *b, const Pack *pack)
{
        for (size_t i = 0; i < pack->n_regions; i++)
                if (pack->regions[i].range.fd == b->usr.fd && pack->regions[i].range.offset == b->usr.offset)
                        return &pack->regions[i];
        return NULL;
}

int build_index(Build *b, const Pack *pack, Bytes *ret, Why *why)
{
        const PackRegion *usr = usr_region(b, pack);
        _cleanup_(seektable_done) SeekTable table = { 0 };
        _cleanup_(free_charp) char *leaves = NULL, *sizes = NULL;
        uint8_t root[VERITY_ROOT_SIZE];
        uint32_t n = (uint32_t) b->params.data_blocks, *frames;
        int r;

        if (!usr || b->params.data_blocks > INDEX_BLOCKS_MAX)
                return 0;
        leaves = malloc((size_t) n * INDEX_LEAF_SIZE);
        if (!leaves)
                return fail_errno(why, -ENOMEM, WHY_HOST, "block index");
        r = read_leaves(b, n, (uint8_t *) leaves, why);
        if (r >= 0)
                r = read_frames(pack, usr, &table, why);
        if (r < 0)
                return r;
        sizes = malloc(MAX((size_t) table.n_entries, (size_t) 1) * sizeof(*frames));
        r = hex_decode(b->roothash, root, sizeof(root));
        if (!sizes || r < 0)
                return fail_errno(why, sizes ? r : -ENOMEM, WHY_HOST, "block index");
        frames = (uint32_t *) (void *) sizes;
        for (uint32_t i = 0; i < table.n_entries; i++)
                frames[i] = table.entries[i].compressed;
        r = index_build(root, (uint8_t *) leaves, n, (uint32_t) usr->options.frame_size, frames,
                        table.n_entries, ret);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "block index") : 0;
}
