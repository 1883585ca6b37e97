/* SPDX-License-Identifier: MIT */
#pragma once

/* Text: hex, base64, numbers, durations, RFC 3339 times, a growing string, string vectors. Parsers take the whole
 * string or fail; none looks at the locale. */

#include "base/mem.h"

#include <stdarg.h>

static inline bool streq(const char *a, const char *b)
{
        return strcmp(a, b) == 0;
}

static inline bool streq0(const char *a, const char *b)
{
        return a && b ? strcmp(a, b) == 0 : a == b;
}

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
bool str_ends_fold(const char *s, const char *suffix);

/* ASCII only, as FAT and GPT tools compare: no locale. */
int str_fold_cmp(const char *a, const char *b);

/* out needs 2 * n + 1 bytes */
void hex_encode(const uint8_t *data, size_t n, char *out);
/* Exactly n bytes from exactly 2 * n digits of either case; -EINVAL otherwise. */
int hex_decode(const char *s, uint8_t *out, size_t n);
/* Lower-cases a string of exactly digits hex digits into out (digits + 1 bytes); -EINVAL otherwise. */
int hex_normalize(const char *s, size_t digits, char *out);

int base64_encode(const void *data, size_t n, char **ret);
/* Standard alphabet, padding required, nothing else (no white space). */
int base64_decode(const char *s, size_t len, Bytes *ret);

/* Decimal digits only. */
int parse_u64(const char *s, uint64_t *ret);
int parse_unsigned(const char *s, unsigned *ret);
/* "90", "90s", "5m", "1h30m", "2d": seconds. */
int parse_duration(const char *s, uint64_t *ret_sec);
/* RFC 3339 with any offset; fractions are cut. Years 1970-9999. Seconds since the epoch. */
int parse_time(const char *s, uint64_t *ret_sec);
/* "2026-11-04T06:00:00Z"; out needs 21 bytes. */
#define TIME_TEXT_SIZE 21
void format_time(uint64_t sec, char out[TIME_TEXT_SIZE]);
/* "412.3 MB"; powers of 1000, as bandwidth and downloads are told. out needs 16 bytes. */
#define SIZE_TEXT_SIZE 16
void format_size(uint64_t bytes, char out[SIZE_TEXT_SIZE]);

/* "12s", "2m", "1h30m": what parse_duration() takes back. out needs 28 bytes. */
#define DURATION_TEXT_SIZE 28
void format_duration(uint64_t sec, char out[DURATION_TEXT_SIZE]);

/* UUID text in any case <-> 16 bytes in the written order. out of format needs 37 bytes. */
int uuid_parse_text(const char *s, uint8_t out[16]);
void uuid_format_text(const uint8_t in[16], char out[37]);

char *str_printf(const char *fmt, ...) _printf_(1, 2);

/* A string that grows. Out of memory is remembered and reported once, by str_take(). */
typedef struct Str {
        char *text;
        size_t size;
        bool failed;
} Str;

#define STR_NULL                                                                                             \
        (Str)                                                                                                \
        {                                                                                                    \
                0                                                                                            \
        }

void str_add(Str *s, const char *text);
void str_addn(Str *s, const char *text, size_t n);
void str_addf(Str *s, const char *fmt, ...) _printf_(2, 3);
/* The text, at least "", or NULL when memory ran out on the way. The caller frees it. */
char *str_take(Str *s);
void str_done(Str *s);

/* NULL-terminated vectors of strings. */
char **strv_free(char **v);
void strv_freep(char ***v);
int strv_add(char ***v, const char *s);
bool strv_has(char *const *v, const char *s);
size_t strv_len(char *const *v);
/* Whitespace-separated words, as a kernel command line; double quotes keep blanks together and are dropped. */
int strv_split_words(const char *s, char ***ret);
