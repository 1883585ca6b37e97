/* SPDX-License-Identifier: MIT */

#include "publish/ostree-tree.h"
#include "publish/ostree-repo.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

void ostree_tree_done(OstreeTree *t)
{
        /* an OS is deeper than the trees that dir_remove() is made for */
        char *argv[] = {
                (char *) "/usr/bin/env", (char *) "rm", (char *) "-rf", (char *) "--", t->work, NULL
        };

        if (t->work)
                (void) ostree_tool(argv, NULL, "", NULL);
        free(t->work);
        free(t->folder);
        *t = (OstreeTree){ 0 };
}

typedef struct Raw {
        int fd;
        uint64_t at;
} Raw;

static int raw_data(void *ctx, const void *data, size_t size, Why *why)
{
        Raw *raw = ctx;
        int r = fd_pwrite_full(raw->fd, data, size, raw->at);

        raw->at += size;
        return r < 0 ? fail_errno(why, r, WHY_HOST, "/usr image") : 0;
}

static int raw_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        Raw *raw = ctx;

        raw->at += size; /* a hole */
        return 0;
}

int ostree_tree_raw(CosiView *view, int fd, Why *why)
{
        Raw raw = { fd, 0 };
        const FetchSink sink = { raw_data, raw_zero, &raw };
        int r = fetch_member(view->fetch, &view->cosi.usr->image, COSI_WINDOW_LIMIT, WHY_IMAGE, &sink, why);

        if (r >= 0 && ftruncate(fd, (off_t) raw.at) < 0)
                r = fail_errno(why, -errno, WHY_HOST, "/usr image");
        return r;
}

static int write_raw(CosiView *view, const char *path, Why *why)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        return fd < 0 ? fail_errno(why, -errno, WHY_HOST, "%s", path) : ostree_tree_raw(view, fd, why);
}

/* debugfs takes a command line of its own: the paths are ours and hold no blanks or quotes. */
static int unpack_ext4(const char *raw, const char *folder, Why *why)
{
        _cleanup_(free_charp) char *command = str_printf("rdump / %s", folder);
        char *argv[] = {
                (char *) "/usr/bin/env", (char *) "debugfs", (char *) "-R", command, (char *) raw, NULL
        };

        return command ? ostree_tool(argv, NULL, "install e2fsprogs, or give --tree", why)
                       : fail_errno(why, -ENOMEM, WHY_HOST, "debugfs");
}

static int unpack_erofs(const char *raw, const char *folder, Why *why)
{
        _cleanup_(free_charp) char *option = str_printf("--extract=%s", folder);
        char *argv[] = { (char *) "/usr/bin/env",
                         (char *) "fsck.erofs",
                         (char *) "--overwrite",
                         option,
                         (char *) raw,
                         NULL };

        return option ? ostree_tool(argv, NULL, "install erofs-utils, or give --tree", why)
                      : fail_errno(why, -ENOMEM, WHY_HOST, "fsck.erofs");
}

int ostree_tree_unpack(CosiView *view, const char *parent, OstreeTree *ret, Why *why)
{
        const char *type = view->cosi.usr->fs_type ? view->cosi.usr->fs_type : "";
        _cleanup_(ostree_tree_done) OstreeTree t = { 0 };
        _cleanup_(free_charp) char *work = str_printf("%s/gybe-tree-XXXXXX", parent), *raw = NULL;
        int r;

        if (!work)
                return fail_errno(why, -ENOMEM, WHY_HOST, "tree");
        if (!str_starts(type, "ext") && !streq(type, "erofs"))
                return fail_hint(why,
                                 fail(why, -EOPNOTSUPP, WHY_USAGE, "fs-type",
                                      "/usr is %s, which cannot be unpacked here", *type ? type : "unknown"),
                                 "give --tree DIR");
        if (strpbrk(work, " \t\"'\\"))
                return fail_hint(why,
                                 fail(why, -EINVAL, WHY_USAGE, "path", "%s: blanks and quotes in the path",
                                      parent),
                                 "give --tree DIR");
        if (!mkdtemp(work))
                return fail_errno(why, -errno, WHY_HOST, "%s", work);
        t.work = TAKE(work);
        raw = str_printf("%s/usr.raw", t.work);
        t.folder = str_printf("%s/tree", t.work);
        if (!raw || !t.folder)
                return fail_errno(why, -ENOMEM, WHY_HOST, "tree");
        if (mkdir(t.folder, 0755) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s", t.folder);
        r = write_raw(view, raw, why);
        if (r >= 0)
                r = streq(type, "erofs") ? unpack_erofs(raw, t.folder, why) : unpack_ext4(raw, t.folder, why);
        if (r < 0)
                return r;
        (void) unlink(raw);
        *ret = t;
        t = (OstreeTree){ 0 };
        return 0;
}
