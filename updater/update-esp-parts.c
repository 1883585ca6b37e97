/* SPDX-License-Identifier: MIT */

/* The image's ESP in parts. What boots here now mostly resembles what is in it, so gybe-fetch gets it as a source; where that saves
 * enough, only the rest is downloaded, and each file is held to its signed digest. Nothing here writes. */

#include "stage.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>

int stage_find_esp(const Stage *s, const char *path, size_t *ret)
{
        for (size_t i = 0; i < s->esp.n_files; i++)
                if (str_fold_cmp(s->esp.files[i].path, path) == 0) {
                        *ret = i;
                        return 1;
                }
        return 0;
}

/* Files of what boots here now. They stay where they are whatever staging does; others, once opened, would keep room on the ESP. */
static int show_entry(Stage *s, const char *entry, const ReleaseFile *want, size_t at, Why *why)
{
        const char *slash = strrchr(want->path, '/');
        _cleanup_(close_fdp) int fd = s->u->host.boot->ops->open_file(s->u->host.boot, entry, want->kind,
                                                                      slash ? slash + 1 : want->path, NULL);

        return fd < 0 ? 0 : fetch_esp_like(s->u->fetch, &s->esp, at, fd, why);
}

static int show_files(Stage *s, Why *why)
{
        const BootState *state = &s->u->host.boot_state;
        const Release *rel = &s->u->release;
        int r = 0;

        for (size_t k = 0; r >= 0 && k < rel->n_boot; k++) {
                const ReleaseFile *f = &rel->boot[k];
                bool is_loader = f->kind == BOOT_LOADER || f->kind == BOOT_SHIM;
                size_t at;

                if ((!boot_kind_starts(f->kind) && !is_loader) || !stage_find_esp(s, f->path, &at))
                        continue;
                r = show_entry(s, state->selected, f, at, why);
                if (r >= 0 && !is_loader && !boot_name_equal(state->selected, state->default_name))
                        r = show_entry(s, state->default_name, f, at, why);
        }
        return r;
}

/* Of all files of the list. */
static int sum_costs(Stage *s, uint64_t *ret, Why *why)
{
        const Release *rel = &s->u->release;
        int r = 0;

        *ret = 0;
        for (size_t k = 0; r >= 0 && k < rel->n_boot; k++) {
                uint64_t cost = 0;
                size_t at;

                if (stage_find_esp(s, rel->boot[k].path, &at))
                        r = fetch_esp_cost(s->u->fetch, &s->esp, at, &cost, why);
                *ret += cost;
        }
        return r;
}

/* Only signed digests of its files can stand for the image's own. */
static bool can_be_in_parts(const Stage *s)
{
        return s->u->has_release && s->container.has_ranges &&
               s->cosi.esp->image.compressed_size >= FETCH_ESP_PARTS_MIN;
}

int stage_esp_as_whole(Stage *s, int r, const Why *because, Why *why)
{
        for (size_t i = 0; i < s->n_files; i++)
                pe_summary_done(&s->files[i].pe);
        s->n_files = 0;
        fetch_esp_done(&s->esp);
        s->esp = (FetchEsp){ 0 };
        if (r >= 0 || r == -EOPNOTSUPP || because->kind == WHY_IMAGE || because->kind == s->kind)
                return 0;
        *why = *because;
        return r;
}

/* 1 s->esp is open and *ret_cost is what its files will cost, 0 it has to come as a whole */
static int open_parts(Stage *s, uint64_t *ret_cost, Why *why)
{
        const CosiImage *image = &s->cosi.esp->image;
        Why because = { 0 };
        int r;

        if (!can_be_in_parts(s))
                return 0;
        r = fetch_esp_open_parts(s->u->fetch, image, s->u->host.config.max_window_log, s->kind, &s->esp,
                                 &because);
        if (r >= 0)
                r = show_files(s, &because);
        if (r >= 0)
                r = sum_costs(s, ret_cost, &because);
        if (r >= 0 && *ret_cost + FETCH_ESP_PARTS_MIN <= image->compressed_size)
                return 1;
        return stage_esp_as_whole(s, r, &because, why);
}

int stage_open_esp_parts(Stage *s, Why *why)
{
        uint64_t cost;

        return open_parts(s, &cost, why);
}

int stage_esp_cost(Stage *s, uint64_t *ret, Why *why)
{
        uint64_t before = fetch_bytes(s->u->fetch);
        int r = open_parts(s, ret, why);

        if (r > 0)
                *ret += fetch_bytes(s->u->fetch) -
                        before; /* tables and folders, which will be asked for again */
        if (r == 0)
                *ret = s->cosi.esp->image.compressed_size;
        return r < 0 ? r : 0;
}
