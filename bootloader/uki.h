/* SPDX-License-Identifier: MIT */
#pragma once

/* PE/COFF as far as UKIs and addons need it: the text sections, the sizes, the Authenticode digest and the signatures in
 * it. Pure: bytes in, summary out; fuzzed. */

#include "base/why.h"

#define UKI_CMDLINE_MAX   (64u * 1024u)
#define UKI_TEXT_MAX      (64u * 1024u)
#define UKI_SECTIONS_MAX  96u
#define UKI_SIGNATURES_MAX 8u

typedef struct PeSummary {
        bool has_linux, has_initrd, is_addon; /* addon: no .linux */
        bool has_cmdline, has_osrel;
        char *cmdline;  /* trailing NUL and white space trimmed; NULL when there is no section */
        char *osrel, *uname, *sbat, *sdmagic;
        uint16_t machine; /* 0x8664, 0xaa64 */
        uint8_t authenticode_sha256[32];
        Bytes signatures[UKI_SIGNATURES_MAX]; /* PKCS#7 DER blobs of the certificate table */
        size_t n_signatures;
} PeSummary;

/* A UKI has 50-80 MB: nothing holds one in memory. */
typedef int (*PeRead)(void *ctx, uint64_t offset, void *buf, size_t size);

/* what: file name for sentences */
int pe_read(PeRead read, void *ctx, uint64_t size, const char *what, WhyKind kind, PeSummary *ret, Why *why);
int pe_parse(const uint8_t *data, size_t size, const char *what, WhyKind kind, PeSummary *ret, Why *why);
int pe_parse_fd(int fd, const char *what, WhyKind kind, PeSummary *ret, Why *why);
void pe_summary_done(PeSummary *s);
void pe_summary_move(PeSummary *dst, PeSummary *src);
