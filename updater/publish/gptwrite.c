/* SPDX-License-Identifier: MIT */

/* LBA 0 protective MBR, LBA 1 header, LBA 2 ... 128 entries of 128 bytes (UEFI 2.10, chapter 5). GUIDs are
 * stored with their first three groups little endian; labels are UTF-16LE. */

#include "publish/gptwrite.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#define HEADER_SIZE 92u
#define ENTRIES_LBA 2u
#define LABEL_UNITS 36u
#define REGION_MAX  (4u * MIB) /* an entry array beyond this is not one of ours */

static void put(uint8_t *p, uint64_t v, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                p[i] = (uint8_t) (v >> (8 * i));
}

static uint64_t get(const uint8_t *p, unsigned n)
{
        uint64_t v = 0;

        for (unsigned i = n; i-- > 0;)
                v = v << 8 | p[i];
        return v;
}

/* IEEE 802.3, reflected: small inputs, so no table */
static uint32_t crc32(const uint8_t *data, size_t n)
{
        uint32_t crc = UINT32_MAX;

        for (size_t i = 0; i < n; i++) {
                crc ^= data[i];
                for (unsigned bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        return ~crc;
}

static uint64_t entries_size(uint32_t lba_size)
{
        uint64_t size = (uint64_t) GPT_ENTRIES * GPT_ENTRY_SIZE;

        return (size + lba_size - 1) / lba_size * lba_size;
}

uint64_t gpt_region_size(uint32_t lba_size)
{
        return (uint64_t) ENTRIES_LBA * lba_size + entries_size(lba_size);
}

static int put_guid(uint8_t *out, const char *text)
{
        static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
        uint8_t id[16];
        int r = uuid_parse_text(text, id);

        if (r < 0)
                return r;
        for (unsigned i = 0; i < 16; i++)
                out[i] = id[order[i]];
        return 0;
}

/* The labels that we write are ASCII; one from a foreign disk is copied with its table and never comes here.
 */
static int put_label(uint8_t *out, const char *label)
{
        size_t n = strlen(label);

        if (n > LABEL_UNITS)
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                if ((unsigned char) label[i] < 0x20 || (unsigned char) label[i] > 0x7e)
                        return -EINVAL;
                out[2 * i] = (uint8_t) label[i];
        }
        return 0;
}

static bool entry_is_free(const uint8_t *e)
{
        for (size_t i = 0; i < GPT_ENTRY_SIZE; i++)
                if (e[i])
                        return false;
        return true;
}

static int check_place(const GptLayout *l, size_t i, Why *why)
{
        const Partition *p = &l->parts[i];
        uint64_t tables = gpt_region_size(l->lba_size), end;

        if (p->size == 0 || p->offset % l->lba_size || p->size % l->lba_size ||
            __builtin_add_overflow(p->offset, p->size, &end) || p->offset < tables ||
            end > l->disk_size - entries_size(l->lba_size) - l->lba_size)
                return fail(why, -EINVAL, WHY_USAGE, "layout",
                            "partition %s: %" PRIu64 " bytes at %" PRIu64 " do not fit a disk of %" PRIu64
                            " bytes with sectors of %" PRIu32,
                            p->label, p->size, p->offset, l->disk_size, l->lba_size);
        for (size_t k = 0; k < i; k++)
                if (p->offset < l->parts[k].offset + l->parts[k].size && l->parts[k].offset < end)
                        return fail(why, -EINVAL, WHY_USAGE, "layout", "partitions %s and %s overlap",
                                    l->parts[k].label, p->label);
        return 0;
}

static int put_entry(const GptLayout *l, size_t i, uint8_t *entries, Why *why)
{
        const Partition *p = &l->parts[i];
        unsigned number = p->number ?: (unsigned) i + 1;
        uint8_t *e = entries + (size_t) (MIN(number, GPT_ENTRIES) - 1) * GPT_ENTRY_SIZE;
        int r = check_place(l, i, why);

        if (r < 0)
                return r;
        if (number > GPT_ENTRIES || !entry_is_free(e))
                return fail(why, -EINVAL, WHY_USAGE, "layout", "partition %s: number %u is taken or above %u",
                            p->label, number, GPT_ENTRIES);
        put(e + 32, p->offset / l->lba_size, 8);
        put(e + 40, (p->offset + p->size) / l->lba_size - 1, 8);
        put(e + 48, p->attrs, 8);
        if (put_guid(e, p->type) < 0 || put_guid(e + 16, p->partuuid) < 0 || put_label(e + 56, p->label) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "layout",
                            "partition %s: type, PARTUUID or label cannot be written", p->label);
        return 0;
}

static void put_mbr(const GptLayout *l, uint8_t *mbr)
{
        uint64_t sectors = l->disk_size / l->lba_size - 1;
        uint8_t *e = mbr + 446;

        e[2] = 2; /* CHS 0/0/2 to 1023/255/63: what the standard asks for */
        e[4] = 0xee;
        memset(e + 5, 0xff, 3);
        put(e + 8, 1, 4);
        put(e + 12, MIN(sectors, (uint64_t) UINT32_MAX), 4);
        mbr[510] = 0x55;
        mbr[511] = 0xaa;
}

static int put_header(const GptLayout *l, uint8_t *h, const uint8_t *entries)
{
        uint64_t last = l->disk_size / l->lba_size - 1, table = entries_size(l->lba_size) / l->lba_size;
        int r;

        memcpy(h, "EFI PART", 8);
        put(h + 8, 0x00010000, 4);
        put(h + 12, HEADER_SIZE, 4);
        put(h + 24, 1, 8);
        put(h + 32, last, 8);
        put(h + 40, ENTRIES_LBA + table, 8);
        put(h + 48, last - table - 1, 8);
        r = put_guid(h + 56, l->disk_guid);
        if (r < 0)
                return r;
        put(h + 72, ENTRIES_LBA, 8);
        put(h + 80, GPT_ENTRIES, 4);
        put(h + 84, GPT_ENTRY_SIZE, 4);
        put(h + 88, crc32(entries, (size_t) GPT_ENTRIES * GPT_ENTRY_SIZE), 4);
        put(h + 16, crc32(h, HEADER_SIZE), 4);
        return 0;
}

int gpt_region_format(const GptLayout *l, Bytes *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes region = BYTES_NULL;
        uint8_t *entries;
        int r;

        assert((l->lba_size == 512 || l->lba_size == 4096) && l->disk_size % l->lba_size == 0);
        assert(l->disk_size > 2 * gpt_region_size(l->lba_size));
        region.size = (size_t) gpt_region_size(l->lba_size);
        region.data = calloc(1, region.size + 1);
        if (!region.data)
                return fail_errno(why, -ENOMEM, WHY_HOST, "GPT region");
        entries = region.data + (size_t) ENTRIES_LBA * l->lba_size;
        for (size_t i = 0; i < l->n_parts; i++) {
                r = put_entry(l, i, entries, why);
                if (r < 0)
                        return r;
        }
        put_mbr(l, region.data);
        r = put_header(l, region.data + l->lba_size, entries);
        if (r < 0)
                return fail(why, r, WHY_USAGE, "layout", "disk GUID %s is no UUID", l->disk_guid);
        bytes_move(ret, &region);
        return 0;
}

int gpt_region_measure(const uint8_t *data, size_t size, uint32_t lba_size, uint64_t *ret_size, Why *why)
{
        const uint8_t *h = data + lba_size;
        uint64_t lba, end;

        if (size < 2 * (uint64_t) lba_size || memcmp(h, "EFI PART", 8) != 0)
                return fail(why, -EBADMSG, WHY_IMAGE, "gpt", "no GPT header at sector 1");
        lba = get(h + 72, 8);
        if (__builtin_mul_overflow(lba, (uint64_t) lba_size, &end) ||
            __builtin_add_overflow(end, get(h + 80, 4) * get(h + 84, 4), &end) || end > REGION_MAX)
                return fail(why, -EBADMSG, WHY_IMAGE, "gpt",
                            "GPT entry array at sector %" PRIu64 " is too far out", lba);
        *ret_size = end;
        return 0;
}
