/* SPDX-License-Identifier: MIT */

/* The running entry becomes the default. The default first: from its last write on every boot comes here, and what follows
 * (boot order, templates, the fallback loader) may be interrupted and repeated. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define LOADERS_MAX (16u * 1024u)

/* --- boot order --- */

/* Whatever started this system stays in front. Only where that is the other slot's own loader copy (EFI/AZLx, as Trident sets
 * it up) and this slot brought one too, this slot's goes before it: the next update will want to replace the other. */
static int settle_order(SdBoot *b, const char *own_dir, const char *other_dir, bool brought, Why *why)
{
        uint16_t number;
        int r;

        if (!efivars_present(&b->vars) || sd_order_starts_in(b, own_dir))
                return 0;
        r = sd_boot_option(b, own_dir, true, &number, NULL);
        if (r > 0)
                r = sd_order_first(b, number);
        if (r >= 0 && brought && sd_loader_runs_from(b, other_dir)) {
                r = sd_boot_option_in(b, own_dir, &number);
                if (r > 0)
                        r = sd_order_first(b, number);
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "EFI variable BootOrder") : 0;
}

/* --- templates --- */

/* Old slot templates tell about hashes that are gone; what else lies there may be the operator's. */
static int drop_stale_templates(int live, char *const *fresh)
{
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_list(live, ".", &names);

        for (char **n = names; r >= 0 && *n; n++) {
                bool kept = addon_slot_by_name(*n) < 0;

                for (char *const *f = fresh; !kept && *f; f++)
                        kept = str_fold_cmp(*f, *n) == 0;
                if (!kept)
                        r = esp_remove(live, *n);
        }
        return r;
}

static int refresh_templates(SdBoot *b, int staged, Why *why)
{
        _cleanup_(close_fdp) int from = esp_dir(staged, "templates"), live = -1;
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        if (from == -ENOENT)
                return 0;
        live = from < 0 ? from : esp_make_dir(b->esp.fd, TEMPLATES_DIR);
        r = live < 0 ? live : dir_list(from, ".", &names);
        for (char **n = names; r >= 0 && *n; n++)
                if (str_ends_fold(*n, ".efi"))
                        r = esp_copy(from, *n, live, *n);
        if (r >= 0)
                r = drop_stale_templates(live, names);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "refreshing %s on the ESP", TEMPLATES_DIR) : 0;
}

/* --- loader --- */

/* "loader grubx64.efi" lines, second stage first; each file replaces its old copy in one rename, so that the removable-media
 * path always starts something, and files that nobody brought are left alone. */
static int copy_loaders(SdBoot *b, char *lines, const char *own_dir, Why *why)
{
        _cleanup_(close_fdp) int from = esp_dir(b->esp.fd, own_dir), to = -1;
        char *state = NULL;
        int r = from < 0 ? 0 : esp_make_room(&b->esp, FALLBACK_DIR, ROOM_FILES, why);

        if (r < 0)
                return r;
        r = from < 0 ? from : (to = esp_make_dir(b->esp.fd, FALLBACK_DIR));
        for (char *line = strtok_r(lines, "\n", &state); line && r >= 0;
             line = strtok_r(NULL, "\n", &state)) {
                const char *name = strchr(line, ' ');

                if (name && plan_name_ok(name + 1))
                        r = esp_copy(from, name + 1, to, name + 1);
                if (r == -ENOENT)
                        r = 0; /* somebody has tidied EFI/AZLx; the fallback keeps what it had */
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "copying the new boot loader to %s", FALLBACK_DIR) : 0;
}

static int take_waiting(SdBoot *b, int slot, unsigned os_index, Why *why)
{
        _cleanup_(free_charp) char *own = sd_loader_dir(slot, os_index),
                                   *other = sd_loader_dir(1 - slot, os_index), *waiting = sd_staged_dir(slot);
        _cleanup_(bytes_done) Bytes loaders = BYTES_NULL;
        _cleanup_(close_fdp) int staged = -1;
        int r;

        if (!own || !other || !waiting)
                return -ENOMEM;
        staged = esp_dir(b->esp.fd, waiting);
        r = staged == -ENOENT ? 0 : staged < 0 ? staged : file_read(staged, "loaders", LOADERS_MAX, &loaders);
        if (r < 0 && r != -ENOENT)
                return fail_errno(why, r, WHY_HOST, "reading %s on the ESP", waiting);
        if ((r = settle_order(b, own, other, loaders.size > 0, why)) < 0)
                return r;
        if (staged < 0)
                return 0;
        if ((r = refresh_templates(b, staged, why)) < 0 ||
            (loaders.size > 0 && (r = copy_loaders(b, (char *) loaders.data, own, why)) < 0))
                return r;
        return 0;
}

/* --- leftovers --- */

/* The list of loaders goes first: without it, what is left of the folder means nothing to anybody. */
static int tidy(SdBoot *b, int slot, Why *why)
{
        _cleanup_(free_charp) char *waiting = sd_staged_dir(slot);
        _cleanup_(close_fdp) int entries = -1, gybe = -1;
        int r = 0;

        if (!waiting)
                return -ENOMEM;
        gybe = esp_dir(b->esp.fd, GYBE_DIR);
        if (gybe >= 0) {
                _cleanup_(free_charp) char *done = str_printf("%s.done", strrchr(waiting, '/') + 1),
                                           *found = NULL;

                r = done ? esp_remove(gybe, done) : -ENOMEM;
                if (r >= 0)
                        r = esp_find(gybe, strrchr(waiting, '/') + 1, &found);
                if (r > 0)
                        r = esp_rename(gybe, found, done);
                if (r >= 0)
                        r = esp_remove(gybe, done);
        }
        entries = esp_dir(b->esp.fd, ESP_ENTRIES);
        if (r >= 0)
                r = entries < 0 ? entries : esp_remove(entries, ESP_STAGED_D);
        if (r >= 0)
                r = esp_remove(entries, ESP_STAGED);
        if (r >= 0)
                r = esp_sync(&b->esp);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "removing leftovers of the update from the ESP") : 0;
}

/* --- verb --- */

static int find_committed(const View *v, int running_slot, const char *entry, const EspEntry **ret, Why *why)
{
        const EspEntry *running;
        int r = view_running(v, running_slot, &running, why);

        if (r < 0)
                return r;
        if (v->selected && !boot_name_equal(running->name, entry))
                return fail(why, -EUCLEAN, WHY_HOST, "wrong-entry", "%s: cannot be kept, %s is what runs",
                            entry, running->name);
        running = esp_entry_find(&v->entries, entry);
        if (!running)
                return fail(why, -ENOENT, WHY_HOST, "no-entry", "%s: not on the ESP", entry);
        if (running->slot >= 0 && running->slot != running_slot)
                return fail(why, -EUCLEAN, WHY_HOST, "wrong-entry",
                            "%s: it does not lead to the slot that runs", entry);
        *ret = running;
        return 0;
}

/* A one-shot the loader did not consume (a host on files), or one that was set again for what is now the default. */
static int drop_spent_oneshot(SdBoot *b, const View *v, const EspEntry *entry, Why *why)
{
        int r = 0;

        if (v->oneshot && boot_name_equal(v->oneshot, entry->name))
                r = efivar_delete(&b->vars, EFI_LOADER, "LoaderEntryOneShot");
        return r < 0 ? fail_errno(why, r, WHY_HOST, "removing the EFI variable LoaderEntryOneShot") : 0;
}

int sd_commit(Boot *boot, int running_slot, const char *entry, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(view_done) View v = { 0 };
        const EspEntry *e = NULL;
        Why warning = { 0 };
        int r, warned;

        if ((r = view_load(b, &v, why)) < 0 || (r = find_committed(&v, running_slot, entry, &e, why)) < 0)
                return r;
        warned = sd_set_default(b, &v, e, &warning);
        if (warned != 0 && why && why->kind == WHY_NONE)
                *why = warning;
        if (warned < 0)
                return warned;
        /* From here on *why may hold the warning; an error of what follows replaces it. */
        warning = (Why){ 0 };
        if ((r = drop_spent_oneshot(b, &v, e, &warning)) < 0 ||
            (r = take_waiting(b, running_slot, e->parsed.os_index, &warning)) < 0 ||
            (r = tidy(b, running_slot, &warning)) < 0) {
                if (why)
                        *why = warning;
                return r;
        }
        return warned;
}
