/* SPDX-License-Identifier: MIT */

/* Owner, group and mode say nothing in a COSI: they are root and 0644 in every build, so that the same inputs
 * give the same bytes. */

#include "publish/tarwrite.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define OCTAL_SIZE_MAX ((UINT64_C(1) << 33) - 1) /* eleven octal digits */
#define OCTAL_TIME_MAX OCTAL_SIZE_MAX

static void put_octal(uint8_t *field, size_t width, uint64_t value)
{
        char text[24];

        (void) snprintf(text, sizeof(text), "%0*llo", (int) width - 1, (unsigned long long) value);
        memcpy(field, text, width);
}

/* GNU base-256: the first byte's top bit, then a big-endian number */
static void put_size(uint8_t *field, uint64_t value)
{
        if (value <= OCTAL_SIZE_MAX) {
                put_octal(field, 12, value);
                return;
        }
        memset(field, 0, 12);
        field[0] = 0x80;
        for (unsigned i = 0; i < 8; i++)
                field[11 - i] = (uint8_t) (value >> (8 * i));
}

int tar_header(const char *name, uint64_t size, uint64_t mtime, uint8_t out[TAR_BLOCK])
{
        size_t len = strlen(name);
        unsigned sum = 0;

        if (len == 0 || len > TAR_NAME_MAX || name[0] == '/' || str_starts(name, "./"))
                return -EINVAL;
        memset(out, 0, TAR_BLOCK);
        memcpy(out, name, len);
        put_octal(out + 100, 8, 0644);
        put_octal(out + 108, 8, 0); /* uid */
        put_octal(out + 116, 8, 0); /* gid */
        put_size(out + 124, size);
        put_octal(out + 136, 12, MIN(mtime, OCTAL_TIME_MAX));
        memset(out + 148, ' ', 8);
        out[156] = '0';
        memcpy(out + 257, "ustar\00000", 8);
        memcpy(out + 265, "root", 4);
        memcpy(out + 297, "root", 4);
        put_octal(out + 329, 8, 0);
        put_octal(out + 337, 8, 0);
        for (size_t i = 0; i < TAR_BLOCK; i++)
                sum += out[i];
        /* six digits, NUL, blank: as everyone writes it */
        put_octal(out + 148, 7, sum);
        out[155] = ' ';
        return 0;
}

size_t tar_padding(uint64_t size)
{
        return (size_t) ((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}
