/* SPDX-License-Identifier: MIT */
#pragma once

/* A finished COSI, local or over http(s), through gybe-fetch: one decoder for hosts and for release
 * engineers. */

#include "fetch/fetch.h"
#include "image/verity.h"
#include "publish/bootlist.h"
#include "publish/meter.h"

typedef struct CosiView {
        Fetch *fetch;
        FetchCosi file;
        char metadata_sha384[97];
        Cosi cosi;
        BootList boot; /* after cosi_view_boot() */
        FetchEsp esp;
        VerityParams verity; /* after cosi_view_verity() */
        Meter *meter;
} CosiView;

void cosi_view_done(CosiView *v);
/* Starts gybe-fetch; v->fetch may be used for envelopes before a COSI is opened. */
int cosi_view_start(const Env *env, Meter *meter, CosiView *ret, Why *why);
/* expect_size UINT64_MAX: any. kind: what a fault of the container is called. */
int cosi_view_open(CosiView *v, const char *url, uint64_t expect_size, WhyKind kind, Why *why);
/* Its halves, for who must compare the digest before anything is parsed (v->file is open then). */
int cosi_view_digest(CosiView *v, Why *why);
int cosi_view_parse(CosiView *v, WhyKind kind, Why *why);
/* The partitions of its GPT, in an array that the caller frees; none where it has no disk section. */
int cosi_view_gpt(CosiView *v, WhyKind kind, Partition **ret, size_t *ret_n, Why *why);
/* The ESP's files of interest with digests and PE summaries. */
int cosi_view_boot(CosiView *v, WhyKind kind, Why *why);
/* After that: the digest of any file of the ESP. */
int cosi_view_hash(CosiView *v, size_t i, char hex[65], Why *why);
/* The superblock of the hash image. */
int cosi_view_verity(CosiView *v, WhyKind kind, Why *why);
