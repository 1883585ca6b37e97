/* SPDX-License-Identifier: MIT */
#pragma once

/* PE/COFF as far as UKIs and addons need it: the text sections, the sizes, the Authenticode digest and the signatures in
 * it. Pure: bytes in, summary out; fuzzed. Everything in front of the first .profile section is the base, and that is
 * what the summary is about. */

#include "base/why.h"

#define UKI_CMDLINE_MAX  (64u * 1024u) /* the kernel takes 2 to 4 KiB */
#define UKI_TEXT_MAX     (64u * 1024u) /* .osrel, .sbat: under 2 KiB everywhere */
#define UKI_SECTIONS_MAX 96u           /* the Windows loader's limit; ukify makes about 15 */
/* Where Flatcar's build writes the root hash of /usr into a kernel (64 hex digits), and its GRUB looks for it. */
#define KERNEL_ROOTHASH_X86_64  64u
#define KERNEL_ROOTHASH_AARCH64 512u
#define UKI_SIGNATURES_MAX      8u
#define UKI_CERTIFICATES_MAX                                                                                 \
        (256u * 1024u) /* certificate table; one signature with its chain has 2 to 5 KiB */

typedef struct PeSummary {
        bool has_linux, has_initrd, is_addon; /* addon: no .linux */
        bool has_cmdline, has_osrel;
        char *cmdline; /* trailing NUL and white space trimmed; NULL when there is no section */
        char *osrel, *uname, *sbat, *sdmagic;
        char *profile_cmdlines; /* multi-profile UKIs: the .cmdline of all profiles, joined by blanks; NULL when none */
        uint16_t machine;           /* 0x8664, 0xaa64 */
        char embedded_roothash[65]; /* of a kernel of Flatcar; "" there is none there */
        bool has_authenticode; /* the headers allow the digest below; a file without it can carry no signature */
        uint8_t authenticode_sha256[32];
        Bytes signatures[UKI_SIGNATURES_MAX]; /* PKCS#7 DER blobs of the certificate table */
        size_t n_signatures;
} PeSummary;

/* A UKI has 50-80 MB: nothing holds one in memory. Reads exactly size bytes and returns 0, or negative errno. */
typedef int (*PeRead)(void *ctx, uint64_t offset, void *buf, size_t size);

/* what: file name for sentences */
int pe_read(PeRead read, void *ctx, uint64_t size, const char *what, WhyKind kind, PeSummary *ret, Why *why);
int pe_parse(const uint8_t *data, size_t size, const char *what, WhyKind kind, PeSummary *ret, Why *why);
int pe_parse_fd(int fd, const char *what, WhyKind kind, PeSummary *ret, Why *why);
/* Texts only: headers and small sections are read, nothing is hashed, no signatures. For looking at what is there. */
int pe_texts_fd(int fd, const char *what, WhyKind kind, PeSummary *ret, Why *why);
void pe_summary_done(PeSummary *s);
void pe_summary_move(PeSummary *dst, PeSummary *src);
