/* SPDX-License-Identifier: MIT */
#pragma once

/* An open COSI: an origin and its table of contents, which grows as far as somebody asks. From an origin that
 * can seek, all headers are read when it is opened, so that a container with a fault anywhere is refused
 * before anything is done with it; from one that cannot, they are met on the way. */

#include "fetch/fetch.h"
#include "fetch/origin.h"

typedef struct Container Container;

/* takes the origin, also on failure. Finds metadata.json and reads it. */
int container_open(Origin *origin, WhyKind kind, Container **ret, Why *why);
Container *container_free(Container *c);
void container_freep(Container **c);

const Bytes *container_metadata(const Container *c);
uint64_t container_size(const Container *c);
bool container_has_ranges(const Container *c);

/* Streams one member, decompressed; kind: what a contradiction to image is called. */
int container_stream(Container *c, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                     const FetchSink *sink, Why *why);
/* Where a member's bytes are. 1 it is there, 0 there is none of that name. Only where the origin can seek. */
int container_locate(Container *c, const char *name, uint64_t *ret_offset, uint64_t *ret_size, Why *why);
/* Bytes of the file itself; until: how far reading will go on without a gap. -EOPNOTSUPP as soon as the server turns out not to
 * seek after all: reading on would mean to download everything before. */
int container_read(Container *c, uint64_t offset, uint64_t until, void *buf, size_t n, Why *why);
const char *container_name(const Container *c); /* for sentences */
/* Reads on to the end-of-archive marker. */
int container_finish(Container *c, Why *why);
