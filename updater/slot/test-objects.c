/* SPDX-License-Identifier: MIT */

/* A folder on the disk against names that are computed from the same bytes; walk-ostree holds them to `ostree` itself. */

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "slot/objects.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "image/ostree.h"

static int make(int dir_fd, const char *name, const void *data, size_t size)
{
        int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        assert(fd >= 0 && fchmod(fd, 0644) == 0 && fd_write_full(fd, data, size) == 0);
        return fd;
}

static void name_of(const OstreeXattr *xattrs, size_t n, const void *data, size_t size,
                    uint8_t out[OSTREE_ID])
{
        OstreeFile file = {
                .uid = geteuid(), .gid = getegid(), .mode = S_IFREG | 0644, .xattrs = xattrs, .n_xattrs = n
        };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        assert(ostree_file_header(&file, &b) == 0 && bytes_append(&b, data, size) == 0);
        assert(sha256(b.data, b.size, out) == 0);
}

static void expect(const SlotObjects *o, const uint8_t id[OSTREE_ID], const void *data, size_t size)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int fd = slot_objects_open(o, id);

        assert(fd >= 0 && fd_read_all(fd, 1 << 20, &b) == 0);
        assert(b.size == size && memcmp(b.data, data, size) == 0);
        (void) close(fd);
}

static int stop(void *ctx, uint64_t bytes _unused_, Why *why _unused_)
{
        return (*(int *) ctx)++ == 1 ? -ECANCELED : 0;
}

int main(void)
{
        char dir[] = "/var/tmp/gybe-test-objects-XXXXXX";
        static uint8_t big[300001]; /* more than a unit, and no multiple of anything */
        const OstreeXattr label = { "user.label", "x", 1 };
        _cleanup_(slot_objects_freep) SlotObjects *o = NULL;
        _cleanup_(close_fdp) int dir_fd = -1, sub = -1;
        uint8_t id[OSTREE_ID];
        size_t n = 0;
        int fd, calls = 0;
        bool has_xattrs;

        for (size_t i = 0; i < sizeof(big); i++)
                big[i] = (uint8_t) (i * 7 >> 3);
        assert(mkdtemp(dir) && (dir_fd = dir_open(AT_FDCWD, dir)) >= 0);
        sub = dir_make(dir_fd, "lib/deep", 0755);
        assert(sub >= 0);
        (void) close(make(sub, "big", big, sizeof(big)));
        (void) close(make(dir_fd, "same", "hello", 5));
        (void) close(make(dir_fd, "empty", "", 0));
        fd = make(dir_fd, "labelled", "hi", 2);
        has_xattrs = fsetxattr(fd, "user.label", "x", 1, 0) == 0;
        (void) close(fd);
        assert(symlinkat("same", dir_fd, "link") == 0);
        assert(mkfifoat(dir_fd, "fifo", 0644) == 0); /* is no object, and must not be opened */

        assert(slot_objects_scan(dir_fd, NULL, NULL, &o, NULL) == 0);
        name_of(NULL, 0, big, sizeof(big), id);
        expect(o, id, big, sizeof(big));
        name_of(NULL, 0, "hello", 5, id);
        expect(o, id, "hello", 5);
        name_of(NULL, 0, "", 0, id);
        expect(o, id, "", 0);
        name_of(NULL, 0, "hi", 2, id); /* as if it had been committed without its label */
        expect(o, id, "hi", 2);
        if (has_xattrs) {
                name_of(&label, 1, "hi", 2, id);
                expect(o, id, "hi", 2);
        }
        name_of(NULL, 0, "nothing", 7, id);
        assert(slot_objects_open(o, id) == -1);
        /* files, the link, two metas of folders (lib and deep have the same), the trees of lib and deep; not of the folder
         * itself, in which the fifo is missing */
        assert(slot_objects_list(o, &n) && n >= (has_xattrs ? 10u : 9u));

        o = slot_objects_free(o);
        assert(slot_objects_scan(dir_fd, stop, &calls, &o, NULL) == -ECANCELED && !o);
        (void) dir_remove(AT_FDCWD, dir);
        return 0;
}
