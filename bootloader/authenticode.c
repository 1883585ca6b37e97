/* SPDX-License-Identifier: MIT */

/* The digest that a signature of a PE image covers, and the signatures themselves. The rule is Microsoft's "Windows
 * Authenticode Portable Executable Signature Format"; where it leaves room, what firmware and shim do counts. */

#include "bootloader/pe.h"
#include "base/digest.h"

#include <errno.h>

#define CERTIFICATE_HEADER 8u
#define CERTIFICATE_PKCS7  2u
#define CHUNK              (32u * 1024u)

static int compare_sections(const void *a, const void *b)
{
        const Section *x = *(const Section *const *) a, *y = *(const Section *const *) b;

        return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Sections with contents by their place in the file, as the digest takes them. */
static int sort_sections(const Pe *pe, const Section *out[UKI_SECTIONS_MAX], size_t *ret_n)
{
        size_t n = 0;

        for (size_t i = 0; i < pe->n_sections; i++)
                if (pe->sections[i].raw_size > 0)
                        out[n++] = pe->sections + i;
        qsort(out, n, sizeof(*out), compare_sections);
        for (size_t i = 1; i < n; i++)
                if (out[i]->offset < out[i - 1]->offset + out[i - 1]->raw_size)
                        return pe_bad(pe, "two sections overlap");
        *ret_n = n;
        return 0;
}

static int hash_range(const Pe *pe, Digest *d, uint64_t from, uint64_t to)
{
        uint8_t buf[CHUNK];

        while (from < to) {
                size_t n = (size_t) MIN(to - from, (uint64_t) sizeof(buf));
                int r = pe_get(pe, from, buf, n);

                if (r < 0)
                        return r;
                r = digest_update(d, buf, n);
                if (r < 0)
                        return r;
                from += n;
        }
        return 0;
}

static int hash_headers(const Pe *pe, Digest *d)
{
        uint64_t skip = pe->checksum_at + 4;
        int r;

        r = hash_range(pe, d, 0, pe->checksum_at);
        if (r < 0 || pe->directory_at == 0)
                return r < 0 ? r : hash_range(pe, d, skip, pe->headers_size);
        r = hash_range(pe, d, skip, pe->directory_at);
        return r < 0 ? r : hash_range(pe, d, pe->directory_at + 8, pe->headers_size);
}

/* "Windows Authenticode Portable Executable Signature Format", as firmware and shim compute it: headers
 * without checksum and certificate entry, the sections by file offset, then what is left in front of the
 * certificate table. "Left" starts at the number of bytes hashed so far, which is the end of the last section
 * only when there are no gaps; to get the firmware's answer for files with gaps, that is copied too. The
 * padding to eight bytes that a signing tool adds lies in front of the table and so is hashed; an unsigned
 * file is hashed as it is. */
int pe_digest(const Pe *pe, PeSummary *sum)
{
        _cleanup_(digest_freep) Digest *d = NULL;
        const Section *sorted[UKI_SECTIONS_MAX];
        uint64_t hashed = pe->headers_size;
        size_t n = 0;
        int r;

        r = sort_sections(pe, sorted, &n);
        if (r < 0 || pe->headers_size == 0)
                return r;
        r = digest_new(256, &d);
        if (r < 0)
                return r;
        r = hash_headers(pe, d);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                r = hash_range(pe, d, sorted[i]->offset, sorted[i]->offset + sorted[i]->raw_size);
                hashed += sorted[i]->raw_size;
        }
        if (r >= 0)
                r = hash_range(pe, d, hashed, pe->size - pe->certificates_size);
        if (r >= 0)
                r = digest_final(d, sum->authenticode_sha256);
        if (r < 0)
                return r;
        sum->has_authenticode = true;
        return 0;
}

/* Signing tools pad the blob to eight bytes; what lies behind its outer SEQUENCE is not part of it. */
static size_t der_size(const uint8_t *p, size_t size)
{
        size_t length = 0, bytes;

        if (size < 2 || p[0] != 0x30)
                return size;
        if (p[1] < 0x80)
                return MIN(size, (size_t) p[1] + 2);
        bytes = p[1] & 0x7f;
        if (bytes == 0 || bytes > 4 || size < 2 + bytes)
                return size;
        for (size_t i = 0; i < bytes; i++)
                length = length << 8 | p[2 + i];
        return length <= size - 2 - bytes ? length + 2 + bytes : size;
}

static int add_signature(const Pe *pe, const uint8_t *blob, size_t size, PeSummary *sum)
{
        if (sum->n_signatures == UKI_SIGNATURES_MAX)
                return pe_bad(pe, "it has more than 8 signatures");
        if (bytes_copy(sum->signatures + sum->n_signatures, blob, der_size(blob, size)) < 0)
                return -ENOMEM;
        sum->n_signatures++;
        return 0;
}

int pe_signatures(const Pe *pe, PeSummary *sum)
{
        _cleanup_(bytes_done) Bytes table = BYTES_NULL;
        size_t size = (size_t) pe->certificates_size;
        int r;

        if (size == 0)
                return 0;
        table.data = calloc(1, size + 1);
        if (!table.data)
                return -ENOMEM;
        r = pe_get(pe, pe->certificates, table.data, size);
        if (r < 0)
                return r;
        for (size_t at = 0; size - at >= CERTIFICATE_HEADER;) {
                const uint8_t *p = table.data + at;
                size_t length = pe_le32(p);

                if (length < CERTIFICATE_HEADER || length > size - at)
                        return pe_bad(pe, "an entry of its certificate table has a wrong length");
                if (pe_le16(p + 6) == CERTIFICATE_PKCS7) {
                        r = add_signature(pe, p + CERTIFICATE_HEADER, length - CERTIFICATE_HEADER, sum);
                        if (r < 0)
                                return r;
                }
                at += MIN((length + 7) & ~(size_t) 7, size - at);
        }
        return 0;
}
