/* SPDX-License-Identifier: MIT */

/* Formats, as libostree writes them (all integers in network order but where said):
 *
 *      file     u32 size of the variant, 4 zero bytes, (uuuusa(ayay)) = uid gid mode rdev target xattrs; then the content
 *      filez    the same with a(t size of the content) in front, then raw deflate of the content
 *      dirtree  (a(say)a(sayay)) = files (name, id), folders (name, tree, meta)
 *      commit   (a{sv}aya(say)sstayay) = metadata, parent, related, subject, body, time, tree, meta
 *      commitmeta  a{sv} */

#include "image/ostree.h"
#include "base/str.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>

#define FILE_TYPE   "(uuuusa(ayay))"
#define FILEZ_TYPE  "(tuuuusa(ayay))"
#define DIR_TYPE    "(a(say)a(sayay))"
#define COMMIT_TYPE "(a{sv}aya(say)sstayay)"
#define FRONT       8u /* size and padding */

/* --- names --- */

void ostree_object_path(const uint8_t id[OSTREE_ID], const char *suffix, char out[OSTREE_PATH_SIZE])
{
        char hex[OSTREE_ID_HEX];

        hex_encode(id, OSTREE_ID, hex);
        (void) snprintf(out, OSTREE_PATH_SIZE, "objects/%.2s/%s.%s", hex, hex + 2, suffix);
}

/* Base64 without padding, '/' written as '_': 43 characters. */
static void delta_name(const uint8_t id[OSTREE_ID], char out[44])
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_";
        size_t n = 0;

        for (size_t bit = 0; bit < OSTREE_ID * 8; bit += 6) {
                size_t i = bit / 8;
                unsigned two = (unsigned) id[i] << 8 | (i + 1 < OSTREE_ID ? id[i + 1] : 0u);

                out[n++] = digits[two >> (10 - bit % 8) & 63];
        }
        out[n] = 0;
}

void ostree_delta_path(const uint8_t from[OSTREE_ID], const uint8_t to[OSTREE_ID], const char *part,
                       char out[OSTREE_DELTA_PATH_SIZE])
{
        char a[44] = "", b[44];

        if (from)
                delta_name(from, a);
        delta_name(to, b);
        if (from)
                (void) snprintf(out, OSTREE_DELTA_PATH_SIZE, "deltas/%.2s/%s-%s/%s", a, a + 2, b, part);
        else
                (void) snprintf(out, OSTREE_DELTA_PATH_SIZE, "deltas/%.2s/%s/%s", b, b + 2, part);
}

/* --- files --- */

static int frame_header(GVariantBuild *b, Bytes *ret)
{
        _cleanup_(bytes_done) Bytes variant = BYTES_NULL, whole = BYTES_NULL;
        uint8_t front[FRONT] = { 0 };
        uint32_t size;
        int r = gvariant_build_take(b, &variant);

        if (r < 0)
                return r;
        size = htobe32((uint32_t) variant.size);
        memcpy(front, &size, sizeof(size));
        if ((r = bytes_append(&whole, front, sizeof(front))) < 0 ||
            (r = bytes_append(&whole, variant.data, variant.size)) < 0)
                return r;
        bytes_move(ret, &whole);
        return 0;
}

int ostree_file_header_raw(uint32_t uid, uint32_t gid, uint32_t mode, const char *target,
                           const GVariant *xattrs, Bytes *ret)
{
        _cleanup_(gvariant_build_done) GVariantBuild b = GVARIANT_TUPLE;

        gvariant_add_u32(&b, htobe32(uid));
        gvariant_add_u32(&b, htobe32(gid));
        gvariant_add_u32(&b, htobe32(mode));
        gvariant_add_u32(&b, 0); /* no devices */
        gvariant_add_str(&b, target ? target : "");
        gvariant_add(&b, xattrs->data, xattrs->size, 1, false);
        return frame_header(&b, ret);
}

int ostree_file_header(const OstreeFile *file, Bytes *ret)
{
        _cleanup_(gvariant_build_done) GVariantBuild list = GVARIANT_ARRAY;
        _cleanup_(bytes_done) Bytes bytes = BYTES_NULL;
        GVariant xattrs;
        int r;

        for (size_t i = 0; i < file->n_xattrs; i++) {
                _cleanup_(gvariant_build_done) GVariantBuild pair = GVARIANT_TUPLE;

                gvariant_add_bytes(&pair, file->xattrs[i].name, strlen(file->xattrs[i].name) + 1);
                gvariant_add_bytes(&pair, file->xattrs[i].value, file->xattrs[i].size);
                gvariant_add_build(&list, &pair, 1);
        }
        r = gvariant_build_take(&list, &bytes);
        if (r >= 0)
                r = gvariant_open("a(ayay)", bytes.data, bytes.size, &xattrs);
        return r < 0 ? r
                     : ostree_file_header_raw(file->uid, file->gid, file->mode, file->target, &xattrs, ret);
}

int ostree_filez_front(const uint8_t data[OSTREE_FILEZ_FRONT], size_t *ret)
{
        uint32_t size;

        memcpy(&size, data, sizeof(size));
        size = be32toh(size);
        if (size == 0 || size > OSTREE_XATTRS_MAX + 8192)
                return -EBADMSG;
        *ret = FRONT + size;
        return 0;
}

int ostree_filez_parse(const void *data, size_t size, OstreeFilez *ret)
{
        GVariant v, part[6];
        uint64_t content;
        uint32_t n[3];
        const char *target;
        int r;

        if (size < FRONT)
                return -EBADMSG;
        r = gvariant_open(FILEZ_TYPE, (const uint8_t *) data + FRONT, size - FRONT, &v);
        if (r < 0 || (r = gvariant_child(&v, 0, &part[0])) < 0 || (r = gvariant_u64(&part[0], &content)) < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(n); i++)
                if ((r = gvariant_child(&v, i + 1, &part[1])) < 0 || (r = gvariant_u32(&part[1], &n[i])) < 0)
                        return r;
        if ((r = gvariant_child(&v, 5, &part[4])) < 0 || (r = gvariant_str(&part[4], &target)) < 0 ||
            (r = gvariant_child(&v, 6, &part[5])) < 0)
                return r;
        ret->size = be64toh(content);
        ret->mode = be32toh(n[2]);
        return ostree_file_header_raw(be32toh(n[0]), be32toh(n[1]), ret->mode, target, &part[5],
                                      &ret->header);
}

/* --- commits and trees --- */

static int take_id(const GVariant *v, size_t i, uint8_t ret[OSTREE_ID])
{
        GVariant id;
        int r = gvariant_child(v, i, &id);

        if (r < 0 || id.size != OSTREE_ID)
                return r < 0 ? r : -EBADMSG;
        memcpy(ret, id.data, OSTREE_ID);
        return 0;
}

static int take_text(const GVariant *dict, const char *key, char *out, size_t size)
{
        const char *text;
        GVariant v;
        int r = gvariant_lookup(dict, key, &v);

        if (r <= 0)
                return r;
        r = gvariant_str(&v, &text);
        if (r < 0 || strlen(text) >= size)
                return r < 0 ? r : -EBADMSG;
        memcpy(out, text, strlen(text) + 1);
        return 0;
}

static int take_release(const GVariant *dict, Bytes *ret)
{
        GVariant v;
        int r = gvariant_lookup(dict, OSTREE_KEY_RELEASE, &v);

        if (r <= 0)
                return r;
        if (!gvariant_is(&v, "ay") || v.size == 0)
                return -EBADMSG;
        r = bytes_copy(ret, v.data, v.size);
        return r < 0 ? r : 1;
}

void ostree_commit_done(OstreeCommit *c)
{
        bytes_done(&c->release);
        *c = (OstreeCommit){ 0 };
}

int ostree_commit_parse(const void *data, size_t size, OstreeCommit *ret)
{
        _cleanup_(ostree_commit_done) OstreeCommit c = { 0 };
        GVariant v, dict, parent;
        int r = size > OSTREE_COMMIT_MAX ? -EFBIG : gvariant_open(COMMIT_TYPE, data, size, &v);

        if (r < 0 || (r = gvariant_child(&v, 0, &dict)) < 0 ||
            (r = take_text(&dict, OSTREE_KEY_VERSION, c.version, sizeof(c.version))) < 0 ||
            (r = take_text(&dict, OSTREE_KEY_USRHASH, c.usrhash, sizeof(c.usrhash))) < 0 ||
            (r = take_release(&dict, &c.release)) < 0 || (r = gvariant_child(&v, 1, &parent)) < 0 ||
            (r = take_id(&v, 6, c.tree)) < 0 || (r = take_id(&v, 7, c.meta)) < 0)
                return r;
        c.has_parent = parent.size > 0;
        if (c.has_parent && (r = take_id(&v, 1, c.parent)) < 0)
                return r;
        *ret = c;
        c = (OstreeCommit){ 0 };
        return 0;
}

int ostree_detached_release(const void *data, size_t size, Bytes *ret)
{
        GVariant dict;
        int r = size > OSTREE_COMMIT_MAX ? -EFBIG : gvariant_open("a{sv}", data, size, &dict);

        return r < 0 ? r : take_release(&dict, ret);
}

void ostree_dir_done(OstreeDir *d)
{
        free(d->files);
        free(d->dirs);
        *d = (OstreeDir){ 0 };
}

static int open_list(const GVariant *dir, size_t i, GVariant *ret, size_t *ret_n)
{
        int r = gvariant_child(dir, i, ret);

        if (r >= 0)
                r = gvariant_n_children(ret, ret_n);
        return r < 0 ? r : *ret_n > OSTREE_ENTRIES_MAX ? -EFBIG : 0;
}

int ostree_dir_parse(const void *data, size_t size, OstreeDir *ret)
{
        _cleanup_(ostree_dir_done) OstreeDir d = { 0 };
        GVariant v, files, dirs, entry;
        int r = size > OSTREE_TREE_MAX ? -EFBIG : gvariant_open(DIR_TYPE, data, size, &v);

        if (r < 0 || (r = open_list(&v, 0, &files, &d.n_files)) < 0 ||
            (r = open_list(&v, 1, &dirs, &d.n_dirs)) < 0)
                return r;
        d.files = calloc(d.n_files + 1, sizeof(*d.files));
        d.dirs = calloc(d.n_dirs + 1, sizeof(*d.dirs));
        if (!d.files || !d.dirs)
                return -ENOMEM;
        for (size_t i = 0; i < d.n_files; i++)
                if ((r = gvariant_child(&files, i, &entry)) < 0 || (r = take_id(&entry, 1, d.files[i])) < 0)
                        return r;
        for (size_t i = 0; i < d.n_dirs; i++)
                if ((r = gvariant_child(&dirs, i, &entry)) < 0 ||
                    (r = take_id(&entry, 1, d.dirs[i][0])) < 0 || (r = take_id(&entry, 2, d.dirs[i][1])) < 0)
                        return r;
        *ret = d;
        d = (OstreeDir){ 0 };
        return 0;
}
