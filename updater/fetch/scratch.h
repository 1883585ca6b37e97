/* SPDX-License-Identifier: MIT */
#pragma once

/* Where unpacked bytes wait on the disk: a file of the job's without a name. */

#include "fetch/origin.h"

typedef struct Scratch {
        int fd;
        uint64_t at; /* where the next bytes go */
        OriginWatch watch;
} Scratch;

/* A FetchSink's data(); ctx is a Scratch. */
int scratch_data(void *ctx, const void *data, size_t size, Why *why);
