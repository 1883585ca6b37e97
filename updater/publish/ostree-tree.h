/* SPDX-License-Identifier: MIT */
#pragma once

/* The tree of a /usr image as a folder: unpacked out of a COSI with the file system's own tools, nothing is mounted. For this
 * room alone. */

#include "publish/cosiview.h"

typedef struct OstreeTree {
        char *folder; /* what was unpacked */
        char *work;   /* removed at the end */
} OstreeTree;

void ostree_tree_done(OstreeTree *t);
/* The /usr image itself, unpacked into an empty file. */
int ostree_tree_raw(CosiView *view, int fd, Why *why);
/* parent: where there is room for the image and its files. */
int ostree_tree_unpack(CosiView *view, const char *parent, OstreeTree *ret, Why *why);
