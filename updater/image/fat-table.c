/* SPDX-License-Identifier: MIT */

#include "image/fat-table.h"
#include "image/fat-name.h"

#include <errno.h>
#include <stdio.h>

#define SECTOR_MIN 512u
#define FAT12_MAX  4084u /* clusters; the border that Linux and Microsoft share */
#define FAT16_MAX  65524u
#define FAT32_MAX  0x0ffffff4u
#define ENTRY      FAT_ENTRY_SIZE

int fat_bad(const Fat *fat, Why *why, const char *how)
{
        return fail(why, -EBADMSG, fat->kind, "fat", "ESP image: not a valid FAT file system: %s", how);
}

int fat_bad_file(const Fat *fat, Why *why, const char *path, const char *how)
{
        return fail(why, -EBADMSG, fat->kind, "fat", "ESP image: \"%.200s\": %s", path, how);
}

int fat_read_at(Fat *fat, uint64_t offset, void *buf, size_t n, Why *why)
{
        int r = fat->read(fat->ctx, offset, buf, n);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "ESP image: reading") : 0;
}

uint32_t fat_le32(const uint8_t *p)
{
        return fat_le16(p) | (uint32_t) fat_le16(p + 2) << 16;
}

/* --- the boot sector --- */

static bool is_power_of_two(uint32_t v)
{
        return v != 0 && (v & (v - 1)) == 0;
}

/* What does not depend on the kind of FAT. As liberal as Linux: no signature and no jump is asked for. */
static const char *boot_sector_fault(const uint8_t *b)
{
        uint32_t sector = fat_le16(b + 11), media = b[21];

        if (!is_power_of_two(sector) || sector < SECTOR_MIN || sector > FAT_SECTOR_MAX)
                return "a sector size that is not 512 to 4096";
        if (!is_power_of_two(b[13]))
                return "a cluster size that is no power of two";
        if (fat_le16(b + 14) == 0)
                return "no reserved sector for itself";
        if (b[16] == 0)
                return "no allocation table";
        if (media < 0xf8 && media != 0xf0)
                return "an unknown media byte";
        if ((uint32_t) fat_le16(b + 17) * ENTRY % sector != 0)
                return "a root folder that does not end with a sector";
        return NULL;
}

/* Which copy of a FAT32 table is in use, when they are not kept equal. */
static uint32_t active_table(const uint8_t *b)
{
        uint16_t flags = fat_le16(b + 40);

        return flags & 0x80 ? flags & 0x0f : 0;
}

static int set_kind(Fat *fat, bool is_fat32, Why *why)
{
        if (is_fat32)
                fat->bits = 32;
        else
                fat->bits = fat->n_clusters <= FAT12_MAX ? 12 : 16;
        if (fat->n_clusters == 0)
                return fat_bad(fat, why, "no room for a single cluster");
        if (fat->n_clusters > (fat->bits == 32 ? FAT32_MAX : FAT16_MAX))
                return fat_bad(fat, why, "more clusters than its kind of FAT can count");
        if ((uint64_t) (fat->n_clusters + 2) * fat->bits > fat->table_size * 8)
                return fat_bad(fat, why, "an allocation table that is too small for its clusters");
        return 0;
}

/* extended: the signature, the serial number, the label */
static void set_serial(Fat *fat, const uint8_t *extended)
{
        if (extended[0] == 0x28 || extended[0] == 0x29)
                (void) snprintf(fat->serial, sizeof(fat->serial), "%04X-%04X", fat_le16(extended + 3),
                                fat_le16(extended + 1));
}

/* All products of 16- and 32-bit numbers from here on are made of 64-bit ones. */
int fat_read_boot_sector(Fat *fat, uint64_t size, Why *why)
{
        uint8_t b[SECTOR_MIN];
        uint64_t sector, total, table_sectors, tables, root_sectors, before;
        const char *fault;
        bool is_fat32;
        int r;

        if (size < sizeof(b))
                return fat_bad(fat, why, "shorter than a boot sector");
        r = fat_read_at(fat, 0, b, sizeof(b), why);
        if (r < 0)
                return r;
        fault = boot_sector_fault(b);
        if (fault)
                return fat_bad(fat, why, fault);
        sector = fat_le16(b + 11);
        total = fat_le16(b + 19) ? fat_le16(b + 19) : fat_le32(b + 32);
        is_fat32 = fat_le16(b + 22) == 0;
        table_sectors = is_fat32 ? fat_le32(b + 36) : fat_le16(b + 22);
        tables = b[16];
        root_sectors = (uint64_t) fat_le16(b + 17) * ENTRY / sector;
        if (table_sectors == 0)
                return fat_bad(fat, why, "an empty allocation table");
        if (is_fat32 != (root_sectors == 0))
                return fat_bad(fat, why, "a root folder of the wrong kind");
        before = fat_le16(b + 14) + tables * table_sectors + root_sectors;
        if (total > size / sector)
                return fat_bad(fat, why, "longer than its image");
        if (before >= total)
                return fat_bad(fat, why, "no room for data");
        if (is_fat32 && active_table(b) >= tables)
                return fat_bad(fat, why, "an active allocation table that is not there");
        fat->cluster_size = (uint32_t) (sector * b[13]);
        fat->n_clusters = (uint32_t) ((total - before) / b[13]);
        fat->table = (fat_le16(b + 14) + (is_fat32 ? active_table(b) : 0) * table_sectors) * sector;
        fat->table_size = table_sectors * sector;
        fat->root = (fat_le16(b + 14) + tables * table_sectors) * sector;
        fat->root_size = root_sectors * sector;
        fat->root_cluster = is_fat32 ? fat_le32(b + 44) & 0x0fffffff : FAT_NO_CLUSTER;
        fat->data = before * sector;
        r = set_kind(fat, is_fat32, why);
        if (r < 0)
                return r;
        set_serial(fat, b + (is_fat32 ? 66 : 38));
        return 0;
}

/* --- chains --- */

/* size bytes of the table, at most 4 */
static int read_table(Fat *fat, uint64_t at, uint8_t *ret, size_t size, Why *why)
{
        if (at < fat->window_at || at + size > fat->window_at + fat->window_size) {
                uint64_t begin = at / SECTOR_MIN * SECTOR_MIN;
                size_t n = (size_t) MIN((uint64_t) FAT_TABLE_WINDOW, fat->table_size - begin);
                int r;

                fat->window_size = 0;
                r = fat_read_at(fat, fat->table + begin, fat->window, n, why);
                if (r < 0)
                        return r;
                fat->window_at = begin;
                fat->window_size = n;
        }
        memcpy(ret, fat->window + (at - fat->window_at), size);
        return 0;
}

int fat_next_cluster(Fat *fat, uint32_t cluster, uint32_t *ret, Why *why)
{
        uint32_t value, end;
        uint8_t b[4] = { 0 };
        int r;

        if (fat->bits == 12)
                r = read_table(fat, (uint64_t) cluster + cluster / 2, b, 2, why);
        else
                r = read_table(fat, (uint64_t) cluster * (fat->bits / 8), b, fat->bits / 8, why);
        if (r < 0)
                return r;
        value = fat_le32(b);
        if (fat->bits == 12)
                value = cluster % 2 ? value >> 4 : value & 0xfff;
        else if (fat->bits == 32)
                value &= 0x0fffffff;
        end = fat->bits == 12 ? 0xff8 : fat->bits == 16 ? 0xfff8 : 0x0ffffff8;
        if (value >= end) {
                *ret = FAT_NO_CLUSTER;
                return 0;
        }
        if (value < 2 || value - 2 >= fat->n_clusters)
                return fat_bad(fat, why, "a chain that leads nowhere");
        *ret = value;
        return 0;
}

uint64_t fat_cluster_offset(const Fat *fat, uint32_t cluster)
{
        return fat->data + (uint64_t) (cluster - 2) * fat->cluster_size;
}

int fat_claim_chain(Fat *fat, uint32_t first, const char *path, uint32_t *ret_length, Why *why)
{
        uint32_t length = 0;

        for (uint32_t c = first; c != FAT_NO_CLUSTER; length++) {
                int r;

                if (c < 2 || c - 2 >= fat->n_clusters)
                        return fat_bad_file(fat, why, path, "begins in a cluster that does not exist");
                if (fat->seen[(c - 2) / 8] & 1u << (c - 2) % 8)
                        return fat_bad_file(fat, why, path,
                                            "its chain of clusters loops or belongs to another file too");
                fat->seen[(c - 2) / 8] |= (uint8_t) (1u << (c - 2) % 8);
                r = fat_next_cluster(fat, c, &c, why);
                if (r < 0)
                        return r;
        }
        *ret_length = length;
        return 0;
}
