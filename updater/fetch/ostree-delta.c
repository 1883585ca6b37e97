/* SPDX-License-Identifier: MIT */

/* A superblock is
 *
 *      (a{sv} metadata, t time, ay from, ay to, commit, ay deltas before this, a(u version, ay sum, t size, t unpacked,
 *       ay objects) parts, a(y type, ay name, t size, t unpacked) left out)
 *
 * and an unpacked part (a(uuu) owners and modes, aa(ayay) xattrs, ay payload, ay operations). Operations are a letter and
 * numbers of seven bits a byte, lowest first. They make the part's objects in the order in which the superblock lists them:
 *
 *      S  a whole object from the payload: [mode xattrs] length offset; in brackets only for files
 *      o  begins a file: mode xattrs size         c  ends it
 *      r  reads from an old object from now on: offset of its name in the payload     R  no longer
 *      w  writes: length, offset in the old object or the payload
 *      B  the whole file from the old object and a binary diff: offset length
 *
 * A binary diff is a row of (24 bytes: copy, insert, seek; copy bytes to add to the old ones; insert bytes as they are). */

#include "fetch/ostree-delta.h"
#include "base/fd.h"

#include <endian.h>
#include <errno.h>
#include <sys/stat.h>

#define SUPERBLOCK_TYPE "(a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt))"
#define PART_TYPE       "(a(uuu)aa(ayay)ayay)"
#define TYPE_FILE       1u
#define PIECE           (64u * 1024u)
#define CONTROL         24u
#define TARGET_MAX      4096u
#define BUFFER          PIECE

/* --- the superblock --- */

void delta_done(Delta *d)
{
        bytes_done(&d->superblock);
        free(d->parts);
        free(d->loose);
        *d = (Delta){ 0 };
}

static int malformed(Why *why, const char *what)
{
        return fail(why, -EBADMSG, WHY_NETWORK, "bad-delta", "OSTree: %s of the static delta is malformed",
                    what);
}

static int parse_part(const GVariant *list, size_t i, DeltaPart *ret)
{
        GVariant entry, v[5];
        uint32_t version;
        int r = gvariant_child(list, i, &entry);

        for (size_t k = 0; r >= 0 && k < ELEMENTSOF(v); k++)
                r = gvariant_child(&entry, k, &v[k]);
        if (r < 0 || (r = gvariant_u32(&v[0], &version)) < 0 || (r = gvariant_u64(&v[2], &ret->size)) < 0 ||
            (r = gvariant_u64(&v[3], &ret->unpacked)) < 0)
                return r;
        if (version != 0 || v[1].size != OSTREE_ID || v[4].size % DELTA_OBJECT != 0)
                return -EBADMSG;
        memcpy(ret->sum, v[1].data, OSTREE_ID);
        ret->objects = v[4].data;
        ret->n_objects = v[4].size / DELTA_OBJECT;
        return 0;
}

static int parse_parts(const GVariant *v, Delta *d)
{
        GVariant list;
        int r = gvariant_child(v, 6, &list);

        if (r >= 0)
                r = gvariant_n_children(&list, &d->n_parts);
        if (r < 0 || d->n_parts > DELTA_PARTS_MAX)
                return -EBADMSG;
        d->parts = calloc(d->n_parts + 1, sizeof(*d->parts));
        if (!d->parts)
                return -ENOMEM;
        for (size_t i = 0; r >= 0 && i < d->n_parts; i++)
                r = parse_part(&list, i, &d->parts[i]);
        return r;
}

static int parse_loose(const GVariant *v, Delta *d)
{
        GVariant list, entry, type, id;
        size_t n = 0;
        int r = gvariant_child(v, 7, &list);

        if (r >= 0)
                r = gvariant_n_children(&list, &n);
        if (r < 0 || n > OSTREE_ENTRIES_MAX)
                return -EBADMSG;
        d->loose = calloc(n + 1, sizeof(*d->loose));
        if (!d->loose)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                uint8_t t;

                if ((r = gvariant_child(&list, i, &entry)) < 0 ||
                    (r = gvariant_child(&entry, 0, &type)) < 0 || (r = gvariant_u8(&type, &t)) < 0 ||
                    (r = gvariant_child(&entry, 1, &id)) < 0)
                        return r;
                if (id.size != OSTREE_ID)
                        return -EBADMSG;
                if (t == TYPE_FILE)
                        memcpy(d->loose[d->n_loose++], id.data, OSTREE_ID);
        }
        return 0;
}

static bool names(const GVariant *v, size_t i, const uint8_t id[OSTREE_ID])
{
        GVariant child;

        return gvariant_child(v, i, &child) >= 0 && child.size == OSTREE_ID &&
               memcmp(child.data, id, OSTREE_ID) == 0;
}

/* Numbers of parts are in the byte order of the machine that made them: 'l', or 'B' on machines that no OS image is built on. */
static bool is_little_endian(const GVariant *v)
{
        GVariant dict, value;
        uint8_t order = 'l';

        return gvariant_child(v, 0, &dict) >= 0 &&
               (gvariant_lookup(&dict, "ostree.endianness", &value) <= 0 ||
                gvariant_u8(&value, &order) >= 0) &&
               order == 'l';
}

int delta_parse(Bytes *superblock, const uint8_t from[OSTREE_ID], const uint8_t to[OSTREE_ID], Delta *ret,
                Why *why)
{
        _cleanup_(delta_done) Delta d = { 0 };
        GVariant v;
        int r = gvariant_open(SUPERBLOCK_TYPE, superblock->data, superblock->size, &v);

        if (r < 0 || !is_little_endian(&v) || !names(&v, 2, from) || !names(&v, 3, to))
                return malformed(why, "the superblock");
        r = parse_parts(&v, &d);
        if (r >= 0)
                r = parse_loose(&v, &d);
        if (r == -ENOMEM)
                return fail_errno(why, r, WHY_HOST, "OSTree: delta");
        if (r < 0)
                return malformed(why, "the superblock");
        d.superblock = *superblock;
        *superblock = BYTES_NULL;
        *ret = d;
        d = (Delta){ 0 };
        return 0;
}

/* --- a part --- */

struct DeltaRun {
        const DeltaPart *part;
        Rebuilt *rebuilt;
        GVariant modes, xattrs, payload, ops;
        size_t at;     /* in ops */
        size_t object; /* under way, or next */
        uint64_t size; /* of the file under way */
        int source;    /* -1: none */
        uint64_t source_size;
        bool reading;  /* from an old object, be it there or not */
        bool wants;    /* an answer of delta_run_give() */
        bool skipping; /* the file under way cannot be made */
        uint8_t *buf;  /* twice BUFFER */
};

DeltaRun *delta_run_free(DeltaRun *run)
{
        if (!run)
                return NULL;
        close_fdp(&run->source);
        free(run->buf);
        free(run);
        return NULL;
}

void delta_run_freep(DeltaRun **run)
{
        delta_run_free(*run);
}

int delta_run_new(const DeltaPart *part, const void *data, size_t size, Rebuilt *rebuilt, DeltaRun **ret,
                  Why *why)
{
        _cleanup_(delta_run_freep) DeltaRun *run = calloc(1, sizeof(*run));
        GVariant v;

        if (!run)
                return fail_errno(why, -ENOMEM, WHY_HOST, "OSTree: delta");
        run->part = part;
        run->rebuilt = rebuilt;
        run->source = -1;
        run->buf = malloc(2 * BUFFER);
        if (!run->buf)
                return fail_errno(why, -ENOMEM, WHY_HOST, "OSTree: delta");
        if (gvariant_open(PART_TYPE, data, size, &v) < 0 || gvariant_child(&v, 0, &run->modes) < 0 ||
            gvariant_child(&v, 1, &run->xattrs) < 0 || gvariant_child(&v, 2, &run->payload) < 0 ||
            gvariant_child(&v, 3, &run->ops) < 0)
                return malformed(why, "a part");
        *ret = TAKE(run);
        return 0;
}

static int take_number(DeltaRun *run, uint64_t *ret)
{
        uint64_t v = 0;

        for (unsigned shift = 0; run->at < run->ops.size && shift < 64; shift += 7) {
                uint8_t byte = run->ops.data[run->at++];

                v |= (uint64_t) (byte & 0x7f) << shift;
                if (!(byte & 0x80)) {
                        *ret = v;
                        return 0;
                }
        }
        return -EBADMSG;
}

static int take_numbers(DeltaRun *run, uint64_t *a, uint64_t *b)
{
        int r = take_number(run, a);

        return r < 0 ? r : take_number(run, b);
}

static bool in_payload(const DeltaRun *run, uint64_t offset, uint64_t size)
{
        return offset <= run->payload.size && size <= run->payload.size - offset;
}

/* Owner, group and mode, and the xattrs, as numbers into the part's two lists. */
static int take_attributes(DeltaRun *run, uint32_t id[3], GVariant *xattrs)
{
        uint64_t mode, list;
        GVariant v, n;
        int r = take_numbers(run, &mode, &list);

        if (r < 0 || mode > SIZE_MAX || list > SIZE_MAX ||
            gvariant_child(&run->modes, (size_t) mode, &v) < 0 ||
            gvariant_child(&run->xattrs, (size_t) list, xattrs) < 0)
                return -EBADMSG;
        for (size_t i = 0; i < 3; i++) {
                if (gvariant_child(&v, i, &n) < 0 || gvariant_u32(&n, &id[i]) < 0)
                        return -EBADMSG;
                id[i] = be32toh(id[i]);
        }
        return 0;
}

static const uint8_t *object_of(const DeltaRun *run)
{
        return run->object < run->part->n_objects ? run->part->objects + run->object * DELTA_OBJECT : NULL;
}

static int begin_file(DeltaRun *run, const uint32_t id[3], const GVariant *xattrs, uint64_t size, Why *why)
{
        _cleanup_(bytes_done) Bytes header = BYTES_NULL;
        int r;

        run->size = size;
        run->skipping = !S_ISREG(id[2]); /* links have no blocks of their own that would be worth it */
        if (run->skipping)
                return 0;
        r = ostree_file_header_raw(id[0], id[1], id[2], NULL, xattrs, &header);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "OSTree: delta");
        return rebuilt_begin(run->rebuilt, object_of(run) + 1, &header, size, why);
}

static int end_file(DeltaRun *run, Why *why)
{
        int r = run->skipping ? 0 : rebuilt_end(run->rebuilt, why);

        run->object++;
        run->skipping = false;
        return r < 0 ? r : 0;
}

static int write_payload(DeltaRun *run, uint64_t offset, uint64_t size, Why *why)
{
        for (uint64_t n; size > 0; offset += n, size -= n) {
                int r;

                n = MIN(size, (uint64_t) PIECE);
                r = rebuilt_write(run->rebuilt, run->payload.data + offset, (size_t) n, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The file under way cannot be made; the operations that would have made it are read over. */
static int give_up_file(DeltaRun *run)
{
        run->skipping = true;
        rebuilt_drop(run->rebuilt);
        return 0;
}

static int write_source(DeltaRun *run, uint64_t offset, uint64_t size, Why *why)
{
        if (offset > run->source_size || size > run->source_size - offset)
                return give_up_file(run);
        for (uint64_t n; size > 0; offset += n, size -= n) {
                ssize_t got;
                int r;

                n = MIN(size, (uint64_t) PIECE);
                got = fd_pread_full(run->source, run->buf, (size_t) n, offset);
                if (got != (ssize_t) n)
                        return give_up_file(run); /* a bad disk */
                r = rebuilt_write(run->rebuilt, run->buf, (size_t) n, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- a binary diff --- */

/* Sign and magnitude. */
static int64_t diff_number(const uint8_t *p)
{
        uint64_t v = 0;

        for (size_t i = 0; i < 8; i++)
                v |= (uint64_t) p[i] << 8 * i;
        return v >> 63 ? -(int64_t) (v & INT64_MAX) : (int64_t) v;
}

/* The old bytes from offset on, zeroes where the old object has none (as bspatch does it). */
static bool read_old(DeltaRun *run, int64_t offset, uint8_t *out, size_t n)
{
        size_t before = offset < 0 ? (size_t) MIN((uint64_t) -offset, (uint64_t) n) : 0, there = 0;
        uint64_t from = (uint64_t) (offset + (int64_t) before);

        memset(out, 0, n);
        if (from < run->source_size)
                there = (size_t) MIN(run->source_size - from, (uint64_t) (n - before));
        return there == 0 || fd_pread_full(run->source, out + before, there, from) == (ssize_t) there;
}

static int add_diff(DeltaRun *run, const uint8_t *diff, uint64_t size, int64_t old, Why *why)
{
        uint8_t *sum = run->buf, *from = run->buf + BUFFER;

        while (size > 0) {
                size_t n = (size_t) MIN(size, (uint64_t) PIECE);
                int r;

                if (!read_old(run, old, from, n))
                        return give_up_file(run);
                for (size_t i = 0; i < n; i++)
                        sum[i] = (uint8_t) (diff[i] + from[i]);
                r = rebuilt_write(run->rebuilt, sum, n, why);
                if (r < 0)
                        return r;
                diff += n;
                old += (int64_t) n;
                size -= n;
        }
        return 0;
}

#define OLD_MAX (INT64_C(1) << 60) /* far beyond any file, and sums of two still fit */

static int patch(DeltaRun *run, uint64_t offset, uint64_t size, Why *why)
{
        uint64_t end = offset + size, left = run->size;
        int64_t old = 0;
        int r = 0;

        while (left > 0 && !run->skipping && r >= 0) {
                int64_t copy, insert, seek;

                if (end - offset < CONTROL)
                        return give_up_file(run);
                copy = diff_number(run->payload.data + offset);
                insert = diff_number(run->payload.data + offset + 8);
                seek = diff_number(run->payload.data + offset + 16);
                offset += CONTROL;
                if (copy < 0 || insert < 0 || (uint64_t) copy > left ||
                    (uint64_t) insert > left - (uint64_t) copy || (uint64_t) copy > end - offset ||
                    (uint64_t) insert > end - offset - (uint64_t) copy || seek > OLD_MAX || seek < -OLD_MAX ||
                    old > OLD_MAX || old < -OLD_MAX)
                        return give_up_file(run);
                r = add_diff(run, run->payload.data + offset, (uint64_t) copy, old, why);
                offset += (uint64_t) copy;
                if (r >= 0 && !run->skipping)
                        r = write_payload(run, offset, (uint64_t) insert, why);
                offset += (uint64_t) insert;
                left -= (uint64_t) copy + (uint64_t) insert;
                old += copy + seek;
        }
        return r;
}

/* --- operations --- */

static int op_splice(DeltaRun *run, Why *why)
{
        const uint8_t *object = object_of(run);
        GVariant xattrs = { 0 };
        uint64_t size, offset;
        uint32_t id[3] = { 0 };
        bool is_file = object && *object == TYPE_FILE;
        int r;

        if (!object || (is_file && take_attributes(run, id, &xattrs) < 0) ||
            take_numbers(run, &size, &offset) < 0 || !in_payload(run, offset, size))
                return malformed(why, "an operation");
        if (!is_file) {
                run->object++; /* trees and commits: nobody needs them here */
                return 0;
        }
        r = begin_file(run, id, &xattrs, size, why);
        if (r >= 0 && !run->skipping)
                r = write_payload(run, offset, size, why);
        return r < 0 ? r : end_file(run, why);
}

static int op_open(DeltaRun *run, Why *why)
{
        const uint8_t *object = object_of(run);
        GVariant xattrs;
        uint64_t size;
        uint32_t id[3];

        if (!object || *object != TYPE_FILE || run->rebuilt->is_open ||
            take_attributes(run, id, &xattrs) < 0 || take_number(run, &size) < 0)
                return malformed(why, "an operation");
        return begin_file(run, id, &xattrs, size, why);
}

static int op_write(DeltaRun *run, Why *why)
{
        uint64_t size, offset;

        if (take_numbers(run, &size, &offset) < 0 || (!run->reading && !in_payload(run, offset, size)))
                return malformed(why, "an operation");
        if (run->skipping)
                return 0;
        if (!run->reading)
                return write_payload(run, offset, size, why);
        return run->source < 0 ? give_up_file(run) : write_source(run, offset, size, why);
}

static int op_patch(DeltaRun *run, Why *why)
{
        uint64_t offset, size;

        if (take_numbers(run, &offset, &size) < 0 || !in_payload(run, offset, size))
                return malformed(why, "an operation");
        if (run->skipping)
                return 0;
        return run->source < 0 || !run->rebuilt->is_open ? give_up_file(run) : patch(run, offset, size, why);
}

static int op_source(DeltaRun *run, const uint8_t **ret_id, Why *why)
{
        uint64_t offset;

        if (take_number(run, &offset) < 0 || !in_payload(run, offset, OSTREE_ID))
                return malformed(why, "an operation");
        close_fdp(&run->source);
        run->source = -1;
        run->reading = true;
        run->wants = true;
        *ret_id = run->payload.data + offset;
        return 0;
}

static int op_no_source(DeltaRun *run)
{
        close_fdp(&run->source);
        run->source = -1;
        run->reading = false;
        return 0;
}

int delta_run(DeltaRun *run, DeltaWant *ret_want, const uint8_t **ret_id, Why *why)
{
        run->wants = false;
        while (run->at < run->ops.size) {
                uint8_t op = run->ops.data[run->at++];
                int r = op == 'S'   ? op_splice(run, why)
                        : op == 'o' ? op_open(run, why)
                        : op == 'w' ? op_write(run, why)
                        : op == 'B' ? op_patch(run, why)
                        : op == 'c' ? end_file(run, why)
                        : op == 'r' ? op_source(run, ret_id, why)
                        : op == 'R' ? op_no_source(run)
                                    : malformed(why, "an operation");

                if (r >= 0 && run->rebuilt->alive && (r = run->rebuilt->alive(run->rebuilt->ctx)) < 0)
                        return fail_errno(why, r, WHY_HOST, "OSTree: delta");
                if (r < 0) {
                        rebuilt_drop(run->rebuilt);
                        return r;
                }
                if (run->wants) {
                        *ret_want = DELTA_WANT_SOURCE;
                        return 0;
                }
        }
        rebuilt_drop(run->rebuilt);
        *ret_want = DELTA_WANT_NOTHING;
        return 0;
}

void delta_run_give(DeltaRun *run, int fd)
{
        struct stat st;

        if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
                close_fdp(&fd), fd = -1;
        close_fdp(&run->source);
        run->source = fd;
        run->source_size = fd < 0 ? 0 : (uint64_t) st.st_size;
}
