/* SPDX-License-Identifier: MIT */

/* Names as FAT spells them. A long name stands in entries of 13 UTF-16 units each, last part first, in front
 * of the short entry it belongs to; a sum over the short name says that it still does:
 *
 *      [0x42 "x.efi"] [0x01 "vmlinuz-6.6.1"] [VMLINU~1EFI, cluster, size]
 */

#include "image/fat-name.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

enum { CASE_BASE = 0x08, CASE_EXTENSION = 0x10 };

uint16_t fat_le16(const uint8_t *p)
{
        return (uint16_t) (p[0] | p[1] << 8);
}

void fat_long_take(FatLongName *l, const uint8_t *e)
{
        static const uint8_t at[FAT_LONG_UNITS] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
        unsigned number = e[0] & 0x1f;

        if (e[0] & 0x40) {
                *l = (FatLongName){ .parts = number, .next = number, .checksum = e[13] };
                if (number == 0 || number > (FAT_LONG_UNITS_MAX + FAT_LONG_UNITS - 1) / FAT_LONG_UNITS)
                        l->parts = 0;
        }
        /* an orphan: its short name stands for itself */
        if (l->parts == 0 || number != l->next || e[13] != l->checksum || e[0] & 0xa0) {
                l->parts = 0;
                return;
        }
        for (unsigned i = 0; i < FAT_LONG_UNITS; i++)
                l->units[(number - 1) * FAT_LONG_UNITS + i] = fat_le16(e + at[i]);
        l->next = number - 1;
}

static uint8_t short_checksum(const uint8_t *name)
{
        uint8_t sum = 0;

        for (unsigned i = 0; i < 11; i++)
                sum = (uint8_t) ((sum & 1 ? 0x80 : 0) + (sum >> 1) + name[i]);
        return sum;
}

bool fat_long_belongs(const FatLongName *l, const uint8_t *e)
{
        return l->parts > 0 && l->next == 0 && l->checksum == short_checksum(e);
}

static size_t put_utf8(char *out, uint32_t c)
{
        if (c < 0x80)
                return out[0] = (char) c, 1;
        if (c < 0x800)
                return out[0] = (char) (0xc0 | c >> 6), out[1] = (char) (0x80 | (c & 0x3f)), 2;
        if (c < 0x10000) {
                out[0] = (char) (0xe0 | c >> 12);
                out[1] = (char) (0x80 | (c >> 6 & 0x3f));
                out[2] = (char) (0x80 | (c & 0x3f));
                return 3;
        }
        out[0] = (char) (0xf0 | c >> 18);
        out[1] = (char) (0x80 | (c >> 12 & 0x3f));
        out[2] = (char) (0x80 | (c >> 6 & 0x3f));
        out[3] = (char) (0x80 | (c & 0x3f));
        return 4;
}

/* No separators, nothing that a terminal or a path would take for something else. */
static bool is_name_char(uint32_t c)
{
        return c >= 0x20 && (c < 0x7f || c >= 0xa0) && c != '/' && c != '\\';
}

int fat_long_name(const FatLongName *l, char out[FAT_NAME_BYTES])
{
        unsigned n_units = l->parts * FAT_LONG_UNITS, n = 0;
        size_t size = 0;

        while (n < n_units && l->units[n] != 0)
                n++;
        if (n == 0 || n > FAT_LONG_UNITS_MAX)
                return -EBADMSG;
        for (unsigned i = 0; i < n; i++) {
                uint32_t c = l->units[i];

                if (c >= 0xd800 && c < 0xe000) {
                        if (c >= 0xdc00 || i + 1 == n || l->units[i + 1] < 0xdc00 || l->units[i + 1] > 0xdfff)
                                return -EBADMSG;
                        c = 0x10000 + ((c - 0xd800) << 10 | (uint32_t) (l->units[++i] - 0xdc00));
                }
                if (!is_name_char(c))
                        return -EBADMSG;
                size += put_utf8(out + size, c);
        }
        out[size] = 0;
        return streq(out, ".") || streq(out, "..") ? -EBADMSG : 0;
}

/* n bytes up to the trailing blanks; bytes beyond ASCII depend on a code page that nobody knows */
static int short_part(const uint8_t *p, unsigned n, bool lower, Str *out)
{
        while (n > 0 && p[n - 1] == ' ')
                n--;
        for (unsigned i = 0; i < n; i++) {
                char c = (char) p[i];

                if (p[i] >= 0x80) {
                        str_add(out, REPLACEMENT);
                        continue;
                }
                if (!is_name_char(p[i]))
                        return -EBADMSG;
                if (lower && c >= 'A' && c <= 'Z')
                        c = (char) (c + ('a' - 'A'));
                str_addn(out, &c, 1);
        }
        return 0;
}

int fat_short_name(const uint8_t *e, char out[FAT_NAME_BYTES])
{
        _cleanup_(str_done) Str s = STR_NULL;
        uint8_t name[11];
        char *text;
        int r;

        memcpy(name, e, sizeof(name));
        if (name[0] == 0x05)
                name[0] = 0xe5; /* a first byte that would mean "deleted" */
        if (name[0] == ' ')
                return -EBADMSG;
        r = short_part(name, 8, e[12] & CASE_BASE, &s);
        if (r >= 0 && name[8] != ' ') {
                str_add(&s, ".");
                r = short_part(name + 8, 3, e[12] & CASE_EXTENSION, &s);
        }
        if (r < 0)
                return r;
        text = str_take(&s);
        if (!text)
                return -ENOMEM;
        (void) snprintf(out, FAT_NAME_BYTES, "%s", text);
        free(text);
        return 0;
}
