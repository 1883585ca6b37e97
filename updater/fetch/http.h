/* SPDX-License-Identifier: MIT */
#pragma once

/* HTTP requests, one at a time, as a pull: nothing is read from the network that nobody asked for yet. Knows connections,
 * TLS, proxies, the token and how slow is too slow; knows nothing of files, retries or redirects beyond one hop
 * (download.h). */

#include "fetch/bandwidth.h"
#include "fetch/fetch.h"
#include "fetch/origin.h"
#include "fetch/reply.h"

#define HTTP_TOKEN_MAX (16u * 1024u)

typedef struct HttpOptions {
        Bytes ca, certificate,
                key; /* PEM; empty: the system's CAs, no client certificate; a key may stand in certificate */
        char *bearer;        /* a token, or NULL */
        char *bearer_origin; /* see FetchOptions */
        char *proxy;         /* NULL: what the environment says */
        uint64_t connect_timeout_sec, stall_timeout_sec;
        unsigned retries;
        uint64_t bandwidth; /* bytes a second, of all downloads together; 0 no limit */
} HttpOptions;

void http_options_done(HttpOptions *o);

/* Before the sandbox: whatever libraries load when they start. */
int http_init(Why *why);

typedef struct Http Http;

/* takes what options owns, also on failure; watch is copied */
int http_new(HttpOptions *options, const OriginWatch *watch, Http **ret, Why *why);
Http *http_free(Http *h);
void http_freep(Http **h);
const OriginWatch *http_watch(const Http *h);
unsigned http_retries(const Http *h);
/* Somebody paused between two attempts: it counts as waiting for the server. */
void http_waited(Http *h, uint64_t ms);
/* -EIO, once, when all that was waited for lately brought next to nothing. */
int http_check_patience(Http *h, const char *name, Why *why);

/* Who knows what to say to which server (registry.h). Asked for every request of its own URL, behind redirects too. */
typedef struct HttpAuth {
        const char *(*header)(void *ctx,
                              const char *url); /* "Authorization: ..."; NULL: nothing to say there */
        /* This URL was answered with 401. 1 ask once more, 0 there is no more to say; -EAGAIN, said in *why: perhaps later, and
         * not before *ret_after_sec, which is 0 otherwise */
        int (*challenged)(void *ctx, const char *url, const Reply *reply, uint64_t *ret_after_sec, Why *why);
        void *ctx;
} HttpAuth;

/* copied */
void http_set_auth(Http *h, const HttpAuth *auth);
int http_challenged(Http *h, const char *url, const Reply *reply, uint64_t *ret_after_sec, Why *why);
bool http_has_auth(const Http *h, const char *url);

/* What a request brings along; hosts send nothing but exchanges, this is for who publishes. */
typedef struct HttpSend {
        const char *method; /* "HEAD", "POST", "PUT" */
        const char *type;   /* Content-Type; NULL none */
        uint64_t size;
        /* n bytes at offset, all of them; NULL with size 0 */
        int (*read)(void *ctx, uint64_t offset, void *buf, size_t n);
        void *ctx;
} HttpSend;

/* What one request asks for. */
typedef struct HttpAsk {
        bool ranged; /* bytes first to last */
        uint64_t first, last;
        const char *if_range; /* NULL: none */
        const char *accept;   /* media types; NULL: any */
        const HttpSend *send; /* instead of GET; the answer's body may be read whatever its status */
        bool redirected;      /* the URL comes from a server: no user name in it counts */
        const FetchHttp
                *exchange; /* instead of a download: one request and its answer, whatever its status; on a
                                      connection of its own, since libcurl repeats what it sent over one that was
                                      kept and then turned out to be closed */
} HttpAsk;

typedef struct Transfer Transfer;

/* Up to the head of the response: its status may be any. A transfer without a complete head has failed. */
int transfer_start(Http *h, const char *url, const HttpAsk *ask, Transfer **ret, Why *why);
/* Gives the connection back when the body was read to its end, else closes it. */
Transfer *transfer_free(Transfer *t);
void transfer_freep(Transfer **t);

const Reply *transfer_reply(const Transfer *t);
/* Fewer bytes than n mean that the transfer is over: at the end of its body, or failed. */
int transfer_read(Transfer *t, uint8_t *buf, size_t n, size_t *ret_got, Why *why);
/* The whole body was read, and it was as long as the head said. */
bool transfer_is_complete(const Transfer *t);
/* What the server asked for in Retry-After, at most max; 0: nothing. */
uint64_t transfer_retry_after_sec(const Transfer *t, uint64_t max);
/* Why it is over too early, in a sentence about name. -EAGAIN: another attempt may cure it. */
typedef enum TransferFault {
        TRANSFER_BROKEN,
        TRANSFER_UNREACHED, /* there was not even a connection */
        TRANSFER_STALLED,   /* what came before the silence is no progress */
} TransferFault;

int transfer_failure(const Transfer *t, const char *name, TransferFault *ret_fault, Why *why);

/* The URL that Location means, seen from the URL from. Only http and https, and never from https to http. */
int http_redirect(const char *from, const char *location, const char *name, char **ret, Why *why);
