/* SPDX-License-Identifier: MIT */

#include "publish/ostree-walk.h"
#include "base/file.h"
#include "base/fd.h"
#include "fetch/filez.h"

#include <errno.h>
#include <fcntl.h>

#define IDS_MAX   1048576u /* objects of an OS: 30,000 */
#define DEPTH_MAX 64u

/* Names of objects; sorted when they are complete. */
typedef struct Ids {
        uint8_t (*list)[OSTREE_ID];
        size_t n;
} Ids;

typedef struct Tree {
        Ids files, dirs;
} Tree;

static void tree_done(Tree *t)
{
        free(t->files.list);
        free(t->dirs.list);
}

static int compare(const void *a, const void *b)
{
        return memcmp(a, b, OSTREE_ID);
}

static bool has(const Ids *ids, const uint8_t id[OSTREE_ID])
{
        return ids->n > 0 && bsearch(id, ids->list, ids->n, OSTREE_ID, compare);
}

static int add(Ids *ids, const uint8_t id[OSTREE_ID])
{
        if (ids->n >= IDS_MAX)
                return -EFBIG;
        if ((ids->n & (ids->n - 1)) == 0) {
                uint8_t(*more)[OSTREE_ID] = reallocarray(ids->list, MAX(2 * ids->n, (size_t) 64), OSTREE_ID);

                if (!more)
                        return -ENOMEM;
                ids->list = more;
        }
        memcpy(ids->list[ids->n++], id, OSTREE_ID);
        return 0;
}

static void sort(Ids *ids)
{
        if (ids->n > 0)
                qsort(ids->list, ids->n, OSTREE_ID, compare);
}

/* Everything below a folder but what old (may be NULL) has. */
static int walk(const OstreeRepo *repo, const uint8_t id[OSTREE_ID], unsigned depth, const Tree *old,
                Tree *ret)
{
        _cleanup_(ostree_dir_done) OstreeDir d = { 0 };
        _cleanup_(bytes_done) Bytes data = BYTES_NULL;
        char path[OSTREE_PATH_SIZE];
        int r;

        if (depth > DEPTH_MAX)
                return -ELOOP;
        if (old && has(&old->dirs, id))
                return 0;
        ostree_object_path(id, "dirtree", path);
        r = add(&ret->dirs, id);
        if (r >= 0)
                r = file_read(repo->fd, path, OSTREE_TREE_MAX, &data);
        if (r >= 0)
                r = ostree_dir_parse(data.data, data.size, &d);
        for (size_t i = 0; r >= 0 && i < d.n_files; i++)
                if (!old || !has(&old->files, d.files[i]))
                        r = add(&ret->files, d.files[i]);
        for (size_t i = 0; r >= 0 && i < d.n_dirs; i++)
                r = walk(repo, d.dirs[i][0], depth + 1, old, ret);
        return r;
}

static int alive(void *ctx _unused_)
{
        return 0;
}

static int unpack(const OstreeRepo *repo, const uint8_t id[OSTREE_ID], Rebuilt *rebuilt, Why *why)
{
        _cleanup_(origin_done) Origin origin = ORIGIN_NULL;
        uint64_t bytes = 0;
        const OriginWatch watch = { &bytes, alive, NULL };
        char path[OSTREE_PATH_SIZE];
        int fd, r;

        ostree_object_path(id, "filez", path);
        fd = openat(repo->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s/%s", repo->path, path);
        r = origin_open_file(fd, path, &watch, &origin, why);
        if (r < 0) {
                close_fdp(&fd);
                return r;
        }
        return filez_unpack(&origin, id, rebuilt, why);
}

int ostree_walk_new_files(const OstreeRepo *repo, const uint8_t from[OSTREE_ID], const uint8_t to[OSTREE_ID],
                          Rebuilt *rebuilt, Why *why)
{
        _cleanup_(ostree_commit_done) OstreeCommit old = { 0 }, new = { 0 };
        _cleanup_(tree_done) Tree before = { 0 }, after = { 0 };
        int r = ostree_repo_commit(repo, from, &old, why);

        if (r >= 0)
                r = ostree_repo_commit(repo, to, &new, why);
        if (r < 0)
                return r;
        r = walk(repo, old.tree, 0, NULL, &before);
        sort(&before.files);
        sort(&before.dirs);
        if (r >= 0)
                r = walk(repo, new.tree, 0, &before, &after);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s: the tree of a commit", repo->path);
        sort(&after.files);
        for (size_t i = 0; r >= 0 && i < after.files.n; i++)
                if (i == 0 || memcmp(after.files.list[i - 1], after.files.list[i], OSTREE_ID) != 0)
                        r = unpack(repo, after.files.list[i], rebuilt, why);
        return r;
}
