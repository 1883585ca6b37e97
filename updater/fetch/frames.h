/* SPDX-License-Identifier: MIT */
#pragma once

/* A zstd member on its way to its reader: compressed bytes in, in any portions; decompressed bytes and runs
 * of zeroes out. No I/O of its own. Holds the member to what metadata.json says about it: compressed size and
 * digest, decompressed size, the window it may ask for. Never lets out more than the decompressed size it was
 * promised. */

#include "image/cosi.h"
#include "fetch/fetch.h"

typedef struct Frames Frames;

/* image is copied; sink is borrowed, and returns 0 or negative. data() comes in units of up to 128 KiB, in
 * multiples of 4096 bytes but for the end. */
int frames_new(const CosiImage *image, unsigned window_log_max, WhyKind kind, const FetchSink *sink,
               Frames **ret, Why *why);
Frames *frames_free(Frames *f);
void frames_freep(Frames **f);

int frames_feed(Frames *f, const void *data, size_t size, Why *why);
/* After the last byte: everything was there, and it is what the digest says. */
int frames_finish(Frames *f, Why *why);
