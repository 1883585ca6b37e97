/* SPDX-License-Identifier: MIT */

/* What a file name in EFI/Linux says. Two families of names are ours: the managed ones that gybe and Trident give, and the
 * ones an image builder gives; everything else belongs to somebody else and is only ever looked at.
 *
 *      vmlinuz-101-azlb0.efi          managed: index 101, slot b, operating system 0
 *      vmlinuz-6.6.121.1-1.azl3.efi   an image builder's (note the "-1.azl3": the managed pattern must match whole)
 *      acl.efi                        an old image builder's
 *      foo+2-1.efi                    with boot counter: two tries left, one done */

#include "bootloader/entry.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

/* Digits at p, at least one, at most nine (counters are at most INT_MAX and never padded that far). */
static const char *read_number(const char *p, unsigned *ret)
{
        unsigned value = 0, digits = 0;

        for (; *p >= '0' && *p <= '9' && digits < 10; p++, digits++)
                value = value * 10 + (unsigned) (*p - '0');
        if (digits == 0 || digits > 9)
                return NULL;
        *ret = value;
        return p;
}

/* "+3", "+2-1": returns what follows, NULL when it is no counter. */
static const char *read_counter(const char *p, unsigned *ret_left, unsigned *ret_done)
{
        *ret_done = 0;
        if (*p != '+')
                return NULL;
        p = read_number(p + 1, ret_left);
        if (p && *p == '-')
                p = read_number(p + 1, ret_done);
        return p;
}

static void read_managed(EntryName *e)
{
        const char *p = e->stem;
        unsigned index, os;
        int slot;

        if (strncasecmp(p, "vmlinuz-", 8) != 0)
                return;
        p = read_number(p + 8, &index);
        if (!p || strncasecmp(p, "-azl", 4) != 0)
                return;
        slot = tolower((unsigned char) p[4]) - 'a';
        if (slot != 0 && slot != 1)
                return;
        p = read_number(p + 5, &os);
        if (!p || strcasecmp(p, ".efi") != 0)
                return;
        e->managed = true;
        e->index = index;
        e->os_index = os;
        e->slot = slot;
}

/* vmlinuz-X.Y.Z... : a kernel version starts with two dots between numbers; acl.efi is what older builds wrote. */
static bool is_factory(const char *stem)
{
        unsigned n;
        const char *p;

        if (strcasecmp(stem, "acl.efi") == 0)
                return true;
        if (strncasecmp(stem, "vmlinuz-", 8) != 0)
                return false;
        p = read_number(stem + 8, &n);
        p = p && *p == '.' ? read_number(p + 1, &n) : NULL;
        return p && strchr(".-_+~", *p) && *p;
}

int entry_name_parse(const char *name, const char *suffix, EntryName *ret)
{
        EntryName e = { .slot = -1 };
        size_t length = strlen(name), tail = strlen(suffix);
        const char *plus, *end;

        if (length <= tail || length >= BOOT_NAME_MAX || !str_ends_fold(name, suffix))
                return -EINVAL;
        for (const char *p = name; *p; p++)
                if ((unsigned char) *p < ' ' || (unsigned char) *p >= 0x7f || strchr("/\\\"*:<>?|", *p))
                        return -EINVAL;
        if (name[0] == '.' || strncasecmp(name, "auto-", 5) == 0)
                return -EINVAL;
        memcpy(e.stem, name, length + 1);
        plus = strrchr(name, '+');
        end = plus ? read_counter(plus, &e.left, &e.done) : NULL;
        if (end && end == name + length - tail) {
                e.counted = true;
                memcpy(e.stem + (plus - name), end, tail + 1);
        } else
                e.left = e.done = 0;
        if (e.stem[0] == '.')
                return -EINVAL;
        read_managed(&e);
        e.factory = !e.managed && is_factory(e.stem);
        *ret = e;
        return 0;
}

int entry_name_format(unsigned index, int slot, unsigned os_index, char ret[BOOT_NAME_MAX])
{
        if (index > ENTRY_INDEX_MAX)
                return -ERANGE;
        (void) snprintf(ret, BOOT_NAME_MAX, "vmlinuz-%u-azl%c%u.efi", index, 'a' + slot, os_index);
        return 0;
}

/* The stub looks at the *first* plus sign, not the last: with another one in the name nothing is cut off. */
void entry_addons_dir(const char *name, char ret[ENTRY_ADDONS_MAX])
{
        unsigned left, done;
        const char *plus = strchr(name, '+');
        const char *end = plus ? read_counter(plus, &left, &done) : NULL;

        if (!end || (*end && *end != '.'))
                plus = end = name + strlen(name);
        (void) snprintf(ret, ENTRY_ADDONS_MAX, "%.*s%s.extra.d", (int) (plus - name), name, end);
}

bool entry_name_literal(const char *name)
{
        return *name && !strpbrk(name, "*?[]\\") && *name != '@';
}

bool boot_name_equal(const char *a, const char *b)
{
        EntryName x, y;

        if (entry_name_parse(a, ".efi", &x) >= 0 && entry_name_parse(b, ".efi", &y) >= 0)
                return str_fold_cmp(x.stem, y.stem) == 0;
        if (entry_name_parse(a, ".conf", &x) >= 0 && entry_name_parse(b, ".conf", &y) >= 0)
                return str_fold_cmp(x.stem, y.stem) == 0;
        return str_fold_cmp(a, b) == 0;
}
