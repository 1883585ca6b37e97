/* SPDX-License-Identifier: MIT */

/* Which frames hold the blocks is asked of the index's list of sizes, or where there is none of the seek table behind the
 * image. Frames that follow each other are read in one go, and so are those between which only little lies (GAP_MAX). */

#include "fetch/pieces.h"
#include "image/seektable.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <zstd.h>

#define BLOCK    4096u
#define OUT_SIZE (128u * 1024u)
#define TABLE_MAX                                                                                            \
        (16u * 1024u * 1024u) /* of 43 GiB at 32 KiB a frame: more memory is not spent on an index */
#define LEAVES_GAP 2048u      /* bytes of leaves that nobody asked for, instead of another request */
/* Bytes of frames that nobody asked for, instead of another request on the same connection. Measured on a weekly update (ext4): 173
 * requests and 220 kB for nothing with 8 KiB, 198 and 63 kB with 4, 225 and none without. */
#define GAP_MAX 4096u

/* A place in the list of frames: where frame begins, packed and unpacked. */
typedef struct Place {
        uint32_t frame;
        uint64_t packed, raw;
} Place;

#define MARK_EVERY 256u /* frames: a table of millions of frames is not passed for each of them */

struct Pieces {
        Container *container;
        bool has_index;
        IndexHead head;
        uint64_t index_at;
        Bytes frames; /* the index's list of their sizes; empty: nobody has needed it yet */

        char path[COSI_PATH_MAX]; /* of the image that the table is of; "": none was read */
        uint64_t image_at;
        SeekTable table;
        Place *marks; /* of every MARK_EVERYth frame, from the first on; packed from the beginning of the file */
        size_t n_marks;

        ZSTD_DCtx *zstd;
        uint8_t *packed, *raw, *out;
        size_t packed_size, raw_size, n_out;
        uint32_t in_raw; /* the frame that raw holds; UINT32_MAX none */
};

Pieces *pieces_free(Pieces *p)
{
        if (!p)
                return NULL;
        (void) ZSTD_freeDCtx(p->zstd);
        seektable_done(&p->table);
        free(p->marks);
        bytes_done(&p->frames);
        free(p->packed);
        free(p->raw);
        free(p->out);
        free(p);
        return NULL;
}

void pieces_freep(Pieces **p)
{
        pieces_free(*p);
}

int pieces_new(Container *container, Pieces **ret, Why *why)
{
        _cleanup_(pieces_freep) Pieces *p = calloc(1, sizeof(*p));

        if (p) {
                *p = (Pieces){ .container = container, .in_raw = UINT32_MAX };
                p->zstd = ZSTD_createDCtx();
                p->out = malloc(OUT_SIZE);
        }
        if (!p || !p->zstd || !p->out)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", container_name(container));
        *ret = TAKE(p);
        return 0;
}

static int bad(const Pieces *p, Why *why, const char *code, const char *how)
{
        return fail(why, -EBADMSG, WHY_IMAGE, code, "%s: %s", container_name(p->container), how);
}

/* --- the index --- */

static int read_part(Pieces *p, uint64_t at, uint64_t until, size_t size, Bytes *ret, Why *why)
{
        uint8_t *data = malloc(size + 1);

        if (!data)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", container_name(p->container));
        data[size] = 0;
        *ret = (Bytes){ data, size };
        return container_read(p->container, at, until, data, size, why);
}

int pieces_index(Pieces *p, IndexHead *ret, uint64_t *ret_size, Bytes *ret_groups, Why *why)
{
        _cleanup_(bytes_done) Bytes groups = BYTES_NULL;
        uint8_t data[INDEX_HEAD_SIZE];
        uint64_t at = 0, size = 0;
        IndexHead head;
        int r;

        p->has_index = false;
        r = container_locate(p->container, INDEX_MEMBER, &at, &size, why);
        if (r <= 0)
                return r;
        if (size < sizeof(data))
                return bad(p, why, "index", "its block index is too short to be one");
        r = container_read(p->container, at, at + sizeof(data), data, sizeof(data), why);
        if (r >= 0)
                r = index_head_parse(data, size, &head, why);
        if (r < 0)
                return r;
        if (index_groups_size(&head) + index_frames_size(&head) > TABLE_MAX)
                return bad(p, why, "index", "its block index is larger than one that is read");
        r = read_part(p, at + index_groups_at(&head), at + index_frames_at(&head), index_groups_size(&head),
                      &groups, why);
        if (r >= 0)
                r = index_groups_check(groups.data, groups.size, head.n_groups, head.n_blocks, why);
        if (r < 0)
                return r;
        p->head = *ret = head;
        p->index_at = at;
        p->has_index = true;
        *ret_size = size;
        bytes_move(ret_groups, &groups);
        bytes_done(&p->frames);
        return 1;
}

int pieces_leaves(Pieces *p, const BlockRange *ranges, size_t n, const FetchSink *sink, Why *why)
{
        uint64_t base = p->index_at + index_leaves_at(&p->head), until = 0;

        if (!p->has_index)
                return bad(p, why, "index", "no block index was read");
        for (size_t i = 0; i < n; i++) {
                uint64_t at = base + (uint64_t) ranges[i].first * INDEX_LEAF_SIZE;
                uint64_t end = at + (uint64_t) ranges[i].count * INDEX_LEAF_SIZE;

                if ((uint64_t) ranges[i].first + ranges[i].count > p->head.n_blocks)
                        return bad(p, why, "index", "the block index has fewer blocks");
                if (at >= until) {
                        until = end;
                        for (size_t k = i + 1; k < n; k++) {
                                uint64_t next = base + (uint64_t) ranges[k].first * INDEX_LEAF_SIZE;

                                if (next - until > LEAVES_GAP)
                                        break;
                                until = next + (uint64_t) ranges[k].count * INDEX_LEAF_SIZE;
                        }
                        until = MIN(until, base + (uint64_t) p->head.n_blocks * INDEX_LEAF_SIZE);
                }
                while (at < end) {
                        size_t size = (size_t) MIN(end - at, (uint64_t) OUT_SIZE);
                        int r = container_read(p->container, at, until, p->out, size, why);

                        if (r >= 0)
                                r = sink->data(sink->ctx, p->out, size, why);
                        if (r != 0)
                                return r;
                        at += size;
                }
        }
        return 0;
}

/* --- where frames are --- */

/* The index is about one image; others (the hash image) have their own tables only. */
static bool index_has_frames(const Pieces *p, const CosiImage *image)
{
        return p->has_index && p->head.n_frames > 0 &&
               image->uncompressed_size == (uint64_t) p->head.n_blocks * BLOCK;
}

/* Read when it is needed first: who makes all blocks out of what is here does without. */
static int read_frames(Pieces *p, Why *why)
{
        _cleanup_(bytes_done) Bytes frames = BYTES_NULL;
        int r;

        if (p->frames.size > 0)
                return 0;
        r = read_part(p, p->index_at + index_frames_at(&p->head), p->index_at + index_leaves_at(&p->head),
                      index_frames_size(&p->head), &frames, why);
        if (r >= 0)
                bytes_move(&p->frames, &frames);
        return r;
}

static int table_from_index(Pieces *p, const CosiImage *image, Why *why)
{
        uint64_t left = image->uncompressed_size;
        int r = read_frames(p, why);

        if (r < 0)
                return r;
        for (uint32_t i = 0; r >= 0 && i < p->head.n_frames; i++) {
                uint32_t raw = (uint32_t) MIN(left, (uint64_t) p->head.frame_size);

                r = seektable_add(&p->table, index_frame(&p->head, p->frames.data, i), raw, 0);
                left -= raw;
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "frames") : 0;
}

static int table_from_image(Pieces *p, const CosiImage *image, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        uint64_t end = p->image_at + image->compressed_size, size = 0;
        uint8_t footer[SEEKTABLE_FOOTER];
        int r = 0;

        if (image->compressed_size > sizeof(footer))
                r = container_read(p->container, end - sizeof(footer), end, footer, sizeof(footer), why);
        if (r < 0)
                return r;
        if (image->compressed_size <= sizeof(footer) || seektable_footer(footer, &size) == 0)
                return fail(why, -EOPNOTSUPP, WHY_IMAGE, "no-seek-table", "%s: has no seek table",
                            image->path);
        if (size > TABLE_MAX || size > image->compressed_size)
                return bad(p, why, "seek-table", "its seek table is longer than one that is read");
        r = read_part(p, end - size, end, (size_t) size, &b, why);
        return r < 0 ? r : seektable_parse(b.data, b.size, image->compressed_size, &p->table, why);
}

static int check_table(const Pieces *p, const CosiImage *image, Why *why)
{
        if (p->table.raw != image->uncompressed_size || p->table.compressed > image->compressed_size)
                return bad(p, why, "seek-table", "its frames are not those of the image");
        for (uint32_t i = 0; i < p->table.n_entries; i++)
                if (p->table.entries[i].raw > INDEX_FRAME_MAX ||
                    p->table.entries[i].compressed > ZSTD_COMPRESSBOUND(INDEX_FRAME_MAX))
                        return fail(why, -EOPNOTSUPP, WHY_IMAGE, "large-frames",
                                    "%s: its frames are too large to be read one by one", image->path);
        return 0;
}

static void step(const Pieces *p, Place *at)
{
        at->packed += p->table.entries[at->frame].compressed;
        at->raw += p->table.entries[at->frame].raw;
        at->frame++;
}

static int mark_table(Pieces *p, Why *why)
{
        Place at = { .packed = p->image_at };

        free(p->marks);
        p->n_marks = 0;
        p->marks = calloc(p->table.n_entries / MARK_EVERY + 1, sizeof(*p->marks));
        if (!p->marks)
                return fail_errno(why, -ENOMEM, WHY_HOST, "frames");
        p->marks[p->n_marks++] = at;
        while (at.frame < p->table.n_entries) {
                step(p, &at);
                if (at.frame % MARK_EVERY == 0 && at.frame < p->table.n_entries)
                        p->marks[p->n_marks++] = at;
        }
        return 0;
}

static int open_table(Pieces *p, const CosiImage *image, Why *why)
{
        uint64_t at = 0, size = 0;
        int r;

        if (streq(p->path, image->path))
                return 0;
        p->path[0] = 0;
        p->in_raw = UINT32_MAX;
        seektable_done(&p->table);
        r = container_locate(p->container, image->path, &at, &size, why);
        if (r < 0)
                return r;
        if (r == 0 || size != image->compressed_size)
                return bad(p, why, "member-size", "an image in it is not the one that metadata.json says");
        p->image_at = at;
        r = index_has_frames(p, image) ? table_from_index(p, image, why) : table_from_image(p, image, why);
        if (r >= 0)
                r = check_table(p, image, why);
        if (r >= 0)
                r = mark_table(p, why);
        if (r < 0) {
                seektable_done(&p->table);
                return r;
        }
        (void) snprintf(p->path, sizeof(p->path), "%s", image->path);
        return 0;
}

/* --- which frames --- */

/* The last mark that is not behind this byte. */
static Place mark_before(const Pieces *p, uint64_t byte)
{
        size_t low = 0, high = p->n_marks;

        while (high - low > 1) {
                size_t mid = low + (high - low) / 2;

                if (p->marks[mid].raw <= byte)
                        low = mid;
                else
                        high = mid;
        }
        return p->marks[low];
}

/* Moves to the frame that holds this byte of the image. */
static void seek_byte(const Pieces *p, Place *at, uint64_t byte)
{
        while (at->frame < p->table.n_entries && at->raw + p->table.entries[at->frame].raw <= byte)
                step(p, at);
}

static int check_ranges(const Pieces *p, const BlockRange *ranges, size_t n, Why *why)
{
        for (size_t i = 0; i < n; i++)
                if (((uint64_t) ranges[i].first + ranges[i].count) * BLOCK > p->table.raw)
                        return bad(p, why, "blocks", "an image in it has fewer blocks");
        return 0;
}

/* Runs of frames that are read in one go. */
typedef struct Runs {
        FetchExtent *list;
        size_t n, room;
} Runs;

static void runs_done(Runs *runs)
{
        free(runs->list);
}

static int runs_add(Runs *runs, uint64_t offset, uint64_t size)
{
        FetchExtent *last = runs->n > 0 ? &runs->list[runs->n - 1] : NULL;

        if (last && offset < last->offset + last->size)
                return 0; /* the frame that two ranges share */
        if (last && offset - (last->offset + last->size) <= GAP_MAX) {
                last->size = offset + size - last->offset;
                return 0;
        }
        if (runs->n == runs->room) {
                size_t room = runs->room ? runs->room * 2 : 64;
                FetchExtent *more = reallocarray(runs->list, room, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                runs->list = more;
                runs->room = room;
        }
        runs->list[runs->n++] = (FetchExtent){ offset, size };
        return 0;
}

static int find_runs(const Pieces *p, const BlockRange *ranges, size_t n, Runs *ret)
{
        Place at = mark_before(p, n > 0 ? (uint64_t) ranges[0].first * BLOCK : 0);

        for (size_t i = 0; i < n; i++) {
                uint64_t end = ((uint64_t) ranges[i].first + ranges[i].count) * BLOCK;

                seek_byte(p, &at, (uint64_t) ranges[i].first * BLOCK);
                for (Place k = at; k.frame < p->table.n_entries && k.raw < end; step(p, &k)) {
                        int r = 0;

                        /* the frame at hand need not be read if it comes first; later it will have been replaced */
                        if (ret->n > 0 || k.frame != p->in_raw)
                                r = runs_add(ret, k.packed, p->table.entries[k.frame].compressed);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* --- what is in them --- */

static int grow(uint8_t **buf, size_t *size, size_t want)
{
        uint8_t *more;

        if (want <= *size)
                return 0;
        more = realloc(*buf, want);
        if (!more)
                return -ENOMEM;
        *buf = more;
        *size = want;
        return 0;
}

static int load_frame(Pieces *p, const Place *at, uint64_t until, Why *why)
{
        const SeekEntry *e = &p->table.entries[at->frame];
        size_t n;
        int r;

        if (p->in_raw == at->frame)
                return 0;
        p->in_raw = UINT32_MAX;
        r = grow(&p->packed, &p->packed_size, e->compressed);
        if (r >= 0)
                r = grow(&p->raw, &p->raw_size, e->raw);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "frames");
        r = container_read(p->container, at->packed, until, p->packed, e->compressed, why);
        if (r < 0)
                return r;
        n = ZSTD_decompressDCtx(p->zstd, p->raw, e->raw, p->packed, e->compressed);
        if (ZSTD_isError(n) || n != e->raw)
                return fail(why, -EBADMSG, WHY_IMAGE, "frame",
                            "%s: frame %" PRIu32 " at byte %" PRIu64 " is not what the table says",
                            container_name(p->container), at->frame, at->packed);
        p->in_raw = at->frame;
        return 0;
}

static int flush_out(Pieces *p, const FetchSink *sink, Why *why)
{
        size_t n = p->n_out;

        p->n_out = 0;
        return n > 0 ? sink->data(sink->ctx, p->out, n, why) : 0;
}

/* Bytes from to end of the frame that is loaded, which begins at base. */
static int emit(Pieces *p, uint64_t base, uint64_t from, uint64_t end, const FetchSink *sink, Why *why)
{
        while (from < end) {
                size_t n = (size_t) MIN(end - from, (uint64_t) (OUT_SIZE - p->n_out));
                int r = 0;

                memcpy(p->out + p->n_out, p->raw + (from - base), n);
                p->n_out += n;
                from += n;
                if (p->n_out == OUT_SIZE)
                        r = flush_out(p, sink, why);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int send_range(Pieces *p, Place *at, const BlockRange *range, const Runs *runs, size_t *run,
                      const FetchSink *sink, Why *why)
{
        uint64_t from = (uint64_t) range->first * BLOCK, end = from + (uint64_t) range->count * BLOCK;
        int r = 0;

        seek_byte(p, at, from);
        while (r == 0 && from < end) {
                uint64_t raw_end = at->raw + p->table.entries[at->frame].raw;

                while (*run + 1 < runs->n && runs->list[*run + 1].offset <= at->packed)
                        (*run)++;
                r = load_frame(p, at,
                               runs->n > 0 ? runs->list[*run].offset + runs->list[*run].size : at->packed,
                               why);
                if (r >= 0)
                        r = emit(p, at->raw, from, MIN(end, raw_end), sink, why);
                from = MIN(end, raw_end);
                if (from == raw_end && from < end)
                        step(p, at);
        }
        return r;
}

int pieces_blocks(Pieces *p, const CosiImage *image, const BlockRange *ranges, size_t n,
                  const FetchSink *sink, Why *why)
{
        _cleanup_(runs_done) Runs runs = { 0 };
        Place at;
        size_t run = 0;
        int r;

        r = open_table(p, image, why);
        if (r >= 0)
                r = check_ranges(p, ranges, n, why);
        if (r < 0)
                return r;
        if (find_runs(p, ranges, n, &runs) < 0)
                return fail_errno(why, -ENOMEM, WHY_HOST, "frames");
        at = mark_before(p, n > 0 ? (uint64_t) ranges[0].first * BLOCK : 0);
        p->n_out = 0;
        for (size_t i = 0; r == 0 && i < n; i++)
                r = send_range(p, &at, &ranges[i], &runs, &run, sink, why);
        return r != 0 ? r : flush_out(p, sink, why);
}

int pieces_frame(Pieces *p, const CosiImage *image, uint64_t byte, PieceFrame *ret, Why *why)
{
        int r = open_table(p, image, why);
        Place at;

        if (r < 0)
                return r;
        if (byte >= p->table.raw)
                return bad(p, why, "blocks", "an image in it has fewer blocks");
        at = mark_before(p, byte);
        seek_byte(p, &at, byte);
        *ret = (PieceFrame){ at.raw, p->table.entries[at.frame].raw, p->table.checksums,
                             p->table.entries[at.frame].checksum };
        return 0;
}

int pieces_extents(Pieces *p, const CosiImage *image, const BlockRange *ranges, size_t n, Bytes *ret,
                   Why *why)
{
        _cleanup_(runs_done) Runs runs = { 0 };
        int r;

        r = open_table(p, image, why);
        if (r >= 0)
                r = check_ranges(p, ranges, n, why);
        if (r >= 0)
                r = find_runs(p, ranges, n, &runs);
        if (r >= 0)
                r = bytes_copy(ret, runs.list, runs.n * sizeof(*runs.list));
        return r == -ENOMEM ? fail_errno(why, r, WHY_HOST, "frames") : r;
}
