/* SPDX-License-Identifier: MIT */
#pragma once

/* Whole reads and writes: short transfers and EINTR end here. */

#include "base/mem.h"

#include <sys/types.h>
#include <unistd.h>

static inline void close_fdp(int *fd)
{
        if (*fd >= 0)
                (void) close(*fd);
}

/* Reads until n bytes or end of file. Returns the number of bytes, or negative errno. */
ssize_t fd_read_full(int fd, void *buf, size_t n);
ssize_t fd_pread_full(int fd, void *buf, size_t n, uint64_t offset);
/* All n bytes or negative errno. */
int fd_write_full(int fd, const void *buf, size_t n);
int fd_pwrite_full(int fd, const void *buf, size_t n, uint64_t offset);
/* Reads everything up to max bytes; a longer file is -EFBIG. */
int fd_read_all(int fd, size_t max, Bytes *ret);
