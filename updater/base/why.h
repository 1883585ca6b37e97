/* SPDX-License-Identifier: MIT */
#pragma once

/* The sentence for the human and the kind for the program. The caller owns a Why; the function that understands a
 * failure fills it exactly once, with the numbers that matter, and returns a negative errno that everybody above
 * passes on unchanged. What the program does next follows from the kind (one switch, in update.c and main-*);
 * nobody compares texts.
 *
 * text is "WHAT: WHY", hint is "WHAT NOW" (may be empty): together one line on stderr. code is a short stable word
 * for machines ("below-threshold"), part of the --json error object. */

#include "base/mem.h"

typedef enum WhyKind {
        WHY_NONE,
        WHY_NETWORK, /* may well work later: network, server, a broken transfer        exit 1  */
        WHY_HOST,    /* this host: an admin must look (disk full, unknown layout, bug) exit 1  */
        WHY_IMAGE,   /* a broken container that nothing signed contradicts             exit 1  */
        WHY_TRUST,   /* never this release                                             exit 4  */
        WHY_POLICY,  /* not now, or not here                                           exit 3  */
        WHY_BUSY,    /* another job runs, or something holds the spare slot            exit 5  */
        WHY_USAGE,   /* the command line or the configuration is wrong                 exit 2  */
        WHY_NOTHING, /* not an error: there is nothing to do                           exit 10 */
        _WHY_MAX,
} WhyKind;

typedef struct Why {
        WhyKind kind;
        char code[48];
        char text[640];
        char hint[256];
} Why;

/* Fills *why (when it is given and still empty: the origin knows best) and returns r. */
int fail(Why *why, int r, WhyKind kind, const char *code, const char *fmt, ...) _printf_(5, 6);
/* Adds the "what now". Returns r, so that it can end a return statement around fail(). */
int fail_hint(Why *why, int r, const char *fmt, ...) _printf_(3, 4);
/* The ordinary case of a failed system call: "WHAT: strerror". */
int fail_errno(Why *why, int r, WhyKind kind, const char *fmt, ...) _printf_(4, 5);

const char *why_kind_name(WhyKind kind);
int why_exit_code(const Why *why);
/* Back from what another process said; WHY_HOST for what is not known. */
WhyKind why_kind_from_name(const char *name);
WhyKind why_kind_from_exit(int exit_code);
