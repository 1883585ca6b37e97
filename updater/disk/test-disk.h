/* SPDX-License-Identifier: MIT */
#pragma once

/* For tests of several rooms: a disk image with a real GPT, written by libfdisk, with sectors of 512 or 4096
 * bytes. */

#include "base/fd.h"
#include "base/str.h"
#include "disk/disk.h"

#include <assert.h>
#include <fcntl.h>
#include <libfdisk/libfdisk.h>

typedef struct TestPart {
        const char *label, *type, *uuid;
        uint64_t size;  /* bytes */
        uint64_t start; /* bytes; 0: the next multiple of 1 MiB */
} TestPart;

static inline void test_disk_add(struct fdisk_context *cxt, const TestPart *p, uint64_t start,
                                 unsigned sector)
{
        struct fdisk_partition *part = fdisk_new_partition();
        struct fdisk_parttype *type = fdisk_label_parse_parttype(fdisk_get_label(cxt, NULL), p->type);

        assert(part && type);
        assert(fdisk_partition_set_start(part, start / sector) == 0);
        assert(fdisk_partition_set_size(part, p->size / sector) == 0);
        assert(fdisk_partition_partno_follow_default(part, 1) == 0);
        assert(fdisk_partition_set_name(part, p->label) == 0 && fdisk_partition_set_uuid(part, p->uuid) == 0);
        assert(fdisk_partition_set_type(part, type) == 0);
        assert(fdisk_add_partition(cxt, part, NULL) == 0);
        fdisk_unref_parttype(type);
        fdisk_unref_partition(part);
}

static inline void test_disk_make(const char *path, uint64_t size, unsigned sector, const TestPart *parts,
                                  size_t n)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        struct fdisk_context *cxt = fdisk_new_context();
        uint64_t at = MIB;

        assert(fd >= 0 && ftruncate(fd, (off_t) size) == 0 && cxt);
        assert(fdisk_disable_dialogs(cxt, 1) == 0);
        assert(fdisk_save_user_sector_size(cxt, sector, sector) == 0);
        assert(fdisk_save_user_grain(cxt, sector) == 0);
        assert(fdisk_assign_device_by_fd(cxt, fd, path, 0) == 0);
        assert(fdisk_create_disklabel(cxt, "gpt") == 0);
        for (size_t i = 0; i < n; i++) {
                if (parts[i].start)
                        at = parts[i].start;
                test_disk_add(cxt, &parts[i], at, sector);
                at = (at + parts[i].size + MIB - 1) / MIB * MIB;
        }
        assert(fdisk_write_disklabel(cxt) == 0);
        assert(fdisk_deassign_device(cxt, 1) == 0);
        fdisk_unref_context(cxt);
}
