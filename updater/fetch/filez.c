/* SPDX-License-Identifier: MIT */

#include "fetch/filez.h"
#include "fetch/download.h"

#include <errno.h>
#include <sys/stat.h>
#include <zlib.h>

#define PIECE      (64u * 1024u)
#define PACKED_MAX (UINT64_C(1) << 32) /* no file of an OS image is larger */

static int broken(Why *why)
{
        return fail(why, -EBADMSG, WHY_NETWORK, "bad-object", "OSTree: an object is damaged");
}

static int inflate_piece(z_stream *z, Rebuilt *rebuilt, bool *ended, Why *why)
{
        uint8_t out[PIECE];

        while (z->avail_in > 0 && !*ended) {
                int e, r;

                do {
                        z->next_out = out;
                        z->avail_out = sizeof(out);
                        e = inflate(z, Z_NO_FLUSH);
                        if (e != Z_OK && e != Z_STREAM_END && e != Z_BUF_ERROR)
                                return broken(why);
                        r = rebuilt_write(rebuilt, out, sizeof(out) - z->avail_out, why);
                        if (r < 0)
                                return r;
                } while (z->avail_out == 0);
                *ended = e == Z_STREAM_END;
        }
        return 0;
}

static int inflate_rest(Origin *origin, uint64_t at, Rebuilt *rebuilt, Why *why)
{
        z_stream z = { 0 };
        uint8_t buf[PIECE];
        bool ended = false;
        int r = 0;

        if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
                return fail_errno(why, -ENOMEM, WHY_HOST, "OSTree: inflate");
        for (uint64_t n; r >= 0 && at < origin->size && !ended; at += n) {
                n = MIN(origin->size - at, (uint64_t) sizeof(buf));
                r = origin_read(origin, at, origin->size, buf, (size_t) n, why);
                z.next_in = buf;
                z.avail_in = (unsigned) n;
                if (r >= 0)
                        r = inflate_piece(&z, rebuilt, &ended, why);
        }
        (void) inflateEnd(&z);
        return r;
}

static int read_front(Origin *origin, Bytes *ret, Why *why)
{
        uint8_t front[OSTREE_FILEZ_FRONT];
        size_t n = 0;
        int r;

        if (origin->size < sizeof(front) || origin->size > PACKED_MAX)
                return broken(why);
        r = origin_read(origin, 0, origin->size, front, sizeof(front), why);
        if (r >= 0 && (ostree_filez_front(front, &n) < 0 || n > origin->size))
                return broken(why);
        if (r < 0)
                return r;
        ret->data = malloc(n + 1);
        if (!ret->data)
                return fail_errno(why, -ENOMEM, WHY_HOST, "OSTree");
        ret->size = n;
        ret->data[n] = 0;
        memcpy(ret->data, front, sizeof(front));
        return origin_read(origin, sizeof(front), origin->size, ret->data + sizeof(front), n - sizeof(front),
                           why);
}

int filez_unpack(Origin *origin, const uint8_t id[OSTREE_ID], Rebuilt *rebuilt, Why *why)
{
        _cleanup_(bytes_done) Bytes front = BYTES_NULL;
        OstreeFilez z = { 0 };
        int r = read_front(origin, &front, why);

        if (r >= 0 && ostree_filez_parse(front.data, front.size, &z) < 0)
                r = broken(why);
        if (r >= 0 && S_ISREG(z.mode)) {
                r = rebuilt_begin(rebuilt, id, &z.header, z.size, why);
                if (r >= 0)
                        r = inflate_rest(origin, front.size, rebuilt, why);
                if (r >= 0)
                        r = rebuilt_end(rebuilt, why);
                rebuilt_drop(rebuilt);
        }
        bytes_done(&z.header);
        return r < 0 ? r : 0;
}

int filez_fetch(Http *h, const OstreeUrl *url, const uint8_t id[OSTREE_ID], Rebuilt *rebuilt, Why *why)
{
        _cleanup_(origin_done) Origin origin = ORIGIN_NULL;
        _cleanup_(free_charp) char *file = NULL;
        char path[OSTREE_PATH_SIZE];
        Why missing = { 0 };
        int r;

        ostree_object_path(id, "filez", path);
        r = ostree_url_file(url, path, &file);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "OSTree");
        r = download_open(h, file, UINT64_MAX, &origin, &missing);
        if (r == -ENOENT)
                return 0;
        if (r < 0) {
                *why = missing;
                return r;
        }
        return filez_unpack(&origin, id, rebuilt, why);
}
