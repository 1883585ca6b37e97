/* SPDX-License-Identifier: MIT */
#pragma once

/* The table of contents of a COSI: a tar file seen as a list of names and byte ranges. Pure: it says which
 * bytes it wants next, somebody feeds them; it never asks for the contents of a member. Whether it is fed by
 * a file, by ranges of a server or by a fuzzer makes no difference to it.
 *
 *      while (!tar_is_complete(t) && tar_check(t, why) >= 0) {
 *              read tar_want(t) bytes at tar_offset(t);
 *              tar_feed(t, them, why);
 *      }
 *
 * Dialects: ustar, GNU (long names, base-256 sizes), PAX (path, size; global headers). Rules: cosi.md section
 * 1, formats.md section 10. */

#include "base/why.h"

#define TAR_BLOCK        512u
#define TAR_MEMBERS_MAX  4096u /* a COSI has some ten, with every partition of a GPT and extras some 150 */
#define TAR_NAME_MAX     255u  /* image paths of metadata.json have at most that (COSI_PATH_MAX) */
#define TAR_EXTENDED_MAX (64u * 1024u) /* PAX records or a GNU name; real ones have some 100 bytes */

typedef struct TarMember {
        char *name; /* without a leading "./" and a trailing "/" */
        bool is_file;
        uint64_t offset, size; /* of the contents */
} TarMember;

typedef struct Tar Tar;

/* size: of the whole file. what: its name for sentences (borrowed). */
int tar_new(const char *what, uint64_t size, WhyKind kind, Tar **ret);
Tar *tar_free(Tar *t);
void tar_freep(Tar **t);

/* questions */
bool tar_is_complete(const Tar *t); /* the end-of-archive marker was seen */
uint64_t tar_offset(const Tar *t);
size_t tar_want(const Tar *t); /* at most TAR_EXTENDED_MAX */
size_t tar_n_members(const Tar *t);
const TarMember *tar_member(const Tar *t, size_t i);
/* NULL: not seen (yet) */
const TarMember *tar_find(const Tar *t, const char *name);

/* The file is long enough for what is wanted next; else it has no end-of-archive marker. */
int tar_check(const Tar *t, Why *why);
/* exactly tar_want() bytes */
int tar_feed(Tar *t, const uint8_t *data, Why *why);
