/* SPDX-License-Identifier: MIT */
#pragma once

/* What every signed document of ours needs when it is read: a member must be there, have a type and a size, and the
 * sentence about it must name document and field. Internal to this room. */

#include "base/json.h"

#define DOC_TEXT_MAX   128u  /* product, channel, version, signer: words that people type */
#define DOC_PATH_MAX   512u  /* beyond what FAT (255 a component) and URLs in the field need */
#define DOC_LIST_MAX   1024u /* entries of any list; an envelope of 256 KiB has no room for many more */
#define DOC_SHA256_HEX 64u
#define DOC_SHA384_HEX 96u

typedef struct Doc {
        const Json *json; /* the object whose members are asked for */
        const char *what; /* names the document: a file name or URL */
        char where[48];   /* "usr.", "boot[3]."; "" at the top */
        Why *why;
} Doc;

/* Parses and checks the schema name. The tree goes to ret_json, ret borrows from it. */
int doc_open(const void *payload, size_t size, const char *what, const char *schema, Json **ret_json,
             Doc *ret, Why *why);
/* Fills the Why: "WHAT: WHERE.FIELD: reason". Returns -EBADMSG. */
int doc_fail(const Doc *d, const char *field, const char *fmt, ...) _printf_(3, 4);

/* Required members unless said otherwise. */
int doc_object(const Doc *d, const char *key, Doc *ret);
int doc_array(const Doc *d, const char *key, size_t min, size_t max, const Json **ret);
/* The i-th object of an array member. */
int doc_item(const Doc *d, const char *key, const Json *array, size_t i, Doc *ret);
/* Non-empty text without control characters. */
int doc_text(const Doc *d, const char *key, size_t max, char **ret);
int doc_text_list(const Doc *d, const char *key, size_t min, size_t max, char ***ret);
/* A relative path that stays below where it starts; see path_reason(). */
int doc_path(const Doc *d, const char *key, char **ret);
int doc_u64(const Doc *d, const char *key, uint64_t *ret);
int doc_time(const Doc *d, const char *key, uint64_t *ret);
/* Exactly so many hex digits, made lower case; ret has digits + 1 bytes. */
int doc_hex(const Doc *d, const char *key, size_t digits, char *ret);
int doc_hex_of(const Doc *d, const char *key, const Json *value, size_t digits, char *ret);

/* Plain text: not empty, not longer than max, no control characters. NULL when fine, else the reason. */
const char *text_reason(const char *s, size_t max);
/* NULL when fine, else the reason: absolute, "..", ".", empty component, backslash, control character, too long. */
const char *path_reason(const char *path);
