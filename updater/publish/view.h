/* SPDX-License-Identifier: MIT */
#pragma once

/* A finished COSI, local or over http(s), through gybe-fetch: one decoder for hosts and for release
 * engineers. */

#include "fetch/fetch.h"
#include "image/verity.h"
#include "publish/bootlist.h"
#include "publish/meter.h"

typedef struct View {
        Fetch *fetch;
        FetchCosi file;
        char metadata_sha384[97];
        Cosi cosi;
        BootList boot; /* after view_boot() */
        FetchEsp esp;
        VerityParams verity; /* after view_verity() */
        Meter *meter;
} View;

void view_done(View *v);
/* expect_size UINT64_MAX: any. kind: what a fault of the container is called. */
int view_open(const Env *env, const char *url, uint64_t expect_size, WhyKind kind, Meter *meter, View *ret,
              Why *why);
/* The ESP's files of interest with digests and PE summaries. */
int view_boot(View *v, WhyKind kind, Why *why);
/* The superblock of the hash image. */
int view_verity(View *v, WhyKind kind, Why *why);
