/* SPDX-License-Identifier: MIT */
#pragma once

/* An OSTree repository on a server: the release that a ref's history carries, and the contents of files that are new in it, made
 * from a static delta or fetched as objects. What is made here is a heap of blocks in a scratch file and is never believed: the
 * blocks are looked up by their hashes, and the root hash judges what comes of them. */

#include "fetch/http.h"
#include "fetch/ostree-patch.h"
#include "fetch/rebuilt.h"
#include "source/ostree.h"

#define OSTREE_HISTORY_MAX 256u /* commits that are looked through: five years of weekly releases */

/* The release file of the commit that the address means. */
int ostree_release(Http *h, const OstreeUrl *url, Bytes *ret, Why *why);

typedef struct OstreePull OstreePull;

typedef struct OstreePullOptions {
        char to[65], from[65]; /* root hashes: of the release, and of what runs here */
        uint64_t limit;        /* bytes of the image */
        int rebuilt_fd,
                part_fd; /* scratch files: what is made, and what is unpacked meanwhile; taken, also on failure */
} OstreePullOptions;

typedef enum OstreeWant {
        OSTREE_WANT_NOTHING, /* it is done */
        OSTREE_WANT_OBJECT,  /* the old object of this name, as a descriptor: ostree_pull_give() */
        OSTREE_WANT_LIST,    /* the names of everything that is here: ostree_pull_list() */
        OSTREE_WANT_BLOCKS,  /* blocks of the image that runs, one behind another: ostree_pull_give() */
        _OSTREE_WANT_MAX,
} OstreeWant;

typedef struct OstreeNeed {
        OstreeWant want;
        const uint8_t *id; /* of the object */
        const BlockRange *ranges;
        size_t n_ranges;
} OstreeNeed;

int ostree_pull_new(Http *h, const OstreeUrl *url, OstreePullOptions *options, OstreePull **ret, Why *why);
OstreePull *ostree_pull_free(OstreePull *pull);
void ostree_pull_freep(OstreePull **pull);

/* Until it wants something; what it names is borrowed until the next call. */
int ostree_pull_next(OstreePull *pull, OstreeNeed *ret, Why *why);
/* takes fd; -1: not here */
void ostree_pull_give(OstreePull *pull, int fd);
/* More names, each OSTREE_ID bytes, in any order. */
int ostree_pull_list(OstreePull *pull, const void *ids, size_t size, Why *why);

/* How the bytes were made. */
bool ostree_pull_is_delta(const OstreePull *pull);
