/* SPDX-License-Identifier: MIT */

#include "fetch/esp-parts.h"
#include "fetch/scratch.h"
#include "base/fd.h"

#include <errno.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define BLOCK 4096u
#define AHEAD (UINT64_C(1) * MIB) /* of a file that is read from its beginning to its end, at once */

struct EspParts {
        Pieces *pieces;
        CosiImage image;
        Scratch scratch;
        uint64_t n_blocks;
        uint8_t *have; /* a byte for each block of the image that the scratch file has */
};

EspParts *esp_parts_free(EspParts *p)
{
        if (!p)
                return NULL;
        free(p->have);
        free(p);
        return NULL;
}

int esp_parts_new(Pieces *pieces, const CosiImage *image, int scratch_fd, const OriginWatch *watch,
                  EspParts **ret, Why *why)
{
        PieceFrame first;
        EspParts *p;
        int r;

        if (image->uncompressed_size == 0 || image->uncompressed_size % BLOCK)
                return fail(why, -EOPNOTSUPP, WHY_IMAGE, "odd-size", "%s: no whole number of blocks",
                            image->path);
        r = pieces_frame(pieces, image, 0, &first, why);
        if (r < 0)
                return r;
        p = calloc(1, sizeof(*p));
        if (!p || !(p->have = calloc(1, (size_t) (image->uncompressed_size / BLOCK)))) {
                free(p);
                return fail_errno(why, -ENOMEM, WHY_HOST, "ESP image");
        }
        p->pieces = pieces;
        p->image = *image;
        p->scratch = (Scratch){ .fd = scratch_fd, .watch = *watch };
        p->n_blocks = image->uncompressed_size / BLOCK;
        *ret = p;
        return 0;
}

/* --- blocks --- */

static uint64_t find_missing(const EspParts *p, uint64_t block, uint64_t end)
{
        while (block < end && p->have[block])
                block++;
        return block;
}

static uint64_t find_present(const EspParts *p, uint64_t block, uint64_t end)
{
        while (block < end && !p->have[block])
                block++;
        return block;
}

/* The first block behind this byte. */
static uint64_t block_end(const EspParts *p, uint64_t byte)
{
        return MIN((byte + BLOCK - 1) / BLOCK, p->n_blocks);
}

static int fetch(EspParts *p, uint64_t from, uint64_t end, Why *why)
{
        const FetchSink sink = { scratch_data, NULL, &p->scratch };
        BlockRange range = { (uint32_t) from, (uint32_t) (end - from) };
        int r;

        p->scratch.at = from * BLOCK;
        r = pieces_blocks(p->pieces, &p->image, &range, 1, &sink, why);
        if (r >= 0)
                memset(p->have + from, 1, (size_t) (end - from));
        return r;
}

/* Blocks from..end and whatever else is in the first and the last of their frames: it comes along anyway. */
static int fetch_frames(EspParts *p, uint64_t from, uint64_t end, Why *why)
{
        PieceFrame first, last;
        int r = pieces_frame(p->pieces, &p->image, from * BLOCK, &first, why);

        if (r >= 0)
                r = pieces_frame(p->pieces, &p->image, end * BLOCK - 1, &last, why);
        if (r < 0)
                return r;
        from = MIN(from, (first.at + BLOCK - 1) / BLOCK);
        end = MAX(end, (last.at + last.size) / BLOCK);
        return fetch(p, from, end, why);
}

int esp_parts_need(EspParts *p, uint64_t offset, uint64_t size, uint64_t ahead, Why *why)
{
        uint64_t end = block_end(p, offset + size), block = find_missing(p, offset / BLOCK, end);

        while (block < end) {
                uint64_t until = MAX(end, block_end(p, offset + MIN(ahead, AHEAD)));
                int r = fetch_frames(p, block, find_present(p, block, until), why);

                if (r < 0)
                        return r;
                block = find_missing(p, block, end);
        }
        return 0;
}

/* --- what is here --- */

typedef struct Like {
        EspParts *p;
        int fd;
        uint64_t at; /* of the file, where the run begins */
        uint8_t *buf;
        Why *why;
} Like;

/* 1 the frame is in the scratch file, 0 this file does not have it */
static int copy_frame(const Like *l, const PieceFrame *f, uint64_t at)
{
        EspParts *p = l->p;
        uint64_t from = (f->at + BLOCK - 1) / BLOCK, end = (f->at + f->size) / BLOCK;
        ssize_t n;
        int r;

        if (find_missing(p, from, end) == end)
                return 0;
        /* bytes that cannot be read are fetched */
        n = fd_pread_full(l->fd, l->buf, f->size, at);
        if (n != (ssize_t) f->size || (uint32_t) XXH64(l->buf, f->size, 0) != f->checksum)
                return 0;
        r = fd_pwrite_full(p->scratch.fd, l->buf, f->size, f->at);
        if (r < 0)
                return fail_errno(l->why, r, WHY_HOST, "scratch file in /var/lib/gybe");
        memset(p->have + from, 1, (size_t) (end - from));
        return 1;
}

/* The frames that lie in one run of the file's clusters; those on its ends hold something else, too. */
static int copy_run(void *ctx, uint64_t offset, uint64_t size)
{
        Like *l = ctx;
        EspParts *p = l->p;
        uint64_t at = offset;

        while (at < offset + size) {
                PieceFrame f;
                int r = pieces_frame(p->pieces, &p->image, at, &f, l->why);

                if (r >= 0 && !f.has_checksum)
                        return 0;
                if (r >= 0 && f.at >= offset && f.at + f.size <= offset + size)
                        r = copy_frame(l, &f, l->at + (f.at - offset));
                if (r >= 0)
                        r = p->scratch.watch.alive(p->scratch.watch.ctx);
                if (r < 0)
                        return r;
                at = f.at + f.size;
        }
        l->at += size;
        return 0;
}

int esp_parts_like(EspParts *p, Fat *fat, const FatFile *file, int fd, Why *why)
{
        Like l = { .p = p, .fd = fd, .buf = malloc(INDEX_FRAME_MAX), .why = why };
        int r = l.buf ? fat_map(fat, file, copy_run, &l, why)
                      : fail_errno(why, -ENOMEM, WHY_HOST, "ESP image");

        free(l.buf);
        return r;
}

/* --- what is not --- */

typedef struct Cost {
        EspParts *p;
        uint64_t sum;
        Why *why;
} Cost;

static int add_missing(Cost *c, uint64_t from, uint64_t end)
{
        _cleanup_(bytes_done) Bytes extents = BYTES_NULL;
        BlockRange range = { (uint32_t) from, (uint32_t) (end - from) };
        int r = pieces_extents(c->p->pieces, &c->p->image, &range, 1, &extents, c->why);

        if (r < 0)
                return r;
        for (size_t i = 0; i < extents.size / sizeof(FetchExtent); i++)
                c->sum += ((const FetchExtent *) extents.data)[i].size;
        return 0;
}

static int add_run(void *ctx, uint64_t offset, uint64_t size)
{
        Cost *c = ctx;
        uint64_t end = block_end(c->p, offset + size), block = find_missing(c->p, offset / BLOCK, end);
        int r = 0;

        while (r >= 0 && block < end) {
                uint64_t stop = find_present(c->p, block, end);

                r = add_missing(c, block, stop);
                block = find_missing(c->p, stop, end);
        }
        return r;
}

int esp_parts_cost(EspParts *p, Fat *fat, const FatFile *file, uint64_t *ret, Why *why)
{
        Cost c = { p, 0, why };
        int r = fat_map(fat, file, add_run, &c, why);

        if (r >= 0)
                *ret = c.sum;
        return r;
}
