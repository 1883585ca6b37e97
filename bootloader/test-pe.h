/* SPDX-License-Identifier: MIT */
#pragma once

/* Builds small PE files for tests: headers and sections as a linker lays them out, nothing that runs. Good
 * enough for sbsign, sbverify and objdump, which are the judges in test-uki. */

#include "base/mem.h"

#include <assert.h>

#define TEST_PE_HEADERS 0x400u /* MZ, PE32+ and up to 19 section headers */
#define TEST_PE_ALIGN   0x200u

typedef struct TestSection {
        const char *name;
        const void *data;
        size_t size; /* 0: strlen(data) */
} TestSection;

static inline void test_put(uint8_t *p, uint64_t value, size_t size)
{
        for (size_t i = 0; i < size; i++)
                p[i] = (uint8_t) (value >> (8 * i));
}

static inline void test_pe_headers(uint8_t *h, uint16_t machine, size_t n, uint64_t image_size)
{
        uint8_t *opt = h + 64 + 24;

        memcpy(h, "MZ", 2);
        test_put(h + 60, 64, 4);
        memcpy(h + 64, "PE\0\0", 4);
        test_put(h + 68, machine, 2);
        test_put(h + 70, n, 2);
        test_put(h + 84, 112 + 16 * 8, 2); /* SizeOfOptionalHeader */
        test_put(h + 86, 0x22e, 2);
        test_put(opt, 0x20b, 2);
        test_put(opt + 16, 0x1000, 4);          /* AddressOfEntryPoint */
        test_put(opt + 32, 0x1000, 4);          /* SectionAlignment */
        test_put(opt + 36, TEST_PE_ALIGN, 4);   /* FileAlignment */
        test_put(opt + 44, 1, 2);               /* MajorImageVersion */
        test_put(opt + 56, image_size, 4);      /* SizeOfImage */
        test_put(opt + 60, TEST_PE_HEADERS, 4); /* SizeOfHeaders */
        test_put(opt + 68, 10, 2);              /* Subsystem: EFI application */
        test_put(opt + 108, 16, 4);             /* NumberOfRvaAndSizes */
}

/* tail: bytes behind the last section */
static inline Bytes test_pe(uint16_t machine, const TestSection *sections, size_t n, size_t tail)
{
        Bytes b = BYTES_NULL;
        size_t at = TEST_PE_HEADERS, total = TEST_PE_HEADERS + tail;

        assert(n <= 19);
        for (size_t i = 0; i < n; i++) {
                size_t size = sections[i].size ? sections[i].size : strlen(sections[i].data);
                total += (size + TEST_PE_ALIGN - 1) & ~(size_t) (TEST_PE_ALIGN - 1);
        }
        b.data = calloc(1, total + 1);
        assert(b.data);
        b.size = total;
        test_pe_headers(b.data, machine, n, (n + 1) * 0x1000);
        for (size_t i = 0; i < n; i++) {
                size_t size = sections[i].size ? sections[i].size : strlen(sections[i].data);
                size_t raw = (size + TEST_PE_ALIGN - 1) & ~(size_t) (TEST_PE_ALIGN - 1);
                uint8_t *s = b.data + 64 + 24 + 240 + i * 40;

                memcpy(s, sections[i].name, strnlen(sections[i].name, 8));
                test_put(s + 8, size, 4);
                test_put(s + 12, (i + 1) * 0x1000, 4);
                test_put(s + 16, raw, 4);
                test_put(s + 20, raw ? at : 0, 4);
                test_put(s + 36, 0x40000040, 4);
                memcpy(b.data + at, sections[i].data, size);
                at += raw;
        }
        memset(b.data + total - tail, 0x5a, tail);
        return b;
}

static inline Bytes test_uki(const char *cmdline, const char *osrel)
{
        const TestSection sections[] = {
                { ".text", "not really code", 0 },
                { ".sdmagic", "#### LoaderInfo: systemd-stub 255.4 ####", 0 },
                { ".osrel", osrel, 0 },
                { ".cmdline", cmdline, 0 },
                { ".uname", "6.6.121", 0 },
                { ".linux", "a kernel", 0 },
                { ".initrd", "an initrd", 0 },
        };

        return test_pe(0x8664, sections, ELEMENTSOF(sections), 0);
}

static inline Bytes test_addon(const char *cmdline)
{
        const TestSection sections[] = { { ".text", "stub", 0 },
                                         { ".cmdline", cmdline, 0 },
                                         { ".sbat", "sbat,1,SBAT Version", 0 } };

        return test_pe(0x8664, sections, ELEMENTSOF(sections), 0);
}
