/* SPDX-License-Identifier: MIT */
#pragma once

/* All cores on one stream: the caller's thread fills pieces in order, workers work on them in any order, the
 * caller's thread drains them in order again. What comes out does not depend on the number of workers. */

#include "base/why.h"

#define LANES_MAX                                                                                            \
        64u /* each has a few MiB of buffers: memory stays below half a GiB on the largest builder */

typedef struct LanePiece {
        uint64_t number;
        uint8_t *in;
        size_t in_size;
        bool zero; /* in_size zeroes; in was not filled */
        uint8_t *out;
        size_t out_size;
} LanePiece;

typedef struct LaneOps {
        size_t in_max, out_max; /* buffer sizes */
        /* caller's thread: 1 filled, 0 nothing more, negative errno */
        int (*fill)(void *ctx, LanePiece *piece, Why *why);
        /* worker: what one worker needs for itself; NULL result is out of memory. Both may be NULL. */
        void *(*worker_new)(void *ctx);
        void *(*worker_free)(void *worker);
        /* worker: in -> out; touches nothing but the piece and worker. Negative errno stops everything. */
        int (*work)(void *ctx, void *worker, LanePiece *piece);
        /* caller's thread, in order */
        int (*drain)(void *ctx, const LanePiece *piece, Why *why);
} LaneOps;

/* As many as this process may use. */
unsigned lanes_default(void);
int lanes_run(const LaneOps *ops, void *ctx, unsigned workers, Why *why);
