/* SPDX-License-Identifier: MIT */

/* The small text files of the boot world: loader.conf and type-1 entries ("key value" lines), os-release (KEY="value").
 * Rewriting keeps every line that is not meant, byte for byte: the file belongs to the operator as much as to us. */

#include "bootloader/entry.h"
#include "base/str.h"

#include <errno.h>

#define BLANKS " \t\r"

typedef struct Line {
        const char *text;
        size_t length; /* without the newline */
        const char *key, *value;
        size_t key_length, value_length;
} Line;

/* Takes the next line off *p. False at the end. key_length 0: empty or a comment. */
static bool next_line(const char **p, Line *ret)
{
        Line l = { .text = *p, .length = strcspn(*p, "\n") };
        const char *end = *p + l.length;

        if (!**p)
                return false;
        *p = *end ? end + 1 : end;
        l.key = l.text + strspn(l.text, BLANKS);
        l.key_length = *l.key == '#' ? 0 : strcspn(l.key, BLANKS "\n");
        l.value = l.key + l.key_length;
        l.value += strspn(l.value, BLANKS);
        while (end > l.value && strchr(BLANKS, end[-1]))
                end--;
        l.value_length = end > l.value ? (size_t) (end - l.value) : 0;
        *ret = l;
        return true;
}

static bool line_is(const Line *l, const char *key)
{
        return l->key_length == strlen(key) && memcmp(l->key, key, l->key_length) == 0;
}

int conf_get(const char *text, const char *key, char **ret)
{
        _cleanup_(free_charp) char *found = NULL;
        Line l;

        while (next_line(&text, &l)) {
                const char *v = l.value;
                size_t n = l.value_length;

                if (!line_is(&l, key) || n == 0)
                        continue;
                if (n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n - 1] == v[0]) {
                        v++;
                        n -= 2;
                }
                free(found);
                found = strndup(v, n);
                if (!found)
                        return -ENOMEM;
        }
        *ret = TAKE(found);
        return 0;
}

int loader_conf_set_default(const char *text, const char *name, bool drop_preferred, char **ret)
{
        _cleanup_(str_done) Str out = STR_NULL;
        bool written = false;
        char *result;
        Line l;

        while (next_line(&text, &l)) {
                if (drop_preferred && line_is(&l, "preferred"))
                        continue;
                if (!line_is(&l, "default")) {
                        str_addn(&out, l.text, l.length);
                        str_add(&out, "\n");
                } else if (!written) {
                        str_addf(&out, "default %s\n", name);
                        written = true;
                }
        }
        if (!written)
                str_addf(&out, "default %s\n", name);
        result = str_take(&out);
        if (!result)
                return -ENOMEM;
        *ret = result;
        return 0;
}

int osrel_get(const char *text, const char *key, char **ret)
{
        size_t key_length = strlen(key);
        char *found = NULL;

        for (const char *p = text ? text : ""; *p; p += strcspn(p, "\n"), p += *p == '\n') {
                size_t n = strcspn(p, "\n");

                if (n <= key_length || memcmp(p, key, key_length) != 0 || p[key_length] != '=')
                        continue;
                n -= key_length + 1;
                found = strndup(p + key_length + 1, n);
                if (!found)
                        return -ENOMEM;
                while (n > 0 && strchr(BLANKS, found[n - 1]))
                        found[--n] = '\0';
                if (n >= 2 && (found[0] == '"' || found[0] == '\'') && found[n - 1] == found[0]) {
                        memmove(found, found + 1, n - 2);
                        found[n - 2] = '\0';
                }
                break;
        }
        *ret = found;
        return 0;
}
