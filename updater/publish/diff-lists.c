/* SPDX-License-Identifier: MIT */

#include "publish/diff.h"
#include "base/str.h"
#include "image/index.h"

#include <errno.h>

/* --- packages --- */

typedef struct Package {
        const char *name, *arch; /* borrowed from the list */
        char *version;
        const struct Package *twin; /* of the other list */
} Package;

typedef struct Packages {
        Package *list;
        size_t n;
} Packages;

static void packages_done(Packages *p)
{
        for (size_t i = 0; i < p->n; i++)
                free(p->list[i].version);
        free(p->list);
        *p = (Packages){ 0 };
}

static int by_name(const void *a, const void *b)
{
        return strcmp(((const Package *) a)->name, ((const Package *) b)->name);
}

static int by_arch(const void *a, const void *b)
{
        int r = by_name(a, b);

        return r != 0 ? r : strcmp(((const Package *) a)->arch, ((const Package *) b)->arch);
}

static int by_all(const void *a, const void *b)
{
        int r = by_arch(a, b);

        return r != 0 ? r : strcmp(((const Package *) a)->version, ((const Package *) b)->version);
}

/* A release of "0" is how build writes that there is none. */
static char *full_version(const Json *package)
{
        const char *version = json_get_str(package, "version") ?: "";
        const char *release = json_get_str(package, "release");

        return release && *release && !streq(release, "0") ? str_printf("%s-%s", version, release)
                                                           : strdup(version);
}

/* Who has no name cannot be told apart, and is only counted. */
static int packages_load(const Json *list, Packages *ret)
{
        size_t n = json_len(list);

        ret->list = calloc(n + 1, sizeof(*ret->list));
        if (!ret->list)
                return -ENOMEM;
        json_foreach (item, list) {
                Package p = { .name = json_get_str(item, "name"), .arch = json_get_str(item, "arch") ?: "" };

                if (!p.name)
                        continue;
                p.version = full_version(item);
                if (!p.version)
                        return -ENOMEM;
                ret->list[ret->n++] = p;
        }
        qsort(ret->list, ret->n, sizeof(*ret->list), by_all);
        return 0;
}

static size_t next_single(const Packages *p, size_t i)
{
        while (i < p->n && p->list[i].twin)
                i++;
        return i;
}

/* Gives those that have no twin yet one that is alike enough. Both lists are in the order of compare, too. */
static void pair_up(Packages *a, Packages *b, int (*compare)(const void *, const void *))
{
        size_t i = next_single(a, 0), k = next_single(b, 0);

        while (i < a->n && k < b->n) {
                int c = compare(&a->list[i], &b->list[k]);

                if (c == 0) {
                        a->list[i].twin = &b->list[k];
                        b->list[k].twin = &a->list[i];
                }
                if (c <= 0)
                        i = next_single(a, i + 1);
                if (c >= 0)
                        k = next_single(b, k + 1);
        }
}

static Json *package_json(const Package *p)
{
        Json *j = json_new_object();

        json_set_str(j, "name", p->name);
        json_set_str(j, "version", p->version);
        json_set_str(j, "arch", *p->arch ? p->arch : NULL);
        return j;
}

static Json *change_json(const Package *old, const Package *new)
{
        Json *j = json_new_object();

        json_set_str(j, "name", new->name);
        json_set_str(j, "arch", *new->arch ? new->arch : NULL);
        if (!streq(old->arch, new->arch))
                json_set_str(j, "oldArch", old->arch);
        json_set_str(j, "old", old->version);
        json_set_str(j, "new", new->version);
        return j;
}

static Json *singles_json(const Packages *p)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < p->n; i++)
                if (!p->list[i].twin)
                        json_add(list, package_json(&p->list[i]));
        return list;
}

static Json *changes_json(const Packages *p)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < p->n; i++)
                if (p->list[i].twin && by_all(&p->list[i], p->list[i].twin) != 0)
                        json_add(list, change_json(&p->list[i], p->list[i].twin));
        return list;
}

int diff_packages(const Json *old, const Json *new, Json **ret, bool *ret_differs)
{
        _cleanup_(packages_done) Packages a = { 0 }, b = { 0 };
        size_t n_old = json_len(old), n_new = json_len(new);
        Json *j;
        int r;

        if ((r = packages_load(old, &a)) < 0 || (r = packages_load(new, &b)) < 0)
                return r;
        j = json_new_object();
        json_set_u64(j, "old", n_old);
        json_set_u64(j, "new", n_new);
        *ret = j;
        *ret_differs = n_old != n_new;
        if (n_old == 0 || n_new == 0) {
                json_set_str(j, "without", n_old > 0 ? "new" : n_new > 0 ? "old" : "both");
                return 0;
        }
        pair_up(&a, &b, by_all);
        pair_up(&a, &b, by_arch);
        pair_up(&a, &b, by_name);
        json_set(j, "added", singles_json(&b));
        json_set(j, "removed", singles_json(&a));
        json_set(j, "changed", changes_json(&a));
        *ret_differs = *ret_differs || json_len(json_get(j, "added")) > 0 ||
                       json_len(json_get(j, "removed")) > 0 || json_len(json_get(j, "changed")) > 0;
        return 0;
}

/* --- words --- */

typedef struct Word {
        const char *text;
        size_t place;
        bool matched;
} Word;

static int by_text(const void *a, const void *b)
{
        const Word *x = a, *y = b;
        int r = strcmp(x->text, y->text);

        return r != 0 ? r : (x->place > y->place) - (x->place < y->place);
}

static int by_place(const void *a, const void *b)
{
        const Word *x = a, *y = b;

        return (x->place > y->place) - (x->place < y->place);
}

static Word *words_sorted(char *const *list, size_t n)
{
        Word *words = calloc(n + 1, sizeof(*words));

        for (size_t i = 0; words && i < n; i++)
                words[i] = (Word){ .text = list[i], .place = i };
        if (words)
                qsort(words, n, sizeof(*words), by_text);
        return words;
}

static Json *words_alone(const Word *words, size_t n)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < n; i++)
                if (!words[i].matched)
                        json_add_str(list, words[i].text);
        return list;
}

static bool same_order(const Word *a, size_t n, const Word *b, size_t m)
{
        for (size_t i = 0, k = 0;; i++, k++) {
                while (i < n && !a[i].matched)
                        i++;
                while (k < m && !b[k].matched)
                        k++;
                if (i == n || k == m)
                        return true; /* there are as many on either side */
                if (!streq(a[i].text, b[k].text))
                        return false;
        }
}

/* 1 they differ, and doc says in what; 0 they do not. A word that stands twice is not a word that stands once. */
static int compare_lists(char *const *old, char *const *new, Json *doc)
{
        size_t n = strv_len(old), m = strv_len(new), i = 0, k = 0;
        Word *a = words_sorted(old, n), *b = words_sorted(new, m);
        bool ordered;

        if (!a || !b) {
                free(a);
                free(b);
                return -ENOMEM;
        }
        while (i < n && k < m) {
                int c = strcmp(a[i].text, b[k].text);

                if (c == 0)
                        a[i].matched = b[k].matched = true;
                i += c <= 0;
                k += c >= 0;
        }
        qsort(a, n, sizeof(*a), by_place);
        qsort(b, m, sizeof(*b), by_place);
        ordered = same_order(a, n, b, m);
        json_set(doc, "added", words_alone(b, m));
        json_set(doc, "removed", words_alone(a, n));
        json_set_bool(doc, "reordered", !ordered);
        free(a);
        free(b);
        return !ordered || json_len(json_get(doc, "added")) > 0 || json_len(json_get(doc, "removed")) > 0;
}

/* Where the word with this prefix stands; NULL when there is none, or more than one. */
static char **only_word(char **words, const char *prefix)
{
        char **found = NULL;

        for (; *words; words++)
                if (str_starts(*words, prefix)) {
                        if (found)
                                return NULL;
                        found = words;
                }
        return found;
}

/* The root hash is of the image, not of what somebody chose: it is told by itself. 1 it differs. */
static int take_usrhash(char **old, char **new, Json *doc)
{
        char **a = only_word(old, "usrhash="), **b = only_word(new, "usrhash=");
        Json *j;

        if (!a || !b || streq(*a, *b))
                return 0;
        j = json_sub(doc, "usrhash");
        json_set_str(j, "old", *a + strlen("usrhash="));
        json_set_str(j, "new", *b + strlen("usrhash="));
        (*a)[strlen("usrhash=")] = (*b)[strlen("usrhash=")] = 0; /* alike, and still in their places */
        return 1;
}

int diff_words(const char *old, const char *new, Json **ret)
{
        _cleanup_(json_unrefp) Json *doc = json_new_object();
        _cleanup_(strv_freep) char **a = NULL, **b = NULL;
        int r, hash;

        if (streq(old ?: "", new ?: ""))
                return 0; /* most of them, and cheap */
        if ((r = strv_split_words(old ?: "", &a)) < 0 || (r = strv_split_words(new ?: "", &b)) < 0)
                return r;
        hash = take_usrhash(a, b, doc);
        r = compare_lists(a, b, doc);
        if (r < 0 || (r == 0 && hash == 0))
                return r;
        *ret = TAKE(doc);
        return 1;
}

/* The lines of text, which is cut up for them; the caller frees the list only. */
static int split_lines(char *text, const char *skip, char ***ret)
{
        char **lines, *state = NULL;
        size_t n = 1;

        for (const char *p = text; *p; p++)
                n += *p == '\n' || *p == '\r';
        lines = calloc(n + 1, sizeof(*lines));
        if (!lines)
                return -ENOMEM;
        n = 0;
        for (char *line = strtok_r(text, "\r\n", &state); line; line = strtok_r(NULL, "\r\n", &state))
                if (!str_starts(line, skip))
                        lines[n++] = line;
        *ret = lines;
        return 0;
}

int diff_lines(const char *old, const char *new, const char *skip, Json **ret)
{
        _cleanup_(json_unrefp) Json *doc = json_new_object();
        _cleanup_(free_charp) char *old_text = strdup(old ?: ""), *new_text = strdup(new ?: "");
        char **a = NULL, **b = NULL;
        int r = old_text && new_text ? 0 : -ENOMEM;

        if (r >= 0)
                r = split_lines(old_text, skip, &a);
        if (r >= 0)
                r = split_lines(new_text, skip, &b);
        if (r >= 0)
                r = compare_lists(a, b, doc);
        if (r > 0)
                *ret = TAKE(doc);
        free(a);
        free(b);
        return r;
}

/* --- leaves --- */

static int by_leaf(const void *a, const void *b)
{
        return memcmp(a, b, INDEX_LEAF_SIZE);
}

void leaves_sort(uint8_t *leaves, size_t n)
{
        qsort(leaves, n, INDEX_LEAF_SIZE, by_leaf);
}

size_t leaves_lacking(const uint8_t *sorted, size_t n_sorted, const uint8_t *zero, const uint8_t *leaves,
                      size_t n)
{
        size_t lacking = 0;

        for (size_t i = 0; i < n; i++) {
                const uint8_t *leaf = leaves + i * INDEX_LEAF_SIZE;

                if (by_leaf(leaf, zero) != 0 && !bsearch(leaf, sorted, n_sorted, INDEX_LEAF_SIZE, by_leaf))
                        lacking++;
        }
        return lacking;
}
