/* SPDX-License-Identifier: MIT */

/* Walks tar headers as far as needed: ustar names, octal and base-256 sizes. Extension headers are stepped over, so a
 * member whose name or size only stands in one is not found. */

#include "publish/members.h"
#include "base/fd.h"

#include <errno.h>
#include <stdio.h>

#define BLOCK       512u
#define MEMBERS_MAX 4096u
#define TABLE_MAX   (64u * MIB) /* of a 128 GiB image at 32 KiB frames */

static uint64_t parse_octal(const uint8_t *p, size_t n)
{
        uint64_t v = 0;

        if (p[0] & 0x80) {
                for (size_t i = n - 8; i < n; i++)
                        v = v << 8 | p[i];
                return v;
        }
        for (size_t i = 0; i < n && p[i] != 0; i++)
                if (p[i] >= '0' && p[i] <= '7')
                        v = v << 3 | (uint64_t) (p[i] - '0');
        return v;
}

static void member_name(const uint8_t *h, char out[260])
{
        int prefix = (int) strnlen((const char *) h + 345, memcmp(h + 257, "ustar\0", 6) == 0 ? 155 : 0);

        (void) snprintf(out, 260, "%.*s%s%.100s", prefix, (const char *) h + 345, prefix > 0 ? "/" : "",
                        (const char *) h);
}

static int find_member(int fd, const char *name, uint64_t *ret_offset, uint64_t *ret_size)
{
        uint64_t at = 0;

        for (unsigned i = 0; i < MEMBERS_MAX; i++) {
                uint8_t h[BLOCK];
                char found[260];
                uint64_t size;

                if (fd_pread_full(fd, h, sizeof(h), at) != (ssize_t) sizeof(h) || h[0] == 0)
                        return -ENOENT;
                size = parse_octal(h + 124, 12);
                member_name(h, found);
                if (strcmp(found[0] == '.' && found[1] == '/' ? found + 2 : found, name) == 0) {
                        *ret_offset = at + BLOCK;
                        *ret_size = size;
                        return 0;
                }
                if (__builtin_add_overflow(at, BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK, &at) ||
                    size > INT64_MAX)
                        return -ENOENT;
        }
        return -ENOENT;
}

int member_seek_table(int fd, const char *name, SeekTable *ret)
{
        _cleanup_(bytes_done) Bytes frame = BYTES_NULL;
        uint8_t footer[SEEKTABLE_FOOTER];
        uint64_t offset = 0, size = 0, table = 0;
        int r = find_member(fd, name, &offset, &size);

        if (r < 0)
                return r;
        if (size < sizeof(footer) ||
            fd_pread_full(fd, footer, sizeof(footer), offset + size - sizeof(footer)) !=
                    (ssize_t) sizeof(footer))
                return 0;
        if (seektable_footer(footer, &table) == 0 || table > size)
                return 0;
        if (table > TABLE_MAX)
                return -EFBIG;
        frame.data = malloc((size_t) table);
        if (!frame.data)
                return -ENOMEM;
        frame.size = (size_t) table;
        if (fd_pread_full(fd, frame.data, frame.size, offset + size - table) != (ssize_t) frame.size)
                return -EIO;
        return seektable_parse(frame.data, frame.size, size, ret, NULL) >= 0;
}
