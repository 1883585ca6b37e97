/* SPDX-License-Identifier: MIT */
#pragma once

/* Which file system is this, and what does it call itself? The two facts a COSI wants to know of each;
 * everything else of a file system is opaque here. Pure. */

#include "base/mem.h"

#define FS_PROBE_SIZE                                                                                        \
        (128u *                                                                                              \
         1024u) /* the first bytes of the image; btrfs keeps its superblock at 64 KiB                 \
                        */

typedef struct FsFacts {
        char type[16]; /* as the kernel calls it; "" unknown */
        char uuid[37]; /* or a FAT serial "C3D4-250D"; "" where the file system has none */
} FsFacts;

void fs_probe(const uint8_t *data, size_t size, FsFacts *ret);
