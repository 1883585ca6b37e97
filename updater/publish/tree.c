/* SPDX-License-Identifier: MIT */

/* Workers hash data blocks; the caller's thread puts the leaves into the tree in order and writes its blocks.
 * A worker's own Verity object is only its hasher. */

#include "publish/tree.h"
#include "base/digest.h"
#include "base/fd.h"
#include "publish/lanes.h"
#include "publish/layout.h"

#include <assert.h>
#include <errno.h>

#define PIECE_SIZE MIB

typedef struct Walk {
        const ByteRange *data;
        const VerityParams *params;
        uint64_t pos;
        int tree_fd;
        Meter *meter;
        Verity *tree;
        Digest *digest;
} Walk;

static void walk_done(Walk *w)
{
        (void) verity_free(w->tree);
        (void) digest_free(w->digest);
}

static int piece_fill(void *ctx, LanePiece *piece, Why *why)
{
        Walk *w = ctx;
        uint64_t n = MIN(w->data->size - w->pos, (uint64_t) PIECE_SIZE);
        int r;

        if (n == 0)
                return 0;
        r = range_read(w->data, w->pos, piece->in, (size_t) n, &piece->zero, why);
        if (r < 0)
                return r;
        piece->in_size = (size_t) n;
        w->pos += n;
        return 1;
}

/* --- the digest of the content --- */

static int digest_work(void *ctx _unused_, void *worker _unused_, LanePiece *piece)
{
        if (piece->zero)
                memset(piece->in, 0, piece->in_size);
        piece->out_size = SHA256_SIZE;
        return sha256(piece->in, piece->in_size, piece->out);
}

static int digest_drain(void *ctx, const LanePiece *piece, Why *why)
{
        Walk *w = ctx;
        int r = digest_update(w->digest, piece->out, piece->out_size);

        meter_add(w->meter, piece->in_size, 0);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "SHA-256") : 0;
}

int tree_content_digest(const ByteRange *data, unsigned workers, Meter *meter, uint8_t ret[32], Why *why)
{
        static const LaneOps ops = { .in_max = PIECE_SIZE,
                                     .out_max = SHA256_SIZE,
                                     .fill = piece_fill,
                                     .work = digest_work,
                                     .drain = digest_drain };
        _cleanup_(walk_done) Walk w = { .data = data, .meter = meter };
        int r = digest_new(256, &w.digest);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "SHA-256");
        r = lanes_run(&ops, &w, workers, why);
        if (r < 0)
                return r;
        r = digest_final(w.digest, ret);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "SHA-256") : 0;
}

/* One salt for all: a host whose slot has the salt of the new image reads what it holds off the slot's hash tree, a hundredth of the
 * image. What a salt is good for, that nobody computes collisions ahead, SHA-256 does not need. */
void tree_derive_params(const uint8_t content[32], VerityParams *params)
{
        static const char name[] = "gybe verity salt";

        (void) sha256(name, sizeof(name), params->salt);
        params->salt_size = TREE_SALT_SIZE;
        uuid_derive("gybe verity uuid", content, 32, params->uuid);
}

/* --- the tree --- */

static int tree_emit(void *ctx, uint64_t offset, const uint8_t block[VERITY_BLOCK])
{
        Walk *w = ctx;

        return w->tree_fd < 0 ? 0 : fd_pwrite_full(w->tree_fd, block, VERITY_BLOCK, offset);
}

static void *hasher_free(void *worker)
{
        return verity_free(worker);
}

static void *hasher_new(void *ctx)
{
        Walk *w = ctx;
        Verity *v = NULL;

        return verity_new(w->params, tree_emit, w, &v) < 0 ? NULL : v;
}

static int leaves_work(void *ctx _unused_, void *worker, LanePiece *piece)
{
        if (piece->zero)
                return 0;
        for (size_t at = 0; at < piece->in_size; at += VERITY_BLOCK) {
                int r = verity_hash_block(worker, piece->in + at, piece->out + piece->out_size);

                if (r < 0)
                        return r;
                piece->out_size += VERITY_ROOT_SIZE;
        }
        return 0;
}

static int leaves_drain(void *ctx, const LanePiece *piece, Why *why)
{
        Walk *w = ctx;
        int r = piece->zero ? verity_add_zero(w->tree, piece->in_size / VERITY_BLOCK) : 0;

        for (size_t at = 0; r >= 0 && at < piece->out_size; at += VERITY_ROOT_SIZE)
                r = verity_add_leaf(w->tree, piece->out + at);
        meter_add(w->meter, piece->in_size, 0);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "writing the hash tree") : 0;
}

int tree_write(const ByteRange *data, const VerityParams *params, unsigned workers, int tree_fd, Meter *meter,
               uint8_t ret_root[VERITY_ROOT_SIZE], Why *why)
{
        static const LaneOps ops = { .in_max = PIECE_SIZE,
                                     .out_max = PIECE_SIZE / VERITY_BLOCK * VERITY_ROOT_SIZE,
                                     .fill = piece_fill,
                                     .worker_new = hasher_new,
                                     .worker_free = hasher_free,
                                     .work = leaves_work,
                                     .drain = leaves_drain };
        _cleanup_(walk_done) Walk w = { .data = data, .params = params, .tree_fd = tree_fd, .meter = meter };
        int r;

        assert(data->size == params->data_blocks * VERITY_BLOCK);
        r = verity_new(params, tree_emit, &w, &w.tree);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "dm-verity tree of %s", data->what);
        r = lanes_run(&ops, &w, workers, why);
        if (r < 0)
                return r;
        r = verity_finish(w.tree, ret_root);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "writing the hash tree") : 0;
}
