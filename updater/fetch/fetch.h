/* SPDX-License-Identifier: MIT */
#pragma once

/* The job's side of gybe-fetch: the unprivileged process that speaks HTTP and takes envelopes, tar, zstd, FAT
 * and PE apart. One request at a time over a socketpair, length-prefixed records (wire.h). Everything that
 * comes back is hostile until a digest, a signature or a root hash has judged it.
 *
 * A url is http://, https://, file: or a plain path (of the caller, never below --root; relative to the
 * working folder); or oci:// (source/oci.h), one address for a COSI and its release file. When a sink or the tick stopped an answer in its middle, or the process misbehaved
 * (WHY_HOST), nothing but fetch_stop() is left to do; after every other failure the next request may follow.
 */

#include "base/env.h"
#include "image/cosi.h"
#include "image/index.h"
#include "release/release.h"
#include "source/omaha.h"
#include "bootloader/uki.h"

/* http.* of the configuration; strings are owned. */
typedef struct FetchOptions {
        char *ca, *certificate, *key, *bearer_file,
                *proxy;      /* files are paths on the host, inside env's root */
        char *bearer_origin; /* a URL whose scheme, host and port are the only ones to get the token; NULL:
                                those of the first http(s) URL asked for */
        char *oci_auth_file; /* containers-auth.json(5): users of registries */
        char *arch;          /* of an image for several; NULL: this machine's */
        uint64_t connect_timeout_sec, stall_timeout_sec; /* 0: defaults (20 s, 60 s) */
        unsigned retries;                                /* 0: default (8) */
        uint64_t bandwidth;                              /* bytes a second; 0 no limit */
} FetchOptions;

void fetch_options_done(FetchOptions *o);

typedef struct Fetch Fetch;

/* Starts the process. When the caller is root: user gybe-fetch (fallback nobody), no-new-privs, seccomp, no
 * writable file but the scratch descriptor. Files that only root can read (client key, bearer token, a COSI
 * in /root) are opened by the caller and passed as descriptors. */
int fetch_start(const Env *env, const FetchOptions *options, Fetch **ret, Why *why);
Fetch *fetch_stop(Fetch *f);
void fetch_stopp(Fetch **f);

/* Bytes that came over the network (or from a file) since the start, for progress. */
uint64_t fetch_bytes(const Fetch *f);
/* Called now and then while bytes flow; non-zero stops with that error. */
typedef int (*FetchTick)(void *ctx);
void fetch_set_tick(Fetch *f, FetchTick tick, void *ctx);

/* An envelope file, taken apart by the child. sha384 (may be NULL) gets the hex digest of the whole file,
 * computed there (a consistency check against the index, not a proof). -ENOENT when the server says 404/410
 * or there is no such file. */
int fetch_envelope(Fetch *f, const char *url, Envelope *ret, char sha384[97], Why *why);

/* One small HTTP exchange (a lock server, a health endpoint, a report): the answer whatever its status (a redirect is one),
 * its body cut at max bytes. No retries but the caller's. Negative only where there was no answer: WHY_NETWORK, with code
 * "timeout" when time was over; or where the request is not one that is sent (WHY_USAGE). The token of the configuration goes
 * along only to the origin that the configuration names for it. Loopback is never asked through a proxy. */
typedef struct FetchHttp {
        const char *url;
        const char *method; /* "GET" or "POST" */
        char *const *
                headers; /* "Name: value" in printable ASCII, NULL-terminated; NULL none. Not those that frame the
                                 message (Host, Content-Length, Transfer-Encoding, Connection, Expect). */
        const char *body;     /* NULL none; sent as application/json unless a header says otherwise */
        uint64_t timeout_sec; /* of the whole exchange; 0: 30 */
        size_t max;           /* of the answer's body; at most FETCH_HTTP_MAX; 0: it is not looked at */
} FetchHttp;

#define FETCH_HTTP_MAX         (64u * 1024u) /* of a body, both ways: verdicts, error objects, reports */
#define FETCH_HTTP_HEADERS_MAX (32u * 1024u) /* of all lines together; servers refuse more */
#define FETCH_HTTP_LINES_MAX   32u
#define FETCH_RETRY_AFTER_MAX  (24u * 3600u) /* "come again tomorrow" is the longest that anybody means */

typedef struct FetchHttpReply {
        unsigned status;          /* 200 to 999 */
        uint64_t retry_after_sec; /* at most a day; 0 none */
        Bytes body;               /* hostile; NUL-terminated behind its size */
} FetchHttpReply;

int fetch_http(Fetch *f, const FetchHttp *request, FetchHttpReply *ret, Why *why);
void fetch_http_reply_done(FetchHttpReply *r);

/* One question to an update server: POSTs body (omaha_format()) to an http(s) url; its answer is taken apart by the child. Nothing
 * is followed or repeated. Negative where there was no answer, or one that is not Omaha's: WHY_NETWORK. */
int fetch_omaha(Fetch *f, const char *url, const char *body, uint64_t timeout_sec, OmahaReply *ret, Why *why);

/* Opens a COSI: finds metadata.json and says its raw bytes and the size of the whole file. Nothing is parsed
 * as JSON. */
typedef struct FetchCosi {
        uint64_t size;
        Bytes metadata;
        bool has_ranges;
} FetchCosi;

/* expect_size UINT64_MAX: no signed size. A different size is WHY_TRUST when a signed size was given. */
int fetch_cosi_open(Fetch *f, const char *url, uint64_t expect_size, FetchCosi *ret, Why *why);
void fetch_cosi_done(FetchCosi *c);

/* The rest of the container: to the end-of-archive marker, through every header that was not seen yet. Where
 * the source can seek this was done when it was opened and costs nothing; where it cannot, the remaining
 * bytes are downloaded. Must have succeeded before anything staged from this COSI is called good. */
int fetch_cosi_finish(Fetch *f, Why *why);

/* Streams the decompressed bytes of one member of the open COSI: compressed size, digest of the compressed
 * bytes and decompressed size must be what image says (kind: what a contradiction is called). Runs of zeroes
 * come as zero(). The child seeks where the server can, and starts over where it cannot. */
typedef struct FetchSink {
        /* data is aligned to 4096; of a member, every call but the last has a multiple of 4096 bytes */
        int (*data)(void *ctx, const void *data, size_t size, Why *why);
        int (*zero)(void *ctx, uint64_t size, Why *why);
        void *ctx;
} FetchSink;

int fetch_member(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                 const FetchSink *sink, Why *why);
/* A small member whole (GPT region, HASH-SIG): at most max bytes. */
int fetch_member_bytes(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind, size_t max,
                       Bytes *ret, Why *why);
#define FETCH_SIGNATURE_MAX (1024u * 1024u) /* the HASH-SIG partition; acl-disk-and-boot.md 3.1 */

/* The HASH-SIG payload, checked by the child (acl-disk-and-boot.md 3.1): compact JSON with rootHash and
 * signature, NUL padding. 1 it names this root hash and *ret has the raw payload; 0 it is blank; negative
 * otherwise. */
int fetch_member_signature(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                           const char *roothash, Bytes *ret, Why *why);

/* --- parts of an image; only from a container that has_ranges --- */

/* Ranges of blocks of the image that a member decompresses to, or of leaves of its index: in rising order, without overlap. */
#define FETCH_RANGES_MAX 8192u /* of one request */

/* The head and the groups of the container's block index (image/index.h). */
typedef struct FetchIndex {
        IndexHead head;
        uint64_t size; /* of the whole member */
        Bytes groups;
} FetchIndex;

/* 1 it has one that is well formed, 0 there is none. What it says is believed by nobody. */
int fetch_index_open(Fetch *f, FetchIndex *ret, Why *why);
void fetch_index_done(FetchIndex *index);
/* The leaves of these blocks, INDEX_LEAF_SIZE bytes each, in order. After fetch_index_open(). */
int fetch_index_leaves(Fetch *f, const BlockRange *ranges, size_t n, Bytes *ret, Why *why);

/* The decompressed bytes of these blocks, in order, out of as few frames as hold them. -EOPNOTSUPP: this image has no seek
 * table (or the server stopped giving parts); -EBADMSG: table or frames are not what they should be. Both say only that it does
 * not work this way: fetch_member() may. No digest of the member is checked. */
int fetch_blocks(Fetch *f, const CosiImage *image, const BlockRange *ranges, size_t n, const FetchSink *sink,
                 Why *why);

/* What fetch_blocks() would ask for: bytes of the container's file. */
typedef struct FetchExtent {
        uint64_t offset, size;
} FetchExtent;

int fetch_blocks_extents(Fetch *f, const CosiImage *image, const BlockRange *ranges, size_t n,
                         FetchExtent **ret, size_t *ret_n, Why *why);

/* --- an OSTree repository: what is new in it, made from what is here --- */

/* The files that run here, as OSTree's objects. */
typedef struct FetchObjects {
        /* A descriptor of the content of the file object with this name, to be closed by the caller; -1: not here. */
        int (*open)(void *ctx, const uint8_t id[32]);
        /* The names of all objects, 32 bytes each; borrowed. */
        int (*list)(void *ctx, const uint8_t **ret, size_t *ret_n, Why *why);
        /* Writes these blocks of the image that runs into fd, one behind another. Negative: they cannot be had. */
        int (*blocks)(void *ctx, const BlockRange *ranges, size_t n, int fd);
        void *ctx;
} FetchObjects;

/* Of old blocks that are asked for at once: 4 MiB. */
#define FETCH_OLD_BLOCKS_MAX 1024u
#define FETCH_OLD_RANGES_MAX 256u

typedef struct FetchRebuilt {
        int fd; /* an unlinked file of whole blocks: contents one behind another, each padded with zeroes */
        uint32_t n_blocks;
        bool is_delta;  /* made by a static delta; else from whole objects */
        Why incomplete; /* why it is not everything; WHY_NONE: it is */
} FetchRebuilt;

#define FETCH_REBUILT_NULL                                                                                   \
        (FetchRebuilt)                                                                                       \
        {                                                                                                    \
                .fd = -1                                                                                     \
        }

/* to: the release's root hash; from: the running one; limit: bytes of the image, more is never made. Whatever goes wrong with
 * the repository only makes fewer blocks: negative is nothing but a process that misbehaved or was stopped. Nobody believes the
 * blocks: they are looked up by their hashes. */
int fetch_rebuild(Fetch *f, const char *url, const char *to, const char *from, uint64_t limit,
                  const FetchObjects *here, FetchRebuilt *ret, Why *why);
void fetch_rebuilt_done(FetchRebuilt *r);

/* The ESP image: decompressed by the child into a scratch file, read as FAT. */
typedef struct FetchEspFile {
        char *path; /* as on the FAT */
        uint32_t size;
} FetchEspFile;

typedef struct FetchEsp {
        FetchEspFile *files; /* folders are left out */
        size_t n_files;
} FetchEsp;

int fetch_esp_open(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind, FetchEsp *ret,
                   Why *why);
/* What has to be saved for an ESP image to be fetched in parts. */
#define FETCH_ESP_PARTS_MIN (UINT64_C(4) * MIB)
/* The same, but no more is fetched than what is read. The image is not held to its digest then: for who knows the digests of the
 * files. -EOPNOTSUPP: this image or this server does not allow for that. */
int fetch_esp_open_parts(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                         FetchEsp *ret, Why *why);
void fetch_esp_done(FetchEsp *esp);
/* Of an image in parts: this host has a file (fd is borrowed) that may resemble file i; what they share need not be fetched. */
int fetch_esp_like(Fetch *f, const FetchEsp *esp, size_t i, int fd, Why *why);
/* Of an image in parts: what reading file i would fetch. */
int fetch_esp_cost(Fetch *f, const FetchEsp *esp, size_t i, uint64_t *ret, Why *why);
/* One file of it, whole, by its index. */
int fetch_esp_read(Fetch *f, const FetchEsp *esp, size_t i, const FetchSink *sink, Why *why);
/* One file of it, taken apart as a PE by the child. */
int fetch_esp_pe(Fetch *f, const FetchEsp *esp, size_t i, PeSummary *ret, Why *why);
