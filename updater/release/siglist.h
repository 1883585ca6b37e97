/* SPDX-License-Identifier: MIT */
#pragma once

/* EFI signature lists: what db, dbx, MokListRT and MokListXRT hold. */

#include "base/why.h"

typedef enum SigKind {
        SIG_X509,        /* a certificate in DER */
        SIG_IMAGE_HASH,  /* Authenticode SHA-256 of one image */
        SIG_CERT_SHA256, /* digest of a certificate's to-be-signed part, and a time of revocation */
        SIG_CERT_SHA384,
        SIG_CERT_SHA512,
} SigKind;

typedef struct SigEntry {
        SigKind kind;
        const uint8_t *data; /* certificate or digest; borrowed */
        size_t size;
} SigEntry;

/* Calls f for every entry of a kind above, in order; other kinds are skipped as firmware skips them. Returns the first
 * negative value of f, or -EBADMSG when the lists are malformed. */
int siglist_each(const void *data, size_t size, const char *what, int (*f)(void *ctx, const SigEntry *entry),
                 void *ctx, Why *why);
