/* SPDX-License-Identifier: MIT */
#pragma once

/* Writing to a registry, for gybe-release alone: no request of a job leads here, and gybe-fetch does not link it. Knows blobs,
 * manifests and retries; what is written, and in which order, is publish's business. */

#include "fetch/oci.h"

typedef struct Push Push;

/* takes what options owns and auth_file, also on failure. watch: how it goes. */
int push_open(HttpOptions *options, Bytes *auth_file, const OciRef *ref, const OriginWatch *watch, Push **ret,
              Why *why);
Push *push_free(Push *p);
void push_freep(Push **p);

/* A blob of these bytes; read as HttpSend's. 1 it was sent, 0 the registry has it already. */
typedef struct PushBlob {
        const char *digest;
        uint64_t size;
        int (*read)(void *ctx, uint64_t offset, void *buf, size_t n);
        void *ctx;
} PushBlob;

int push_blob(Push *p, const PushBlob *blob, Why *why);
int push_bytes(Push *p, const void *data, size_t size, char ret_digest[OCI_DIGEST_SIZE], Why *why);
/* reference: a tag, or its digest. ret_listed (may be NULL): the registry says that it keeps the list of referrers itself. */
int push_manifest(Push *p, const char *reference, const char *type, const char *text, bool *ret_listed,
                  Why *why);
/* What is there now. 1 found, 0 there is none. */
int push_read_manifest(Push *p, const char *reference, Bytes *ret, Why *why);
/* As a host reads. -ENOENT: no release file is attached. */
int push_read_envelope(Push *p, const char *url, Bytes *ret, Why *why);
