/* SPDX-License-Identifier: MIT */

/* The GPT region of a COSI. Checksums would keep a fuzzer at the door, so each input is tried as it is and
 * with its checksums put right. The first byte chooses the sector size. */

#include "disk/gpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_le32(uint8_t *p, uint32_t v)
{
        for (unsigned i = 0; i < 4; i++)
                p[i] = (uint8_t) (v >> (8 * i));
}

static uint64_t get_le(const uint8_t *p, unsigned bytes)
{
        uint64_t v = 0;

        for (unsigned i = 0; i < bytes; i++)
                v |= (uint64_t) p[i] << (8 * i);
        return v;
}

static void put_right(uint8_t *data, size_t size, uint32_t sector)
{
        uint8_t *h = data + sector;
        uint64_t header = get_le(h + 12, 4), lba = get_le(h + 72, 8),
                 array = get_le(h + 80, 4) * get_le(h + 84, 4);

        if (lba <= size / sector && array <= size - lba * sector)
                put_le32(h + 88, gpt_crc32(data + lba * sector, array));
        put_le32(h + 16, 0);
        if (header <= sector)
                put_le32(h + 16, gpt_crc32(h, header));
}

static void parse(const uint8_t *data, size_t size, uint32_t sector)
{
        static Partition parts[DISK_PARTITIONS_MAX];
        Why why = { 0 };
        size_t n = 0;

        if (gpt_parse_region(data, size, sector, parts, &n, &why) < 0)
                return;
        for (size_t i = 0; i < n; i++)
                if (parts[i].size == 0 || parts[i].offset + parts[i].size < parts[i].offset)
                        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint32_t sector = size > 0 && data[0] & 1 ? 4096 : 512;
        uint8_t *copy;

        if (size > 1024 * 1024)
                return 0;
        parse(data, size, sector);
        if (size < 2 * (size_t) sector)
                return 0;
        copy = malloc(size);
        if (!copy)
                return 0;
        memcpy(copy, data, size);
        put_right(copy, size, sector);
        parse(copy, size, sector);
        free(copy);
        return 0;
}
