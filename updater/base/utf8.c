/* SPDX-License-Identifier: MIT */

#include "base/utf8.h"

size_t utf8_char(const char *s, size_t n)
{
        const unsigned char *p = (const unsigned char *) s;
        size_t length;
        uint32_t c;

        if (n == 0 || p[0] == 0)
                return 0;
        if (p[0] < 0x80)
                return 1;
        length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
        if (p[0] < 0xc2 || p[0] > 0xf4 || n < length)
                return 0;
        c = p[0] & (0x7fu >> length);
        for (size_t i = 1; i < length; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (p[i] & 0x3f);
        }
        if ((length == 3 && c < 0x800) || (length == 4 && (c < 0x10000 || c > 0x10ffff)) ||
            (c >= 0xd800 && c <= 0xdfff))
                return 0;
        return length;
}

bool utf8_is_valid(const char *text)
{
        size_t n = strlen(text), k;

        for (size_t i = 0; i < n; i += k)
                if ((k = utf8_char(text + i, n - i)) == 0)
                        return false;
        return true;
}

void utf8_repair(char *text)
{
        size_t n = strlen(text);

        for (size_t i = 0; i < n;) {
                size_t k = utf8_char(text + i, n - i);

                if (k == 0)
                        text[i] = '?';
                i += k ? k : 1;
        }
}
