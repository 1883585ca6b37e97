/* SPDX-License-Identifier: MIT */

/* The tail of a zstd file as inspect reads it: footer, then the whole table. What is accepted must format to the same
 * bytes again (the unused descriptor bits are not kept). */

#undef NDEBUG
#include "image/seektable.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        SeekTable table = { 0 };
        Bytes again = BYTES_NULL;
        uint64_t frame = 0;

        if (size < SEEKTABLE_FOOTER || size > 64 * 1024)
                return 0;
        if (seektable_footer(data + size - SEEKTABLE_FOOTER, &frame) == 0 || frame > size)
                return 0;
        if (seektable_parse(data + (size - frame), (size_t) frame, size, &table, NULL) < 0)
                return 0;
        assert(table.compressed + frame == size);
        assert(seektable_format(&table, &again) == 0 && again.size == frame);
        again.data[frame - 5] = data[size - 5];
        assert(memcmp(again.data, data + (size - frame), frame) == 0);
        bytes_done(&again);
        seektable_done(&table);
        return 0;
}
