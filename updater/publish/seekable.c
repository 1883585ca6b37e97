/* SPDX-License-Identifier: MIT */

/* The fence around zstd's compressor. A piece of work is about 1 MiB: many frames when they are small, one
 * when they are large. Each frame is compressed on its own, so the bytes do not depend on how many threads
 * there are; a frame of zeroes is compressed once a worker and copied from then on, since images are mostly
 * zeroes.
 *
 * The level, measured with test-seekable --measure on 60 MB of programs and libraries at 32 KiB frames (one
 * core): 9 gives a ratio of 2.47 at 40 MB/s, 12 2.48 at 13, 15 2.59 at 8, 17 2.60 at 5, 19 2.61 at 3. With 32
 * KiB of context nothing is left to find above 15. */

#include "publish/seekable.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/str.h"
#include "publish/lanes.h"
#include "image/seektable.h"

#include <assert.h>
#include <errno.h>
#include <zstd.h>

#define PIECE_SIZE MIB

typedef struct Stream {
        const ByteRange *in;
        const SeekableOptions *options;
        size_t piece_size, frames_per_piece, frame_bound;
        unsigned window_log;
        uint64_t pos;
        int out_fd;
        Meter *meter;
        Digest *digest;
        SeekTable table;
} Stream;

typedef struct Worker {
        ZSTD_CCtx *zstd;
        uint8_t *zero_frame; /* compressed frame_size zeroes, once they were needed */
        size_t zero_frame_size;
} Worker;

static void stream_done(Stream *s)
{
        (void) digest_free(s->digest);
        seektable_done(&s->table);
}

static unsigned log2_up(uint64_t n)
{
        unsigned log = 10; /* zstd's smallest window */

        while (log < 63 && (UINT64_C(1) << log) < n)
                log++;
        return log;
}

static uint32_t get32(const uint8_t *p)
{
        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static void put32(uint8_t *p, uint32_t v)
{
        for (unsigned i = 0; i < 4; i++)
                p[i] = (uint8_t) (v >> (8 * i));
}

static int piece_fill(void *ctx, LanePiece *piece, Why *why)
{
        Stream *s = ctx;
        uint64_t n = MIN(s->in->size - s->pos, (uint64_t) s->piece_size);
        int r;

        if (n == 0)
                return 0;
        r = range_read(s->in, s->pos, piece->in, (size_t) n, &piece->zero, why);
        if (r < 0)
                return r;
        piece->in_size = (size_t) n;
        s->pos += n;
        return 1;
}

static void *worker_free(void *p)
{
        Worker *w = p;

        if (!w)
                return NULL;
        (void) ZSTD_freeCCtx(w->zstd);
        free(w->zero_frame);
        free(w);
        return NULL;
}

static void *worker_new(void *ctx)
{
        Stream *s = ctx;
        Worker *w = calloc(1, sizeof(*w));

        if (!w)
                return NULL;
        w->zstd = ZSTD_createCCtx();
        if (!w->zstd)
                return worker_free(w);
        (void) ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, s->options->level);
        (void) ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, s->options->checksum);
        (void) ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_windowLog, (int) s->window_log);
        return w;
}

static int compress_frame(Stream *s, Worker *w, const uint8_t *raw, size_t raw_size, uint8_t *out,
                          size_t *ret_size)
{
        size_t n = ZSTD_compress2(w->zstd, out, s->frame_bound, raw, raw_size);

        if (ZSTD_isError(n))
                return -EIO;
        *ret_size = n;
        return 0;
}

static int keep_zero_frame(Worker *w, const uint8_t *data, size_t size)
{
        w->zero_frame = malloc(size);
        if (!w->zero_frame)
                return -ENOMEM;
        memcpy(w->zero_frame, data, size);
        w->zero_frame_size = size;
        return 0;
}

/* raw of a piece that is all zero was never filled */
static int piece_frame(Stream *s, Worker *w, bool piece_zero, uint8_t *raw, size_t raw_size, uint8_t *out,
                       size_t *ret_size)
{
        bool zero = raw_size == s->options->frame_size && (piece_zero || bytes_are_zero(raw, raw_size));
        int r;

        if (zero && w->zero_frame) {
                memcpy(out, w->zero_frame, w->zero_frame_size);
                *ret_size = w->zero_frame_size;
                return 0;
        }
        if (piece_zero)
                memset(raw, 0, raw_size);
        r = compress_frame(s, w, raw, raw_size, out, ret_size);
        return r < 0 || !zero ? r : keep_zero_frame(w, out, *ret_size);
}

/* out: the compressed sizes of the piece's frames, four bytes each and in fixed room, then the frames one by
 * one */
static int piece_work(void *ctx, void *worker, LanePiece *piece)
{
        Stream *s = ctx;
        size_t frame = s->options->frame_size, at = s->frames_per_piece * 4;

        for (size_t i = 0; i * frame < piece->in_size; i++) {
                uint8_t *raw = piece->in + i * frame;
                size_t raw_size = MIN(frame, piece->in_size - i * frame), n = 0;
                int r = piece_frame(s, worker, piece->zero, raw, raw_size, piece->out + at, &n);

                if (r < 0)
                        return r;
                put32(piece->out + 4 * i, (uint32_t) n);
                at += n;
        }
        piece->out_size = at;
        return 0;
}

static int emit(Stream *s, const uint8_t *data, size_t size, Why *why)
{
        int r = fd_write_full(s->out_fd, data, size);

        if (r >= 0)
                r = digest_update(s->digest, data, size);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "writing the compressed image") : 0;
}

static int piece_drain(void *ctx, const LanePiece *piece, Why *why)
{
        Stream *s = ctx;
        const uint8_t *data = piece->out + s->frames_per_piece * 4, *p = data;
        size_t frame = s->options->frame_size;

        for (size_t i = 0; i * frame < piece->in_size; i++) {
                uint32_t n = get32(piece->out + 4 * i);
                /* with checksums on, a frame ends with the low half of XXH64 over its raw bytes */
                uint32_t checksum = s->options->checksum ? get32(p + n - 4) : 0;
                int r = seektable_add(&s->table, n, (uint32_t) MIN(frame, piece->in_size - i * frame),
                                      checksum);

                if (r < 0)
                        return fail(why, r, WHY_USAGE, "too-many-frames",
                                    "%s: more than %u frames of %zu bytes", s->in->what, SEEKTABLE_FRAMES_MAX,
                                    frame);
                p += n;
        }
        meter_add(s->meter, piece->in_size, piece->out_size - s->frames_per_piece * 4);
        return emit(s, data, piece->out_size - s->frames_per_piece * 4, why);
}

static int emit_table(Stream *s, SeekableResult *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes table = BYTES_NULL;
        uint8_t digest[SHA384_SIZE];
        int r = seektable_format(&s->table, &table);

        if (r >= 0)
                r = emit(s, table.data, table.size, why);
        if (r >= 0)
                r = digest_final(s->digest, digest);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "seek table of %s", s->in->what);
        *ret = (SeekableResult){ .compressed_size = s->table.compressed + table.size,
                                 .raw_size = s->table.raw,
                                 .n_frames = s->table.n_entries,
                                 .window_log = s->window_log };
        hex_encode(digest, sizeof(digest), ret->sha384);
        return 0;
}

int seekable_write(const ByteRange *in, const SeekableOptions *options, int out_fd, Meter *meter,
                   SeekableResult *ret, Why *why)
{
        _cleanup_(stream_done) Stream s = { .in = in, .options = options, .out_fd = out_fd, .meter = meter };
        size_t frame = options->frame_size;
        int r;

        assert(frame >= SEEKABLE_FRAME_MIN && frame <= SEEKABLE_FRAME_MAX);
        s.frames_per_piece = MAX((size_t) PIECE_SIZE / frame, (size_t) 1);
        s.piece_size = s.frames_per_piece * frame;
        s.frame_bound = ZSTD_compressBound(frame);
        s.window_log = MIN(log2_up(frame), options->window_log_max ?: SEEKABLE_WINDOW_LOG_MAX);
        s.table.checksums = options->checksum;
        r = digest_new(384, &s.digest);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "SHA-384");

        const LaneOps ops = { .in_max = s.piece_size,
                              .out_max = s.frames_per_piece * (4 + s.frame_bound),
                              .fill = piece_fill,
                              .worker_new = worker_new,
                              .worker_free = worker_free,
                              .work = piece_work,
                              .drain = piece_drain };
        r = lanes_run(&ops, &s, options->workers, why);
        return r < 0 ? r : emit_table(&s, ret, why);
}
