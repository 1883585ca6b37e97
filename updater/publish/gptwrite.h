/* SPDX-License-Identifier: MIT */
#pragma once

/* The GPT region of a COSI 1.2: disk offset 0 to the end of the primary entry array. Pure: a layout in, bytes
 * out. The backup table at the end of the disk is not part of a COSI; whoever writes the disk makes it. */

#include "disk/disk.h"

#define GPT_ENTRIES    128u
#define GPT_ENTRY_SIZE 128u

typedef struct GptLayout {
        uint32_t lba_size;  /* 512 or 4096 */
        uint64_t disk_size; /* multiple of lba_size */
        char disk_guid[DISK_UUID_SIZE];
        Partition parts[GPT_ENTRIES]; /* entry number is index + 1 unless the partition says another */
        size_t n_parts;
} GptLayout;

uint64_t gpt_region_size(uint32_t lba_size);
/* Refuses partitions that are unaligned to the sector, overlap each other or the tables, and broken labels
 * and ids. */
int gpt_region_format(const GptLayout *layout, Bytes *ret, Why *why);
/* How long the region of an existing table is, from its first two sectors (header already believed valid):
 * the end of the entry array. */
int gpt_region_measure(const uint8_t *data, size_t size, uint32_t lba_size, uint64_t *ret_size, Why *why);
