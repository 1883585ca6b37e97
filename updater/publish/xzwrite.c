/* SPDX-License-Identifier: MIT */

#include "publish/xzwrite.h"

#include <errno.h>
#include <lzma.h>

#define PRESET (6u | LZMA_PRESET_EXTREME) /* a dictionary of 8 MiB: hosts have to hold it */

int xz_pack(const void *data, size_t size, Bytes *ret, Why *why)
{
        size_t room = lzma_stream_buffer_bound(size), n = 0;
        uint8_t *out = room > 0 ? malloc(room) : NULL;
        lzma_ret e;

        if (!out)
                return fail_errno(why, -ENOMEM, WHY_HOST, "xz");
        e = lzma_easy_buffer_encode(PRESET, LZMA_CHECK_CRC32, NULL, data, size, out, &n, room);
        if (e != LZMA_OK) {
                free(out);
                return fail_errno(why, e == LZMA_MEM_ERROR ? -ENOMEM : -EIO, WHY_HOST, "xz");
        }
        *ret = (Bytes){ out, n };
        return 0;
}
