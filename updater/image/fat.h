/* SPDX-License-Identifier: MIT */
#pragma once

/* A read-only FAT12/16/32 reader over a callback: the ESP image inside a COSI is read in user space, nothing is mounted.
 * Hostile input: every chain is bounded by the cluster count, every name by the long-name limit, every folder by a
 * maximum. Runs in gybe-fetch and in gybe-release; no I/O of its own. */

#include "base/why.h"

#define FAT_PATH_MAX    1024u
#define FAT_ENTRIES_MAX 4096u /* files and folders of one ESP; real ones have dozens */
#define FAT_DEPTH_MAX   16u

typedef int (*FatRead)(void *ctx, uint64_t offset, void *buf, size_t size);

typedef struct FatFile {
        char path
                [FAT_PATH_MAX]; /* "EFI/Linux/vmlinuz-6.6.efi", as spelled on the disk (long name, else 8.3 in its case bits) */
        bool is_dir;
        uint32_t size;
        uint32_t first_cluster;
} FatFile;

typedef struct Fat Fat;

/* Reads and checks the boot sector, walks all folders. kind: see cosi_parse(). */
int fat_open(FatRead read, void *ctx, uint64_t size, WhyKind kind, Fat **ret, Why *why);
Fat *fat_free(Fat *fat);
void fat_freep(Fat **fat);
size_t fat_n_files(const Fat *fat);
const FatFile *fat_file(const Fat *fat, size_t i);
/* Case-insensitive, as FAT compares. NULL when missing. */
const FatFile *fat_find(const Fat *fat, const char *path);
/* Streams a file's bytes in order. */
typedef int (*FatSink)(void *ctx, const void *data, size_t size);
int fat_read_file(Fat *fat, const FatFile *file, FatSink sink, void *ctx, Why *why);
/* Where they are: runs of the image, in order. each returns 0 or what ends the walk. */
typedef int (*FatRun)(void *ctx, uint64_t offset, uint64_t size);
int fat_map(Fat *fat, const FatFile *file, FatRun each, void *ctx, Why *why);
/* Random access into one file; reading beyond its size is -EINVAL. */
int fat_pread(Fat *fat, const FatFile *file, uint64_t offset, void *buf, size_t size, Why *why);
/* Volume facts for inspect: label and serial "C3D4-250D". */
const char *fat_serial(const Fat *fat);
