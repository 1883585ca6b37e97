/* SPDX-License-Identifier: MIT */

#include "base/mem.h"

#include <errno.h>

int bytes_append(Bytes *b, const void *data, size_t size)
{
        size_t total;
        uint8_t *p;

        if (__builtin_add_overflow(b->size, size, &total) || total == SIZE_MAX)
                return -ENOMEM;
        p = realloc(b->data, total + 1);
        if (!p)
                return -ENOMEM;
        if (size > 0)
                memcpy(p + b->size, data, size);
        p[total] = 0;
        b->data = p;
        b->size = total;
        return 0;
}

int bytes_copy(Bytes *ret, const void *data, size_t size)
{
        Bytes b = BYTES_NULL;
        int r = bytes_append(&b, data, size);

        if (r < 0)
                return r;
        *ret = b;
        return 0;
}
