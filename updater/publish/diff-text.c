/* SPDX-License-Identifier: MIT */

/* The diff document for people: what is equal is not there. Strings come from files that nobody has verified: none of them may
 * drive a terminal or begin a line of its own. */

#include "publish/publish.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME_WIDTH_MAX 40u /* of a column of names; a longer one pushes its own line only */

static const Json *list_of(const Json *lists, const char *name)
{
        return json_get(lists, name);
}

/* With C1, which a terminal may take for the beginning of a command. */
static char *clean(const char *s)
{
        char *copy = strdup(s ?: "");

        for (char *p = copy; p && *p; p++) {
                unsigned char c = (unsigned char) *p;

                if (c == 0xc2 && (unsigned char) p[1] >= 0x80 && (unsigned char) p[1] < 0xa0)
                        p[0] = p[1] = '?';
                else if (c < 0x20 || c == 0x7f)
                        *p = '?';
        }
        return copy;
}

static void add_clean(Str *s, const char *text, unsigned width)
{
        _cleanup_(free_charp) char *copy = clean(text);

        if (!copy)
                s->failed = true;
        else
                str_addf(s, "%-*s", (int) width, copy);
}

static void add_text(Str *s, const Json *object, const char *key)
{
        add_clean(s, json_get_str(object, key) ?: "(none)", 0);
}

static void add_size(Str *s, const Json *object, const char *key)
{
        char size[SIZE_TEXT_SIZE];
        uint64_t v = 0;

        (void) json_get_u64(object, key, &v);
        format_size(v, size);
        str_add(s, size);
}

/* "41.2 MB -> 41.9 MB (+734003 bytes)": two sizes may look alike and not be. */
static void add_sizes(Str *s, const Json *a, const char *key_a, const Json *b, const char *key_b)
{
        uint64_t old = 0, new = 0;

        (void) json_get_u64(a, key_a, &old);
        (void) json_get_u64(b, key_b, &new);
        add_size(s, a, key_a);
        if (old == new)
                return;
        str_add(s, " -> ");
        add_size(s, b, key_b);
        str_addf(s, " (%c%" PRIu64 " bytes)", new > old ? '+' : '-', new > old ? new - old : old - new);
}

/* --- the head --- */

static void add_head(Str *s, const Json *doc)
{
        static const struct {
                const char *key, *title;
                bool is_size, is_long;
        } rows[] = {
                { "version", "version", false, false },    { "arch", "architecture", false, false },
                { "cosi", "COSI", false, false },          { "size", "file size", true, false },
                { "roothash", "root hash", false, true },  { "dataSize", "data of /usr", true, false },
                { "fsType", "file system", false, false }, { "salt", "salt", false, true },
                { "uuid", "verity UUID", false, false },
        };
        const Json *old = json_get(doc, "old"), *new = json_get(doc, "new");

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                json_foreach (key, json_get(doc, "changed")) {
                        if (!streq(json_str(key) ?: "", rows[i].key))
                                continue;
                        str_addf(s, "%-14s", rows[i].title);
                        if (rows[i].is_size) {
                                add_sizes(s, old, rows[i].key, new, rows[i].key);
                        } else {
                                add_text(s, old, rows[i].key);
                                str_add(s, rows[i].is_long ? "\n           -> " : " -> ");
                                add_text(s, new, rows[i].key);
                        }
                        str_add(s, "\n");
                        if (streq(rows[i].key, "salt"))
                                str_add(s, "              hosts have to read their slots to know what they "
                                           "have\n");
                }
}

/* --- words --- */

static void add_words(Str *s, const Json *words, const char *indent)
{
        if (json_get(words, "usrhash"))
                str_addf(s, "%s~ usrhash=..., as with every other /usr\n", indent);
        json_foreach (word, list_of(words, "removed")) {
                str_addf(s, "%s- ", indent);
                add_clean(s, json_str(word), 0);
                str_add(s, "\n");
        }
        json_foreach (word, list_of(words, "added")) {
                str_addf(s, "%s+ ", indent);
                add_clean(s, json_str(word), 0);
                str_add(s, "\n");
        }
}

static bool is_reordered(const Json *words)
{
        bool yes = false;

        return json_get_bool(words, "reordered", &yes) == 1 && yes;
}

/* --- packages --- */

static unsigned name_width(const Json *lists, const char *key)
{
        static const char *const names[] = { "added", "removed", "changed" };
        size_t width = 0;

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                json_foreach (item, list_of(lists, names[i])) {
                        size_t n = strlen(json_get_str(item, key) ?: "");

                        if (n <= NAME_WIDTH_MAX)
                                width = MAX(width, n);
                }
        return (unsigned) width;
}

static void add_counts(Str *s, const char *title, const Json *lists)
{
        str_addf(s, "\n%s: %zu added, %zu removed, %zu changed", title, json_len(list_of(lists, "added")),
                 json_len(list_of(lists, "removed")), json_len(list_of(lists, "changed")));
}

static void add_package(Str *s, char sign, const Json *p, const char *version, const char *arch,
                        unsigned width)
{
        str_addf(s, "  %c ", sign);
        add_clean(s, json_get_str(p, "name"), width);
        str_add(s, "  ");
        add_text(s, p, version);
        if (json_get_str(p, arch)) {
                str_add(s, " ");
                add_text(s, p, arch);
        }
}

static void add_packages(Str *s, const Json *packages)
{
        const char *without = json_get_str(packages, "without");
        unsigned width = name_width(packages, "name");
        uint64_t old = 0, new = 0;

        if (without) {
                str_addf(s, "\npackages: %s\n",
                         streq(without, "both")  ? "neither has a list"
                         : streq(without, "old") ? "the old one has no list"
                                                 : "the new one has no list");
                return;
        }
        (void) json_get_u64(packages, "old", &old);
        (void) json_get_u64(packages, "new", &new);
        if (old == new &&json_len(list_of(packages, "added")) == 0 &&
            json_len(list_of(packages, "removed")) == 0 && json_len(list_of(packages, "changed")) == 0)
                return;
        add_counts(s, "packages", packages);
        str_addf(s, " (%" PRIu64 " -> %" PRIu64 ")\n", old, new);
        json_foreach (p, list_of(packages, "removed")) {
                add_package(s, '-', p, "version", "arch", width);
                str_add(s, "\n");
        }
        json_foreach (p, list_of(packages, "added")) {
                add_package(s, '+', p, "version", "arch", width);
                str_add(s, "\n");
        }
        json_foreach (p, list_of(packages, "changed")) {
                add_package(s, '~', p, "old", "oldArch", width);
                str_add(s, " -> ");
                add_text(s, p, "new");
                if (json_has(p, "oldArch")) {
                        str_add(s, " ");
                        add_text(s, p, "arch");
                }
                str_add(s, "\n");
        }
}

/* --- the ESP --- */

static void add_pe(Str *s, const Json *file)
{
        const Json *uname = json_get(file, "uname"), *words = json_get(file, "cmdline");

        if (uname) {
                str_add(s, "      kernel ");
                add_text(s, uname, "old");
                str_add(s, " -> ");
                add_text(s, uname, "new");
                str_add(s, "\n");
        }
        if (!words)
                return;
        str_addf(s, "      command line%s:\n", is_reordered(words) ? ", in another order" : "");
        add_words(s, words, "        ");
}

static void add_file(Str *s, char sign, const Json *f, unsigned width)
{
        str_addf(s, "  %c ", sign);
        add_clean(s, json_get_str(f, "path"), width);
        str_add(s, "  ");
        add_size(s, f, "size");
        str_addf(s, "\n      sha256 %s\n", json_get_str(f, "sha256") ?: "");
        if (json_get_str(f, "follows")) {
                str_add(s, "      instead of ");
                add_text(s, f, "follows");
                str_add(s, "\n");
        }
        add_pe(s, f);
}

static void add_esp(Str *s, const Json *esp)
{
        unsigned width = name_width(esp, "path");

        add_counts(s, "files of the ESP", esp);
        str_add(s, "\n");
        json_foreach (f, list_of(esp, "removed"))
                add_file(s, '-', f, width);
        json_foreach (f, list_of(esp, "added"))
                add_file(s, '+', f, width);
        json_foreach (f, list_of(esp, "changed")) {
                const Json *old = json_get(f, "old"), *new = json_get(f, "new");

                str_add(s, "  ~ ");
                add_clean(s, json_get_str(f, "path"), width);
                str_add(s, "  ");
                add_sizes(s, old, "size", new, "size");
                str_addf(s, "\n      sha256 %s\n          -> %s\n", json_get_str(old, "sha256") ?: "",
                         json_get_str(new, "sha256") ?: "");
                add_pe(s, f);
        }
}

/* --- partitions and images --- */

static void add_one_sided(Str *s, const char *mark, const Json *list, const char *key, unsigned width,
                          const char *size)
{
        json_foreach (p, list) {
                str_addf(s, "  %s ", mark);
                add_clean(s, json_get_str(p, key), width);
                str_add(s, "  ");
                add_size(s, p, size);
                str_add(s, "\n");
        }
}

static void add_sized(Str *s, const char *title, const char *key, const Json *lists)
{
        unsigned width = name_width(lists, key);

        str_addf(s, "\n%s:\n", title);
        add_one_sided(s, "-", list_of(lists, "removed"), key, width, "old");
        add_one_sided(s, "+", list_of(lists, "added"), key, width, "new");
        json_foreach (p, list_of(lists, "changed")) {
                uint64_t old = 0, new = 0;

                (void) json_get_u64(p, "old", &old);
                (void) json_get_u64(p, "new", &new);
                str_add(s, "  ~ ");
                add_clean(s, json_get_str(p, key), width);
                str_add(s, "  ");
                add_sizes(s, p, "old", p, "new");
                str_addf(s, "%s\n", old == new ? ", other bytes" : "");
        }
}

static void add_download(Str *s, const Json *download)
{
        uint64_t blocks = 0, of = 0;

        if (json_get_str(download, "unknown")) {
                str_add(s, "\nblocks that a host of the old one lacks: unknown, ");
                add_text(s, download, "unknown");
                str_add(s, "\n");
                return;
        }
        (void) json_get_u64(download, "blocks", &blocks);
        (void) json_get_u64(download, "of", &of);
        str_addf(s, "\nblocks that a host of the old one lacks: %" PRIu64 " of %" PRIu64 ", ", blocks, of);
        add_size(s, download, "bytes");
        str_add(s, " before compression\n");
}

static void add_all(Str *s, const Json *doc)
{
        const Json *lines = json_get(doc, "osRelease");

        add_head(s, doc);
        if (lines) {
                str_addf(s, "\nos-release%s:\n", is_reordered(lines) ? ", in another order" : "");
                add_words(s, lines, "  ");
        }
        add_packages(s, json_get(doc, "packages"));
        if (json_get(doc, "esp"))
                add_esp(s, json_get(doc, "esp"));
        if (json_get(doc, "partitions"))
                add_sized(s, "partitions", "label", json_get(doc, "partitions"));
        if (json_get(doc, "images"))
                add_sized(s, "images", "path", json_get(doc, "images"));
        if (json_get(doc, "download"))
                add_download(s, json_get(doc, "download"));
}

char *diff_text(const Json *doc)
{
        const char *old = json_get_str(json_get(doc, "old"), "metadataSha384");
        const char *new = json_get_str(json_get(doc, "new"), "metadataSha384");
        bool same = false;
        Str s = STR_NULL;

        (void) json_get_bool(doc, "same", &same);
        if (!same)
                add_all(&s, doc);
        else
                str_addf(
                        &s, "nothing differs%s\n",
                        streq0(old, new)
                                ? ""
                                : " but the bytes of metadata.json (an id, an order, how images are packed)");
        return str_take(&s);
}
