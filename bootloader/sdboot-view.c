/* SPDX-License-Identifier: MIT */

/* What the loader would do now: entries, variables and loader.conf read once, the default resolved. Every verb that is going
 * to change something looks first, so that none depends on what an earlier process believed. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>

void view_done(View *view)
{
        esp_entries_done(&view->entries);
        free(view->selected);
        free(view->oneshot);
        free(view->variable);
        free(view->preferred);
        free(view->last_booted);
        free(view->conf);
        free(view->conf_default);
        *view = (View){ 0 };
}

static int read_variables(SdBoot *b, View *v, Why *why)
{
        const struct {
                const char *name;
                char **ret;
        } texts[] = {
                { "LoaderEntrySelected", &v->selected },      { "LoaderEntryOneShot", &v->oneshot },
                { "LoaderEntryDefault", &v->variable },       { "LoaderEntryPreferred", &v->preferred },
                { "LoaderEntryLastBooted", &v->last_booted },
        };
        _cleanup_(free_charp) char *info = NULL;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                r = efivar_get_text(&b->vars, EFI_LOADER, texts[i].name, texts[i].ret);
                if (r < 0 && r != -ENOENT && r != -EBADMSG) /* what is not text matches no entry either */
                        return fail_errno(why, r, WHY_HOST, "EFI variable %s", texts[i].name);
        }
        v->has_loader_info = efivar_get_text(&b->vars, EFI_LOADER, "LoaderInfo", &info) >= 0;
        v->has_features = efivar_get_u64(&b->vars, EFI_LOADER, "LoaderFeatures", &v->features) >= 0;
        return 0;
}

static int read_conf(SdBoot *b, View *v, Why *why)
{
        _cleanup_(close_fdp) int dir = esp_dir(b->esp.fd, "loader"), fd = -1;
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        int r;

        fd = dir < 0 ? dir : esp_open_file(dir, "loader.conf");
        r = fd == -ENOENT ? 0 : fd < 0 ? fd : fd_read_all(fd, LOADER_CONF_MAX, &text);
        if (r >= 0 && !(v->conf = strdup(text.data ? (char *) text.data : "")))
                r = -ENOMEM;
        if (r >= 0)
                r = conf_get(v->conf, "default", &v->conf_default);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "loader/loader.conf on the ESP") : 0;
}

static int resolve_default(View *v)
{
        DefaultSources sources = {
                .preferred = v->features & FEATURE_ENTRY_PREFERRED ? v->preferred : NULL,
                .variable = v->variable,
                .conf = v->conf_default,
                .last_booted = v->last_booted,
        };
        EntryKey *keys = calloc(v->entries.n + 1, sizeof(*keys));
        int found;

        if (!keys)
                return -ENOMEM;
        for (size_t i = 0; i < v->entries.n; i++)
                keys[i] = esp_entry_key(v->entries.items + i);
        found = entry_default(keys, v->entries.n, &sources, &v->fallback_by);
        v->fallback = found >= 0 ? v->entries.items + found : NULL;
        free(keys);
        return 0;
}

int view_load(SdBoot *b, View *ret, Why *why)
{
        _cleanup_(view_done) View v = { 0 };
        int r;

        if ((r = esp_entries(&b->esp, b->ids, &v.entries, why)) < 0 || (r = read_variables(b, &v, why)) < 0 ||
            (r = read_conf(b, &v, why)) < 0 || (r = resolve_default(&v)) < 0)
                return r;
        *ret = v;
        v = (View){ 0 };
        return 0;
}

/* Where the loader did not say what it started (a host on files): the default, if it leads to that slot, or the only entry
 * that does. */
static const EspEntry *guess_running(const View *v, int slot)
{
        const EspEntry *found = NULL;

        if (v->fallback && (slot < 0 || v->fallback->slot == slot))
                return v->fallback;
        for (size_t i = 0; i < v->entries.n; i++) {
                const EspEntry *e = v->entries.items + i;

                if (slot < 0 || e->slot != slot)
                        continue;
                if (found)
                        return NULL;
                found = e;
        }
        return found;
}

int view_running(const View *v, int slot, const EspEntry **ret, Why *why)
{
        static const char *const letters[] = { "a", "b" };
        const EspEntry *e = esp_entry_find(&v->entries, v->selected);

        if (e && slot >= 0 && e->slot >= 0 && e->slot != slot)
                return fail(why, -EUCLEAN, WHY_HOST, "wrong-entry",
                            "%s: the loader says that it started this entry, but it leads to slot %s, and "
                            "slot %s runs",
                            e->name, letters[e->slot], letters[slot]);
        if (!e)
                e = guess_running(v, slot);
        if (!e) {
                (void) fail(why, -ENOENT, WHY_HOST, "no-running-entry",
                            "ESP: no boot entry leads to the running system%s%s",
                            v->selected ? "; it was started as " : "", v->selected ? v->selected : "");
                return fail_hint(why, -ENOENT,
                                 "put the running UKI and its addons back before anything is updated");
        }
        *ret = e;
        return 0;
}

bool view_names(const char *value, const EspEntry *entry)
{
        return value && entry_name_literal(value) &&
               (str_fold_cmp(value, entry->name) == 0 || str_fold_cmp(value, entry->parsed.stem) == 0);
}

/* Loaders differ in whether the id of a counted entry has the counter; the one that runs has shown what it does. */
const char *view_id(const View *v, const EspEntry *entry)
{
        EntryName selected;

        if (entry->parsed.counted && v->selected && boot_name_equal(v->selected, entry->name) &&
            entry_name_parse(v->selected, entry->type1 ? ".conf" : ".efi", &selected) >= 0 &&
            !selected.counted)
                return entry->parsed.stem;
        return entry->name;
}

bool view_protects(const View *v, const EspEntry *entry)
{
        const EspEntry *running = esp_entry_find(&v->entries, v->selected);

        return entry == running || entry == v->fallback || view_names(v->variable, entry) ||
               view_names(v->conf_default, entry) || view_names(v->preferred, entry);
}
