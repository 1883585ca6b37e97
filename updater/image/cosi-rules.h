/* SPDX-License-Identifier: MIT */
#pragma once

/* What the parts of the parser share: cosi-meta.c reads the document, cosi-sections.c what later versions
 * added to it, cosi-check.c judges the whole. */

#include "image/cosi.h"

/* The last minor version of COSI whose rules are known; a later file keeps these and may say more. */
#define COSI_MINOR_KNOWN 2u

typedef struct CosiParser {
        WhyKind kind;
        Why *why;
        bool need_sha384; /* in a 1.0 file too */
        unsigned rules;   /* minor version whose rules apply */
} CosiParser;

/* One sentence for every fault; p is anything with a kind and a why. */
#define cosi_bad(p, ...) fail((p)->why, -EBADMSG, (p)->kind, "cosi-metadata", "metadata.json: " __VA_ARGS__)

int cosi_get_str(const CosiParser *p, const Json *object, const char *key, const char *where,
                 const char **ret);
int cosi_get_number(const CosiParser *p, const Json *object, const char *key, const char *where, uint64_t max,
                    uint64_t *ret);
int cosi_parse_image(const CosiParser *p, const Json *j, const char *where, CosiImage *ret);
int cosi_parse_sections(const CosiParser *p, const Json *root, Cosi *cosi);
int cosi_check(const Cosi *cosi, WhyKind kind, Why *why);
