/* SPDX-License-Identifier: MIT */
#pragma once

/* SHA-256 and SHA-384 over bytes, and a keyed one, by OpenSSL. */

#include "base/mem.h"

#define SHA256_SIZE 32u
#define SHA384_SIZE 48u
#define SHA256_HEX  65u /* with the NUL */
#define SHA384_HEX  97u

typedef struct Digest Digest;

int digest_new(unsigned bits /* 256 or 384 */, Digest **ret);
Digest *digest_free(Digest *d);
void digest_freep(Digest **d);
int digest_update(Digest *d, const void *data, size_t size);
/* out has bits / 8 bytes. The digest starts over. */
int digest_final(Digest *d, uint8_t *out);

int sha256(const void *data, size_t size, uint8_t out[SHA256_SIZE]);
int sha384(const void *data, size_t size, uint8_t out[SHA384_SIZE]);
int sha256_hex(const void *data, size_t size, char out[SHA256_HEX]);
int sha384_hex(const void *data, size_t size, char out[SHA384_HEX]);
int hmac_sha256(const void *key, size_t key_size, const void *data, size_t size, uint8_t out[SHA256_SIZE]);
/* From the descriptor's offset 0 to its end, through pread. */
int sha256_fd_hex(int fd, char out[SHA256_HEX]);
