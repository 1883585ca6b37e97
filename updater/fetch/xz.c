/* SPDX-License-Identifier: MIT */

#include "fetch/xz.h"

#include <errno.h>
#include <lzma.h>

#define MEMORY_MAX                                                                                           \
        (80u * 1024u * 1024u) /* a dictionary of 64 MiB (xz -9) and its decoder; ostree takes 32 MiB */
#define OUT_SIZE (64u * 1024u)

struct Xz {
        lzma_stream stream;
        const char *what;
        uint64_t left;
        XzSink sink;
        void *ctx;
        bool ended;
        uint8_t out[OUT_SIZE];
};

Xz *xz_free(Xz *xz)
{
        if (!xz)
                return NULL;
        lzma_end(&xz->stream);
        free(xz);
        return NULL;
}

void xz_freep(Xz **xz)
{
        xz_free(*xz);
}

int xz_new(const char *what, uint64_t max, XzSink sink, void *ctx, Xz **ret, Why *why)
{
        _cleanup_(xz_freep) Xz *xz = calloc(1, sizeof(*xz));

        if (!xz)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", what);
        xz->stream = (lzma_stream) LZMA_STREAM_INIT;
        xz->what = what;
        xz->left = max;
        xz->sink = sink;
        xz->ctx = ctx;
        if (lzma_stream_decoder(&xz->stream, MEMORY_MAX, LZMA_TELL_UNSUPPORTED_CHECK) != LZMA_OK)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", what);
        *ret = TAKE(xz);
        return 0;
}

static int broken(const Xz *xz, const char *how, Why *why)
{
        return fail(why, -EBADMSG, WHY_NETWORK, "bad-xz", "%s: %s", xz->what, how);
}

static int drain(Xz *xz, Why *why)
{
        size_t n = OUT_SIZE - xz->stream.avail_out;

        if (n > xz->left)
                return fail(why, -EFBIG, WHY_NETWORK, "bad-xz", "%s: unpacks to more than it may", xz->what);
        xz->left -= n;
        return n > 0 ? xz->sink(xz->ctx, xz->out, n, why) : 0;
}

int xz_feed(Xz *xz, const void *data, size_t size, Why *why)
{
        xz->stream.next_in = data;
        xz->stream.avail_in = size;
        while (xz->stream.avail_in > 0 && !xz->ended) {
                lzma_ret e;
                int r;

                do {
                        xz->stream.next_out = xz->out;
                        xz->stream.avail_out = OUT_SIZE;
                        e = lzma_code(&xz->stream, LZMA_RUN);
                        r = drain(xz, why);
                        if (r < 0)
                                return r;
                } while (e == LZMA_OK && xz->stream.avail_out == 0);
                if (e == LZMA_STREAM_END)
                        xz->ended = true;
                else if (e == LZMA_MEMLIMIT_ERROR)
                        return broken(xz, "needs more memory than it may have", why);
                else if (e == LZMA_MEM_ERROR)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "%s", xz->what);
                else if (e != LZMA_OK && e != LZMA_BUF_ERROR)
                        return broken(xz, "is no xz stream, or a damaged one", why);
        }
        return xz->stream.avail_in > 0 ? broken(xz, "goes on behind its end", why) : 0;
}

int xz_finish(Xz *xz, Why *why)
{
        return xz->ended ? 0 : broken(xz, "ends in its middle", why);
}
