/* SPDX-License-Identifier: MIT */
#pragma once

/* Writes an image as seekable zstd: independent frames of equal raw size and a seek table behind them. Any
 * zstd tool decompresses it; a reader that knows the table fetches single frames. */

#include "publish/meter.h"
#include "publish/range.h"

/* Measured on 600 MB of a real /usr (lab.md B): what a block update downloads is smallest at 32 KiB. */
#define SEEKABLE_FRAME_DEFAULT (32u * 1024u)
#define SEEKABLE_FRAME_MIN     (4u * 1024u)          /* a verity block */
#define SEEKABLE_FRAME_MAX     (16u * 1024u * 1024u) /* two buffers a worker */
#define SEEKABLE_LEVEL_DEFAULT 15
#define SEEKABLE_LEVEL_MAX     22
/* Nothing in an image is worth a larger window than this; a reader needs as much memory. */
#define SEEKABLE_WINDOW_LOG_MAX 23u

typedef struct SeekableOptions {
        int level;
        size_t frame_size;
        bool checksum;           /* XXH64 of each frame's raw bytes, in the frame and in the table */
        unsigned window_log_max; /* 0: SEEKABLE_WINDOW_LOG_MAX */
        unsigned workers;        /* 0: all cores */
} SeekableOptions;

typedef struct SeekableResult {
        uint64_t compressed_size, raw_size;
        uint64_t n_frames;
        unsigned window_log; /* what a reader must allow */
        char sha384[97];     /* of the compressed bytes */
} SeekableResult;

/* Appends at out_fd's position. */
int seekable_write(const ByteRange *in, const SeekableOptions *options, int out_fd, Meter *meter,
                   SeekableResult *ret, Why *why);
