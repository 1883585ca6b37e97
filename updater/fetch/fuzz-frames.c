/* SPDX-License-Identifier: MIT */

/* Three bytes of promises, then a member: never more comes out than was promised, in pieces as the door says. */

#include "fetch/frames.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Out {
        uint64_t got, promised;
        bool odd;
} Out;

static int take(Out *o, uint64_t size)
{
        assert(size > 0 && !o->odd && size <= o->promised - o->got);
        o->got += size;
        o->odd = size % 4096 != 0;
        return 0;
}

static int take_data(void *ctx, const void *data, size_t size, Why *why _unused_)
{
        volatile uint8_t last = ((const uint8_t *) data)[size - 1]; /* readable to its end */

        (void) last;
        assert(size <= 128 * KIB);
        return take(ctx, size);
}

static int take_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        return take(ctx, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(frames_freep) Frames *f = NULL;
        CosiImage image = { .path = "images/fuzz.zst" };
        Out out = { 0 };
        const FetchSink sink = { take_data, take_zero, &out };
        size_t portion;
        Why why = { 0 };
        int r;

        if (size < 3)
                return 0;
        image.uncompressed_size = out.promised = (uint64_t) data[0] << 12 | data[1];
        portion = (size_t) data[2] * 8 + 1;
        data += 3;
        size -= 3;
        image.compressed_size = size;
        r = frames_new(&image, 17, WHY_TRUST, &sink, &f, &why);
        assert(r >= 0);
        for (size_t at = 0; r >= 0 && at < size; at += portion)
                r = frames_feed(f, data + at, MIN(portion, size - at), &why);
        if (r >= 0)
                r = frames_finish(f, &why);
        /* a window beyond the limit is the only fault that contradicts nothing */
        assert(r < 0 ? why.kind == WHY_TRUST || r == -E2BIG : out.got == out.promised);
        return 0;
}
