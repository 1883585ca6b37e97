/* SPDX-License-Identifier: MIT */
#pragma once

/* Small files, always as (directory fd, name): reading whole, replacing atomically, making folders. */

#include "base/mem.h"

/* -ENOENT when it is missing, -EFBIG when it is longer than max. Regular files and what looks like one (proc, sysfs,
 * efivarfs); a symbolic link as the last component is followed. */
int file_read(int dir_fd, const char *name, size_t max, Bytes *ret);

/* The only way a small file is written: temporary name, contents synced, renamed over, folder synced. After a power
 * cut the name holds the old bytes or the new ones. */
int file_replace(int dir_fd, const char *name, const void *data, size_t size, unsigned mode);

/* Unlinks and syncs the folder. A missing file is success: 0; removed: 1. */
int file_remove(int dir_fd, const char *name);

/* mkdir -p below dir_fd; returns an O_DIRECTORY fd of the last component. Every folder it had to make is synced into
 * its parent. */
int dir_make(int dir_fd, const char *path, unsigned mode);
int dir_open(int dir_fd, const char *path);

/* Copies len bytes between descriptors at their current positions. */
int file_copy_bytes(int from_fd, int to_fd, uint64_t len);

/* Sorted names of a folder without "." and "..", NULL-terminated; strv_free() it. */
int dir_list(int dir_fd, const char *path, char ***ret);
/* rm -r, bounded depth, never crosses symbolic links. A missing tree is success. */
int dir_remove(int dir_fd, const char *name);
