/* SPDX-License-Identifier: MIT */

#include "publish/ostree-blocks.h"
#include "publish/ostree-tree.h"
#include "publish/ostree-walk.h"
#include "publish/xzwrite.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "fetch/rebuilt.h"
#include "image/blockpatch.h"
#include "image/verity.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define BLOCK BLOCKPATCH_BLOCK
#define UNIT  256u /* blocks a read */
#define SUM   16u  /* of a block's SHA-256: nobody forges blocks against his own publication */
/* Zeroes in what is left of a block when the old one is taken away: with fewer it is packed better as it is. */
#define ALIKE (BLOCK / 4 * 3)

typedef struct Sum {
        uint8_t sum[SUM];
        uint32_t block;
} Sum;

typedef struct Sums {
        Sum *list;
        size_t n;
} Sums;

static void sums_done(Sums *s)
{
        free(s->list);
}

void ostree_blocks_done(OstreeBlocks *b)
{
        close_fdp(&b->image);
        b->image = -1;
}

/* --- blocks by their hashes --- */

static int by_sum(const void *a, const void *b)
{
        const Sum *x = a, *y = b;
        int c = memcmp(x->sum, y->sum, SUM);

        return c != 0 ? c : x->block < y->block ? -1 : x->block > y->block;
}

static int by_block(const void *a, const void *b)
{
        const Sum *x = a, *y = b;

        return x->block < y->block ? -1 : x->block > y->block;
}

static bool is_known(const Sums *known, const uint8_t sum[SUM])
{
        size_t low = 0, high = known->n;

        while (low < high) {
                size_t mid = low + (high - low) / 2;
                int c = memcmp(known->list[mid].sum, sum, SUM);

                if (c == 0)
                        return true;
                if (c < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return false;
}

/* Adds those of a file that known (may be NULL, sorted) has not; zeroes are everywhere. */
static int add_file(Sums *s, int fd, uint32_t n_blocks, const Sums *known)
{
        Sum *more = reallocarray(s->list, s->n + n_blocks + 1, sizeof(*more));
        uint8_t *buf = malloc(UNIT * BLOCK), sum[SHA256_SIZE];
        int r = more && buf ? 0 : -ENOMEM;

        if (more)
                s->list = more;
        for (uint32_t at = 0, n; r >= 0 && at < n_blocks; at += n) {
                n = MIN(n_blocks - at, UNIT);
                if (fd_pread_full(fd, buf, (size_t) n * BLOCK, (uint64_t) at * BLOCK) !=
                    (ssize_t) ((size_t) n * BLOCK))
                        r = -EIO;
                for (uint32_t i = 0; r >= 0 && i < n; i++) {
                        if (verity_block_is_zero(buf + (size_t) i * BLOCK))
                                continue;
                        r = sha256(buf + (size_t) i * BLOCK, BLOCK, sum);
                        if (r < 0 || (known && is_known(known, sum)))
                                continue;
                        memcpy(s->list[s->n].sum, sum, SUM);
                        s->list[s->n++].block = at + i;
                }
        }
        free(buf);
        return r;
}

static void sort(Sums *s, int (*compare)(const void *, const void *))
{
        if (s->n > 0)
                qsort(s->list, s->n, sizeof(*s->list), compare);
}

/* One of each. */
static void drop_twins(Sums *s)
{
        size_t n = 0;

        sort(s, by_sum);
        for (size_t i = 0; i < s->n; i++)
                if (n == 0 || memcmp(s->list[n - 1].sum, s->list[i].sum, SUM) != 0)
                        s->list[n++] = s->list[i];
        s->n = n;
        sort(s, by_block);
}

/* --- images --- */

static int scratch(const OstreeRepo *repo, Why *why)
{
        int fd = openat(repo->fd, "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        return fd < 0 ? fail_errno(why, -errno, WHY_HOST, "%s/tmp", repo->path) : fd;
}

static int unpack_image(const OstreeRepo *repo, CosiView *view, int *ret_fd, uint32_t *ret_blocks, Why *why)
{
        _cleanup_(close_fdp) int fd = scratch(repo, why);
        uint64_t blocks = view->cosi.usr->image.uncompressed_size / BLOCK;
        int r = fd < 0 ? fd : ostree_tree_raw(view, fd, why);

        if (r < 0)
                return r;
        *ret_blocks = (uint32_t) MIN(blocks, (uint64_t) INDEX_BLOCKS_MAX);
        *ret_fd = take_fd(&fd);
        return 0;
}

/* 1 it is open, 0 this COSI is not there any more (or not what it was) */
static int open_old(OstreeBlocks *b, const char *cosi, int *ret_fd, uint32_t *ret_blocks, Why *why)
{
        _cleanup_(cosi_view_done) CosiView view = { 0 };
        _cleanup_(free_charp) char *path = str_printf("%s/%s", b->repo->path, cosi);
        Why missing = { 0 };
        int r;

        if (!path)
                return fail_errno(why, -ENOMEM, WHY_HOST, "COSI");
        if (faccessat(b->repo->fd, cosi, R_OK, 0) < 0)
                return 0;
        r = cosi_view_start(b->env, b->meter, &view, why);
        if (r < 0)
                return r;
        if (cosi_view_open(&view, path, UINT64_MAX, WHY_IMAGE, &missing) < 0)
                return 0;
        r = unpack_image(b->repo, &view, ret_fd, ret_blocks, why);
        return r < 0 ? r : 1;
}

/* The files that a host will have made of the delta: as far as it makes them. What is compressed in the image may be more than
 * that, unpacked. */
static int add_files(OstreeBlocks *b, const uint8_t from[OSTREE_ID], Sums *known, Why *why)
{
        _cleanup_(rebuilt_done) Rebuilt rebuilt = REBUILT_NULL;
        Why because = { 0 };
        int r;

        rebuilt.limit = (uint64_t) b->n_blocks * BLOCK;
        rebuilt.fd = scratch(b->repo, why);
        if (rebuilt.fd < 0)
                return rebuilt.fd;
        r = ostree_walk_new_files(b->repo, from, b->to, &rebuilt, &because);
        if (r < 0 && r != -EFBIG)
                return because.text[0] ? fail(why, r, because.kind, because.code, "%s", because.text) : r;
        r = add_file(known, rebuilt.fd, (uint32_t) (rebuilt.at / BLOCK), NULL);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "blocks") : 0;
}

/* --- the patch --- */

/* 0 the old block is taken away, 1 the block stands for itself */
static int write_block(int image, int old, uint32_t n_old, uint32_t at, uint8_t out[BLOCK])
{
        uint8_t before[BLOCK];
        size_t zeroes = 0;

        if (fd_pread_full(image, out, BLOCK, (uint64_t) at * BLOCK) != (ssize_t) BLOCK)
                return -EIO;
        if (at >= n_old)
                return 1;
        if (fd_pread_full(old, before, BLOCK, (uint64_t) at * BLOCK) != (ssize_t) BLOCK)
                return -EIO;
        for (size_t i = 0; i < BLOCK; i++)
                zeroes += before[i] == out[i];
        if (zeroes < ALIKE)
                return 1;
        for (size_t i = 0; i < BLOCK; i++)
                out[i] ^= before[i];
        return 0;
}

static int pack(const OstreeBlocks *b, int old, uint32_t n_old, const Sums *missing, Bytes *ret, Why *why)
{
        size_t n =
                MIN(missing->n, (size_t) BLOCKPATCH_BLOCKS_MAX); /* what is too much is fetched as frames */
        _cleanup_(bytes_done) Bytes patch = BYTES_NULL;
        uint8_t *blocks = malloc(n * BLOCK);
        uint32_t *from = calloc(n, sizeof(*from));
        int r = blocks && from ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                uint32_t at = missing->list[i].block;

                r = write_block(b->image, old, n_old, at, blocks + i * BLOCK);
                from[i] = r > 0 ? BLOCKPATCH_ALONE : at;
        }
        if (r >= 0)
                r = blockpatch_build(from, blocks, (uint32_t) n, &patch);
        free(from);
        free(blocks);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "blocks") : xz_pack(patch.data, patch.size, ret, why);
}

static int find_missing(OstreeBlocks *b, const uint8_t from[OSTREE_ID], int old, uint32_t n_old, Sums *ret,
                        Why *why)
{
        _cleanup_(sums_done) Sums known = { 0 };
        int r = add_file(&known, old, n_old, NULL);

        if (r >= 0)
                r = add_files(b, from, &known, why);
        sort(&known, by_sum);
        if (r >= 0)
                r = add_file(ret, b->image, b->n_blocks, &known);
        drop_twins(ret);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "blocks") : 0;
}

static int make(OstreeBlocks *b, const uint8_t from[OSTREE_ID], const char *cosi, Bytes *ret, Why *why)
{
        _cleanup_(close_fdp) int old = -1;
        _cleanup_(sums_done) Sums missing = { 0 };
        uint32_t n_old = 0;
        int r = open_old(b, cosi, &old, &n_old, why);

        if (r <= 0)
                return r;
        if (b->image < 0)
                r = unpack_image(b->repo, b->view, &b->image, &b->n_blocks, why);
        if (r >= 0)
                r = find_missing(b, from, old, n_old, &missing, why);
        if (r < 0 || missing.n == 0)
                return r < 0 ? r : 0;
        r = pack(b, old, n_old, &missing, ret, why);
        return r < 0 ? r : ret->size <= BLOCKPATCH_PACKED_MAX;
}

int ostree_blocks_make(OstreeBlocks *b, const uint8_t from[OSTREE_ID], const char *cosi, uint64_t *ret_size,
                       Why *why)
{
        char path[OSTREE_DELTA_PATH_SIZE];
        _cleanup_(close_fdp) int dir_fd = -1;
        _cleanup_(bytes_done) Bytes file = BYTES_NULL;
        struct stat st;
        int r;

        *ret_size = 0;
        ostree_delta_path(from, b->to, BLOCKPATCH_FILE, path);
        if (fstatat(b->repo->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                *ret_size = (uint64_t) st.st_size;
                return 0;
        }
        r = make(b, from, cosi, &file, why);
        if (r <= 0)
                return r;
        *strrchr(path, '/') = 0;
        dir_fd = dir_open(b->repo->fd, path);
        r = dir_fd < 0 ? dir_fd : file_replace(dir_fd, BLOCKPATCH_FILE, file.data, file.size, 0644);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s/%s/" BLOCKPATCH_FILE, b->repo->path, path);
        *ret_size = file.size;
        return 1;
}
