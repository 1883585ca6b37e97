/* SPDX-License-Identifier: MIT */
#pragma once

/* The head of an HTTP response, as far as a download that may be resumed, or a registry, needs it. Pure: header lines in, one at a time. */

#include "base/mem.h"

#define REPLY_HEADERS_MAX                                                                                    \
        (64u * 1024u)       /* all header lines of a response; real ones have 1 kB, with cookies some more */
#define REPLY_URL_MAX 8192u /* a redirect to a signed blob URL has 1 kB */

#define REPLY_CHALLENGE_MAX 2048u /* a challenge has 200 bytes */
#define REPLY_LINK_MAX      2048u /* one page of a list names the next */

typedef struct Reply {
        unsigned status; /* 0: none yet */
        bool complete;   /* the empty line was seen, and it was not an interim response */
        bool has_length, has_range, has_total, accepts_ranges, is_encoded;
        uint64_t length;              /* Content-Length */
        uint64_t first, last, total;  /* Content-Range: bytes first-last/total; of 416 only total */
        char etag[256], modified[64]; /* "" absent */
        char location[REPLY_URL_MAX]; /* "" absent */
        /* what registries say; "" absent */
        char challenge[REPLY_CHALLENGE_MAX]; /* all WWW-Authenticate lines, joined by commas */
        char link[REPLY_LINK_MAX], type[128];
        char digest[80], subject[80]; /* Docker-Content-Digest, OCI-Subject */
        size_t header_bytes;
} Reply;

/* One header line with or without its line end. -EMSGSIZE too much of them, -EBADMSG one that contradicts itself. */
int reply_line(Reply *r, const char *line, size_t n);
/* Weak tags ("W/...") say "as good as", not "the same bytes". */
bool reply_has_strong_etag(const Reply *r);
/* Both are of the same bytes, as far as they say. */
bool reply_same(const Reply *a, const Reply *b);
