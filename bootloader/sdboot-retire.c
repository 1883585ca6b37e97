/* SPDX-License-Identifier: MIT */

/* Entries out of the loader's sight. An entry goes in an order that leaves no half of it bootable: the UKI loses its suffix
 * first (a UKI without its addons would start a system that waits for /usr for ever), then its addons go, then the file. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <sys/stat.h>

#define RETIRED ".retired"

/* Where the folder is so full that the other name would make it grow, the file goes at once: its entry is one sector. */
static int make_inert(SdBoot *b, int entries_fd, const char *found, const char *inert)
{
        unsigned room;
        int r = esp_remove(entries_fd, inert);

        if (r >= 0)
                r = esp_room(&b->esp, entries_fd, &room);
        if (r < 0)
                return r;
        return room >= esp_places(inert) ? esp_rename(entries_fd, found, inert)
                                         : file_remove(entries_fd, found);
}

int sd_drop_entry(SdBoot *b, int entries_fd, const char *name)
{
        _cleanup_(free_charp) char *inert = str_printf("%s" RETIRED, name), *found = NULL;
        char addons[ENTRY_ADDONS_MAX];
        int r;

        if (!inert)
                return -ENOMEM;
        r = esp_find(entries_fd, name, &found);
        if (r > 0)
                r = make_inert(b, entries_fd, found, inert);
        entry_addons_dir(name, addons);
        if (r >= 0)
                r = esp_remove(entries_fd, addons);
        if (r >= 0)
                r = esp_remove(entries_fd, inert);
        return r < 0 ? r : esp_sync(&b->esp);
}

int sd_forget_staged(SdBoot *b, int slot)
{
        _cleanup_(close_fdp) int dir = esp_dir(b->esp.fd, GYBE_DIR);
        _cleanup_(free_charp) char *name = str_printf("%c.staged", 'a' + slot);

        if (!name)
                return -ENOMEM;
        if (dir < 0)
                return dir == -ENOENT ? 0 : dir;
        return esp_remove(dir, name);
}

static bool managed_for(const EspEntry *e, int slot, unsigned os_index)
{
        return e->parsed.managed && e->parsed.slot == slot && e->parsed.os_index == os_index;
}

/* An image builder's UKI may go when it is the spare slot's, or when a managed one has taken its place. */
static bool is_retirable(const View *v, const EspEntry *e, int spare, unsigned os_index)
{
        bool replaced = false;

        if (e->type1)
                return false;
        if (e->parsed.managed)
                return e->parsed.os_index == os_index && (e->parsed.slot == spare || e->slot == spare);
        if (!e->parsed.factory)
                return false;
        for (size_t i = 0; i < v->entries.n; i++)
                replaced = replaced || (os_index == 0 && managed_for(v->entries.items + i, 1 - spare, 0));
        return e->slot == spare || replaced;
}

/* An addon folder whose UKI is gone, as far as the name is one of ours. */
static bool is_orphan(const View *v, const EspEntry *running, const char *name)
{
        char addons[ENTRY_ADDONS_MAX], uki[BOOT_NAME_MAX];
        size_t n = strlen(name);
        EntryName parsed;

        if (!str_ends_fold(name, ".extra.d") || n - 8 >= sizeof(uki))
                return false;
        memcpy(uki, name, n - 8);
        uki[n - 8] = '\0';
        if (entry_name_parse(uki, ".efi", &parsed) < 0 || (!parsed.managed && !parsed.factory))
                return false;
        for (size_t i = 0; i < v->entries.n; i++) {
                entry_addons_dir(v->entries.items[i].name, addons);
                if (str_fold_cmp(addons, name) == 0)
                        return false;
        }
        if (v->selected && strlen(v->selected) < BOOT_NAME_MAX) {
                entry_addons_dir(v->selected, addons);
                if (str_fold_cmp(addons, name) == 0)
                        return false;
        }
        return !boot_name_equal(uki, running->name);
}

static bool is_stray(const View *v, const EspEntry *running, const char *name)
{
        if (strncasecmp(name, "vmlinuz-", 8) != 0 && strncasecmp(name, "acl.efi", 7) != 0)
                return false;
        return strcasestr(name, ".efi.staged") || str_ends_fold(name, ".efi" RETIRED) ||
               is_orphan(v, running, name);
}

int sd_retirable(SdBoot *b, const View *v, const EspEntry *running, int spare, char ***ret_ukis,
                 char ***ret_strays, Why *why)
{
        _cleanup_(close_fdp) int fd = esp_dir(b->esp.fd, ESP_ENTRIES);
        _cleanup_(strv_freep) char **names = NULL, **ukis = NULL, **strays = NULL;
        unsigned os_index = running->parsed.managed ? running->parsed.os_index : 0;
        int r = fd < 0 ? fd : dir_list(fd, ".", &names);

        for (size_t i = 0; r >= 0 && i < v->entries.n; i++) {
                const EspEntry *e = v->entries.items + i;

                if (e != running && !boot_name_equal(e->name, running->name) &&
                    is_retirable(v, e, spare, os_index))
                        r = strv_add(&ukis, e->name);
        }
        for (char **n = names; r >= 0 && *n; n++)
                if (is_stray(v, running, *n))
                        r = strv_add(&strays, *n);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading %s on the ESP", ESP_ENTRIES);
        *ret_ukis = TAKE(ukis);
        *ret_strays = TAKE(strays);
        return 0;
}

static int refuse_protected(const View *v, const char *name, Why *why)
{
        const EspEntry *e = esp_entry_find(&v->entries, name);

        if (!e || !view_protects(v, e))
                return 0;
        return fail(why, -EBUSY, WHY_HOST, "entry-in-use",
                    "%s: it runs, or a boot default names it; it stays", e->name);
}

/* A one-shot that names what is about to go must not wait for a file that gets the same name. */
static int drop_oneshot(SdBoot *b, const View *v, const char *name, Why *why)
{
        int r = 0;

        if (v->oneshot && boot_name_equal(v->oneshot, name))
                r = efivar_delete(&b->vars, EFI_LOADER, "LoaderEntryOneShot");
        return r < 0 ? fail_errno(why, r, WHY_HOST, "removing the EFI variable LoaderEntryOneShot") : 0;
}

int sd_retire(Boot *boot, int spare_slot, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(view_done) View v = { 0 };
        _cleanup_(strv_freep) char **ukis = NULL, **strays = NULL;
        _cleanup_(close_fdp) int fd = -1;
        const EspEntry *running;
        int r;

        if ((r = view_load(b, &v, why)) < 0 || (r = view_running(&v, 1 - spare_slot, &running, why)) < 0 ||
            (r = sd_retirable(b, &v, running, spare_slot, &ukis, &strays, why)) < 0)
                return r;
        for (char **n = ukis; n && *n; n++)
                if ((r = refuse_protected(&v, *n, why)) < 0)
                        return r;
        fd = esp_dir(b->esp.fd, ESP_ENTRIES);
        r = fd < 0 ? fd : 0;
        for (char **n = ukis; n && r >= 0 && *n; n++) {
                if ((r = drop_oneshot(b, &v, *n, why)) < 0)
                        return r;
                r = sd_drop_entry(b, fd, *n);
        }
        for (char **n = strays; n && r >= 0 && *n; n++)
                r = esp_remove(fd, *n);
        if (r >= 0)
                r = sd_forget_staged(b, spare_slot);
        if (r >= 0)
                r = esp_sync(&b->esp);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "removing the spare slot's old boot files");
        /* From here to commit nothing makes these folders grow. */
        r = esp_make_room(&b->esp, ESP_ENTRIES, ROOM_ENTRIES, why);
        return r < 0 ? r : esp_make_room(&b->esp, "loader", ROOM_FILES, why);
}

int sd_condemn(Boot *boot, const char *entry, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(view_done) View v = { 0 };
        _cleanup_(close_fdp) int fd = -1;
        EntryName parsed;
        int r;

        if (entry_name_parse(entry, ".efi", &parsed) < 0)
                return fail(why, -EINVAL, WHY_HOST, "entry-name", "%s: not the name of a UKI", entry);
        if ((r = view_load(b, &v, why)) < 0 || (r = refuse_protected(&v, entry, why)) < 0 ||
            (r = drop_oneshot(b, &v, entry, why)) < 0)
                return r;
        fd = esp_dir(b->esp.fd, ESP_ENTRIES);
        r = fd < 0 ? fd : 0;
        if (r >= 0) {
                const EspEntry *e = esp_entry_find(&v.entries, entry);

                r = sd_drop_entry(b, fd, e ? e->name : entry);
        }
        /* what was unpublished before, and what waited for its commit */
        if (r >= 0)
                r = esp_remove(fd, ESP_STAGED);
        if (r >= 0)
                r = esp_remove(fd, ESP_STAGED_D);
        if (r >= 0 && parsed.slot >= 0)
                r = sd_forget_staged(b, parsed.slot);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "making the failed entry %s inert", entry) : 0;
}
