/* SPDX-License-Identifier: MIT */
#pragma once

/* What an ostree:// address means, and what a source of type "ostree" offers. Pure: what a repository answers is gybe-fetch's
 * business (fetch/ostree.h).
 *
 *      ostree://HOST[:PORT]/PATH[#REF[@VERSION]]          over https
 *      ostree+http://..., ostree+https://...              say it outright
 *
 * Without a ref: PRODUCT/ARCH/CHANNEL of this host. With a version: the newest commit of the ref's history with that version.
 * A release in a repository: a commit that carries the release file in its metadata; its COSI is gybe/NAME.cosi there. */

#include "source/source.h"

typedef struct OstreeUrl {
        char *base;    /* "https://host/path", without a slash at its end */
        char *query;   /* "?sas=..." or "" */
        char *ref;     /* NULL: none */
        char *version; /* NULL: what the ref points to */
} OstreeUrl;

/* "a/b-c/d.e": no "..", no empty parts. */
bool ostree_ref_is_valid(const char *ref);
bool url_is_ostree(const char *url);
int ostree_url_parse(const char *url, OstreeUrl *ret, Why *why);
void ostree_url_done(OstreeUrl *url);
/* A file of the repository: base/path?query. */
int ostree_url_file(const OstreeUrl *url, const char *path, char **ret);
/* The COSI of the release that this address means. */
int ostree_cosi_url(const char *url, const char *name, char **ret, Why *why);

/* configured: an address as above, or a plain http(s) URL of the repository. */
int ostree_offer(const char *configured, const char *product, const char *arch, const char *channel,
                 const char *want_version, Offer *ret, Why *why);
