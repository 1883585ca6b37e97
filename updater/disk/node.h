/* SPDX-License-Identifier: MIT */
#pragma once

/* Inside of the room: what a Disk is made of, and the kernel's names for its partitions. */

#include "disk/disk.h"

#include <sys/types.h>

#define NODE_NAME_SIZE 64u /* the kernel's limit for a disk name is 32, and digits */

struct Disk {
        const Env *env;
        char *path;
        int fd; /* read-only for ever: closing a writable descriptor of a whole disk makes udev read the table
                   again */
        bool writable;
        bool is_block;
        dev_t dev; /* of the block device; of the file's filesystem otherwise */
        ino_t ino;
        uint64_t size;
        uint32_t sector_size;
        bool torn; /* the two copies of the table differ in attributes */
        size_t n_parts;
        Partition parts[DISK_PARTITIONS_MAX];
};

/* The partition's device node ("vda3"), by the kernel's own list of the disk's partitions: 1 found, 0 when
 * the kernel made no nodes for this disk (or this is no block device of the real machine), negative errno. */
int node_of_partition(const Disk *disk, const Partition *p, char ret_name[NODE_NAME_SIZE], Why *why);
/* The same from what a host on files has of links and sysfs: 1 or 0. */
int node_of_links(const Env *env, const Partition *p, char ret_name[NODE_NAME_SIZE]);
/* The block device behind a path that was given as a mount source: "/dev/disk/by-label/x" -> "vda9". */
void node_of_source(const Env *env, const char *source, char ret_name[NODE_NAME_SIZE]);
