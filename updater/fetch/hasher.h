/* SPDX-License-Identifier: MIT */
#pragma once

/* A digest of what streams by, computed on another processor than the one that takes the stream apart. Where there is no thread
 * to be had it is computed where the bytes are. */

#include "base/why.h"

typedef struct Hasher Hasher;

/* bits as digest_new(); expect: how many bytes will come, roughly. Few are no reason for a thread. */
int hasher_new(unsigned bits, uint64_t expect, Hasher **ret);
Hasher *hasher_free(Hasher *h);
/* The bytes are copied where that is needed. */
int hasher_update(Hasher *h, const void *data, size_t size);
/* Of everything so far; the end. */
int hasher_final(Hasher *h, uint8_t *out);
