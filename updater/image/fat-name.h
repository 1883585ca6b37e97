/* SPDX-License-Identifier: MIT */
#pragma once

/* For fat.c alone: the names in a folder's 32-byte entries. Pure. */

#include "base/mem.h"

#define FAT_ENTRY_SIZE     32u
#define FAT_LONG_UNITS     13u  /* UTF-16 units of a long name in one entry */
#define FAT_LONG_UNITS_MAX 255u /* ... and in all of it */
#define FAT_NAME_BYTES                                                                                       \
        (FAT_LONG_UNITS_MAX * 3u + 1u) /* a unit is at most three bytes of UTF-8, a pair of them four */

/* What the long entries since the last short one add up to. */
typedef struct FatLongName {
        uint16_t units[FAT_LONG_UNITS_MAX + FAT_LONG_UNITS];
        unsigned next;  /* sequence number that must come next; 0: complete */
        unsigned parts; /* 0: there is none */
        uint8_t checksum;
} FatLongName;

uint16_t fat_le16(const uint8_t *p);
void fat_long_take(FatLongName *l, const uint8_t *entry);
bool fat_long_belongs(const FatLongName *l, const uint8_t *entry);
/* UTF-8. -EBADMSG for what no file may be called: separators, control characters, half a surrogate pair, "."
 * and "..". */
int fat_long_name(const FatLongName *l, char out[FAT_NAME_BYTES]);
/* 8.3 in its case bits; a byte beyond ASCII becomes U+FFFD, since the code page is unknown. */
int fat_short_name(const uint8_t *entry, char out[FAT_NAME_BYTES]);
