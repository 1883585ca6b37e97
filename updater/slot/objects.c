/* SPDX-License-Identifier: MIT */

/* A file with extended attributes may have been committed with or without them (what unpacks an image does not always bring them
 * along): it gets both names. Folders have names, too, made of those of what they hold: a client that knows them need not look
 * into folders that did not change. */

#include "slot/objects.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "image/ostree.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define DEPTH_MAX  64u
#define FILES_MAX  262144u /* an OS has 30,000 */
#define ALIGN      4096u
#define UNIT       (128u * 1024u)
#define XATTRS_MAX 64u
#define NAMES_MAX  (64u * 1024u)
#define VALUES_MAX (64u * 1024u)

typedef struct File {
        uint8_t id[OSTREE_ID];
        char *path; /* below the folder */
} File;

struct SlotObjects {
        int dir_fd;
        dev_t dev;
        File *files;
        size_t n_files;
        uint8_t (*ids)[OSTREE_ID];
        size_t n_ids;
        /* while it is being made */
        SlotObjectsTick tick;
        void *ctx;
        uint8_t *buf; /* UNIT bytes, aligned */
        Digest *with, *without;
};

SlotObjects *slot_objects_free(SlotObjects *o)
{
        if (!o)
                return NULL;
        for (size_t i = 0; i < o->n_files; i++)
                free(o->files[i].path);
        free(o->files);
        free(o->ids);
        free(o->buf);
        digest_freep(&o->with);
        digest_freep(&o->without);
        close_fdp(&o->dir_fd);
        free(o);
        return NULL;
}

void slot_objects_freep(SlotObjects **o)
{
        slot_objects_free(*o);
}

static bool is_power_of_two(size_t n)
{
        return (n & (n - 1)) == 0;
}

static int add_id(SlotObjects *o, const uint8_t id[OSTREE_ID])
{
        if (o->n_ids >= 2 * FILES_MAX)
                return -EFBIG;
        if (is_power_of_two(o->n_ids)) {
                uint8_t(*more)[OSTREE_ID] = realloc(o->ids, MAX(2 * o->n_ids, (size_t) 64) * OSTREE_ID);

                if (!more)
                        return -ENOMEM;
                o->ids = more;
        }
        memcpy(o->ids[o->n_ids++], id, OSTREE_ID);
        return 0;
}

static int add_file(SlotObjects *o, const uint8_t id[OSTREE_ID], const char *path)
{
        int r = add_id(o, id);

        if (r >= 0 && o->n_files >= FILES_MAX)
                r = -EFBIG;
        if (r >= 0 && is_power_of_two(o->n_files)) {
                File *more = realloc(o->files, MAX(2 * o->n_files, (size_t) 64) * sizeof(*more));

                if (!more)
                        return -ENOMEM;
                o->files = more;
        }
        if (r < 0)
                return r;
        o->files[o->n_files].path = strdup(path);
        if (!o->files[o->n_files].path)
                return -ENOMEM;
        memcpy(o->files[o->n_files++].id, id, OSTREE_ID);
        return 0;
}

/* --- attributes --- */

typedef struct Xattrs {
        OstreeXattr list[XATTRS_MAX];
        size_t n;
        char *names, *values;
} Xattrs;

static void xattrs_done(Xattrs *x)
{
        free(x->names);
        free(x->values);
}

static int compare_xattrs(const void *a, const void *b)
{
        return strcmp(((const OstreeXattr *) a)->name, ((const OstreeXattr *) b)->name);
}

static int read_xattrs(int fd, Xattrs *x)
{
        ssize_t size;
        size_t used = 0;

        x->names = malloc(NAMES_MAX);
        x->values = malloc(VALUES_MAX);
        if (!x->names || !x->values)
                return -ENOMEM;
        size = flistxattr(fd, x->names, NAMES_MAX);
        if (size < 0)
                return errno == ENOTSUP || errno == EOPNOTSUPP ? 0 : -errno;
        for (char *name = x->names; name < x->names + size; name += strlen(name) + 1) {
                ssize_t n;

                if (x->n >= XATTRS_MAX)
                        return -EFBIG;
                n = fgetxattr(fd, name, x->values + used, VALUES_MAX - used);
                if (n < 0)
                        return -errno;
                x->list[x->n++] = (OstreeXattr){ name, x->values + used, (size_t) n };
                used += (size_t) n;
        }
        qsort(x->list, x->n, sizeof(*x->list), compare_xattrs);
        return 0;
}

static int begin(Digest **digest, const OstreeFile *file)
{
        _cleanup_(bytes_done) Bytes header = BYTES_NULL;
        int r = ostree_file_header(file, &header);

        if (r >= 0 && !*digest)
                r = digest_new(256, digest);
        return r < 0 ? r : digest_update(*digest, header.data, header.size);
}

/* --- files --- */

static int hash_content(SlotObjects *o, int fd, bool both, Why *why)
{
        uint64_t at = 0;
        ssize_t n;
        int r = 0;

        while (r >= 0 && (n = pread(fd, o->buf, UNIT, (off_t) at)) != 0) {
                if (n < 0 && errno == EINVAL && at == 0 && (fcntl(fd, F_GETFL) & O_DIRECT)) {
                        /* the file system says only now that it reads through the cache */
                        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT) < 0)
                                return -errno;
                        continue;
                }
                if (n < 0)
                        return -errno;
                r = digest_update(o->with, o->buf, (size_t) n);
                if (r >= 0 && both)
                        r = digest_update(o->without, o->buf, (size_t) n);
                if (r >= 0 && o->tick && (r = o->tick(o->ctx, (uint64_t) n, why)) < 0)
                        return -ECANCELED;
                at += (uint64_t) n;
                if (n % ALIGN != 0)
                        break; /* the end; an unaligned offset would be refused */
        }
        return r;
}

static int open_content(int dir_fd, const char *name)
{
        int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_DIRECT);

        if (fd < 0 && errno == EINVAL)
                fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
        return fd;
}

/* *ret_id: the name with all attributes. -ECANCELED and -ENOMEM end everything, other failures only this file. */
static int scan_file(SlotObjects *o, int dir_fd, const char *name, const char *path, const struct stat *st,
                     uint8_t ret_id[OSTREE_ID], Why *why)
{
        _cleanup_(close_fdp) int fd = open_content(dir_fd, name);
        _cleanup_(xattrs_done) Xattrs x = { 0 };
        OstreeFile file = { .uid = st->st_uid, .gid = st->st_gid, .mode = st->st_mode };
        uint8_t bare[OSTREE_ID];
        int r = fd < 0 ? -errno : read_xattrs(fd, &x);

        if (r >= 0 && x.n > 0)
                r = begin(&o->without, &file);
        file.xattrs = x.list;
        file.n_xattrs = x.n;
        if (r >= 0)
                r = begin(&o->with, &file);
        if (r < 0)
                return r;
        r = hash_content(o, fd, x.n > 0, why);
        (void) digest_final(o->with, ret_id);
        if (x.n > 0)
                (void) digest_final(o->without, bare);
        if (r >= 0)
                r = add_file(o, ret_id, path);
        if (r >= 0 && x.n > 0)
                r = add_file(o, bare, path);
        return r;
}

static int scan_link(SlotObjects *o, int dir_fd, const char *name, const struct stat *st,
                     uint8_t ret_id[OSTREE_ID])
{
        char target[4096];
        ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
        OstreeFile file = { .uid = st->st_uid, .gid = st->st_gid, .mode = st->st_mode, .target = target };
        int r;

        if (n < 0)
                return -errno;
        target[n] = 0;
        r = begin(
                &o->with,
                &file); /* a link's attributes are the label, if any: then it has another name, and is small */
        if (r >= 0)
                r = digest_final(o->with, ret_id);
        return r < 0 ? r : add_id(o, ret_id);
}

/* --- folders --- */

static int folder_meta(SlotObjects *o, int fd, const struct stat *st, uint8_t ret[OSTREE_ID])
{
        _cleanup_(gvariant_build_done) GVariantBuild b = GVARIANT_TUPLE, list = GVARIANT_ARRAY;
        _cleanup_(bytes_done) Bytes bytes = BYTES_NULL;
        _cleanup_(xattrs_done) Xattrs x = { 0 };
        int r = read_xattrs(fd, &x);

        for (size_t i = 0; r >= 0 && i < x.n; i++) {
                _cleanup_(gvariant_build_done) GVariantBuild pair = GVARIANT_TUPLE;

                gvariant_add_bytes(&pair, x.list[i].name, strlen(x.list[i].name) + 1);
                gvariant_add_bytes(&pair, x.list[i].value, x.list[i].size);
                gvariant_add_build(&list, &pair, 1);
        }
        gvariant_add_u32(&b, htobe32(st->st_uid));
        gvariant_add_u32(&b, htobe32(st->st_gid));
        gvariant_add_u32(&b, htobe32(st->st_mode));
        gvariant_add_build(&b, &list, 1);
        if (r >= 0)
                r = gvariant_build_take(&b, &bytes);
        if (r >= 0)
                r = sha256(bytes.data, bytes.size, ret);
        return r < 0 ? r : add_id(o, ret);
}

static void put_entry(GVariantBuild *list, const char *name, const uint8_t *id, const uint8_t *meta)
{
        _cleanup_(gvariant_build_done) GVariantBuild entry = GVARIANT_TUPLE;

        gvariant_add_str(&entry, name);
        gvariant_add_bytes(&entry, id, OSTREE_ID);
        if (meta)
                gvariant_add_bytes(&entry, meta, OSTREE_ID);
        gvariant_add_build(list, &entry, 1);
}

static bool ends_everything(int r)
{
        return r == -ENOMEM || r == -ECANCELED || r == -EFBIG;
}

static int scan_folder(SlotObjects *o, int fd, const char *path, unsigned depth, uint8_t ret_tree[OSTREE_ID],
                       uint8_t ret_meta[OSTREE_ID], Why *why);

/* 1 it is in the lists, 0 it is left out */
static int scan_entry(SlotObjects *o, int fd, const char *path, const char *name, unsigned depth,
                      GVariantBuild *files, GVariantBuild *dirs, Why *why)
{
        _cleanup_(free_charp) char *below = str_printf("%s%s%s", path, *path ? "/" : "", name);
        uint8_t id[OSTREE_ID], meta[OSTREE_ID];
        struct stat st;
        int r;

        if (!below)
                return -ENOMEM;
        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != o->dev)
                return 0;
        if (S_ISDIR(st.st_mode)) {
                _cleanup_(close_fdp) int sub = dir_open(fd, name);

                r = sub < 0 ? sub : scan_folder(o, sub, below, depth + 1, id, meta, why);
                if (r >= 0)
                        put_entry(dirs, name, id, meta);
        } else {
                r = S_ISREG(st.st_mode)   ? scan_file(o, fd, name, below, &st, id, why)
                    : S_ISLNK(st.st_mode) ? scan_link(o, fd, name, &st, id)
                                          : -EOPNOTSUPP;
                if (r >= 0)
                        put_entry(files, name, id, NULL);
        }
        return ends_everything(r) ? r : r >= 0;
}

static int scan_folder(SlotObjects *o, int fd, const char *path, unsigned depth, uint8_t ret_tree[OSTREE_ID],
                       uint8_t ret_meta[OSTREE_ID], Why *why)
{
        _cleanup_(gvariant_build_done) GVariantBuild files = GVARIANT_ARRAY, dirs = GVARIANT_ARRAY,
                                                     tree = GVARIANT_TUPLE;
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(bytes_done) Bytes bytes = BYTES_NULL;
        bool whole = true;
        struct stat st;
        int r = depth > DEPTH_MAX ? -ELOOP : dir_list(fd, ".", &names);

        if (r >= 0 && fstat(fd, &st) < 0)
                r = -errno;
        for (char **n = names; r >= 0 && n && *n; n++) {
                r = scan_entry(o, fd, path, *n, depth, &files, &dirs, why);
                whole = whole && r > 0;
        }
        if (r >= 0)
                r = folder_meta(o, fd, &st, ret_meta);
        if (r < 0)
                return r;
        gvariant_add_build(&tree, &files, 1);
        gvariant_add_build(&tree, &dirs, 1);
        r = gvariant_build_take(&tree, &bytes);
        if (r >= 0)
                r = sha256(bytes.data, bytes.size, ret_tree);
        /* a folder of which something was left out has no name here */
        return r < 0 ? r : whole ? add_id(o, ret_tree) : 0;
}

/* --- the outside --- */

static int compare_files(const void *a, const void *b)
{
        return memcmp(((const File *) a)->id, ((const File *) b)->id, OSTREE_ID);
}

int slot_objects_scan(int dir_fd, SlotObjectsTick tick, void *ctx, SlotObjects **ret, Why *why)
{
        _cleanup_(slot_objects_freep) SlotObjects *o = calloc(1, sizeof(*o));
        uint8_t tree[OSTREE_ID], meta[OSTREE_ID];
        struct stat st;
        int r;

        if (!o)
                return fail_errno(why, -ENOMEM, WHY_HOST, "/usr");
        o->tick = tick;
        o->ctx = ctx;
        o->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
        o->buf = aligned_alloc(ALIGN, UNIT);
        if (o->dir_fd < 0 || fstat(o->dir_fd, &st) < 0)
                return fail_errno(why, -errno, WHY_HOST, "/usr");
        if (!o->buf)
                return fail_errno(why, -ENOMEM, WHY_HOST, "/usr");
        o->dev = st.st_dev;
        r = scan_folder(o, o->dir_fd, "", 0, tree, meta, why);
        if (ends_everything(r))
                return fail_errno(why, r, WHY_HOST, "/usr");
        if (o->n_files > 0)
                qsort(o->files, o->n_files, sizeof(*o->files), compare_files);
        free(TAKE(o->buf));
        *ret = TAKE(o);
        return 0;
}

int slot_objects_open(const SlotObjects *o, const uint8_t id[32])
{
        File key, *found;
        int fd;

        memcpy(key.id, id, OSTREE_ID);
        found = o->n_files > 0 ? bsearch(&key, o->files, o->n_files, sizeof(key), compare_files) : NULL;
        if (!found)
                return -1;
        fd = openat(o->dir_fd, found->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
        return fd < 0 ? -1 : fd;
}

const uint8_t *slot_objects_list(const SlotObjects *o, size_t *ret_n)
{
        *ret_n = o->n_ids;
        return (const uint8_t *) o->ids;
}
