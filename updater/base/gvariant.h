/* SPDX-License-Identifier: MIT */
#pragma once

/* GVariant, as far as OSTree's files need it: reading a serialised value by its type, and writing one from the inside out. No
 * I/O, no allocation while reading. Only the normal form is accepted, little-endian framing; integers come out as they lie there
 * (OSTree keeps some of them in network order). */

#include "base/mem.h"

#define GVARIANT_TYPE_MAX 64u /* of a type string; OSTree's longest has 40 characters */

/* A value inside bytes that somebody else owns. */
typedef struct GVariant {
        const char *type; /* exactly one complete type; not NUL-terminated */
        size_t type_size;
        const uint8_t *data;
        size_t size;
} GVariant;

/* type is a constant: it must outlive the value. -EBADMSG when the bytes cannot be a value of that type. */
int gvariant_open(const char *type, const void *data, size_t size, GVariant *ret);
/* Of an array, tuple, dictionary entry or variant. */
int gvariant_n_children(const GVariant *v, size_t *ret);
int gvariant_child(const GVariant *v, size_t i, GVariant *ret);
bool gvariant_is(const GVariant *v, const char *type);

int gvariant_u8(const GVariant *v, uint8_t *ret);
int gvariant_u32(const GVariant *v, uint32_t *ret);
int gvariant_u64(const GVariant *v, uint64_t *ret);
/* Points into the bytes: valid UTF-8, no control characters. */
int gvariant_str(const GVariant *v, const char **ret);
/* The value of a name in a{sv}, out of its variant. 1 found, 0 not there. */
int gvariant_lookup(const GVariant *dict, const char *name, GVariant *ret);

/* A container that is being written. Children are added as finished bytes, in order, in the byte order they are to have. */
typedef struct GVariantBuild {
        Bytes body;
        size_t *ends, n_ends;
        bool is_array, failed;
        bool last_is_fixed;
} GVariantBuild;

#define GVARIANT_TUPLE                                                                                       \
        (GVariantBuild)                                                                                      \
        {                                                                                                    \
                0                                                                                            \
        }
#define GVARIANT_ARRAY                                                                                       \
        (GVariantBuild)                                                                                      \
        {                                                                                                    \
                .is_array = true                                                                             \
        }

void gvariant_build_done(GVariantBuild *b);
/* A child of a type with this alignment; fixed: all values of the type have one size. */
void gvariant_add(GVariantBuild *b, const void *data, size_t size, size_t align, bool fixed);
void gvariant_add_u32(GVariantBuild *b, uint32_t v);
void gvariant_add_u64(GVariantBuild *b, uint64_t v);
void gvariant_add_str(GVariantBuild *b, const char *s);
void gvariant_add_bytes(GVariantBuild *b, const void *data, size_t size); /* ay */
/* {sv}: value is a finished value of that type. */
void gvariant_add_entry(GVariantBuild *b, const char *name, const char *type, const void *value, size_t size,
                        size_t align);
/* Takes what was built and ends the container it was added to, or hands over the bytes. b is emptied. */
void gvariant_add_build(GVariantBuild *to, GVariantBuild *b, size_t align);
int gvariant_build_take(GVariantBuild *b, Bytes *ret);
