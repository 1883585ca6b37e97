/* SPDX-License-Identifier: MIT */
#pragma once

/* Bytes [offset, offset + size) of a file, or that many zeroes. What a partition of a new image is made of.
 * Holes of a sparse file are told apart without reading them. */

#include "base/why.h"

typedef struct ByteRange {
        int fd; /* borrowed; -1: zeroes */
        uint64_t offset, size;
        const char *what; /* file name for sentences, borrowed */
} ByteRange;

#define BYTE_RANGE_NULL                                                                                      \
        (ByteRange)                                                                                          \
        {                                                                                                    \
                .fd = -1                                                                                     \
        }

/* A whole file or block device. */
int range_of_fd(int fd, const char *what, ByteRange *ret, Why *why);
/* Fills buf with n bytes at pos, or says that they are all zero and leaves buf alone. */
int range_read(const ByteRange *range, uint64_t pos, uint8_t *buf, size_t n, bool *ret_zero, Why *why);
bool bytes_are_zero(const uint8_t *data, size_t n);
/* Bytes as a nameless file. Returns the descriptor. */
int bytes_as_file(const Bytes *bytes, Why *why);
