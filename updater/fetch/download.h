/* SPDX-License-Identifier: MIT */
#pragma once

/* A file on a server, in spite of everything that happens on the way: redirects, broken connections, short bodies, busy
 * servers, servers that cannot seek. What broke is resumed where it broke, if the server proves that it is still the same
 * file; nothing of two files is ever mixed. */

#include "fetch/http.h"

#define DOWNLOAD_REDIRECTS_MAX 5u

/* The whole body. More than max bytes are a failure of this kind. -ENOENT for 404 and 410. */
int download_get(Http *h, const char *url, size_t max, WhyKind kind, Bytes *ret, Why *why);
/* The same of what a registry calls a manifest. ret_reply (may be NULL) is the answer's head, also of a refusal. */
typedef struct DownloadAsk {
        const char *url, *accept; /* media types */
        size_t max;
        WhyKind kind; /* of more than that */
        bool once;    /* a failure of the server's is an answer */
} DownloadAsk;

int download_document(Http *h, const DownloadAsk *ask, Bytes *ret, Reply *ret_reply, Why *why);
/* expect_size: UINT64_MAX, or the signed size; another one is WHY_TRUST. h is borrowed as long as the origin lives. */
int download_open(Http *h, const char *url, uint64_t expect_size, Origin *ret, Why *why);
/* The same for a container, of which far from everything will be read: less of it comes along unasked. */
int download_open_parts(Http *h, const char *url, uint64_t expect_size, Origin *ret, Why *why);
