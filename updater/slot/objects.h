/* SPDX-License-Identifier: MIT */
#pragma once

/* The files of a mounted /usr as OSTree's objects: by their names (SHA-256 of attributes and content), computed from what is on
 * the disk and nothing else. Knows no repository. Reading goes past the page cache where the file system allows it. */

#include "base/why.h"

typedef struct SlotObjects SlotObjects;

/* Called now and then with the bytes that were read since; negative stops. */
typedef int (*SlotObjectsTick)(void *ctx, uint64_t bytes, Why *why);

/* Everything below dir_fd on the same file system. What cannot be read is left out: nobody depends on finding it. */
int slot_objects_scan(int dir_fd, SlotObjectsTick tick, void *ctx, SlotObjects **ret, Why *why);
SlotObjects *slot_objects_free(SlotObjects *objects);
void slot_objects_freep(SlotObjects **objects);

/* The content of the file with this name: a descriptor, or -1. */
int slot_objects_open(const SlotObjects *objects, const uint8_t id[32]);
/* The names of all files and folders, 32 bytes each. */
const uint8_t *slot_objects_list(const SlotObjects *objects, size_t *ret_n);
