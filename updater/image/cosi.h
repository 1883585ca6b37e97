/* SPDX-License-Identifier: MIT */
#pragma once

/* What a COSI's metadata.json says, as far as an A/B updater needs it, and the rules it must keep. Pure:
 * bytes in (which have passed a digest or come from the release engineer's own disk), a Cosi out. Rules:
 * cosi.md section 4, formats.md section 10. */

#include "base/json.h"
#include "disk/disk.h"

#define COSI_METADATA_MAX   (4u * 1024u * 1024u) /* a full package list; beyond this it is not ours */
#define COSI_DEPTH_MAX      32u
#define COSI_REGIONS_MAX    129u /* the GPT and 128 partitions */
#define COSI_PATH_MAX       256u
#define COSI_GPT_MAX        (1024u * 1024u) /* 34 sectors are usual; a table of 128 big entries fits as well */
#define COSI_SIZE_MAX       (UINT64_C(1) << 62) /* no disk is larger, and sums of two sizes still fit 64 bits */
#define COSI_WINDOW_DEFAULT 27u
#define COSI_WINDOW_LIMIT   30u /* 1 GiB: the most a configuration may allow */

typedef struct CosiImage {
        char path[COSI_PATH_MAX];
        uint64_t compressed_size, uncompressed_size;
        bool has_sha384;
        char sha384[97]; /* lower case, of the compressed bytes */
} CosiImage;

typedef struct CosiRegion {
        bool is_gpt;
        unsigned number;
        CosiImage image;
} CosiRegion;

typedef struct CosiFilesystem {
        CosiImage image;
        char *mount_point, *fs_type, *fs_uuid;
        char part_type[DISK_UUID_SIZE];
        bool has_verity, inline_verity;
        CosiImage verity;  /* unset when inline */
        char roothash[65]; /* lower case */
} CosiFilesystem;

typedef struct Cosi {
        unsigned major, minor;
        char arch[16]; /* "x86_64" or "aarch64" */
        char *os_release;
        unsigned max_window_log; /* COSI_WINDOW_DEFAULT when absent */
        uint32_t lba_size;       /* 512 when there is no disk section */
        uint64_t disk_size;      /* 0 when there is no disk section */
        CosiRegion *regions;
        size_t n_regions;
        CosiFilesystem *filesystems;
        size_t n_filesystems;
        const CosiFilesystem *usr, *esp; /* into filesystems; never NULL after cosi_parse() */
        Json *packages;                  /* osPackages as found, for inspect and diff; may be NULL */
} Cosi;

/* kind says what a fault is called: WHY_TRUST where a signed digest covers the bytes, else WHY_IMAGE.
 * need_sha384: refuse images without a digest (false only when the release file covers the content). */
int cosi_parse(const void *data, size_t size, WhyKind kind, bool need_sha384, Cosi *ret, Why *why);
void cosi_done(Cosi *cosi);
/* The region of a partition by its image path; NULL when the COSI has no disk section or no such region. */
const CosiRegion *cosi_region_of(const Cosi *cosi, const char *image_path);
/* A value of os_release by key, unquoted into a new string; NULL when absent. */
char *cosi_os_release(const Cosi *cosi, const char *key);
/* The same on any os-release text. */
char *os_release_get(const char *text, const char *key);
/* Against the GPT region: every used entry has a region and the other way round, sizes fit. Finds the
 * HASH-SIG region of the source slot (NULL when there is none). cosi.md section 4 no. 5, section 7 no. 2. */
int cosi_check_gpt(const Cosi *cosi, const Partition *parts, size_t n, WhyKind kind,
                   const CosiRegion **ret_sig, Why *why);
