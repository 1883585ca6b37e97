/* SPDX-License-Identifier: MIT */
#pragma once

/* One of the two COSIs of a diff, opened and read as inspect reads one; nothing is verified. */

#include "publish/cosiview.h"

typedef struct DiffFile {
        const char *path;
        uint64_t size;
        char sha256[65];
        const BootListFile *boot; /* NULL: an updater does not take it */
} DiffFile;

typedef struct DiffSide {
        const char *name; /* "old", "new" */
        CosiView view;
        Partition *parts;
        size_t n_parts;
        DiffFile *files; /* of the ESP, by path */
        FetchIndex index;
        Why no_index; /* why it cannot be used; empty: it can */
        char salt[2 * VERITY_SALT_MAX + 1], uuid[37];
        bool has_salt;
} DiffSide;

/* To be done with, also after a failure. name: "old" or "new"; what: a path or URL. */
int diff_side_read(const Env *env, const char *name, const char *what, Meter *meter, DiffSide *ret, Why *why);
void diff_side_done(DiffSide *s);
/* For qsort() and bsearch(). */
int diff_file_by_path(const void *a, const void *b);
