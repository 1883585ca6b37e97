/* SPDX-License-Identifier: MIT */
#pragma once

/* .xz streams, as OSTree packs the parts of its deltas: bounded output, bounded memory. */

#include "base/why.h"

typedef struct Xz Xz;

typedef int (*XzSink)(void *ctx, const void *data, size_t size, Why *why);

/* max: bytes that may come out; more is -EFBIG. what: for sentences, borrowed. */
int xz_new(const char *what, uint64_t max, XzSink sink, void *ctx, Xz **ret, Why *why);
Xz *xz_free(Xz *xz);
void xz_freep(Xz **xz);
int xz_feed(Xz *xz, const void *data, size_t size, Why *why);
/* The stream ended where its bytes ended. */
int xz_finish(Xz *xz, Why *why);
