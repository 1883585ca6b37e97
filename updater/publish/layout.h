/* SPDX-License-Identifier: MIT */
#pragma once

/* The partitions of an ACL disk of the current generation (acl-disk-and-boot.md 1.1): labels, types, the six
 * constant PARTUUIDs that boot arguments depend on, default sizes. Ids that ACL leaves to chance are derived
 * from a seed, so that a build is reproducible. */

#include "bootloader/bootloader.h"
#include "publish/gptwrite.h"

typedef enum LayoutPart {
        PART_ESP,
        PART_USR_A,
        PART_HASH_A,
        PART_HASH_SIG_A,
        PART_USR_B,
        PART_HASH_B,
        PART_HASH_SIG_B,
        PART_OEM,
        PART_ROOT,
        _PART_MAX,
} LayoutPart;

#define ESP_TYPE     "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
#define USR_TYPE     "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6"
#define ROOT_LABEL   "ROOT"
#define LAYOUT_ALIGN (2u * MIB)

const char *layout_label(LayoutPart part);
/* slot 0 is A, 1 is B */
void layout_slot_ids(unsigned slot, BootSlotIds *ret);
uint64_t layout_default_size(LayoutPart part);
/* Finds an ACL part by its label; _PART_MAX when it is none. */
LayoutPart layout_part_of_label(const char *label);

/* sizes: bytes a partition must at least hold, 0 for the default. Exact where exact[part]. arch "x86_64" or
 * "aarch64". */
typedef struct LayoutSizes {
        uint64_t needed[_PART_MAX]; /* what its image needs */
        uint64_t chosen[_PART_MAX]; /* what the engineer said; 0: the default, or what is needed where that is
                                       more */
} LayoutSizes;

int layout_acl(const char *arch, uint32_t lba_size, const LayoutSizes *sizes, const uint8_t seed[32],
               GptLayout *ret, Why *why);
/* A UUID (version 8) that follows from a name and a seed. */
void uuid_derive(const char *name, const uint8_t *seed, size_t seed_size, uint8_t out[16]);
