/* SPDX-License-Identifier: MIT */

/* What changes from one COSI to another, as one JSON document. Both are read as inspect reads one; nothing is verified. Files of
 * the ESP and /usr are compared by what is in them, every other image by its packed bytes. */

#include "publish/publish.h"
#include "base/str.h"
#include "publish/diff-side.h"
#include "publish/diff.h"
#include "publish/siblings.h"

#include <errno.h>

#define LEAVES_AT_ONCE (UINT32_C(1) << 16) /* of the new image: 384 KiB */

/* --- the head: one value of each --- */

static uint64_t data_size(const DiffSide *s)
{
        return s->has_salt ? s->view.verity.data_blocks * VERITY_BLOCK
                           : s->view.cosi.usr->image.uncompressed_size;
}

static Json *side_json(const DiffSide *s, const char *what)
{
        const CosiView *v = &s->view;
        _cleanup_(free_charp) char *version = cosi_os_release(&v->cosi, "VERSION_ID");
        _cleanup_(free_charp) char *cosi = str_printf("%u.%u", v->cosi.major, v->cosi.minor);
        Json *j = json_new_object();

        json_set_str(j, "what", what);
        json_set_str(j, "version", version);
        json_set_str(j, "arch", v->cosi.arch);
        json_set_str(j, "cosi", cosi);
        json_set_u64(j, "size", v->file.size);
        json_set_str(j, "metadataSha384", v->metadata_sha384);
        json_set_str(j, "fsType", v->cosi.usr->fs_type);
        json_set_str(j, "roothash", v->cosi.usr->has_verity ? v->cosi.usr->roothash : NULL);
        json_set_u64(j, "dataSize", data_size(s));
        json_set_str(j, "salt", s->has_salt ? s->salt : NULL);
        json_set_str(j, "uuid", s->has_salt ? s->uuid : NULL);
        return j;
}

/* The names of the members of old and new that are not alike. */
static void add_changed(Json *doc)
{
        static const char *const texts[] = { "version", "arch", "cosi", "fsType", "roothash", "salt" };
        static const char *const sizes[] = { "size", "dataSize" };
        const Json *old = json_get(doc, "old"), *new = json_get(doc, "new");
        Json *list = json_new_array();

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (!streq0(json_get_str(old, texts[i]), json_get_str(new, texts[i])))
                        json_add_str(list, texts[i]);
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                uint64_t a = 0, b = 0;

                (void) json_get_u64(old, sizes[i], &a);
                (void) json_get_u64(new, sizes[i], &b);
                if (a != b)
                        json_add_str(list, sizes[i]);
        }
        /* it follows from the image, unless somebody chose it */
        if (streq0(json_get_str(old, "roothash"), json_get_str(new, "roothash")) &&
            !streq0(json_get_str(old, "uuid"), json_get_str(new, "uuid")))
                json_add_str(list, "uuid");
        json_set(doc, "changed", list);
}

/* --- lists of things that are added, removed or changed --- */

static Json *lists_json(void)
{
        Json *j = json_new_object();

        json_set(j, "added", json_new_array());
        json_set(j, "removed", json_new_array());
        json_set(j, "changed", json_new_array());
        return j;
}

static void lists_add(Json *lists, const char *to, Json *item)
{
        /* the list is ours, whatever json_get() says */
        json_add((Json *) json_get(lists, to), item);
}

static size_t lists_len(const Json *lists)
{
        return json_len(json_get(lists, "added")) + json_len(json_get(lists, "removed")) +
               json_len(json_get(lists, "changed"));
}

static void set_if_any(Json *doc, const char *name, Json *lists)
{
        if (lists_len(lists) > 0)
                json_set(doc, name, lists);
        else
                (void) json_unref(lists);
}

/* --- files of the ESP --- */

static Json *file_json(const DiffFile *f)
{
        Json *j = json_new_object();

        json_set_str(j, "path", f->path);
        json_set_str(j, "kind", f->boot ? boot_kind_name(f->boot->kind) : NULL);
        json_set_u64(j, "size", f->size);
        json_set_str(j, "sha256", f->sha256);
        return j;
}

/* What two PE files say. */
static int add_pe(const DiffFile *old, const DiffFile *new, Json *item)
{
        const PeSummary *a, *b;
        Json *words = NULL;
        int r;

        if (!old->boot || !new->boot || !boot_kind_is_pe(old->boot->kind) ||
            !boot_kind_is_pe(new->boot->kind))
                return 0;
        a = &old->boot->pe;
        b = &new->boot->pe;
        r = diff_words(a->cmdline, b->cmdline, &words);
        if (r > 0)
                json_set(item, "cmdline", words);
        if (!streq0(a->uname, b->uname)) {
                Json *j = json_sub(item, "uname");

                json_set_str(j, "old", a->uname);
                json_set_str(j, "new", b->uname);
        }
        return r;
}

static int change_file(const DiffFile *old, const DiffFile *new, Json *lists)
{
        Json *item = json_new_object(), *j;

        json_set_str(item, "path", new->path);
        json_set_str(item, "kind", new->boot ? boot_kind_name(new->boot->kind) : NULL);
        j = json_sub(item, "old");
        json_set_u64(j, "size", old->size);
        json_set_str(j, "sha256", old->sha256);
        j = json_sub(item, "new");
        json_set_u64(j, "size", new->size);
        json_set_str(j, "sha256", new->sha256);
        lists_add(lists, "changed", item);
        return add_pe(old, new, item);
}

/* The one UKI of this side; NULL when there is none, or more than one. */
static const DiffFile *only_uki(const DiffSide *s)
{
        const DiffFile *found = NULL;

        for (size_t i = 0; i < s->view.esp.n_files; i++)
                if (s->files[i].boot && s->files[i].boot->kind == BOOT_UKI) {
                        if (found)
                                return NULL;
                        found = &s->files[i];
                }
        return found;
}

/* A UKI has its version in its name: it is added, and still follows upon the one that is removed. */
static int add_file(const DiffSide *x, const DiffSide *y, const DiffFile *f, Json *lists)
{
        const DiffFile *before = only_uki(x), *now = only_uki(y);
        Json *item = file_json(f);

        lists_add(lists, "added", item);
        if (f != now || !before ||
            bsearch(before, y->files, y->view.esp.n_files, sizeof(*f), diff_file_by_path))
                return 0;
        json_set_str(item, "follows", before->path);
        return add_pe(before, f, item);
}

static int add_files(const DiffSide *x, const DiffSide *y, Json *doc, Why *why)
{
        Json *lists = lists_json();
        size_t i = 0, k = 0, n = x->view.esp.n_files, m = y->view.esp.n_files;
        int r = 0;

        while (r >= 0 && (i < n || k < m)) {
                const DiffFile *a = i < n ? &x->files[i] : NULL, *b = k < m ? &y->files[k] : NULL;
                int c = !a ? 1 : !b ? -1 : diff_file_by_path(a, b);

                if (c < 0)
                        lists_add(lists, "removed", file_json(a));
                else if (c > 0)
                        r = add_file(x, y, b, lists);
                else if (a->size != b->size || !streq(a->sha256, b->sha256))
                        r = change_file(a, b, lists);
                i += c <= 0;
                k += c >= 0;
        }
        set_if_any(doc, "esp", lists);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "ESP") : 0;
}

/* --- partitions and images --- */

static Json *sized_json(const char *key, const char *name, const uint64_t *old, const uint64_t *new)
{
        Json *j = json_new_object();

        json_set_str(j, key, name);
        if (old)
                json_set_u64(j, "old", *old);
        if (new)
                json_set_u64(j, "new", *new);
        return j;
}

/* By label; of several with the same one the first goes with the first. */
static const Partition *partition_like(const DiffSide *s, const Partition *list, size_t at, size_t *ret_nth)
{
        size_t nth = 0, seen = 0;

        for (size_t i = 0; i < at; i++)
                nth += streq(list[i].label, list[at].label);
        *ret_nth = nth;
        for (size_t i = 0; i < s->n_parts; i++)
                if (streq(s->parts[i].label, list[at].label) && seen++ == nth)
                        return &s->parts[i];
        return NULL;
}

static void add_partitions(const DiffSide *x, const DiffSide *y, Json *doc)
{
        Json *lists = lists_json();
        size_t nth;

        for (size_t i = 0; i < x->n_parts; i++) {
                const Partition *a = &x->parts[i], *b = partition_like(y, x->parts, i, &nth);

                if (!b)
                        lists_add(lists, "removed", sized_json("label", a->label, &a->size, NULL));
                else if (a->size != b->size)
                        lists_add(lists, "changed", sized_json("label", b->label, &a->size, &b->size));
        }
        for (size_t i = 0; i < y->n_parts; i++)
                if (!partition_like(x, y->parts, i, &nth))
                        lists_add(lists, "added",
                                  sized_json("label", y->parts[i].label, NULL, &y->parts[i].size));
        set_if_any(doc, "partitions", lists);
}

typedef struct Images {
        const CosiImage **list;
        size_t n;
} Images;

static int images_of(const Cosi *c, Images *ret)
{
        ret->list = calloc(c->n_regions + 2 * c->n_filesystems + 1, sizeof(*ret->list));
        if (!ret->list)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_regions; i++)
                ret->list[ret->n++] = &c->regions[i].image;
        for (size_t i = 0; c->n_regions == 0 && i < c->n_filesystems; i++) {
                const CosiFilesystem *fs = &c->filesystems[i];

                ret->list[ret->n++] = &fs->image;
                if (fs->has_verity && !fs->inline_verity)
                        ret->list[ret->n++] = &fs->verity;
        }
        return 0;
}

static const CosiImage *image_like(const Images *images, const char *path)
{
        for (size_t i = 0; i < images->n; i++)
                if (streq(images->list[i]->path, path))
                        return images->list[i];
        return NULL;
}

/* What is in it was compared elsewhere. */
static bool is_told(const DiffSide *s, const char *path)
{
        const Cosi *c = &s->view.cosi;

        return streq(c->esp->image.path, path) || (c->usr->has_verity && streq(c->usr->image.path, path)) ||
               (s->has_salt && streq(c->usr->verity.path, path));
}

static bool image_differs(const DiffSide *x, const DiffSide *y, const CosiImage *a, const CosiImage *b)
{
        bool told = is_told(x, a->path) && is_told(y, b->path);

        if (told && x->n_parts > 0 && y->n_parts > 0)
                return false; /* and its size among the partitions */
        if (told || a->uncompressed_size != b->uncompressed_size)
                return a->uncompressed_size != b->uncompressed_size;
        return a->compressed_size != b->compressed_size ||
               (a->has_sha384 && b->has_sha384 && !streq(a->sha384, b->sha384));
}

static int add_images(const DiffSide *x, const DiffSide *y, Json *doc, Why *why)
{
        Images a = { 0 }, b = { 0 };
        Json *lists = lists_json();
        int r;

        if ((r = images_of(&x->view.cosi, &a)) >= 0)
                r = images_of(&y->view.cosi, &b);
        for (size_t i = 0; r >= 0 && i < a.n; i++) {
                const CosiImage *old = a.list[i], *new = image_like(&b, old->path);

                if (!new)
                        lists_add(lists, "removed",
                                  sized_json("path", old->path, &old->uncompressed_size, NULL));
                else if (image_differs(x, y, old, new))
                        lists_add(lists, "changed",
                                  sized_json("path", old->path, &old->uncompressed_size,
                                             &new->uncompressed_size));
        }
        for (size_t i = 0; r >= 0 && i < b.n; i++)
                if (!image_like(&a, b.list[i]->path))
                        lists_add(lists, "added",
                                  sized_json("path", b.list[i]->path, NULL, &b.list[i]->uncompressed_size));
        set_if_any(doc, "images", lists);
        free(a.list);
        free(b.list);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "images") : 0;
}

/* --- what a host would download --- */

static int zero_leaf(const VerityParams *params, uint8_t out[32])
{
        static const uint8_t zeroes[VERITY_BLOCK];
        _cleanup_(verity_freep) Verity *v = NULL;
        int r = verity_new(params, NULL, NULL, &v);

        return r < 0 ? r : verity_hash_block(v, zeroes, out);
}

static int count_lacking(DiffSide *x, DiffSide *y, uint64_t *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes have = BYTES_NULL;
        BlockRange all = { 0, x->index.head.n_blocks };
        uint32_t n = y->index.head.n_blocks;
        uint8_t zero[32];
        uint64_t lacking = 0;
        int r = zero_leaf(&y->view.verity, zero);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "SHA-256");
        r = fetch_index_leaves(x->view.fetch, &all, 1, &have, why);
        if (r < 0)
                return r;
        leaves_sort(have.data, all.count);
        for (uint32_t at = 0, count; at < n; at += count) {
                _cleanup_(bytes_done) Bytes leaves = BYTES_NULL;
                BlockRange range = { at, count = MIN(n - at, LEAVES_AT_ONCE) };

                r = fetch_index_leaves(y->view.fetch, &range, 1, &leaves, why);
                if (r < 0)
                        return r;
                lacking += leaves_lacking(have.data, all.count, zero, leaves.data, count);
        }
        *ret = lacking;
        return 0;
}

/* Where the root hash is the same there is nothing to download, and nothing to tell. */
static int add_download(DiffSide *x, DiffSide *y, Json *doc, Why *why)
{
        uint64_t blocks = 0;
        Json *j;
        int r;

        if (streq0(json_get_str(json_get(doc, "old"), "roothash"),
                   json_get_str(json_get(doc, "new"), "roothash")))
                return 0;
        j = json_sub(doc, "download");
        if (x->has_salt && y->has_salt && !streq(x->salt, y->salt))
                json_set_str(j, "unknown", "the salts differ");
        else if (*x->no_index.text || *y->no_index.text)
                json_set_str(j, "unknown", *x->no_index.text ? x->no_index.text : y->no_index.text);
        if (json_get(j, "unknown"))
                return 0;
        r = count_lacking(x, y, &blocks, why);
        if (r < 0)
                return r;
        json_set_u64(j, "blocks", blocks);
        json_set_u64(j, "bytes", blocks * VERITY_BLOCK);
        json_set_u64(j, "of", y->index.head.n_blocks);
        return 0;
}

/* --- all of it --- */

static int add_lists(const DiffSide *x, const DiffSide *y, Json *doc, bool *ret_packages, Why *why)
{
        Json *packages = NULL, *lines = NULL;
        int r = diff_packages(x->view.cosi.packages, y->view.cosi.packages, &packages, ret_packages);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "packages");
        json_set(doc, "packages", packages);
        r = diff_lines(x->view.cosi.os_release, y->view.cosi.os_release, "VERSION_ID=", &lines);
        if (r > 0)
                json_set(doc, "osRelease", lines);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "os-release") : 0;
}

static int compare(DiffSide *x, DiffSide *y, Json *doc, Why *why)
{
        bool packages = false;
        int r;

        add_changed(doc);
        if ((r = add_lists(x, y, doc, &packages, why)) < 0 || (r = add_files(x, y, doc, why)) < 0 ||
            (r = add_images(x, y, doc, why)) < 0)
                return r;
        add_partitions(x, y, doc);
        json_set_bool(doc, "same",
                      json_len(json_get(doc, "changed")) == 0 && !packages && !json_get(doc, "osRelease") &&
                              !json_get(doc, "esp") && !json_get(doc, "images") &&
                              !json_get(doc, "partitions"));
        return add_download(x, y, doc, why);
}

int publish_diff(const Env *env, const char *old, const char *new, Meter *meter, Json **ret, Why *why)
{
        _cleanup_(diff_side_done) DiffSide x = { 0 }, y = { 0 };
        _cleanup_(json_unrefp) Json *doc = json_new_object();
        int r = diff_side_read(env, "old", old, meter, &x, why);

        if (r >= 0)
                r = diff_side_read(env, "new", new, meter, &y, why);
        if (r < 0)
                return r;
        json_set_str(doc, "schema", "gybe.diff/1");
        json_set(doc, "old", side_json(&x, old));
        json_set(doc, "new", side_json(&y, new));
        r = compare(&x, &y, doc, why);
        if (r >= 0)
                *ret = TAKE(doc);
        return r;
}
