/* SPDX-License-Identifier: MIT */

/* The default entry, by name. A default that is found by sort order or by a pattern changes its mind when a file appears in
 * the folder; before anything is written there, both places that can name one name the running entry. loader.conf comes
 * first: it is what still decides when the variables are lost. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>

static int write_conf(SdBoot *b, const View *v, const char *id, Why *why)
{
        _cleanup_(free_charp) char *text = NULL, *name = NULL;
        _cleanup_(close_fdp) int dir = -1;
        int r = esp_make_room(&b->esp, "loader", ROOM_FILES, why);

        if (r < 0)
                return r;
        dir = esp_make_dir(b->esp.fd, "loader");
        r = dir < 0 ? dir : esp_find(dir, "loader.conf", &name);
        if (r >= 0)
                r = loader_conf_set_default(v->conf, id, v->features & FEATURE_ENTRY_PREFERRED, &text);
        if (r >= 0)
                r = esp_replace(dir, name ? name : "loader.conf", text, strlen(text));
        if (r >= 0)
                r = esp_sync(&b->esp);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "writing loader/loader.conf on the ESP") : 0;
}

/* Returns 1, with a sentence, when the NVRAM took no new value and so lost the old one: then loader.conf decides. */
static int write_variable(SdBoot *b, const char *id, Why *why)
{
        int r, removed;

        if (!efivars_present(&b->vars))
                return 0;
        r = efivar_set_text(&b->vars, EFI_LOADER, "LoaderEntryDefault", id, false);
        if (r >= 0)
                return 0;
        removed = efivar_delete(&b->vars, EFI_LOADER, "LoaderEntryDefault");
        if (removed < 0)
                return fail_errno(why, r, WHY_HOST,
                                  "EFI variable LoaderEntryDefault can be neither written nor removed");
        (void) fail_errno(
                why, r, WHY_HOST,
                "EFI variable LoaderEntryDefault could not be written and was removed; loader.conf decides");
        return 1;
}

static bool conf_is_fine(const View *v, const EspEntry *entry)
{
        _cleanup_(free_charp) char *preferred = NULL;

        if (!view_names(v->conf_default, entry))
                return false;
        if (!(v->features & FEATURE_ENTRY_PREFERRED) || conf_get(v->conf, "preferred", &preferred) < 0)
                return true;
        return !preferred || view_names(preferred, entry);
}

int sd_set_default(SdBoot *b, const View *v, const EspEntry *entry, Why *why)
{
        const char *id = view_id(v, entry);
        int r = 0, warned;

        if (!entry_name_literal(id))
                return fail(why, -EINVAL, WHY_HOST, "entry-name",
                            "%s: a name that the loader would read as a pattern cannot be the default", id);
        if (!conf_is_fine(v, entry))
                r = write_conf(b, v, id, why);
        if (r < 0)
                return r;
        warned = write_variable(b, id, why);
        if (warned >= 0 && v->preferred && (v->features & FEATURE_ENTRY_PREFERRED)) {
                r = efivar_delete(&b->vars, EFI_LOADER, "LoaderEntryPreferred");
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "removing the EFI variable LoaderEntryPreferred");
        }
        return warned;
}

/* An unset variable is fine where loader.conf names the entry. */
static bool is_proved(const View *v, const EspEntry *running)
{
        bool preferred = (v->features & FEATURE_ENTRY_PREFERRED) && v->preferred;

        return v->fallback == running && conf_is_fine(v, running) &&
               (!v->variable || view_names(v->variable, running)) &&
               (!preferred || view_names(v->preferred, running));
}

int sd_prove_default(Boot *boot, int running_slot, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(view_done) View v = { 0 }, after = { 0 };
        const EspEntry *running;
        Why warning = { 0 };
        int r;

        if ((r = view_load(b, &v, why)) < 0 || (r = view_running(&v, running_slot, &running, why)) < 0)
                return r;
        if (is_proved(&v, running))
                return 0;
        r = sd_set_default(b, &v, running, &warning);
        if (r < 0) {
                if (why)
                        *why = warning;
                return r;
        }
        if ((r = view_load(b, &after, why)) < 0 ||
            (r = view_running(&after, running_slot, &running, why)) < 0)
                return r;
        if (!is_proved(&after, running))
                return fail(why, -EUCLEAN, WHY_HOST, "default",
                            "boot default: it cannot be made to name the running entry %s; it is %s by %s",
                            running->name, after.fallback ? after.fallback->name : "nothing",
                            after.fallback ? after.fallback_by : "nobody");
        return 0;
}
