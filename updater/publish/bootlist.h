/* SPDX-License-Identifier: MIT */
#pragma once

/* The files of an ESP that an updater may take (formats.md section 3, "boot"), and what the release engineer
 * must be told before a host refuses them. Where the files come from (a tree, a FAT image, a finished COSI)
 * is the caller's business. */

#include "bootloader/bootloader.h"

typedef struct BootListFile {
        char *path; /* as on the ESP */
        BootKind kind;
        uint64_t size;
        char sha256[65];
        PeSummary pe; /* of uki, addon and template */
} BootListFile;

typedef struct BootList {
        BootListFile *files;
        size_t n_files;
        const BootListFile *uki; /* or Flatcar's kernel; into files, set by boot_list_check() */
} BootList;

void boot_list_done(BootList *list);
/* What a path on the ESP is; _BOOT_KIND_INVALID: nothing an updater takes. shim: there is a second stage
 * (grub*.efi) beside EFI/BOOT/BOOT*.EFI, so that one is shim and the second stage is the loader. */
BootKind boot_kind_of_path(const char *path, bool shim);
bool boot_path_is_second_stage(const char *path);
bool boot_kind_is_pe(BootKind kind);
/* takes pe on success */
int boot_list_add(BootList *list, const char *path, BootKind kind, uint64_t size, const char sha256[65],
                  PeSummary *pe);

/* What the addons must fit. */
typedef struct BootListFacts {
        const char *roothash;
        const char *arch; /* "x86_64", "aarch64", or "": as the UKI says */
        BootSlotIds ids[2];
        bool has_signature; /* the COSI has a HASH-SIG payload */
        WhyKind kind;       /* of a refusal: WHY_USAGE for who builds, WHY_TRUST for who verifies */
} BootListFacts;

/* By name or by verity arguments. */
bool boot_file_is_slot_addon(const BootListFile *file);
/* Exactly one UKI with .linux and .osrel (or one kernel of Flatcar that has this root hash in it); one machine type; slot addons name this root hash and their own
 * slot's partitions; verity arguments nowhere else. Adds a sentence to warnings for what hosts accept but
 * engineers rarely mean. */
int boot_list_check(BootList *list, const BootListFacts *facts, char ***warnings, Why *why);
