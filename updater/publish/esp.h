/* SPDX-License-Identifier: MIT */
#pragma once

/* The files of a new image's ESP, from single parts or a tree, and the FAT32 image made of them by mkfs.vfat
 * and mtools: the same files give the same bytes. */

#include "base/env.h"
#include "publish/range.h"

#define ESP_FILES_MAX 512u /* real ones have dozens */
#define ESP_LABEL     "EFI-SYSTEM"

typedef struct EspFile {
        char *path; /* relative to the ESP: "EFI/Linux/vmlinuz-6.6.efi" */
        int fd;
        uint64_t size;
        char sha256[65];
} EspFile;

typedef struct EspTree {
        EspFile *files; /* sorted by path */
        size_t n_files;
} EspTree;

void esp_tree_done(EspTree *tree);
/* source is a path of the release engineer's machine. The same ESP path twice (as FAT compares) is refused.
 */
int esp_tree_add(EspTree *tree, const char *path, const char *source, Why *why);
int esp_tree_add_text(EspTree *tree, const char *path, const char *text, Why *why);
/* Everything below a folder. */
int esp_tree_add_dir(EspTree *tree, const char *dir, Why *why);
const EspFile *esp_tree_find(const EspTree *tree, const char *path);

/* Nothing smaller is FAT32 for everybody: readers go by the number of clusters, which must be 65525. 34 MiB with 512-byte
 * sectors, 258 MiB with 4096. */
uint64_t esp_size_min(uint32_t sector_size);
/* How large a FAT32 for these files is, with some room: a multiple of 1 MiB. */
uint64_t esp_size_needed(const EspTree *tree, uint32_t sector_size);
typedef struct EspImage {
        int fd;
        char serial[10]; /* "C3D4-250D", from the files' names and digests */
} EspImage;
/* work_dir: where the image may be made; it has no name when this returns. */
int esp_image_make(const EspTree *tree, uint64_t size, uint32_t sector_size, uint64_t epoch,
                   const char *work_dir, EspImage *ret, Why *why);
