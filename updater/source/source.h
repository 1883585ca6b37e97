/* SPDX-License-Identifier: MIT */
#pragma once

/* Who offers a release? Pure: addresses and already verified documents in, an Offer out. Fetching is the walk's errand. */

#include "release/release.h"

typedef struct Offer {
        char *release_url; /* the .release.json, absolute URL or path */
        char *cosi_url;    /* NULL: cosi.name beside release_url */
        char *version; /* what the source claims; the signed release must agree; NULL when it does not say */
        uint64_t serial;          /* 0 when it does not say */
        char sha384[97];          /* of the release file, "" when the source does not say */
        bool explicit_;           /* an operator or orchestrator named it */
        bool by_omaha;            /* an update server named it: omaha.h */
        char *omaha_version;      /* what that server calls it; NULL when it does not say */
        uint64_t cosi_size;       /* 0 when it does not say */
        char metadata_sha384[97]; /* of the COSI's metadata.json, "" when it does not say */
} Offer;

void offer_done(Offer *offer);
void offer_move(Offer *dst, Offer *src);

/* URL helpers: what stands beside what. Everything works on http(s) URLs, file: URLs and plain paths alike; a query
 * string (SAS token) of the base is carried over for siblings on the same server. */
int url_sibling(const char *base, const char *relative, char **ret,
                Why *why);                                 /* refuses absolute, "..", "\\", control bytes */
int url_release_of_cosi(const char *cosi_url, char **ret); /* name.cosi -> name.release.json */
bool url_is_cosi(const char *url);
bool url_is_release(const char *url);
int feed_index_url(const char *configured, char **ret); /* folder or index */

/* The operator's words on the command line: RELEASE = path or URL of a .release.json or a .cosi. */
int request_offer(const char *release, Offer *ret, Why *why);

/* A verified feed: the channel's version (or the wanted one) for this arch. 1 an offer, 0 nothing for this arch in the
 * channel; negative when the feed has no such channel (WHY_POLICY), no such wanted version, or is another product's. An offer
 * of a wanted version is explicit. */
int feed_offer(const Feed *feed, const char *index_url, const char *product, const char *channel,
               const char *arch, const char *want_version, Offer *ret, Why *why);
