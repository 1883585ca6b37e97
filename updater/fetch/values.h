/* SPDX-License-Identifier: MIT */
#pragma once

/* The values that cross the wire, both halves of each beside each other: put in one process, get in the
 * other. Every get checks again what the other side should have checked; *ret is untouched on failure. */

#include "fetch/fetch.h"
#include "fetch/wire.h"

#define VALUE_ENVELOPE_MAX (ENVELOPE_MAX + ENVELOPE_SIGNATURES_MAX * (SIGNATURE_MAX + 256u) + 1024u)
#define VALUE_ESP_MAX      (8u * 1024u * 1024u) /* FAT_ENTRIES_MAX paths of FAT_PATH_MAX bytes, and some more */
#define VALUE_PE_MAX       (4u * 1024u * 1024u)
#define VALUE_PE_PROFILES_MAX                                                                                \
        (1024u * 1024u) /* command lines of all profiles of a UKI; one has some 200 bytes */
#define VALUE_OMAHA_MAX  (2u * OMAHA_REPLY_MAX) /* lengths instead of quotes */
#define VALUE_PE_SIG_MAX UKI_CERTIFICATES_MAX

/* A failure as it crosses: kind, code and sentences. What a hostile child says can only ever be one of the
 * failures that bringing bytes may have, in printable ASCII. */
void value_put_why(WirePack *p, int r, const Why *why);
/* Fills *why; *ret is the errno of the failure, always negative. */
int value_get_why(WireUnpack *u, int *ret, Why *why);

/* A request of fetch_http(), owned. */
typedef struct ValueHttp {
        FetchHttp request; /* borrows from the rest */
        char *url, *body;
        char **headers;
} ValueHttp;

void value_http_done(ValueHttp *h);
/* Both processes ask: nothing that is sent may hold a byte that could begin another header or another request. */
int value_check_http(const FetchHttp *request, Why *why);
void value_put_http(WirePack *p, const FetchHttp *request);
int value_get_http(WireUnpack *u, ValueHttp *ret);

/* All but status and pause, which the exchange has. */
void value_put_omaha(WirePack *p, const OmahaReply *r);
int value_get_omaha(WireUnpack *u, OmahaReply *ret);

void value_put_image(WirePack *p, const CosiImage *image);
int value_get_image(WireUnpack *u, CosiImage *ret);

/* In rising order, none empty, 1 to FETCH_RANGES_MAX of them. */
void value_put_ranges(WirePack *p, const BlockRange *ranges, size_t n);
int value_get_ranges(WireUnpack *u, BlockRange **ret, size_t *ret_n);

/* The head of an index; checked again on arrival. */
void value_put_index(WirePack *p, const IndexHead *head, uint64_t size);
int value_get_index(WireUnpack *u, IndexHead *ret, uint64_t *ret_size);

void value_put_envelope(WirePack *p, const Envelope *e);
int value_get_envelope(WireUnpack *u, Envelope *ret);

void value_put_esp_file(WirePack *p, const char *path, uint32_t size);
int value_get_esp(WireUnpack *u, FetchEsp *ret);

void value_put_pe(WirePack *p, const PeSummary *s);
int value_get_pe(WireUnpack *u, PeSummary *ret);
