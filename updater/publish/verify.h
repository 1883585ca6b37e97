/* SPDX-License-Identifier: MIT */

#pragma once

/* A verification under way. For this room only. */

#include "publish/cosiview.h"
#include "publish/publish.h"

typedef struct Verification {
        const Env *env;
        const VerifyOptions *o;
        Meter *meter;
        CosiView view;
        TrustAnchor anchor;
        TrustVerdict verdict;
        Release release;
        Partition *parts;
        size_t n_parts;
        int tree_fd; /* computed from /usr */
        const CosiRegion *sig;
        char **warnings;
} Verification;

/* "WHAT: the COSI has FOUND, the release says EXPECTED" */
int refuse_text(Why *why, const char *code, const char *what, const char *found, const char *expected);
/* Every image: digests by decompressing, /usr against the root hash, the published tree against the one computed from it. */
int verify_images(Verification *c, Why *why);
