/* SPDX-License-Identifier: MIT */
#pragma once

/* A PE while it is being taken apart: for uki.c (headers, texts) and authenticode.c (digest, signatures). */

#include "bootloader/uki.h"

typedef struct Section {
        char name[9];
        uint64_t virtual_size, offset, raw_size;
} Section;

typedef struct Pe {
        PeRead read;
        void *ctx;
        uint64_t size;
        const char *what;
        WhyKind kind;
        Why *why;
        uint16_t machine;
        uint64_t table_end;                 /* behind the section headers */
        uint64_t checksum_at, directory_at; /* what the digest leaves out; directory_at 0: there is none */
        uint64_t headers_size;              /* 0: unusable, there is no digest */
        uint64_t certificates, certificates_size;
        size_t n_sections;
        Section sections[UKI_SECTIONS_MAX];
} Pe;

uint16_t pe_le16(const uint8_t *p);
uint32_t pe_le32(const uint8_t *p);
/* Fills the Why: "X is not a usable PE file: TEXT". */
int pe_bad(const Pe *pe, const char *text);
/* Bounds are checked here and nowhere else. */
int pe_get(const Pe *pe, uint64_t offset, void *buf, size_t size);

/* Sections may not overlap; the digest, where the headers allow one. */
int pe_digest(const Pe *pe, PeSummary *sum);
int pe_signatures(const Pe *pe, PeSummary *sum);
