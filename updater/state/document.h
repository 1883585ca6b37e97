/* SPDX-License-Identifier: MIT */
#pragma once

/* What every document in the state folder has in common: schema "gybe.<kind>/<major>", a folder only root can
 * enter, atomic replacement, and the rule that a file that cannot be read is lost, not fatal. Used inside
 * this room only. */

#include "state/state.h"

#define STATE_DIR_MODE                                                                                       \
        0700u /* history names people, hosts and addresses: administrators only, others ask over the bus */
#define STATE_FILE_MODE 0600u

/* An fd of STATE_DIR or of a folder in it ("" the folder itself). Missing: -ENOENT without a word in *why, or
 * made. */
int state_open_dir(const Env *env, const char *sub, bool make, Why *why);

/* Reading must not mistake "I may not look" or "no memory" for "lost": those are errors, everything else that
 * is wrong with a file is not. */
typedef enum DocumentFound {
        DOCUMENT_MISSING,
        DOCUMENT_READ,
        DOCUMENT_LOST, /* *lost says why */
} DocumentFound;

/* name is relative to STATE_DIR. A DocumentFound or negative errno. */
int document_read(const Env *env, const char *name, size_t max, Bytes *ret, Why *lost, Why *why);
/* Bytes -> object whose schema is "gybe.<kind>/1"; another kind, a higher major or a malformed one is
 * -EBADMSG. */
int document_parse(const void *data, size_t size, const char *kind, Json **ret, Why *why);
/* A fresh object with the schema; unknown (may be NULL) is copied into it first. */
Json *document_new(const char *kind, const Json *unknown);
int document_format(Json *document, char **ret);
int document_write(const Env *env, const char *name, const char *text, Why *why);
/* Keeps the present file as NAME.lost (a second name for it, so there is no moment without a file). */
int document_keep_lost(const Env *env, const char *name);

/* Fields of a parsed object: the first one that is wrong is remembered in r, with a sentence; absent ones
 * leave *ret alone. */
typedef struct Fields {
        const Json *object;
        const char *what; /* "journal" */
        Why *why;
        int r;
} Fields;

#define FIELD_TEXT_MAX 4096u /* addresses and messages; longer ones are not ours */
#define FIELD_NAME_MAX 127u  /* a file name on the ESP */

void field_text(Fields *f, const char *key, char **ret);
/* One component of a path: no slash, no control character, not "." or "..". */
void field_file_name(Fields *f, const char *key, char **ret);
/* 64 hex digits of either case, kept lower-case. */
void field_digest(Fields *f, const char *key, char ret[65]);
void field_u64(Fields *f, const char *key, uint64_t *ret);
void field_unsigned(Fields *f, const char *key, unsigned *ret);
void field_bool(Fields *f, const char *key, bool *ret);
void field_time(Fields *f, const char *key, uint64_t *ret);
void field_slot(Fields *f, const char *key, char *ret);
void field_u64_list(Fields *f, const char *key, size_t max, uint64_t **ret, size_t *ret_n);
void field_digest_list(Fields *f, const char *key, size_t max, char ***ret);
/* NULL when absent; remembers a wrong type. Borrowed. */
const Json *field_object(Fields *f, const char *key);
const Json *field_array(Fields *f, const char *key, size_t max);
int field_wrong(Fields *f, const char *key, const char *problem);

/* The writing side: an unset value removes the key, so that what was read before does not come back. */
void member_text(Json *object, const char *key, const char *value);
void member_u64(Json *object, const char *key, uint64_t value, bool set);
void member_bool(Json *object, const char *key, bool value);
void member_time(Json *object, const char *key, uint64_t value);
void member_slot(Json *object, const char *key, char slot);
void member_u64_list(Json *object, const char *key, const uint64_t *list, size_t n);
void member_text_list(Json *object, const char *key, char *const *list);
