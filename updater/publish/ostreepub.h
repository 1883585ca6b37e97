/* SPDX-License-Identifier: MIT */
#pragma once

/* An OSTree repository (archive) of releases: each a commit of the tree of its /usr image on the refs of its channels, with the
 * release file in the commit's metadata and the COSI in the folder gybe/ of the repository. Objects, deltas and the summary are
 * made by the ostree tool; the commit object and its signature are ours, since Debian 12's tool knows neither Ed25519 nor
 * metadata of any size. */

#include "publish/publish.h"

typedef struct OstreeOptions {
        const char *repo;
        char **cosis;     /* local, oldest first; each with its release file beside it */
        const char *tree; /* of the only COSI's /usr; NULL: taken out of the image */
        char **roots;     /* root.json files to be served as gybe/root.N.json */
        char **channels;  /* NULL: those the release names */
        char **keys;      /* Ed25519 */
        uint64_t deltas;  /* from that many releases before */
} OstreeOptions;

/* gybe.publish-ostree/1: refs, commits, deltas and what they cost. What is there already is not made again; a release file that
 * names its commit (usr.ostreeCommit) goes beside that commit as detached metadata. */
int publish_ostree(const Env *env, const OstreeOptions *options, Meter *meter, Json **ret, Why *why);
