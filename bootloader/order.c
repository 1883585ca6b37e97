/* SPDX-License-Identifier: MIT */

/* Which entry sd-boot would start: its order of entries, its patterns, its sources of a default. Getting this wrong means
 * proving the wrong entry safe, so it follows boot-assessment.md 1.2 and 1.3 line by line. */

#include "bootloader/entry.h"
#include "base/str.h"

#include <ctype.h>

static int compare(long a, long b)
{
        return a < b ? -1 : a > b;
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static const char *skip_foreign(const char *p)
{
        while (*p && !is_digit(*p) && !is_alpha(*p) && !strchr("~-^.", *p))
                p++;
        return p;
}

/* Digits compare as numbers of any length, letters as text; both pointers move behind their part. */
static int compare_numbers(const char **a, const char **b)
{
        const char *x = *a, *y = *b, *x_end, *y_end;
        int r;

        r = compare(is_digit(*x), is_digit(*y));
        if (r != 0)
                return r;
        while (*x == '0')
                x++;
        while (*y == '0')
                y++;
        for (x_end = x; is_digit(*x_end); x_end++)
                ;
        for (y_end = y; is_digit(*y_end); y_end++)
                ;
        *a = x_end;
        *b = y_end;
        r = compare(x_end - x, y_end - y);
        return r != 0 ? r : strncmp(x, y, (size_t) (x_end - x));
}

static int compare_letters(const char **a, const char **b)
{
        const char *x = *a, *y = *b;
        size_t nx = 0, ny = 0;
        int r;

        while (is_alpha(x[nx]))
                nx++;
        while (is_alpha(y[ny]))
                ny++;
        *a = x + nx;
        *b = y + ny;
        r = strncmp(x, y, MIN(nx, ny));
        return r != 0 ? r : compare((long) nx, (long) ny);
}

/* A separator: the string that has it here is the older one. 1: both had it, and it was skipped. */
static int compare_separator(char c, const char **a, const char **b, int *ret)
{
        if (**a != c && **b != c)
                return 0;
        *ret = compare(**a != c, **b != c);
        if (*ret == 0) {
                (*a)++;
                (*b)++;
        }
        return *ret;
}

int version_compare(const char *a, const char *b)
{
        static const char later[] = "-^.";

        a = a ? a : "";
        b = b ? b : "";
        for (;;) {
                int r = 0;

                a = skip_foreign(a);
                b = skip_foreign(b);
                if (compare_separator('~', &a, &b, &r) != 0)
                        return r;
                if (!*a || !*b)
                        return compare(!!*a, !!*b);
                for (const char *c = later; *c; c++)
                        if (compare_separator(*c, &a, &b, &r) != 0)
                                return r;
                r = is_digit(*a) || is_digit(*b) ? compare_numbers(&a, &b) : compare_letters(&a, &b);
                if (r != 0)
                        return r;
        }
}

int entry_key_compare(const EntryKey *a, const EntryKey *b)
{
        int r;

        r = compare(a->left == 0, b->left == 0);
        if (r != 0)
                return r;
        r = compare(!a->sort_key, !b->sort_key);
        if (r != 0)
                return r;
        if (a->sort_key) {
                r = strcmp(a->sort_key, b->sort_key);
                if (r == 0)
                        r = strcmp(a->machine_id ? a->machine_id : "", b->machine_id ? b->machine_id : "");
                if (r == 0)
                        r = -version_compare(a->version, b->version);
                if (r != 0)
                        return r;
        }
        r = -version_compare(a->id, b->id);
        if (r != 0 || a->left < 0 || b->left < 0)
                return r;
        r = -compare(a->left, b->left);
        return r != 0 ? r : compare(a->done, b->done);
}

/* [abc], [a-z]: *p stands behind the bracket; moves behind the closing one. False too when it never closes. */
static bool glob_set(const char **p, char c)
{
        bool hit = false, first = true;

        for (; **p && (**p != ']' || first); (*p)++, first = false) {
                char low = (char) tolower((unsigned char) **p), high = low;

                if (low == '\\' && (*p)[1])
                        low = high = (char) tolower((unsigned char) *++*p);
                if ((*p)[1] == '-' && (*p)[2] && (*p)[2] != ']') {
                        high = (char) tolower((unsigned char) (*p)[2]);
                        *p += 2;
                }
                hit = hit || (low <= c && c <= high);
        }
        if (**p != ']')
                return false;
        (*p)++;
        return hit;
}

/* One pattern element other than '*' against one character. */
static bool glob_one(const char **p, char c)
{
        c = (char) tolower((unsigned char) c);
        if (**p == '?') {
                (*p)++;
                return true;
        }
        if (**p == '[') {
                (*p)++;
                return glob_set(p, c);
        }
        if (**p == '\\' && (*p)[1])
                (*p)++;
        return (char) tolower((unsigned char) *(*p)++) == c;
}

/* One star to come back to is enough: a later star can always take over what an earlier one would have had to. */
bool entry_glob(const char *pattern, const char *name)
{
        const char *p = pattern, *n = name, *star = NULL, *star_name = NULL;

        while (*n) {
                const char *next = p;

                if (*p == '*') {
                        star = ++p;
                        star_name = n;
                } else if (*p && glob_one(&next, *n)) {
                        p = next;
                        n++;
                } else if (star) {
                        p = star;
                        n = ++star_name;
                } else
                        return false;
        }
        while (*p == '*')
                p++;
        return !*p;
}

static bool matches(const EntryKey *key, const char *pattern)
{
        return entry_glob(pattern, key->id) || (key->stem && entry_glob(pattern, key->stem));
}

/* The best of the entries that match (all of them for NULL). */
static int best(const EntryKey *keys, size_t n, const char *pattern, bool skip_bad)
{
        int found = -1;

        for (size_t i = 0; i < n; i++) {
                if ((pattern && !matches(keys + i, pattern)) || (skip_bad && keys[i].left == 0))
                        continue;
                if (found < 0 || entry_key_compare(keys + i, keys + found) < 0)
                        found = (int) i;
        }
        return found;
}

int entry_default(const EntryKey *keys, size_t n, const DefaultSources *sources, const char **ret_by)
{
        const struct {
                const char *pattern, *by;
                bool skip_bad;
        } steps[] = {
                { sources->preferred, "LoaderEntryPreferred", true },
                { sources->variable, "LoaderEntryDefault", false },
                { sources->conf, "loader.conf", false },
        };
        int found;

        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                const char *pattern = steps[i].pattern;

                if (pattern && strcasecmp(pattern, "@saved") == 0)
                        pattern = sources->last_booted;
                found = pattern && *pattern ? best(keys, n, pattern, steps[i].skip_bad) : -1;
                if (found >= 0) {
                        *ret_by = steps[i].by;
                        return found;
                }
        }
        found = best(keys, n, NULL, false);
        if (found >= 0)
                *ret_by = "sort order";
        return found;
}
