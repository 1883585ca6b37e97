/* SPDX-License-Identifier: MIT */
#pragma once

/* For fat.c alone: the boot sector's numbers and the chains of clusters in the allocation table. */

#include "image/fat.h"

#define FAT_SECTOR_MAX   4096u
#define FAT_TABLE_WINDOW 4096u /* of the table, kept in memory */
#define FAT_NO_CLUSTER   0u

struct Fat {
        FatRead read;
        void *ctx;
        WhyKind kind;
        unsigned bits;                     /* 12, 16, 32 */
        uint32_t cluster_size, n_clusters; /* clusters are numbered from 2 */
        uint64_t table, table_size;        /* bytes: the allocation table in use */
        uint64_t root, root_size;          /* bytes: the fixed root folder of FAT12/16 */
        uint32_t root_cluster;             /* FAT32 */
        uint64_t data;                     /* bytes: cluster 2 */
        char serial[10];
        FatFile *files;
        size_t n_files, allocated;
        uint8_t *seen; /* one bit a cluster, while fat_open() walks */
        uint64_t window_at;
        size_t window_size;
        uint8_t window[FAT_TABLE_WINDOW]; /* of the table */
        struct {
                uint32_t first, index,
                        cluster; /* the last one fat_pread() came to: reading on is not walking anew */
        } cursor;
};

/* failures: of the whole, and of one file. Both return -EBADMSG. */
int fat_bad(const Fat *fat, Why *why, const char *how);
int fat_bad_file(const Fat *fat, Why *why, const char *path, const char *how);

uint32_t fat_le32(const uint8_t *p);
int fat_read_at(Fat *fat, uint64_t offset, void *buf, size_t n, Why *why);
/* Fills the numbers in *fat and checks all of them. size: of the image. */
int fat_read_boot_sector(Fat *fat, uint64_t size, Why *why);

uint64_t fat_cluster_offset(const Fat *fat, uint32_t cluster);
/* The cluster behind this one: FAT_NO_CLUSTER at the end of a chain. Everything else that is not a cluster is an error. */
int fat_next_cluster(Fat *fat, uint32_t cluster, uint32_t *ret, Why *why);
/* Follows a chain to its end and marks its clusters in fat->seen. Each is marked once, so this ends, and so does every
 * walk of a chain that passed here. *ret_length in clusters. */
int fat_claim_chain(Fat *fat, uint32_t first, const char *path, uint32_t *ret_length, Why *why);
