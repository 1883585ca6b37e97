/* SPDX-License-Identifier: MIT */
#pragma once

/* The fence around json-c, and what json-c does not check: duplicate keys, depth, fractions and exponents, UTF-8.
 * Values are borrowed from the tree they came from. */

#include "base/why.h"

typedef struct json_object Json;

#define JSON_DEPTH_MAX 16u /* gybe's own documents, formats.md */

typedef enum JsonFlags {
        JSON_COMMENTS = 1 << 0,  /* configuration files: C comments of both kinds are white space */
        JSON_FRACTIONS = 1 << 1, /* other people's documents may have them in fields that we do not know */
} JsonFlags;

/* Strict: one value, no trailing bytes, no duplicate keys at any depth, integers only (see the flags), valid UTF-8,
 * depth at most max_depth. -EBADMSG with a position in *why (kind and "what" are the caller's). */
int json_parse(const void *data, size_t size, unsigned flags, unsigned max_depth, const char *what,
               WhyKind kind, Json **ret, Why *why);
Json *json_unref(Json *j);
void json_unrefp(Json **j);
Json *json_ref(const Json *j);

/* questions. A missing member and JSON null are the same: absent. */
bool json_is_object(const Json *j);
bool json_is_array(const Json *j);
bool json_is_string(const Json *j);
const Json *json_get(const Json *object, const char *key);
/* Whether the member is written down at all, be it as null: for files in which null says something. */
bool json_has(const Json *object, const char *key);
/* NULL when absent or not a string (or with an embedded NUL, which nothing of ours may have). */
const char *json_get_str(const Json *object, const char *key);
const char *json_str(const Json *j);
/* 1 found, 0 absent, -EINVAL when it is not a non-negative integer below 2^64. *ret untouched unless 1. */
int json_get_u64(const Json *object, const char *key, uint64_t *ret);
int json_u64(const Json *j, uint64_t *ret);
/* 1 found, 0 absent, -EINVAL */
int json_get_bool(const Json *object, const char *key, bool *ret);
/* A duration: integer seconds or "1h30m". 1 found, 0 absent, -EINVAL */
int json_get_duration(const Json *object, const char *key, uint64_t *ret_sec);
/* 1 found, 0 absent, -EINVAL */
int json_get_time(const Json *object, const char *key, uint64_t *ret_sec);
size_t json_len(const Json *array);
const Json *json_at(const Json *array, size_t i);
size_t json_members(const Json *object);
#define json_foreach(item, array)                                                                            \
        for (size_t _i_##item = 0; _i_##item < json_len(array); _i_##item++)                                 \
                for (const Json *item = json_at((array), _i_##item); item; item = NULL)
/* Calls f for every member, in file order, until it returns non-zero; returns that. */
int json_each(const Json *object, int (*f)(void *ctx, const char *key, const Json *value), void *ctx);

/* building: all take ownership of value and accept NULL objects/values after memory ran out (the failure shows in
 * json_format) */
Json *json_new_object(void);
Json *json_new_array(void);
void json_set(Json *object, const char *key, Json *value);
void json_set_str(Json *object, const char *key, const char *value); /* NULL: not set */
void json_set_null(Json *object, const char *key);
void json_set_u64(Json *object, const char *key, uint64_t value);
void json_set_bool(Json *object, const char *key, bool value);
void json_set_time(Json *object, const char *key, uint64_t sec);
void json_add(Json *array, Json *value);
void json_add_str(Json *array, const char *value);
void json_add_u64(Json *array, uint64_t value);
Json *json_new_str(const char *value);
Json *json_new_u64(uint64_t value);
void json_remove(Json *object, const char *key);
/* object member as mutable, created as {} when absent */
Json *json_sub(Json *object, const char *key);
/* Text; pretty has two-blank indentation and ends with a newline, plain is one line without one. NULL: no memory. */
char *json_format(const Json *j, bool pretty);
/* RFC 7396: objects merge, everything else (arrays too) replaces. target is changed. */
void json_merge(Json *target, const Json *patch);
