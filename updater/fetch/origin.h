/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the bytes of a COSI are: a local file or a server. One question, "these bytes from that offset",
 * whatever it takes to answer it: continuing the transfer at hand, skipping, a new range, starting over. */

#include "base/why.h"

/* What the process does besides: counts bytes, tells the job that it lives. Borrowed by every origin. */
typedef struct OriginWatch {
        uint64_t *bytes;         /* grows with every byte that came in */
        int (*alive)(void *ctx); /* called at least twice a second while something waits; negative stops */
        void *ctx;
} OriginWatch;

typedef struct OriginOps {
        /* Exactly n bytes from offset, all of them before the known size. until: how far the caller will go
         * on reading without a gap, so that one request can serve many reads. */
        int (*read)(void *self, uint64_t offset, uint64_t until, void *buf, size_t n, Why *why);
        /* Everything up to here was read in one go; is this really the end? Asked once, by who read to the
         * end. */
        int (*check_end)(void *self, Why *why);
        bool (*has_ranges)(const void *self);
        void (*free)(void *self);
} OriginOps;

typedef struct Origin {
        const OriginOps *ops; /* file, http */
        void *self;
        uint64_t size;
        char name[200]; /* for sentences: no credentials, no queries */
} Origin;

#define ORIGIN_NULL                                                                                          \
        (Origin)                                                                                             \
        {                                                                                                    \
                0                                                                                            \
        }

void origin_done(Origin *o);
int origin_read(Origin *o, uint64_t offset, uint64_t until, void *buf, size_t n, Why *why);
bool origin_has_ranges(const Origin *o);

/* takes fd on success. name: the path as the operator gave it */
int origin_open_file(int fd, const char *name, const OriginWatch *watch, Origin *ret, Why *why);
