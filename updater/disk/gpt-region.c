/* SPDX-License-Identifier: MIT */

/* A GUID partition table from bytes. The bytes may be anybody's: every number is checked before it is used,
 * every product fits its type, and nothing is read beyond what was given. No I/O here.
 *
 *   LBA 0  protective MBR      (not looked at: the kernel wants it, this reader does not)
 *   LBA 1  header, CRC over itself and over the entries
 *   LBA 2  entries, usually 128 of 128 bytes */

#include "base/str.h"
#include "disk/gpt.h"

#include <errno.h>
#include <inttypes.h>

#define HEADER_SIZE_MIN   92u
#define HEADER_CRC_OFFSET 16u
#define REVISION_1        0x00010000u
#define ENTRY_SIZE_MIN    128u
#define NAME_OFFSET       56u
#define NAME_UNITS        36u

#define BAD(r, ...) fail((r)->why, -EBADMSG, (r)->kind, "gpt", __VA_ARGS__)

static uint64_t get_le(const uint8_t *p, unsigned bytes)
{
        uint64_t v = 0;

        for (unsigned i = 0; i < bytes; i++)
                v |= (uint64_t) p[i] << (8 * i);
        return v;
}

static uint32_t crc32_add(uint32_t crc, const void *data, size_t size)
{
        const uint8_t *p = data;

        while (size-- > 0) {
                crc ^= *p++;
                for (unsigned bit = 0; bit < 8; bit++)
                        crc = crc & 1 ? (crc >> 1) ^ 0xedb88320u : crc >> 1;
        }
        return crc;
}

uint32_t gpt_crc32(const void *data, size_t size)
{
        return ~crc32_add(0xffffffffu, data, size);
}

/* The header's own CRC is taken with its field at zero. */
static uint32_t header_crc(const uint8_t *sector, size_t size)
{
        static const uint8_t zero[4];
        uint32_t crc = crc32_add(0xffffffffu, sector, HEADER_CRC_OFFSET);

        crc = crc32_add(crc, zero, sizeof(zero));
        return ~crc32_add(crc, sector + HEADER_CRC_OFFSET + 4, size - HEADER_CRC_OFFSET - 4);
}

bool gpt_has_signature(const uint8_t *sector)
{
        return memcmp(sector, "EFI PART", 8) == 0;
}

static int check_header(const GptReader *r, const GptHeader *h, uint64_t my_lba)
{
        if (h->my_lba != my_lba)
                return BAD(r, "%s: the header says it stands at LBA %" PRIu64 ", it stands at %" PRIu64,
                           r->what, h->my_lba, my_lba);
        if (h->n_entries == 0 || h->entry_size < ENTRY_SIZE_MIN || h->entry_size % 8 != 0 ||
            (uint64_t) h->n_entries * h->entry_size > GPT_ARRAY_MAX)
                return BAD(r, "%s: %" PRIu32 " entries of %" PRIu32 " bytes make no table", r->what,
                           h->n_entries, h->entry_size);
        if (h->first_usable > h->last_usable)
                return BAD(r, "%s: usable sectors from %" PRIu64 " to %" PRIu64, r->what, h->first_usable,
                           h->last_usable);
        if (h->last_usable >= UINT64_MAX / r->sector_size || h->entries_lba >= UINT64_MAX / r->sector_size ||
            h->alternate_lba >= UINT64_MAX / r->sector_size)
                return BAD(r, "%s: sector numbers beyond any disk", r->what);
        return 0;
}

int gpt_parse_header(const GptReader *r, const uint8_t *sector, uint64_t my_lba, GptHeader *ret)
{
        GptHeader h;
        uint64_t size;
        int result;

        if (!gpt_has_signature(sector))
                return BAD(r, "%s: no GPT signature at LBA %" PRIu64, r->what, my_lba);
        if (get_le(sector + 8, 4) != REVISION_1)
                return BAD(r, "%s: GPT revision %#" PRIx64 " is not known", r->what, get_le(sector + 8, 4));
        size = get_le(sector + 12, 4);
        if (size < HEADER_SIZE_MIN || size > r->sector_size)
                return BAD(r, "%s: a header of %" PRIu64 " bytes", r->what, size);
        if (get_le(sector + HEADER_CRC_OFFSET, 4) != header_crc(sector, (size_t) size))
                return BAD(r, "%s: the header's checksum is wrong", r->what);
        h = (GptHeader){
                .my_lba = get_le(sector + 24, 8),
                .alternate_lba = get_le(sector + 32, 8),
                .first_usable = get_le(sector + 40, 8),
                .last_usable = get_le(sector + 48, 8),
                .entries_lba = get_le(sector + 72, 8),
                .n_entries = (uint32_t) get_le(sector + 80, 4),
                .entry_size = (uint32_t) get_le(sector + 84, 4),
                .entries_crc = (uint32_t) get_le(sector + 88, 4),
        };
        memcpy(h.disk_guid, sector + 56, 16);
        result = check_header(r, &h, my_lba);
        if (result < 0)
                return result;
        *ret = h;
        return 0;
}

/* On the disk the first three groups of a GUID are little endian; in text all are written as numbers. */
static void guid_format(const uint8_t in[16], char out[DISK_UUID_SIZE])
{
        static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
        uint8_t swapped[16];

        for (unsigned i = 0; i < 16; i++)
                swapped[i] = in[order[i]];
        uuid_format_text(swapped, out);
}

static size_t utf8_put(uint32_t c, char *out)
{
        if (c < 0x80) {
                out[0] = (char) c;
                return 1;
        }
        unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

        out[0] = (char) (uint8_t) ((0xff00u >> (more + 1)) | (c >> (6 * more)));
        for (unsigned i = 1; i <= more; i++)
                out[i] = (char) (uint8_t) (0x80 | ((c >> (6 * (more - i))) & 0x3f));
        return more + 1;
}

/* UTF-16 up to its first NUL. Half a surrogate pair becomes the replacement character. */
static void name_format(const uint8_t *in, char out[DISK_LABEL_SIZE])
{
        size_t n = 0;

        for (unsigned i = 0; i < NAME_UNITS; i++) {
                uint32_t c = (uint32_t) get_le(in + 2 * i, 2);

                if (c == 0)
                        break;
                if (c >= 0xd800 && c < 0xdc00 && i + 1 < NAME_UNITS) {
                        uint32_t low = (uint32_t) get_le(in + 2 * (i + 1), 2);
                        if (low >= 0xdc00 && low < 0xe000) {
                                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                                i++;
                        }
                }
                if (c >= 0xd800 && c < 0xe000)
                        c = 0xfffd;
                n += utf8_put(c, out + n);
        }
        out[n] = 0;
}

static int parse_entry(const GptReader *r, const GptHeader *h, const uint8_t *entry, unsigned number,
                       Partition *ret)
{
        Partition p = { .number = number };
        uint64_t first = get_le(entry + 32, 8), last = get_le(entry + 40, 8);

        guid_format(entry, p.type);
        guid_format(entry + 16, p.partuuid);
        p.attrs = get_le(entry + GPT_ATTRS_OFFSET, 8);
        name_format(entry + NAME_OFFSET, p.label);
        /* last_usable times a sector fits 64 bits, so everything below it does */
        if (first > last || first < h->first_usable || last > h->last_usable)
                return BAD(r,
                           "%s: partition %u from sector %" PRIu64 " to %" PRIu64
                           " is outside the usable %" PRIu64 " to %" PRIu64,
                           r->what, number, first, last, h->first_usable, h->last_usable);
        p.offset = first * r->sector_size;
        p.size = (last - first + 1) * r->sector_size;
        *ret = p;
        return 0;
}

static int check_against(const GptReader *r, const Partition *p, const Partition *others, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (p->offset < others[i].offset + others[i].size && others[i].offset < p->offset + p->size)
                        return BAD(r, "%s: partitions %u and %u overlap", r->what, others[i].number,
                                   p->number);
                if (streq(p->partuuid, others[i].partuuid))
                        return BAD(r, "%s: partitions %u and %u have the same PARTUUID %s", r->what,
                                   others[i].number, p->number, p->partuuid);
        }
        return 0;
}

int gpt_parse_entries(const GptReader *r, const GptHeader *h, const uint8_t *array, Partition *parts,
                      size_t *ret_n)
{
        static const uint8_t unused[16];
        size_t n = 0;
        int result;

        if (gpt_crc32(array, gpt_array_size(h)) != h->entries_crc)
                return BAD(r, "%s: the checksum of the partition entries is wrong", r->what);
        for (uint32_t i = 0; i < h->n_entries; i++) {
                const uint8_t *entry = array + (size_t) i * h->entry_size;

                if (memcmp(entry, unused, sizeof(unused)) == 0)
                        continue;
                if (n == DISK_PARTITIONS_MAX)
                        return BAD(r, "%s: more than %u partitions", r->what, DISK_PARTITIONS_MAX);
                result = parse_entry(r, h, entry, i + 1, &parts[n]);
                if (result < 0)
                        return result;
                result = check_against(r, &parts[n], parts, n);
                if (result < 0)
                        return result;
                n++;
        }
        *ret_n = n;
        return 0;
}

int gpt_parse_region(const uint8_t *data, size_t size, uint32_t sector_size, Partition *parts, size_t *ret_n,
                     Why *why)
{
        GptReader r = { .what = "GPT region", .kind = WHY_IMAGE, .sector_size = sector_size, .why = why };
        GptHeader h;
        uint64_t start, end;
        int result;

        if (sector_size != 512 && sector_size != 4096)
                return BAD(&r, "%s: sectors of %" PRIu32 " bytes are not known", r.what, sector_size);
        if (size < 2 * (size_t) sector_size)
                return BAD(&r, "%s: %zu bytes, less than two sectors", r.what, size);
        result = gpt_parse_header(&r, data + sector_size, 1, &h);
        if (result < 0)
                return result;
        start = h.entries_lba * sector_size;
        end = start + gpt_array_size(&h);
        if (h.entries_lba < 2 || end < start || end > size)
                return BAD(&r, "%s: its entries end at byte %" PRIu64 ", the region at %zu", r.what, end,
                           size);
        if (end > h.first_usable * sector_size)
                return BAD(&r, "%s: its entries reach into the usable sectors", r.what);
        return gpt_parse_entries(&r, &h, data + start, parts, ret_n);
}
