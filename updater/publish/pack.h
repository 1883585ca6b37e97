/* SPDX-License-Identifier: MIT */
#pragma once

/* The container: images are compressed into a nameless file first, since metadata.json stands before them and
 * names their sizes and digests; then the tar is written under a temporary name and renamed. */

#include "image/cosi.h"
#include "publish/range.h"
#include "publish/seekable.h"

typedef struct PackRegion {
        CosiRegion cosi; /* path, sizes and digest are filled by pack_compress() */
        ByteRange range;
        SeekableOptions options;
        uint64_t offset; /* in the nameless file */
        unsigned window_log;
        uint64_t n_frames;
} PackRegion;

typedef struct PackExtra {
        const char *name;
        const void *data;
        size_t size;
} PackExtra;

typedef struct Pack {
        PackRegion *regions;
        size_t n_regions;
        int fd;
} Pack;

#define PACK_NULL                                                                                            \
        (Pack)                                                                                               \
        {                                                                                                    \
                .fd = -1                                                                                     \
        }

void pack_done(Pack *pack);
int pack_open(const char *work_dir, Pack *ret, Why *why);
/* In the order in which they will stand. number 0: the GPT. */
int pack_add(Pack *pack, const char *path, unsigned number, const ByteRange *range,
             const SeekableOptions *options);
int pack_compress(Pack *pack, Meter *meter, Why *why);
/* Marker, metadata, images, extra members, end. */
int pack_write(const Pack *pack, const char *metadata, const PackExtra *extra, size_t n_extra, uint64_t epoch,
               const char *output, uint64_t *ret_size, Why *why);
