/* SPDX-License-Identifier: MIT */
#pragma once

/* Parts of an image, out of a container that can seek: its block index, and single frames by range. Everything here is the
 * server's word; what is wrong about it is noticed by whoever knows the root hash. */

#include "fetch/container.h"

typedef struct Pieces Pieces;

/* container is borrowed */
int pieces_new(Container *container, Pieces **ret, Why *why);
Pieces *pieces_free(Pieces *p);
void pieces_freep(Pieces **p);

/* 1 and head, size and groups of the index, 0 there is none */
int pieces_index(Pieces *p, IndexHead *ret, uint64_t *ret_size, Bytes *ret_groups, Why *why);
int pieces_leaves(Pieces *p, const BlockRange *ranges, size_t n, const FetchSink *sink, Why *why);
int pieces_blocks(Pieces *p, const CosiImage *image, const BlockRange *ranges, size_t n,
                  const FetchSink *sink, Why *why);
typedef struct PieceFrame {
        uint64_t at;   /* in the image: where it begins */
        uint32_t size; /* of what is in it */
        bool has_checksum;
        uint32_t checksum; /* low half of XXH64 over it */
} PieceFrame;

/* The frame that holds this byte of the image. */
int pieces_frame(Pieces *p, const CosiImage *image, uint64_t byte, PieceFrame *ret, Why *why);
/* Only what pieces_blocks() would read. */
int pieces_extents(Pieces *p, const CosiImage *image, const BlockRange *ranges, size_t n, Bytes *ret,
                   Why *why);
