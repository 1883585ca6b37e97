/* SPDX-License-Identifier: MIT */

#include "publish/diff-side.h"
#include "base/str.h"

#include <errno.h>

/* 64 GiB of /usr. The leaves of the old image are held sorted: 96 MiB at most, and as much for the sorting. */
#define COMPARED_BLOCKS_MAX (UINT32_C(1) << 24)

void diff_side_done(DiffSide *s)
{
        free(s->parts);
        free(s->files);
        fetch_index_done(&s->index);
        cosi_view_done(&s->view);
        *s = (DiffSide){ 0 };
}

int diff_file_by_path(const void *a, const void *b)
{
        return strcmp(((const DiffFile *) a)->path, ((const DiffFile *) b)->path);
}

static int read_files(DiffSide *s, Why *why)
{
        CosiView *v = &s->view;
        int r = cosi_view_boot(v, WHY_IMAGE, why);

        if (r < 0)
                return r;
        s->files = calloc(v->esp.n_files + 1, sizeof(*s->files));
        if (!s->files)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ESP");
        for (size_t i = 0, k = 0; i < v->esp.n_files; i++) {
                DiffFile *f = &s->files[i];

                f->path = v->esp.files[i].path;
                f->size = v->esp.files[i].size;
                /* both lists are in the order of the ESP */
                if (k < v->boot.n_files && streq(v->boot.files[k].path, f->path)) {
                        f->boot = &v->boot.files[k++];
                        memcpy(f->sha256, f->boot->sha256, sizeof(f->sha256));
                        continue;
                }
                r = cosi_view_hash(v, i, f->sha256, why);
                if (r < 0)
                        return r;
        }
        qsort(s->files, v->esp.n_files, sizeof(*s->files), diff_file_by_path);
        return 0;
}

static int read_verity(DiffSide *s, Why *why)
{
        CosiView *v = &s->view;
        int r;

        if (!v->cosi.usr->has_verity || v->cosi.usr->inline_verity)
                return 0;
        r = cosi_view_verity(v, WHY_IMAGE, why);
        if (r < 0)
                return r;
        hex_encode(v->verity.salt, v->verity.salt_size, s->salt);
        uuid_format_text(v->verity.uuid, s->uuid);
        s->has_salt = true;
        return 0;
}

/* One that is broken, or about something else, is no reason to fail: hosts will do without it, too. */
static int read_index(DiffSide *s, Why *why)
{
        CosiView *v = &s->view;
        uint8_t root[VERITY_ROOT_SIZE];
        Why broken = { 0 };
        int r = v->file.has_ranges ? fetch_index_open(v->fetch, &s->index, &broken) : 0;

        if (r == -EBADMSG)
                (void) fail(&s->no_index, r, WHY_IMAGE, "index", "%s: %s", s->name, broken.text);
        else if (r == 0)
                (void) fail(&s->no_index, -ENOENT, WHY_IMAGE, "index", "%s: no block index", s->name);
        else if (r < 0)
                *why = broken;
        if (r <= 0)
                return r == -EBADMSG ? 0 : r;
        if (!s->has_salt || hex_decode(v->cosi.usr->roothash, root, sizeof(root)) < 0 ||
            memcmp(root, s->index.head.root, sizeof(root)) != 0 ||
            s->index.head.n_blocks != v->verity.data_blocks)
                (void) fail(&s->no_index, -EBADMSG, WHY_IMAGE, "index",
                            "%s: the block index is of another image", s->name);
        else if (s->index.head.n_blocks > COMPARED_BLOCKS_MAX)
                (void) fail(&s->no_index, -EFBIG, WHY_IMAGE, "index", "%s: /usr is too large to be compared",
                            s->name);
        return 0;
}

int diff_side_read(const Env *env, const char *name, const char *what, Meter *meter, DiffSide *s, Why *why)
{
        int r;

        s->name = name;
        if (str_ends(what, ".json"))
                return fail_hint(why, fail(why, -EINVAL, WHY_USAGE, "usage", "%s: diff compares COSIs", what),
                                 "name the .cosi beside it");
        r = cosi_view_start(env, meter, &s->view, why);
        if (r >= 0)
                r = cosi_view_open(&s->view, what, UINT64_MAX, WHY_IMAGE, why);
        if (r >= 0)
                r = cosi_view_gpt(&s->view, WHY_IMAGE, &s->parts, &s->n_parts, why);
        if (r >= 0)
                r = read_verity(s, why);
        if (r >= 0)
                r = read_index(s, why);
        return r < 0 ? r : read_files(s, why);
}
