/* SPDX-License-Identifier: MIT */
#pragma once

/* A tar archive as a COSI wants it: plain ustar headers, regular files only, no folder members, sizes above 8
 * GiB in GNU base-256. Pure: blocks out, no I/O. */

#include "base/why.h"

#define TAR_BLOCK    512u
#define TAR_NAME_MAX 100u /* no prefix, no extensions: our own names are short */
#define TAR_END_SIZE (2u * TAR_BLOCK)

/* -EINVAL: the name is empty, too long, absolute or begins with "./". */
int tar_header(const char *name, uint64_t size, uint64_t mtime, uint8_t out[TAR_BLOCK]);
/* Zeroes behind a member of this size. */
size_t tar_padding(uint64_t size);
