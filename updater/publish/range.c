/* SPDX-License-Identifier: MIT */

/* Where image bytes come from. Images are sparse and mostly zeroes: whoever compresses or hashes them must
 * not pay for reading a gigabyte of nothing. */

#include "publish/range.h"
#include "base/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

bool bytes_are_zero(const uint8_t *data, size_t n)
{
        /* the first 16 bytes are zero and everything equals its neighbour 16 bytes on */
        for (size_t i = 0; i < MIN(n, (size_t) 16); i++)
                if (data[i])
                        return false;
        return n <= 16 || memcmp(data, data + 16, n - 16) == 0;
}

int range_of_fd(int fd, const char *what, ByteRange *ret, Why *why)
{
        off_t end = lseek(fd, 0, SEEK_END);

        if (end < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s", what);
        *ret = (ByteRange){ .fd = fd, .size = (uint64_t) end, .what = what };
        return 0;
}

/* Is [pos, pos + n) a hole? Where the file system cannot tell, it is data. */
static bool is_hole(const ByteRange *range, uint64_t pos, size_t n)
{
        off_t at = lseek(range->fd, (off_t) (range->offset + pos), SEEK_DATA);
        off_t end;

        if (at >= 0)
                return (uint64_t) at >= range->offset + pos + n;
        if (errno != ENXIO)
                return false;
        /* no data up to the end of the file, or pos is beyond that end */
        end = lseek(range->fd, 0, SEEK_END);
        return end >= 0 && (uint64_t) end >= range->offset + pos + n;
}

int range_read(const ByteRange *range, uint64_t pos, uint8_t *buf, size_t n, bool *ret_zero, Why *why)
{
        ssize_t got;

        if (range->fd < 0 || is_hole(range, pos, n)) {
                *ret_zero = true;
                return 0;
        }
        got = fd_pread_full(range->fd, buf, n, range->offset + pos);
        if (got < 0)
                return fail_errno(why, (int) got, WHY_HOST, "%s", range->what);
        if ((size_t) got < n)
                return fail(why, -EIO, WHY_HOST, "short-read",
                            "%s: ends at byte %" PRIu64 ", expected %" PRIu64 " bytes", range->what,
                            range->offset + pos + (uint64_t) got, range->offset + range->size);
        *ret_zero = bytes_are_zero(buf, n);
        return 0;
}

int bytes_as_file(const Bytes *bytes, Why *why)
{
        _cleanup_(close_fdp) int fd = memfd_create("gybe-bytes", MFD_CLOEXEC);
        int r = fd < 0 ? -errno : fd_write_full(fd, bytes->data, bytes->size);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "temporary file in memory") : take_fd(&fd);
}
