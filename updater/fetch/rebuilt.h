/* SPDX-License-Identifier: MIT */
#pragma once

/* The file in which contents of OSTree file objects lie one behind another, each padded with zeroes to a whole block of 4096
 * bytes, as a file system would store them. An object stays only when its bytes have its name. */

#include "image/ostree.h"

#define REBUILT_BLOCK 4096u

typedef struct Rebuilt {
        int fd;             /* owned */
        uint64_t at, limit; /* bytes that stay; the most that may */
        uint64_t work;      /* bytes that were written, of objects that stayed or not: bounded, too */
        uint64_t n_good, n_bad;
        int (*alive)(void *ctx); /* called now and then; negative stops */
        void *ctx;
        /* the object under way */
        Digest *digest;
        uint8_t id[OSTREE_ID];
        uint64_t size, written;
        bool is_open;
} Rebuilt;

#define REBUILT_NULL                                                                                         \
        (Rebuilt)                                                                                            \
        {                                                                                                    \
                .fd = -1                                                                                     \
        }

void rebuilt_done(Rebuilt *b);
/* header: as it is hashed before the content. size: of the content. -EFBIG with a sentence where a limit is reached. */
int rebuilt_begin(Rebuilt *b, const uint8_t id[OSTREE_ID], const Bytes *header, uint64_t size, Why *why);
int rebuilt_write(Rebuilt *b, const void *data, size_t size, Why *why);
/* 1 it stays, 0 its bytes do not have its name. */
int rebuilt_end(Rebuilt *b, Why *why);
/* The object under way is left out. */
void rebuilt_drop(Rebuilt *b);
/* Whole blocks that are no object. -EFBIG where a limit is reached. */
int rebuilt_add(Rebuilt *b, const void *blocks, size_t size, Why *why);
