/* SPDX-License-Identifier: MIT */
#pragma once

/* Works off a block patch (image/blockpatch.h): asks for old blocks a few at a time and puts what comes of them behind the
 * rebuilt files. Reads bytes and descriptors it is given; knows no server. A patch that lies makes blocks that nobody finds. */

#include "fetch/fetch.h"
#include "fetch/rebuilt.h"

typedef struct PatchRun PatchRun;

/* data: the unpacked file; borrowed as long as the run lives, like rebuilt. */
int patch_run_new(const void *data, size_t size, Rebuilt *rebuilt, PatchRun **ret, Why *why);
PatchRun *patch_run_free(PatchRun *run);
void patch_run_freep(PatchRun **run);

/* 1 it wants these blocks of the image that runs (borrowed; within the limits of FetchObjects), 0 it is done. */
int patch_run(PatchRun *run, const BlockRange **ret, size_t *ret_n, Why *why);
/* takes fd: those blocks, one behind another; -1: they are not here, what is made of them is left out. */
void patch_run_give(PatchRun *run, int fd);
