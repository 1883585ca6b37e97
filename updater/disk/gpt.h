/* SPDX-License-Identifier: MIT */
#pragma once

/* The partition table, for the files of this room: the pure half in gpt-region.c, the half that reads disks
 * in gpt.c. */

#include "disk/disk.h"

/* 128 entries of a 4 KiB sector each: far beyond any table that is made, and small enough to be read whole.
 */
#define GPT_ARRAY_MAX    (512u * 1024u)
#define GPT_ATTRS_OFFSET 48u /* in an entry, 8 bytes */

typedef struct GptHeader {
        uint64_t my_lba, alternate_lba;
        uint64_t first_usable, last_usable;
        uint8_t disk_guid[16];
        uint64_t entries_lba;
        uint32_t n_entries, entry_size;
        uint32_t entries_crc;
} GptHeader;

/* Who reads, for the sentences: "/dev/vda: primary GPT", and what a fault is called. */
typedef struct GptReader {
        const char *what;
        WhyKind kind;
        uint32_t sector_size;
        Why *why;
} GptReader;

uint32_t gpt_crc32(const void *data, size_t size);
bool gpt_has_signature(const uint8_t *sector);
static inline size_t gpt_array_size(const GptHeader *h)
{
        return (size_t) h->n_entries * h->entry_size;
}

/* sector has sector_size bytes and was read from my_lba. */
int gpt_parse_header(const GptReader *r, const uint8_t *sector, uint64_t my_lba, GptHeader *ret);
/* array has gpt_array_size() bytes; parts has room for DISK_PARTITIONS_MAX. */
int gpt_parse_entries(const GptReader *r, const GptHeader *h, const uint8_t *array, Partition *parts,
                      size_t *ret_n);

/* Both copies of the table of a disk or image file, which must be whole and agree; *ret_torn: but for an attribute
 * write that was interrupted. */
int gpt_read(int fd, const char *path, uint64_t disk_size, uint32_t sector_size, Partition *parts,
             size_t *ret_n, bool *ret_torn, Why *why);
/* An image file does not say how large its sectors are: its table does, by where it stands. */
int gpt_find_sector_size(int fd, const char *path, uint32_t *ret, Why *why);
