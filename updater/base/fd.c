/* SPDX-License-Identifier: MIT */

#include "base/fd.h"

#include <errno.h>

ssize_t fd_read_full(int fd, void *buf, size_t n)
{
        size_t done = 0;

        while (done < n) {
                ssize_t l = read(fd, (uint8_t *) buf + done, n - done);
                if (l < 0 && errno == EINTR)
                        continue;
                if (l < 0)
                        return -errno;
                if (l == 0)
                        break;
                done += (size_t) l;
        }
        return (ssize_t) done;
}

ssize_t fd_pread_full(int fd, void *buf, size_t n, uint64_t offset)
{
        size_t done = 0;

        while (done < n) {
                ssize_t l = pread(fd, (uint8_t *) buf + done, n - done, (off_t) (offset + done));
                if (l < 0 && errno == EINTR)
                        continue;
                if (l < 0)
                        return -errno;
                if (l == 0)
                        break;
                done += (size_t) l;
        }
        return (ssize_t) done;
}

int fd_write_full(int fd, const void *buf, size_t n)
{
        size_t done = 0;

        while (done < n) {
                ssize_t l = write(fd, (const uint8_t *) buf + done, n - done);
                if (l < 0 && errno == EINTR)
                        continue;
                if (l <= 0)
                        return l < 0 ? -errno : -EIO;
                done += (size_t) l;
        }
        return 0;
}

int fd_pwrite_full(int fd, const void *buf, size_t n, uint64_t offset)
{
        size_t done = 0;

        while (done < n) {
                ssize_t l = pwrite(fd, (const uint8_t *) buf + done, n - done, (off_t) (offset + done));
                if (l < 0 && errno == EINTR)
                        continue;
                if (l <= 0)
                        return l < 0 ? -errno : -EIO;
                done += (size_t) l;
        }
        return 0;
}

int fd_read_all(int fd, size_t max, Bytes *ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        uint8_t buf[16 * 1024];
        int r;

        for (;;) {
                ssize_t l = fd_read_full(fd, buf, sizeof(buf));
                if (l < 0)
                        return (int) l;
                if ((size_t) l > max - b.size)
                        return -EFBIG;
                r = bytes_append(&b, buf, (size_t) l);
                if (r < 0)
                        return r;
                if ((size_t) l < sizeof(buf))
                        break;
        }
        *ret = b;
        b = BYTES_NULL;
        return 0;
}
