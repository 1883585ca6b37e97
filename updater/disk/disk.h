/* SPDX-License-Identifier: MIT */
#pragma once

/* A GPT disk, as a block device or as an image file, and byte ranges on it. Sectors and numbers stay in this room: other
 * rooms see bytes and identities (label, type, PARTUUID). Reading never writes; of the table itself nothing is ever written but
 * the attributes of partitions. */

#include "base/env.h"

#define DISK_PARTITIONS_MAX 128u /* a default GPT; a larger table is not one of ours */
#define DISK_LABEL_SIZE     145u /* 36 UTF-16 units as UTF-8, at most 4 bytes each, and the NUL */
#define DISK_UUID_SIZE      37u

/* Partition types (Discoverable Partitions Specification, and Flatcar's for its two /usr). */
#define DISK_TYPE_ESP                    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
#define DISK_TYPE_FLATCAR_ROOTFS         "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6"
#define DISK_TYPE_USR_VERITY_X86_64      "77ff5f63-e7b6-4633-acf4-1565b864c0e6"
#define DISK_TYPE_USR_VERITY_AARCH64     "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e"
#define DISK_TYPE_USR_VERITY_SIG_X86_64  "e7bb33fb-06cf-4e81-8273-e543b413e2e2"
#define DISK_TYPE_USR_VERITY_SIG_AARCH64 "c23ce4ff-44bd-4b00-b2d4-b41b3419e02a"

typedef struct Partition {
        unsigned number; /* 1-based entry index; only for messages and device nodes */
        char label[DISK_LABEL_SIZE];
        char type[DISK_UUID_SIZE];     /* lower case */
        char partuuid[DISK_UUID_SIZE]; /* lower case */
        uint64_t offset, size;         /* bytes */
        uint64_t attrs;
} Partition;

typedef struct Disk Disk;

/* life cycle. env is borrowed for the disk's life. -EBADMSG with a sentence for anything that is no valid GPT. A damaged
 * primary or backup table is refused: an updater does not guess. */
int disk_open(const Env *env, const char *path, bool writable, Disk **ret, Why *why);
Disk *disk_free(Disk *disk);
void disk_freep(Disk **disk);

/* questions (pure) */
const char *disk_path(const Disk *disk);
uint32_t disk_sector_size(const Disk *disk);
size_t disk_n_partitions(const Disk *disk);
const Partition *disk_partition(const Disk *disk, size_t i);
const Partition *disk_find_partuuid(const Disk *disk, const char *partuuid);
/* NULL when absent or not unique; *ret_count (may be NULL) says how many have it. */
const Partition *disk_find_label(const Disk *disk, const char *label, unsigned *ret_count);

/* An attribute write was interrupted (ours, or the boot loader's): the two copies of the table differ in attributes and in
 * nothing else. What partitions say here is what counts; the next disk_set_attrs() puts both copies right. */
bool disk_table_is_torn(const Disk *disk);

typedef struct PartitionAttrs {
        const Partition *partition; /* of this disk */
        uint64_t attrs;
} PartitionAttrs;

/* All of them at once, durable when it returns: backup copy first, then the primary, which is the one that boot loaders go
 * by. Whatever prefix of it reaches the medium, the table reads as it was or as it will be. Always writes, so that it also
 * proves that it can. The partitions of this disk say the new values afterwards. */
int disk_set_attrs(Disk *disk, const PartitionAttrs *set, size_t n, Why *why);

/* The same parser over bytes: the GPT region of a COSI (protective MBR to the end of the entry array), for labels and
 * PARTUUIDs of the source disk. Pure; fuzzed as fuzz-gpt. At most DISK_PARTITIONS_MAX used entries go to parts. */
int gpt_parse_region(const uint8_t *data, size_t size, uint32_t sector_size, Partition *parts, size_t *ret_n,
                     Why *why);

/* Exclusive advisory lock on the whole disk (systemd's BLOCK_DEVICE_LOCKING: udev waits). Taken until the disk is freed;
 * tries for some seconds, then WHY_BUSY. */
int disk_lock(Disk *disk, Why *why);

/* Who uses this partition: 0 nobody, 1 with a sentence in *why naming it (mounted at, mapped as), negative errno. On a
 * real machine: mountinfo, sysfs holders, O_EXCL. On files: mountinfo below the root only (by-partuuid/by-partlabel
 * sources, links and sysfs entries below the root); what is missing there is unknown, never asked of the real machine. */
int disk_in_use(const Disk *disk, const Partition *p, Why *why);

/* The whole disk that holds this partition on the real machine, from /dev/disk/by-partuuid and sysfs: "/dev/vda". */
int disk_path_of_partuuid(const Env *env, const char *partuuid, char **ret, Why *why);

/* The PARTUUID of a partition's node ("vda3"), lower case: 1, or 0 when nothing says it. */
int disk_partuuid_of_node(const Env *env, const char *node, char ret_partuuid[DISK_UUID_SIZE]);

/* A partition's bytes. Direct I/O where the target allows it: neither the writes nor the read-back go through the page
 * cache (where direct I/O is refused: fsync, then drop the pages, then read). Offsets and sizes are multiples of
 * AREA_ALIGN and buffers come from area_buffer(); anything else is a bug (-EINVAL). */
#define AREA_ALIGN 4096u
typedef struct Area Area;

int area_open(Disk *disk, const Partition *p, bool writable, Area **ret, Why *why);
Area *area_free(Area *area);
void area_freep(Area **area);
uint64_t area_size(const Area *area);
const Partition *area_partition(const Area *area);
int area_read(Area *area, uint64_t offset, void *buf, size_t size, Why *why);
/* Reads that follow each other are begun ahead, but never from this byte on: what lies behind it is being changed by somebody
 * else. */
void area_set_end(Area *area, uint64_t end);
int area_write(Area *area, uint64_t offset, const void *buf, size_t size, Why *why);
/* Makes everything written durable and makes later reads come from the medium. */
int area_sync(Area *area, Why *why);
void *area_buffer(size_t size); /* aligned; free() it */
