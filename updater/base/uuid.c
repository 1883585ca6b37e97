/* SPDX-License-Identifier: MIT */

#include "base/uuid.h"
#include "base/str.h"

#include <errno.h>
#include <sys/random.h>

int uuid_random(char out[37])
{
        uint8_t u[16];

        if (getrandom(u, sizeof(u), 0) != (ssize_t) sizeof(u))
                return -EIO;
        u[6] = (uint8_t) ((u[6] & 0x0f) | 0x40);
        u[8] = (uint8_t) ((u[8] & 0x3f) | 0x80);
        uuid_format_text(u, out);
        return 0;
}
