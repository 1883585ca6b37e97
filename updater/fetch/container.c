/* SPDX-License-Identifier: MIT */

#include "fetch/container.h"
#include "fetch/frames.h"
#include "fetch/tar.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>

#define METADATA "metadata.json"
#define BUFFER   (256u * 1024u) /* some frames: those that two of these share are unpacked with more effort */
#define HEADER_RUN                                                                                           \
        1024u /* asked for where a header is: one that is alone, with the beginning of what follows it */

struct Container {
        Origin origin;
        WhyKind kind;
        Tar *tar;
        bool has_metadata;
        Bytes metadata;
        uint8_t *buf; /* BUFFER bytes */
};

Container *container_free(Container *c)
{
        if (!c)
                return NULL;
        tar_free(c->tar);
        bytes_done(&c->metadata);
        origin_done(&c->origin);
        free(c->buf);
        free(c);
        return NULL;
}

void container_freep(Container **c)
{
        container_free(*c);
}

const Bytes *container_metadata(const Container *c)
{
        return &c->metadata;
}

uint64_t container_size(const Container *c)
{
        return c->origin.size;
}

bool container_has_ranges(const Container *c)
{
        return origin_has_ranges(&c->origin);
}

static int read_metadata(Container *c, const TarMember *m, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r;

        if (!m->is_file)
                return fail(why, -EBADMSG, c->kind, "metadata", "%s: " METADATA " is not a file",
                            c->origin.name);
        if (m->size == 0 || m->size > COSI_METADATA_MAX)
                return fail(why, -EFBIG, c->kind, "metadata",
                            "%s: " METADATA " has %" PRIu64 " bytes, 1 to %u are allowed", c->origin.name,
                            m->size, COSI_METADATA_MAX);
        b.data = malloc((size_t) m->size + 1);
        if (!b.data)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", c->origin.name);
        b.size = (size_t) m->size;
        b.data[b.size] = 0;
        r = origin_read(&c->origin, m->offset, m->offset + m->size + HEADER_RUN, b.data, b.size, why);
        if (r < 0)
                return r;
        bytes_move(&c->metadata, &b);
        c->has_metadata = true;
        return 0;
}

/* One header further. metadata.json is read when it is met: it comes by only once where nothing can seek. */
static int scan_step(Container *c, Why *why)
{
        size_t known = tar_n_members(c->tar);
        const TarMember *m;
        int r;

        r = tar_check(c->tar, why);
        if (r < 0)
                return r;
        r = origin_read(&c->origin, tar_offset(c->tar),
                        tar_offset(c->tar) + MAX(tar_want(c->tar), (size_t) HEADER_RUN), c->buf,
                        tar_want(c->tar), why);
        if (r < 0)
                return r;
        r = tar_feed(c->tar, c->buf, why);
        if (r < 0 || tar_n_members(c->tar) == known)
                return r;
        m = tar_member(c->tar, known);
        return streq(m->name, METADATA) ? read_metadata(c, m, why) : 0;
}

int container_open(Origin *origin, WhyKind kind, Container **ret, Why *why)
{
        _cleanup_(container_freep) Container *c = calloc(1, sizeof(*c));
        int r;

        if (!c) {
                origin_done(origin);
                return fail_errno(why, -ENOMEM, WHY_HOST, "COSI");
        }
        c->origin = *origin;
        *origin = ORIGIN_NULL;
        c->kind = kind;
        c->buf = malloc(BUFFER);
        if (!c->buf || tar_new(c->origin.name, c->origin.size, kind, &c->tar) < 0)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", c->origin.name);
        while (!tar_is_complete(c->tar) && (origin_has_ranges(&c->origin) || !c->has_metadata)) {
                r = scan_step(c, why);
                if (r < 0)
                        return r;
        }
        if (!c->has_metadata)
                return fail(why, -EBADMSG, kind, "metadata",
                            "%s: not a COSI container: " METADATA " is missing", c->origin.name);
        *ret = TAKE(c);
        return 0;
}

static int find(Container *c, const char *name, WhyKind kind, const TarMember **ret, Why *why)
{
        const TarMember *m;

        while (!(m = tar_find(c->tar, name)) && !tar_is_complete(c->tar)) {
                int r = scan_step(c, why);
                if (r < 0)
                        return r;
        }
        if (!m)
                return fail(why, -EBADMSG, kind, "member-missing",
                            "%s: not in the container, but metadata.json names it", name);
        if (!m->is_file)
                return fail(why, -EBADMSG, kind, "member-type", "%s: a link or device where a file is needed",
                            name);
        *ret = m;
        return 0;
}

int container_stream(Container *c, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                     const FetchSink *sink, Why *why)
{
        _cleanup_(frames_freep) Frames *frames = NULL;
        const TarMember *m = NULL;
        uint64_t at, end;
        int r;

        r = find(c, image->path, kind, &m, why);
        if (r < 0)
                return r;
        if (m->size != image->compressed_size)
                return fail(why, -EBADMSG, kind, "member-size",
                            "%s: has %" PRIu64 " bytes in the container, metadata.json says %" PRIu64,
                            image->path, m->size, image->compressed_size);
        r = frames_new(image, window_log_max, kind, sink, &frames, why);
        if (r < 0)
                return r;
        at = m->offset;
        end = at + m->size;
        while (at < end) {
                size_t n = (size_t) MIN(end - at, (uint64_t) BUFFER);

                r = origin_read(&c->origin, at, end, c->buf, n, why);
                if (r < 0)
                        return r;
                r = frames_feed(frames, c->buf, n, why);
                if (r < 0)
                        return r;
                at += n;
        }
        return frames_finish(frames, why);
}

const char *container_name(const Container *c)
{
        return c->origin.name;
}

int container_locate(Container *c, const char *name, uint64_t *ret_offset, uint64_t *ret_size, Why *why)
{
        const TarMember *m;

        while (!(m = tar_find(c->tar, name)) && !tar_is_complete(c->tar)) {
                int r = scan_step(c, why);
                if (r < 0)
                        return r;
        }
        if (!m || !m->is_file)
                return 0;
        *ret_offset = m->offset;
        *ret_size = m->size;
        return 1;
}

int container_read(Container *c, uint64_t offset, uint64_t until, void *buf, size_t n, Why *why)
{
        int r = 0;

        if (origin_has_ranges(&c->origin))
                r = origin_read(&c->origin, offset, until, buf, n, why);
        if (r >= 0 && !origin_has_ranges(&c->origin))
                return fail(why, -EOPNOTSUPP, WHY_NETWORK, "no-ranges",
                            "%s: the server does not give parts of it any more", c->origin.name);
        return r;
}

int container_finish(Container *c, Why *why)
{
        while (!tar_is_complete(c->tar)) {
                int r = scan_step(c, why);
                if (r < 0)
                        return r;
        }
        return c->origin.ops->check_end(c->origin.self, why);
}
