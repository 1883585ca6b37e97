/* SPDX-License-Identifier: MIT */
#pragma once

/* A build under way: what build-parts.c or build-disk.c found, for build.c to check and pack. For this room
 * only. */

#include "publish/bootscan.h"
#include "publish/layout.h"
#include "publish/pack.h"
#include "publish/publish.h"
#include "publish/tree.h"

typedef struct BuildRegion {
        Partition part;
        LayoutPart role; /* _PART_MAX: a partition of a foreign disk */
        ByteRange range;
        int fd; /* owned; the range's own descriptor where the region does not share another's */
} BuildRegion;

typedef struct Build {
        const Env *env;
        const BuildOptions *o;
        Meter *meter;
        char *work_dir;
        char arch[16];
        uint32_t lba_size;
        char *os_release;
        Json *packages;

        EspTree tree; /* files that were given one by one or as a folder */
        BootList boot;
        char esp_serial[16];

        BuildRegion regions[GPT_ENTRIES]; /* by partition offset */
        size_t n_regions;
        int disk_fd; /* --disk: the file that all regions share */
        uint64_t disk_size;
        Bytes gpt;
        BootSlotIds ids[2];
        bool has_signature;

        VerityParams params;
        char roothash[65];
        int usr_fd, hash_fd;
        ByteRange usr, hash; /* exactly the data blocks and the tree */

        char **warnings;
} Build;

/* fds empty */
void build_init(Build *b, const Env *env, const BuildOptions *options, Meter *meter);
void build_done(Build *b);
int build_add_warning(Build *b, const char *fmt, ...) _printf_(2, 3);
BuildRegion *build_region(Build *b, LayoutPart role); /* NULL: there is none */
int read_text_file(const char *path, size_t max, Bytes *ret, Why *why);
/* Checks the boot files against b->roothash and b->ids; takes arch and os-release from the UKI where they
 * were not given. */
int build_check_boot(Build *b, Why *why);
/* Boot files and serial of a FAT image. */
int build_scan_esp(Build *b, const ByteRange *esp, Why *why);
/* Parameters as given or derived from b->usr; then the tree into a new nameless file: b->hash, b->roothash.
 */
int build_verity(Build *b, Why *why);

/* {roothash, salt, uuid, dataSize, hashSize} */
Json *verity_json(const char *roothash, const VerityParams *p, uint64_t hash_size);
/* Packed regions -> a Cosi (its strings owned, cosi_done() it) -> the text of metadata.json. */
int build_describe(Build *b, const Pack *pack, Cosi *cosi, Why *why);
int build_format_metadata(Build *b, const Cosi *cosi, char **ret, Why *why);

/* The block index of /usr (image/index.h); *ret stays empty where there can be none. */
int build_index(Build *b, const Pack *pack, Bytes *ret, Why *why);

int build_from_parts(Build *b, Why *why);
int build_from_disk(Build *b, Why *why);
