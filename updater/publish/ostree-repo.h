/* SPDX-License-Identifier: MIT */
#pragma once

/* The repository on the engineer's disk: refs, loose metadata objects, and the ostree tool. For this room alone. */

#include "base/env.h"
#include "image/ostree.h"
#include "release/release.h"

typedef struct OstreeRepo {
        const char *path;
        int fd; /* of the folder, locked */
} OstreeRepo;

#define OSTREE_REPO_NULL                                                                                     \
        (OstreeRepo)                                                                                         \
        {                                                                                                    \
                .fd = -1                                                                                     \
        }

void ostree_repo_done(OstreeRepo *repo);
/* Made when it is missing; one that is no archive is refused. */
int ostree_repo_open(const char *path, OstreeRepo *ret, Why *why);

/* 1 and the commit, 0 when there is no such ref. */
int ostree_repo_ref(const OstreeRepo *repo, const char *ref, uint8_t ret[OSTREE_ID], Why *why);
int ostree_repo_set_ref(const OstreeRepo *repo, const char *ref, const uint8_t id[OSTREE_ID], Why *why);
/* 1 and its bytes, 0 when there is no such object. */
int ostree_repo_read(const OstreeRepo *repo, const uint8_t id[OSTREE_ID], const char *suffix, Bytes *ret,
                     Why *why);
/* Loose metadata under this name. */
int ostree_repo_write(const OstreeRepo *repo, const uint8_t id[OSTREE_ID], const char *suffix,
                      const Bytes *data, Why *why);
int ostree_repo_commit(const OstreeRepo *repo, const uint8_t id[OSTREE_ID], OstreeCommit *ret, Why *why);

/* Any program (argv[0] "/usr/bin/env"); output (may be NULL) gets the end of what it said. */
int ostree_tool(char *const argv[], Bytes *output, const char *install, Why *why);
/* The tree of a folder as objects: its root tree and meta. */
int ostree_repo_add_tree(const OstreeRepo *repo, const char *folder, uint8_t ret_tree[OSTREE_ID],
                         uint8_t ret_meta[OSTREE_ID], Why *why);
/* A static delta with everything inside. 1 made, 0 there already. */
int ostree_repo_delta(const OstreeRepo *repo, const uint8_t from[OSTREE_ID], const uint8_t to[OSTREE_ID],
                      uint64_t *ret_size, Why *why);
int ostree_repo_summary(const OstreeRepo *repo, Why *why);
