/* SPDX-License-Identifier: MIT */

/* What libzstd does not say itself is read here from the first bytes of each frame: how large a window it
 * wants, so that a refusal can name the number and the knob. The rest is its streaming decoder over as many
 * frames as there are. */

#include "fetch/frames.h"
#include "base/digest.h"
#include "fetch/hasher.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <zstd.h>

#define OUT_SIZE       (128u * 1024u) /* one record of the wire */
#define ZERO_UNIT      4096u          /* a block of the disk and of dm-verity */
#define WINDOW_LOG_MIN 10u            /* the smallest there is */
#define HEAD_MAX       18u            /* magic 4, descriptor 1, window 1, dictionary id 4, content size 8 */
#define MAGIC          0xfd2fb528u
#define MAGIC_SKIP     0x184d2a50u /* ... to 0x184d2a5f */

struct Frames {
        CosiImage image;
        WhyKind kind;
        unsigned window_log_max;
        const FetchSink *sink;
        ZSTD_DCtx *zstd;
        Hasher *hasher;
        uint64_t in, out; /* bytes so far */
        uint64_t zeroes;  /* of out, not yet said to the sink */
        uint8_t *buf;
        size_t filled;
        uint8_t head[HEAD_MAX]; /* of the frame that begins here, until its window is known */
        size_t n_head;
        bool in_frame;
};

Frames *frames_free(Frames *f)
{
        if (!f)
                return NULL;
        (void) ZSTD_freeDCtx(f->zstd);
        hasher_free(f->hasher);
        free(f->buf);
        free(f);
        return NULL;
}

void frames_freep(Frames **f)
{
        frames_free(*f);
}

int frames_new(const CosiImage *image, unsigned window_log_max, WhyKind kind, const FetchSink *sink,
               Frames **ret, Why *why)
{
        _cleanup_(frames_freep) Frames *f = calloc(1, sizeof(*f));

        if (!f)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", image->path);
        f->image = *image;
        f->kind = kind;
        f->sink = sink;
        f->window_log_max = MAX(MIN(window_log_max, COSI_WINDOW_LIMIT), WINDOW_LOG_MIN);
        f->zstd = ZSTD_createDCtx();
        f->buf = malloc(OUT_SIZE);
        if (!f->zstd || !f->buf || hasher_new(384, image->compressed_size, &f->hasher) < 0)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", image->path);
        if (ZSTD_isError(ZSTD_DCtx_setParameter(f->zstd, ZSTD_d_windowLogMax, (int) f->window_log_max)))
                return fail(why, -EINVAL, WHY_HOST, "window", "libzstd cannot take windows of 2^%u bytes",
                            f->window_log_max);
        *ret = TAKE(f);
        return 0;
}

static int bad(const Frames *f, Why *why, const char *code, const char *how)
{
        return fail(why, -EBADMSG, f->kind, code, "%s: %s", f->image.path, how);
}

/* --- the head of a frame --- */

static uint64_t little_endian(const uint8_t *p, size_t n)
{
        uint64_t v = 0;

        while (n-- > 0)
                v = v << 8 | p[n];
        return v;
}

/* 1 *ret is the window in bytes (0: a skippable frame), 0 more bytes are needed, negative: no frame begins
 * here */
static int frame_window(const uint8_t *p, size_t n, uint64_t *ret)
{
        static const uint8_t dictionary_sizes[4] = { 0, 1, 2, 4 }, content_sizes[4] = { 0, 2, 4, 8 };
        uint32_t magic;
        size_t at, size;
        bool single;

        if (n < 4)
                return 0;
        magic = (uint32_t) little_endian(p, 4);
        if ((magic & ~0xfu) == MAGIC_SKIP) {
                *ret = 0;
                return 1;
        }
        if (magic != MAGIC)
                return -EBADMSG;
        if (n < 6)
                return 0;
        single = p[4] & 0x20;
        if (!single) {
                uint64_t base = UINT64_C(1) << (10 + (p[5] >> 3));

                *ret = base + base / 8 * (p[5] & 7);
                return 1;
        }
        /* one segment: the window is the content */
        at = 5u + dictionary_sizes[p[4] & 3];
        size = MAX(content_sizes[p[4] >> 6], (uint8_t) 1);
        if (n < at + size)
                return 0;
        *ret = little_endian(p + at, size) + (size == 2 ? 256 : 0);
        return 1;
}

/* A limit of this host; it contradicts nothing that was signed. */
static int refuse_window(const Frames *f, uint64_t window, Why *why)
{
        char text[32];

        if ((window & (window - 1)) == 0)
                (void) snprintf(text, sizeof(text), "2^%d", __builtin_ctzll(window));
        else
                (void) snprintf(text, sizeof(text), "%" PRIu64, window);
        return fail_hint(why,
                         fail(why, -E2BIG, WHY_IMAGE, "window",
                              "%s: needs a zstd window of %s bytes, at most 2^%u is allowed "
                              "(image.maxWindowLog)",
                              f->image.path, text, f->window_log_max),
                         "it may be set to %u at most", COSI_WINDOW_LIMIT);
}

/* Collects the first bytes of a frame until its window is known. Returns 1 when it is and may be decoded, 0
 * when all input was used up. */
static int look_at_head(Frames *f, const uint8_t **p, size_t *n, Why *why)
{
        while (*n > 0) {
                uint64_t window = 0;
                int r;

                f->head[f->n_head++] = *(*p)++;
                (*n)--;
                r = frame_window(f->head, f->n_head, &window);
                if (r < 0)
                        return bad(f, why, "zstd", "what stands there is no zstd frame");
                if (r == 0)
                        continue;
                return window > UINT64_C(1) << f->window_log_max ? refuse_window(f, window, why) : 1;
        }
        return 0;
}

/* --- the way out --- */

static bool is_zero(const uint8_t *p, size_t n)
{
        return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int flush_zeroes(Frames *f, Why *why)
{
        uint64_t n = f->zeroes;

        f->zeroes = 0;
        return n > 0 ? f->sink->zero(f->sink->ctx, n, why) : 0;
}

static int flush_data(Frames *f, const uint8_t *p, size_t n, Why *why)
{
        int r;

        if (n == 0)
                return 0;
        r = flush_zeroes(f, why);
        return r != 0 ? r : f->sink->data(f->sink->ctx, p, n, why);
}

/* The buffer begins at a multiple of 4096 bytes of the output, so whole blocks of zeroes are found wherever
 * they are. */
static int emit(Frames *f, Why *why)
{
        size_t data_from = 0, at = 0;
        int r;

        while (at < f->filled) {
                size_t n = MIN(f->filled - at, (size_t) ZERO_UNIT);

                if (is_zero(f->buf + at, n)) {
                        r = flush_data(f, f->buf + data_from, at - data_from, why);
                        if (r != 0)
                                return r;
                        f->zeroes += n;
                        data_from = at + n;
                }
                at += n;
        }
        r = flush_data(f, f->buf + data_from, at - data_from, why);
        f->filled = 0;
        return r;
}

static int decode_error(const Frames *f, size_t code, Why *why)
{
        return fail(why, -EBADMSG, f->kind, "zstd", "%s: broken zstd data: %s", f->image.path,
                    ZSTD_getErrorName(code));
}

/* Feeds the decoder until the input is used up or the frame is over. */
static int decode(Frames *f, ZSTD_inBuffer *in, Why *why)
{
        do {
                uint64_t left = f->image.uncompressed_size - f->out;
                /* one byte more than promised is let in, to be seen and refused */
                size_t room = (size_t) MIN((uint64_t) (OUT_SIZE - f->filled), left > 0 ? left : 1);
                uint8_t extra;
                ZSTD_outBuffer out = { left > 0 ? f->buf + f->filled : &extra, room, 0 };
                size_t n = ZSTD_decompressStream(f->zstd, &out, in);

                if (ZSTD_isError(n))
                        return decode_error(f, n, why);
                if (left == 0 && out.pos > 0)
                        return fail(why, -EFBIG, f->kind, "too-long",
                                    "%s: holds more than the %" PRIu64 " bytes that metadata.json says",
                                    f->image.path, f->image.uncompressed_size);
                f->filled += out.pos;
                f->out += out.pos;
                if (f->filled == OUT_SIZE) {
                        int r = emit(f, why);
                        if (r != 0)
                                return r;
                }
                if (n == 0) {
                        f->in_frame = false;
                        f->n_head = 0;
                        return 0;
                }
                /* a full output buffer may hide more that the decoder still holds */
                if (in->pos == in->size && out.pos < out.size)
                        return 0;
        } while (true);
}

static int decode_all(Frames *f, const uint8_t *p, size_t n, Why *why)
{
        ZSTD_inBuffer in = { p, n, 0 };
        int r = 0;

        while (r == 0 && f->in_frame && in.pos < in.size)
                r = decode(f, &in, why);
        return r != 0 ? r : (int) in.pos;
}

/* A frame that is here as a whole and fits is unpacked in one go, where it will leave from: that spares the decoder's own buffers.
 * 1 it was, 0 it has to go byte by byte, which also knows what is wrong with it. */
static int decode_whole(Frames *f, const uint8_t **p, size_t *n, Why *why)
{
        uint64_t window = 0, left = f->image.uncompressed_size - f->out;
        size_t packed, size;
        int r;

        if (frame_window(*p, *n, &window) <= 0 || window == 0 || window > UINT64_C(1) << f->window_log_max)
                return 0;
        packed = ZSTD_findFrameCompressedSize(*p, *n);
        if (ZSTD_isError(packed) ||
            ZSTD_getFrameContentSize(*p, *n) > MIN(left, (uint64_t) (OUT_SIZE - f->filled)))
                return 0;
        size = ZSTD_decompressDCtx(f->zstd, f->buf + f->filled, OUT_SIZE - f->filled, *p, packed);
        if (ZSTD_isError(size))
                return decode_error(f, size, why);
        f->filled += size;
        f->out += size;
        *p += packed;
        *n -= packed;
        r = f->filled == OUT_SIZE ? emit(f, why) : 0;
        return r != 0 ? r : 1;
}

int frames_feed(Frames *f, const void *data, size_t size, Why *why)
{
        const uint8_t *p = data;

        if (size > f->image.compressed_size - f->in)
                return bad(f, why, "member-size", "is longer than metadata.json says");
        f->in += size;
        if (f->image.has_sha384 && hasher_update(f->hasher, data, size) < 0)
                return fail_errno(why, -EIO, WHY_HOST, "sha384");
        while (size > 0) {
                int r;

                if (!f->in_frame) {
                        r = f->n_head == 0 ? decode_whole(f, &p, &size, why) : 0;
                        if (r < 0)
                                return r;
                        if (r > 0)
                                continue;
                        r = look_at_head(f, &p, &size, why);
                        if (r <= 0)
                                return r;
                        f->in_frame = true;
                        r = decode_all(f, f->head, f->n_head, why);
                        if (r < 0)
                                return r;
                        continue;
                }
                r = decode_all(f, p, size, why);
                if (r < 0)
                        return r;
                p += r;
                size -= (size_t) r;
        }
        return 0;
}

static int check_digest(Frames *f, Why *why)
{
        uint8_t digest[SHA384_SIZE], expected[SHA384_SIZE];

        if (!f->image.has_sha384)
                return 0;
        if (hasher_final(f->hasher, digest) < 0)
                return fail_errno(why, -EIO, WHY_HOST, "sha384");
        if (hex_decode(f->image.sha384, expected, sizeof(expected)) < 0 ||
            memcmp(digest, expected, sizeof(digest)) != 0)
                return bad(f, why, "member-digest", "its sha384 is not the one that metadata.json says");
        return 0;
}

int frames_finish(Frames *f, Why *why)
{
        int r;

        if (f->in != f->image.compressed_size)
                return bad(f, why, "member-size", "is shorter than metadata.json says");
        r = check_digest(f, why);
        if (r < 0)
                return r;
        if (f->in_frame || f->n_head > 0)
                return bad(f, why, "zstd", "ends in the middle of a zstd frame");
        if (f->out != f->image.uncompressed_size)
                return fail(why, -EBADMSG, f->kind, "too-short",
                            "%s: holds %" PRIu64 " bytes, metadata.json says %" PRIu64, f->image.path, f->out,
                            f->image.uncompressed_size);
        r = emit(f, why);
        return r != 0 ? r : flush_zeroes(f, why);
}
