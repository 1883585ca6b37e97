/* SPDX-License-Identifier: MIT */
#pragma once

/* Bytes as one .xz stream. For this room alone. */

#include "base/why.h"

/* As small as it gets; a reader needs 9 MiB of memory. */
int xz_pack(const void *data, size_t size, Bytes *ret, Why *why);
