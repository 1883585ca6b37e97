/* SPDX-License-Identifier: MIT */

/* A ref names a commit, a commit names its parent. The commit of the release is the newest one that says the release's root
 * hash, the old one the newest before it that says the running root hash. If the server has a static delta between the two, its
 * parts are unpacked one after the other and worked off; if not, the trees of the new commit are walked and what the host has not
 * is fetched. */

#include "fetch/ostree.h"
#include "fetch/download.h"
#include "fetch/filez.h"
#include "fetch/ostree-delta.h"
#include "image/blockpatch.h"
#include "fetch/xz.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#define REF_FILE_MAX 128u
#define PIECE        (64u * 1024u)
#define OBJECTS_MAX  262144u /* that a host may have, or a release: an OS has 30,000 */
#define DEPTH_MAX    4096u   /* folders that wait to be looked into */

struct OstreePull {
        Http *http;
        OstreeUrl url;
        uint8_t to[OSTREE_ID], from[OSTREE_ID];
        OstreeCommit commit;
        bool has_to, has_from, has_delta, has_list, ended;
        Rebuilt rebuilt;
        int part_fd;
        /* the delta */
        Delta delta;
        size_t part, loose; /* the next ones */
        DeltaRun *run;
        bool has_blocks; /* they were asked for */
        PatchRun *blocks;
        void *map;
        size_t map_size;
        /* plain objects */
        uint8_t (*have)[OSTREE_ID];
        size_t n_have;
        bool sorted;
};

/* --- files of the repository --- */

static int get(Http *h, const OstreeUrl *url, const char *path, size_t max, Bytes *ret, Why *why)
{
        _cleanup_(free_charp) char *file = NULL;
        int r = ostree_url_file(url, path, &file);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "OSTree")
                     : download_get(h, file, max, WHY_NETWORK, ret, why);
}

static int inconsistent(const char *path, Why *why)
{
        return fail(why, -EBADMSG, WHY_NETWORK, "bad-object", "OSTree: %s: its bytes do not have its name",
                    path);
}

static int get_object(Http *h, const OstreeUrl *url, const uint8_t id[OSTREE_ID], const char *suffix,
                      size_t max, Bytes *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char path[OSTREE_PATH_SIZE];
        uint8_t sum[SHA256_SIZE];
        int r;

        ostree_object_path(id, suffix, path);
        r = get(h, url, path, max, &b, why);
        if (r >= 0 && (r = sha256(b.data, b.size, sum)) < 0)
                return fail_errno(why, r, WHY_HOST, "SHA-256");
        if (r < 0)
                return r;
        if (memcmp(sum, id, OSTREE_ID) != 0)
                return inconsistent(path, why);
        bytes_move(ret, &b);
        return 0;
}

static int get_ref(Http *h, const OstreeUrl *url, uint8_t ret[OSTREE_ID], Why *why)
{
        _cleanup_(free_charp) char *path = str_printf("refs/heads/%s", url->ref ? url->ref : "");
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        int r;

        if (!url->ref)
                return fail_hint(why, fail(why, -EINVAL, WHY_USAGE, "bad-url", "%s: names no ref", url->base),
                                 "append #PRODUCT/ARCH/CHANNEL");
        r = path ? get(h, url, path, REF_FILE_MAX, &text, why) : fail_errno(why, -ENOMEM, WHY_HOST, "OSTree");
        if (r < 0)
                return r;
        while (text.size > 0 && (text.data[text.size - 1] == '\n' || text.data[text.size - 1] == '\r'))
                text.data[--text.size] = 0;
        if (text.size != OSTREE_ID_HEX - 1 || hex_decode((const char *) text.data, ret, OSTREE_ID) < 0)
                return fail(why, -EBADMSG, WHY_NETWORK, "bad-ref",
                            "OSTree: ref %.200s does not name a commit", url->ref);
        return 0;
}

static int get_commit(Http *h, const OstreeUrl *url, const uint8_t id[OSTREE_ID], OstreeCommit *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = get_object(h, url, id, "commit", OSTREE_COMMIT_MAX, &b, why);

        if (r < 0)
                return r;
        r = ostree_commit_parse(b.data, b.size, ret);
        return r < 0 ? fail(why, r, WHY_NETWORK, "bad-object", "OSTree: a commit is malformed") : 0;
}

static void commit_move(OstreeCommit *dst, OstreeCommit *src)
{
        ostree_commit_done(dst);
        *dst = *src;
        *src = (OstreeCommit){ 0 };
}

/* --- the release --- */

/* Detached metadata has the later word: it may hold more signatures, or the name of the commit. */
static int choose_release(Http *h, const OstreeUrl *url, const uint8_t id[OSTREE_ID], OstreeCommit *c,
                          Bytes *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes meta = BYTES_NULL, detached = BYTES_NULL;
        char path[OSTREE_PATH_SIZE];
        Why missing = { 0 };
        int r;

        ostree_object_path(id, "commitmeta", path);
        r = get(h, url, path, OSTREE_COMMIT_MAX, &meta, &missing);
        if (r >= 0)
                r = ostree_detached_release(meta.data, meta.size, &detached);
        if (r == -ENOMEM)
                return fail_errno(why, r, WHY_HOST, "OSTree");
        if (r <= 0) {
                if (c->release.size == 0)
                        return fail_hint(why,
                                         fail(why, -ENODATA, WHY_NETWORK, "no-release",
                                              "OSTree: the commit of %.200s carries no release file",
                                              url->ref),
                                         "gybe-release publish --ostree makes such commits");
                bytes_move(&detached, &c->release);
        }
        bytes_move(ret, &detached);
        return 0;
}

int ostree_release(Http *h, const OstreeUrl *url, Bytes *ret, Why *why)
{
        uint8_t id[OSTREE_ID];
        int r = get_ref(h, url, id, why);

        for (unsigned i = 0; r >= 0 && i < OSTREE_HISTORY_MAX; i++) {
                _cleanup_(ostree_commit_done) OstreeCommit c = { 0 };

                r = get_commit(h, url, id, &c, why);
                if (r < 0)
                        return r;
                if (!url->version || streq(c.version, url->version))
                        return choose_release(h, url, id, &c, ret, why);
                if (!c.has_parent)
                        break;
                memcpy(id, c.parent, OSTREE_ID);
        }
        return r < 0 ? r
                     : fail(why, -ENOENT, WHY_NETWORK, "no-such-version",
                            "OSTree: no version \"%.100s\" in the history of %.200s", url->version, url->ref);
}

/* --- which commits --- */

static int find_commits(OstreePull *p, const OstreePullOptions *o, Why *why)
{
        uint8_t id[OSTREE_ID];
        int r = get_ref(p->http, &p->url, id, why);

        for (unsigned i = 0; r >= 0 && i < OSTREE_HISTORY_MAX && !p->has_from; i++) {
                _cleanup_(ostree_commit_done) OstreeCommit c = { 0 };
                bool more;

                r = get_commit(p->http, &p->url, id, &c, why);
                if (r < 0)
                        return p->has_to ? 0 : r; /* history may have been pruned */
                more = c.has_parent;
                if (!p->has_to && streq(c.usrhash, o->to)) {
                        memcpy(p->to, id, OSTREE_ID);
                        p->has_to = true;
                        memcpy(id, c.parent, OSTREE_ID);
                        commit_move(&p->commit, &c);
                } else {
                        p->has_from = p->has_to && streq(c.usrhash, o->from);
                        if (p->has_from)
                                memcpy(p->from, id, OSTREE_ID);
                        memcpy(id, c.parent, OSTREE_ID);
                }
                if (!more)
                        break;
        }
        return r;
}

static int find_delta(OstreePull *p, Why *why)
{
        _cleanup_(bytes_done) Bytes superblock = BYTES_NULL;
        char path[OSTREE_DELTA_PATH_SIZE];
        Why missing = { 0 };
        int r;

        if (!p->has_from)
                return 0;
        ostree_delta_path(p->from, p->to, "superblock", path);
        r = get(p->http, &p->url, path, DELTA_SUPERBLOCK_MAX, &superblock, &missing);
        if (r == -ENOENT)
                return 0;
        if (r < 0) {
                *why = missing;
                return r;
        }
        r = delta_parse(&superblock, p->from, p->to, &p->delta, why);
        p->has_delta = r >= 0;
        return r;
}

/* --- parts of the delta --- */

typedef struct Unpack {
        int fd;
        uint64_t at;
        Rebuilt *rebuilt;
} Unpack;

static int unpack_sink(void *ctx, const void *data, size_t size, Why *why)
{
        Unpack *u = ctx;
        int r = fd_pwrite_full(u->fd, data, size, u->at);

        if (r >= 0 && u->rebuilt->alive)
                r = u->rebuilt->alive(u->rebuilt->ctx);
        u->at += size;
        return r < 0 ? fail_errno(why, r, WHY_HOST, "OSTree: scratch file") : 0;
}

static int take_piece(const uint8_t *data, size_t n, bool first, Xz *xz, Unpack *u, bool *packed, Why *why)
{
        if (first) {
                *packed = data[0] == 'x';
                if (data[0] != 'x' && data[0] != 0)
                        return fail(why, -EOPNOTSUPP, WHY_NETWORK, "bad-delta",
                                    "OSTree: a part of the static delta is packed in an unknown way");
                data++;
                n--;
        }
        if (n == 0)
                return 0;
        return *packed ? xz_feed(xz, data, n, why) : unpack_sink(u, data, n, why);
}

/* Downloads, checks and unpacks in one go. */
static int unpack_part(OstreePull *p, Origin *origin, const DeltaPart *part, Unpack *u, Why *why)
{
        _cleanup_(digest_freep) Digest *digest = NULL;
        _cleanup_(xz_freep) Xz *xz = NULL;
        uint8_t buf[PIECE], sum[SHA256_SIZE];
        bool packed = false;
        int r = digest_new(256, &digest);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "SHA-256");
        r = xz_new("OSTree: a part of the static delta", MIN(DELTA_PART_MAX, 2 * p->rebuilt.limit),
                   unpack_sink, u, &xz, why);
        for (uint64_t at = 0, n; r >= 0 && at < part->size; at += n) {
                n = MIN(part->size - at, (uint64_t) PIECE);
                r = origin_read(origin, at, part->size, buf, (size_t) n, why);
                if (r >= 0 && (r = digest_update(digest, buf, (size_t) n)) < 0)
                        return fail_errno(why, r, WHY_HOST, "SHA-256");
                if (r >= 0)
                        r = take_piece(buf, (size_t) n, at == 0, xz, u, &packed, why);
        }
        if (r >= 0 && packed)
                r = xz_finish(xz, why);
        if (r >= 0 && digest_final(digest, sum) >= 0 && memcmp(sum, part->sum, OSTREE_ID) != 0)
                return inconsistent("a part of the static delta", why);
        return r;
}

static void close_part(OstreePull *p)
{
        p->run = delta_run_free(p->run);
        p->blocks = patch_run_free(p->blocks);
        if (p->map)
                (void) munmap(p->map, p->map_size);
        p->map = NULL;
}

static int map_part(OstreePull *p, uint64_t size, const char *what, Why *why)
{
        p->map_size = (size_t) size;
        p->map = size ? mmap(NULL, p->map_size, PROT_READ, MAP_SHARED, p->part_fd, 0) : MAP_FAILED;
        if (p->map != MAP_FAILED)
                return 0;
        p->map = NULL;
        return fail_errno(why, size ? -errno : -EBADMSG, WHY_NETWORK, "%s", what);
}

static int open_part(OstreePull *p, Why *why)
{
        const DeltaPart *part = &p->delta.parts[p->part];
        _cleanup_(origin_done) Origin origin = ORIGIN_NULL;
        _cleanup_(free_charp) char *file = NULL;
        char path[OSTREE_DELTA_PATH_SIZE], name[24];
        Unpack u = { p->part_fd, 0, &p->rebuilt };
        int r;

        if (part->size == 0 || part->size > DELTA_PART_MAX)
                return fail(why, -EFBIG, WHY_NETWORK, "bad-delta",
                            "OSTree: a part of the static delta is too large");
        (void) snprintf(name, sizeof(name), "%zu", p->part);
        ostree_delta_path(p->from, p->to, name, path);
        r = ostree_url_file(&p->url, path, &file);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "OSTree");
        r = download_open(p->http, file, UINT64_MAX, &origin, why);
        if (r >= 0 && origin.size != part->size)
                return inconsistent(path, why);
        if (r >= 0)
                r = unpack_part(p, &origin, part, &u, why);
        if (r < 0)
                return r;
        r = map_part(p, u.at, "OSTree: a part of the static delta", why);
        return r < 0 ? r : delta_run_new(part, p->map, p->map_size, &p->rebuilt, &p->run, why);
}

static int unpack_blocks(Origin *origin, const Rebuilt *rebuilt, Unpack *u, Why *why)
{
        _cleanup_(xz_freep) Xz *xz = NULL;
        uint8_t buf[PIECE];
        int r = xz_new("OSTree: blocks between two commits",
                       MIN((uint64_t) BLOCKPATCH_SIZE_MAX, 2 * rebuilt->limit), unpack_sink, u, &xz, why);

        for (uint64_t at = 0, n; r >= 0 && at < origin->size; at += n) {
                n = MIN(origin->size - at, (uint64_t) PIECE);
                r = origin_read(origin, at, origin->size, buf, (size_t) n, why);
                if (r >= 0)
                        r = xz_feed(xz, buf, (size_t) n, why);
        }
        return r < 0 ? r : xz_finish(xz, why);
}

/* Not every publisher makes them. */
static int open_blocks(OstreePull *p, Why *why)
{
        _cleanup_(origin_done) Origin origin = ORIGIN_NULL;
        _cleanup_(free_charp) char *file = NULL;
        char path[OSTREE_DELTA_PATH_SIZE];
        Unpack u = { p->part_fd, 0, &p->rebuilt };
        Why missing = { 0 };
        int r;

        ostree_delta_path(p->from, p->to, BLOCKPATCH_FILE, path);
        r = ostree_url_file(&p->url, path, &file);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "OSTree");
        r = download_open(p->http, file, UINT64_MAX, &origin, &missing);
        if (r == -ENOENT)
                return 0;
        if (r < 0) {
                *why = missing;
                return r;
        }
        if (origin.size > BLOCKPATCH_PACKED_MAX)
                return fail(why, -EFBIG, WHY_NETWORK, "bad-blocks", "OSTree: %s: too large", path);
        r = unpack_blocks(&origin, &p->rebuilt, &u, why);
        if (r < 0)
                return r;
        r = map_part(p, u.at, "OSTree: blocks between two commits", why);
        return r < 0 ? r : patch_run_new(p->map, p->map_size, &p->rebuilt, &p->blocks, why);
}

/* 1 old blocks are needed, 0 there is nothing more to do */
static int next_of_blocks(OstreePull *p, OstreeNeed *ret, Why *why)
{
        int r = 0;

        if (!p->has_blocks) {
                p->has_blocks = true;
                r = open_blocks(p, why);
        }
        if (r >= 0 && p->blocks)
                r = patch_run(p->blocks, &ret->ranges, &ret->n_ranges, why);
        if (r > 0)
                ret->want = OSTREE_WANT_BLOCKS;
        else
                close_part(p);
        return r;
}

/* The parts, then what was left out of them, then the blocks that are in no file. */
static int next_of_delta(OstreePull *p, OstreeNeed *ret, Why *why)
{
        DeltaWant want;
        int r = 0;

        while (p->part < p->delta.n_parts) {
                if (!p->run)
                        r = open_part(p, why);
                if (r >= 0)
                        r = delta_run(p->run, &want, &ret->id, why);
                if (r < 0)
                        return r;
                if (want == DELTA_WANT_SOURCE) {
                        ret->want = OSTREE_WANT_OBJECT;
                        return 0;
                }
                close_part(p);
                p->part++;
        }
        for (; r >= 0 && p->loose < p->delta.n_loose; p->loose++)
                r = filez_fetch(p->http, &p->url, p->delta.loose[p->loose], &p->rebuilt, why);
        return r < 0 ? r : next_of_blocks(p, ret, why);
}

/* --- plain objects --- */

static int compare_ids(const void *a, const void *b)
{
        return memcmp(a, b, OSTREE_ID);
}

static bool is_here(const OstreePull *p, const uint8_t id[OSTREE_ID])
{
        return p->n_have > 0 && bsearch(id, p->have, p->n_have, OSTREE_ID, compare_ids);
}

/* Everything that was fetched is here from then on; a file that occurs twice is fetched once. */
static int note(uint8_t (**list)[OSTREE_ID], size_t *n, const uint8_t id[OSTREE_ID])
{
        uint8_t(*more)[OSTREE_ID];

        if (*n >= OBJECTS_MAX)
                return -EFBIG;
        if ((*n & (*n - 1)) == 0) {
                more = realloc(*list, MAX(*n * 2, (size_t) 64) * OSTREE_ID);
                if (!more)
                        return -ENOMEM;
                *list = more;
        }
        memcpy((*list)[(*n)++], id, OSTREE_ID);
        return 0;
}

typedef struct Walk {
        uint8_t (*trees)[OSTREE_ID];
        size_t n_trees;
        uint8_t (*files)[OSTREE_ID];
        size_t n_files;
} Walk;

static void walk_done(Walk *w)
{
        free(w->trees);
        free(w->files);
}

static int look_into(OstreePull *p, const uint8_t id[OSTREE_ID], Walk *w, Why *why)
{
        _cleanup_(ostree_dir_done) OstreeDir d = { 0 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = get_object(p->http, &p->url, id, "dirtree", OSTREE_TREE_MAX, &b, why);

        if (r < 0)
                return r;
        r = ostree_dir_parse(b.data, b.size, &d);
        for (size_t i = 0; r >= 0 && i < d.n_files; i++)
                if (!is_here(p, d.files[i]))
                        r = note(&w->files, &w->n_files, d.files[i]);
        for (size_t i = 0; r >= 0 && i < d.n_dirs; i++)
                if (!is_here(p, d.dirs[i][0]))
                        r = note(&w->trees, &w->n_trees, d.dirs[i][0]);
        return r < 0 ? fail(why, r, WHY_NETWORK, "bad-object", "OSTree: a folder is malformed or too large")
                     : 0;
}

/* A tree that names itself cannot be made (its name is its hash), but the same one may be named many times: each is looked into
 * once, since all of a level are sorted before they are. */
static int fetch_objects(OstreePull *p, Why *why)
{
        _cleanup_(walk_done) Walk w = { 0 };
        size_t looked = 0;
        int r = is_here(p, p->commit.tree) ? 0 : note(&w.trees, &w.n_trees, p->commit.tree);

        for (; r >= 0 && looked < w.n_trees; looked++) {
                uint8_t id[OSTREE_ID];
                bool before = false;

                memcpy(id, w.trees[looked], OSTREE_ID);
                for (size_t i = 0; i < looked && !before; i++)
                        before = memcmp(w.trees[i], id, OSTREE_ID) == 0;
                if (looked >= DEPTH_MAX)
                        return fail(why, -EFBIG, WHY_NETWORK, "bad-object",
                                    "OSTree: more than %u folders differ", DEPTH_MAX);
                if (!before)
                        r = look_into(p, id, &w, why);
        }
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "OSTree: trees");
        if (w.n_files > 0)
                qsort(w.files, w.n_files, OSTREE_ID, compare_ids);
        for (size_t i = 0; r >= 0 && i < w.n_files; i++)
                if (i == 0 || memcmp(w.files[i], w.files[i - 1], OSTREE_ID) != 0)
                        r = filez_fetch(p->http, &p->url, w.files[i], &p->rebuilt, why);
        return r;
}

static int next_of_objects(OstreePull *p, OstreeNeed *ret, Why *why)
{
        if (!p->has_list) {
                p->has_list = true;
                ret->want = OSTREE_WANT_LIST;
                return 0;
        }
        if (p->n_have > 0)
                qsort(p->have, p->n_have, OSTREE_ID, compare_ids);
        /* who has nothing would download all of it, object by object: frames do that better */
        return p->n_have == 0 ? 0 : fetch_objects(p, why);
}

/* --- life cycle, and the walk --- */

OstreePull *ostree_pull_free(OstreePull *p)
{
        if (!p)
                return NULL;
        close_part(p);
        delta_done(&p->delta);
        rebuilt_done(&p->rebuilt);
        close_fdp(&p->part_fd);
        ostree_commit_done(&p->commit);
        ostree_url_done(&p->url);
        free(p->have);
        free(p);
        return NULL;
}

void ostree_pull_freep(OstreePull **p)
{
        ostree_pull_free(*p);
}

static int copy_url(const OstreeUrl *from, OstreeUrl *to)
{
        to->base = strdup(from->base);
        to->query = strdup(from->query);
        to->ref = from->ref ? strdup(from->ref) : NULL;
        return to->base && to->query && (!from->ref || to->ref) ? 0 : -ENOMEM;
}

int ostree_pull_new(Http *h, const OstreeUrl *url, OstreePullOptions *o, OstreePull **ret, Why *why)
{
        _cleanup_(ostree_pull_freep) OstreePull *p = calloc(1, sizeof(*p));
        const OriginWatch *watch = http_watch(h);
        int r;

        if (!p) {
                close_fdp(&o->rebuilt_fd);
                close_fdp(&o->part_fd);
                return fail_errno(why, -ENOMEM, WHY_HOST, "OSTree");
        }
        p->http = h;
        p->rebuilt = (Rebuilt){
                .fd = take_fd(&o->rebuilt_fd), .limit = o->limit, .alive = watch->alive, .ctx = watch->ctx
        };
        p->part_fd = take_fd(&o->part_fd);
        if (copy_url(url, &p->url) < 0)
                return fail_errno(why, -ENOMEM, WHY_HOST, "OSTree");
        r = find_commits(p, o, why);
        if (r >= 0 && p->has_to)
                r = find_delta(p, why);
        if (r < 0)
                return r;
        *ret = TAKE(p);
        return 0;
}

int ostree_pull_next(OstreePull *p, OstreeNeed *ret, Why *why)
{
        int r = 0;

        *ret = (OstreeNeed){ .want = OSTREE_WANT_NOTHING };
        if (p->ended || !p->has_to)
                return 0;
        r = p->has_delta ? next_of_delta(p, ret, why) : next_of_objects(p, ret, why);
        p->ended = r < 0 || ret->want == OSTREE_WANT_NOTHING;
        if (p->ended)
                close_part(p);
        return r;
}

void ostree_pull_give(OstreePull *p, int fd)
{
        if (p->run)
                delta_run_give(p->run, fd);
        else if (p->blocks)
                patch_run_give(p->blocks, fd);
        else
                close_fdp(&fd);
}

int ostree_pull_list(OstreePull *p, const void *ids, size_t size, Why *why)
{
        const uint8_t *id = ids;
        int r = size % OSTREE_ID == 0 ? 0 : -EINVAL;

        for (; r >= 0 && size > 0; size -= OSTREE_ID, id += OSTREE_ID)
                r = note(&p->have, &p->n_have, id);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "OSTree: list of objects") : 0;
}

bool ostree_pull_is_delta(const OstreePull *p)
{
        return p->has_delta;
}
