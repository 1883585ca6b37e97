/* SPDX-License-Identifier: MIT */
#pragma once

/* Length-prefixed records over a stream socketpair: the only language that a job and its gybe-fetch share. A
 * request is one record and gets one answer: any number of DATA, ZERO and PROGRESS, then exactly one DONE or
 * FAIL.
 *
 *      job   -> fetch   MEMBER "images/usr-a.zst" ...
 *      fetch -> job     DATA 131072 bytes, ZERO 40960, DATA ..., PROGRESS, DATA ..., DONE
 *
 * Both ends run on one machine, so numbers are in its byte order. The job's side trusts nothing of what it
 * reads: lengths are bounded before memory is touched, descriptors that a child might send are dropped by the
 * kernel, and values come out of a record only through wire_get_*(), which cannot read beyond it. */

#include "base/why.h"

#define WIRE_VERSION 6u /* raised with every change of a record: both ends are built together */
#define WIRE_RECORD_MAX                                                                                      \
        (128u * 1024u)        /* one unit of streaming; design.md section 5: bigger ones are no faster */
#define WIRE_ALIGN      4096u /* of a record's data: fit for direct I/O */
#define WIRE_FDS_MAX    5u    /* CA, certificate, key, bearer token, users of registries */
#define WIRE_STRING_MAX 8192u /* the longest string of a request is a URL */

typedef enum WireType {
        /* requests */
        WIRE_SETUP,
        WIRE_ENVELOPE,
        WIRE_COSI_OPEN,
        WIRE_COSI_FINISH,
        WIRE_MEMBER,
        WIRE_SIGNATURE,
        WIRE_ESP_OPEN,
        WIRE_ESP_READ,
        WIRE_ESP_PE,
        /* parts of an answer */
        WIRE_DATA,
        WIRE_ZERO,
        WIRE_PROGRESS,
        /* ends of an answer */
        WIRE_DONE,
        WIRE_FAIL,
        /* more requests; here, so that recorded conversations (the fuzz corpus) keep their meaning */
        WIRE_HTTP,
        /* parts of an image */
        WIRE_INDEX,
        WIRE_LEAVES,
        WIRE_BLOCKS,
        WIRE_EXTENTS,
        WIRE_OMAHA,
        /* an OSTree repository */
        WIRE_REBUILD,
        WIRE_REBUILD_LIST,
        WIRE_REBUILD_NEXT,
        /* an ESP image in parts */
        WIRE_ESP_LIKE,
        WIRE_ESP_COST,
        _WIRE_TYPE_MAX,
        _WIRE_TYPE_INVALID = -22,
} WireType;

typedef struct WireRecord {
        WireType type;
        uint64_t bytes; /* what came in from outside since the start, as the sender says */
        size_t size;
        uint8_t *data; /* WIRE_RECORD_MAX bytes, allocated with the first record and kept */
        int fds[WIRE_FDS_MAX];
        size_t n_fds;
} WireRecord;

#define WIRE_RECORD_NULL                                                                                     \
        (WireRecord)                                                                                         \
        {                                                                                                    \
                .type = _WIRE_TYPE_INVALID                                                                   \
        }

void wire_record_done(WireRecord *r);
/* The i-th descriptor changes hands; -1 when there is none. */
int wire_record_take_fd(WireRecord *r, size_t i);

/* life of a record on the socket. size is at most WIRE_RECORD_MAX (assert). */
int wire_send(int sock, WireType type, uint64_t bytes, const void *data, size_t size, const int *fds,
              size_t n_fds);

/* Called while there is nothing to read, and never later than ms after that; non-zero ends the waiting with
 * that. */
typedef struct WireWait {
        int (*idle)(void *ctx);
        void *ctx;
        int ms;
} WireWait;

/* 1 a record; 0 the other side has closed between two records; -EBADMSG what came is not a record;
 * -ECONNRESET closed in the middle of one. Without with_fds, descriptors are refused. wait may be NULL. */
int wire_receive(int sock, bool with_fds, const WireWait *wait, WireRecord *r);

/* Values in a record. Writing remembers that memory ran out; reading remembers that the record ended too
 * early or a length was beyond its maximum, and says 0 or empty from there on. */
typedef struct WirePack {
        Bytes bytes;
        bool failed;
} WirePack;

#define WIRE_PACK_NULL                                                                                       \
        (WirePack)                                                                                           \
        {                                                                                                    \
                0                                                                                            \
        }

void wire_pack_done(WirePack *p);
void wire_put_u32(WirePack *p, uint32_t v);
void wire_put_u64(WirePack *p, uint64_t v);
void wire_put_bytes(WirePack *p, const void *data, size_t size);
void wire_put_str(WirePack *p, const char *s); /* NULL is not "" */

typedef struct WireUnpack {
        const uint8_t *data;
        size_t size;
        bool failed;
} WireUnpack;

WireUnpack wire_unpack(const void *data, size_t size);
uint32_t wire_get_u32(WireUnpack *u);
uint64_t wire_get_u64(WireUnpack *u);
void wire_get_bytes(WireUnpack *u, size_t max, Bytes *ret);
/* Text without NUL and control bytes, valid UTF-8; at most max bytes. *ret is NULL where NULL was put. */
void wire_get_str(WireUnpack *u, size_t max, char **ret);
/* The same into buf; NULL becomes "". */
void wire_get_text(WireUnpack *u, char *buf, size_t size);
/* The same as wire_get_str() for what is only compared, never shown as it is: any byte but NUL. */
void wire_get_raw(WireUnpack *u, size_t max, char **ret);
/* Everything was there and nothing is left. */
bool wire_get_end(const WireUnpack *u);
