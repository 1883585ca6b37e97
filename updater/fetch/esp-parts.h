/* SPDX-License-Identifier: MIT */
#pragma once

/* The frames of an ESP image that somebody reads, and no others, in a scratch file. A kernel outweighs an update of a few packages
 * many times, and mostly it is the old one with another name inside: frames that a file of this host has are copied from there.
 * They are known by the seek table's checksums (the low half of XXH64), which nobody signs and which can err: whoever reads has to
 * know the digests of the files. */

#include "fetch/pieces.h"
#include "image/fat.h"

typedef struct EspParts EspParts;

/* Everything is borrowed. scratch_fd: of the image's size, all zeroes. -EOPNOTSUPP: the image has no frames to be read one by one. */
int esp_parts_new(Pieces *pieces, const CosiImage *image, int scratch_fd, const OriginWatch *watch,
                  EspParts **ret, Why *why);
EspParts *esp_parts_free(EspParts *p);

/* These bytes of the image are in the scratch file afterwards, and some that are going to be read next: ahead in all. */
int esp_parts_need(EspParts *p, uint64_t offset, uint64_t size, uint64_t ahead, Why *why);
/* A file of this host that may resemble one of the image. */
int esp_parts_like(EspParts *p, Fat *fat, const FatFile *file, int fd, Why *why);
/* Bytes that would be downloaded for all of a file. */
int esp_parts_cost(EspParts *p, Fat *fat, const FatFile *file, uint64_t *ret, Why *why);
