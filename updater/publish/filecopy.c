/* SPDX-License-Identifier: MIT */

#include "publish/filecopy.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define COPY_CHUNK (1u * MIB)

/* 1 both hold the same bytes */
int file_same_bytes(int a, int b)
{
        _cleanup_(bytes_done) Bytes x = { malloc(COPY_CHUNK), 0 }, y = { malloc(COPY_CHUNK), 0 };
        struct stat sa, sb;

        if (!x.data || !y.data)
                return -ENOMEM;
        if (fstat(a, &sa) < 0 || fstat(b, &sb) < 0)
                return -errno;
        if (sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino)
                return 1;
        if (sa.st_size != sb.st_size)
                return 0;
        for (uint64_t at = 0;; at += COPY_CHUNK) {
                ssize_t n = fd_pread_full(a, x.data, COPY_CHUNK, at),
                        m = fd_pread_full(b, y.data, COPY_CHUNK, at);

                if (n < 0 || m < 0)
                        return n < 0 ? (int) n : (int) m;
                if (n != m || memcmp(x.data, y.data, (size_t) n) != 0)
                        return 0;
                if (n == 0)
                        return 1;
        }
}

int file_copy_into(int from, int dir_fd, const char *name, uint64_t size, Meter *meter)
{
        _cleanup_(free_charp) char *tmp = str_printf("%s.new~", name);
        _cleanup_(close_fdp) int to = -1;
        int r = 0;

        if (!tmp)
                return -ENOMEM;
        to = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (to < 0 || lseek(from, 0, SEEK_SET) < 0)
                return -errno;
        meter_begin(meter, name, size);
        for (uint64_t at = 0; r >= 0 && at < size; at += COPY_CHUNK) {
                uint64_t n = MIN(size - at, (uint64_t) COPY_CHUNK);

                r = file_copy_bytes(from, to, n);
                meter_add(meter, n, 0);
        }
        meter_end(meter);
        if (r >= 0 && fsync(to) < 0)
                r = -errno;
        if (r >= 0 && renameat(dir_fd, tmp, dir_fd, name) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(dir_fd, tmp, 0);
        return r < 0 ? r : fsync(dir_fd) < 0 ? -errno : 0;
}
