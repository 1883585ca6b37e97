/* SPDX-License-Identifier: MIT */

#include "fetch/origin.h"
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

void origin_done(Origin *o)
{
        if (o->ops)
                o->ops->free(o->self);
        *o = ORIGIN_NULL;
}

int origin_read(Origin *o, uint64_t offset, uint64_t until, void *buf, size_t n, Why *why)
{
        assert(offset <= o->size && n <= o->size - offset && offset + n <= until);
        return n == 0 ? 0 : o->ops->read(o->self, offset, MIN(until, o->size), buf, n, why);
}

bool origin_has_ranges(const Origin *o)
{
        return o->ops->has_ranges(o->self);
}

/* --- files --- */

typedef struct FileOrigin {
        int fd;
        OriginWatch watch;
        char name[200];
} FileOrigin;

static int file_origin_read(void *self, uint64_t offset, uint64_t until _unused_, void *buf, size_t n,
                            Why *why)
{
        FileOrigin *f = self;
        ssize_t l = fd_pread_full(f->fd, buf, n, offset);

        if (l < 0)
                return fail_errno(why, (int) l, WHY_HOST, "%s", f->name);
        *f->watch.bytes += (uint64_t) l;
        if ((size_t) l < n)
                return fail(why, -EIO, WHY_HOST, "file-shrank", "%s: became shorter while it was read",
                            f->name);
        return f->watch.alive(f->watch.ctx);
}

static int file_origin_check_end(void *self _unused_, Why *why _unused_)
{
        return 0;
}

static bool file_origin_has_ranges(const void *self _unused_)
{
        return true;
}

static void file_origin_free(void *self)
{
        FileOrigin *f = self;

        close_fdp(&f->fd);
        free(f);
}

static const OriginOps file_ops = {
        .read = file_origin_read,
        .check_end = file_origin_check_end,
        .has_ranges = file_origin_has_ranges,
        .free = file_origin_free,
};

int origin_open_file(int fd, const char *name, const OriginWatch *watch, Origin *ret, Why *why)
{
        FileOrigin *f;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%.180s", name);
        f = malloc(sizeof(*f));
        if (!f)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%.180s", name);
        *f = (FileOrigin){ .fd = fd, .watch = *watch };
        (void) snprintf(f->name, sizeof(f->name), "%.180s", name);
        *ret = (Origin){ .ops = &file_ops, .self = f, .size = (uint64_t) st.st_size };
        (void) snprintf(ret->name, sizeof(ret->name), "%s", f->name);
        return 0;
}
