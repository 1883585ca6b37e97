/* SPDX-License-Identifier: MIT */
#pragma once

/* The seek table of a seekable zstd file: a trailing skippable frame that says where each independent frame
 * begins (zstd's contrib/seekable_format: magic 0x184D2A5E, entries, then frame count, descriptor byte, magic
 * 0x8F92EAB1). Pure: bytes and numbers; needs no zstd. */

#include "base/why.h"

#define SEEKTABLE_HEADER     8u
#define SEEKTABLE_FOOTER     9u
#define SEEKTABLE_FRAMES_MAX (1u << 27) /* as the reference implementation; a table of at most 1.5 GiB */
#define SEEKTABLE_FRAME_MAX  (1u << 30) /* raw bytes of one frame, as the reference implementation */

typedef struct SeekEntry {
        uint32_t compressed, raw;
        uint32_t checksum; /* low half of XXH64 over the raw bytes; 0 in a table without checksums */
} SeekEntry;

typedef struct SeekTable {
        SeekEntry *entries;
        uint32_t n_entries;
        bool checksums;
        uint64_t compressed, raw; /* sums: where the table begins in the file, and what comes out of it */
} SeekTable;

void seektable_done(SeekTable *t);
int seektable_add(SeekTable *t, uint32_t compressed, uint32_t raw, uint32_t checksum);
/* The whole skippable frame. */
int seektable_format(const SeekTable *t, Bytes *ret);

/* Reading goes in two steps, from the end of the file: the last SEEKTABLE_FOOTER bytes say how long the frame
 * is, then the frame. 1 it is one (*ret_size: the frame's size, header and footer included), 0 there is no
 * seek table here. */
int seektable_footer(const uint8_t footer[SEEKTABLE_FOOTER], uint64_t *ret_size);
/* file_size: of the zstd file; everything must add up to it. */
int seektable_parse(const uint8_t *frame, size_t size, uint64_t file_size, SeekTable *ret, Why *why);
