/* SPDX-License-Identifier: MIT */
#pragma once

/* The only place that speaks HTTP. A whole small body, or an origin whose bytes are pulled: nothing is read from the
 * network that nobody asked for yet. Broken connections, short bodies and busy servers are retried with growing pauses and
 * resumed where they broke, if the server proves that it is still the same file. */

#include "fetch/origin.h"

#define HTTP_REDIRECTS_MAX 5u
#define HTTP_TOKEN_MAX     (16u * 1024u)

typedef struct HttpOptions {
        Bytes ca, certificate,
                key; /* PEM; empty: the system's CAs, no client certificate; a key may stand in certificate */
        char *bearer;        /* a token, or NULL */
        char *bearer_origin; /* see FetchOptions */
        char *proxy;         /* NULL: what the environment says */
        uint64_t connect_timeout_sec, stall_timeout_sec;
        unsigned retries;
} HttpOptions;

void http_options_done(HttpOptions *o);

/* Before the sandbox: whatever libraries load when they start. */
int http_init(Why *why);

typedef struct Http Http;

/* takes what options owns, also on failure; watch is copied */
int http_new(HttpOptions *options, const OriginWatch *watch, Http **ret, Why *why);
Http *http_free(Http *h);
void http_freep(Http **h);

/* The whole body, at most max bytes. -ENOENT for 404 and 410. */
int http_get(Http *h, const char *url, size_t max, Bytes *ret, Why *why);
/* expect_size: UINT64_MAX, or the signed size; another one is WHY_TRUST. h is borrowed as long as the origin lives. */
int http_open(Http *h, const char *url, uint64_t expect_size, Origin *ret, Why *why);
