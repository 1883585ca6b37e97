/* SPDX-License-Identifier: MIT */

/* Opens the ESP and answers what is there; the door of the room. The verbs that change something are in their own files, see
 * sdboot.h. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* --- state --- */

void boot_state_done(BootState *state)
{
        free(state->entries);
        *state = (BootState){ 0 };
}

const BootEntry *boot_entry_find(const BootState *state, const char *name)
{
        for (size_t i = 0; i < state->n_entries; i++)
                if (boot_name_equal(state->entries[i].name, name))
                        return state->entries + i;
        return NULL;
}

static void put_text(char *out, size_t size, const char *text)
{
        (void) snprintf(out, size, "%s", text ? text : "");
}

static void fill_entry(const View *v, const EspEntry *e, BootEntry *ret)
{
        put_text(ret->name, sizeof(ret->name), e->name);
        put_text(ret->version, sizeof(ret->version), e->version_id);
        memcpy(ret->roothash, e->roothash, sizeof(ret->roothash));
        ret->slot = e->slot;
        ret->managed = e->parsed.managed;
        ret->index = e->parsed.index;
        ret->os_index = e->parsed.os_index;
        ret->is_default = e == v->fallback;
        ret->is_selected = v->selected && boot_name_equal(v->selected, e->name);
        ret->is_oneshot = v->oneshot && boot_name_equal(v->oneshot, e->name);
}

static bool has_staged(const SdBoot *b)
{
        _cleanup_(close_fdp) int fd = esp_dir(b->esp.fd, ESP_ENTRIES);
        _cleanup_(free_charp) char *name = NULL;

        return fd >= 0 && esp_find(fd, ESP_STAGED, &name) > 0;
}

static int sd_state(Boot *boot, BootState *ret, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(view_done) View v = { 0 };
        BootState s = { 0 };
        uint8_t secure = 0;
        int r;

        r = view_load(b, &v, why);
        if (r < 0)
                return r;
        s.entries = calloc(v.entries.n + 1, sizeof(*s.entries));
        if (!s.entries)
                return -ENOMEM;
        for (size_t i = 0; i < v.entries.n; i++)
                fill_entry(&v, v.entries.items + i, s.entries + i);
        s.n_entries = v.entries.n;
        put_text(s.default_name, sizeof(s.default_name), v.fallback ? v.fallback->name : NULL);
        put_text(s.default_by, sizeof(s.default_by), v.fallback ? v.fallback_by : NULL);
        s.default_is_named = v.fallback && !streq0(v.fallback_by, "sort order");
        put_text(s.selected, sizeof(s.selected), v.selected);
        put_text(s.oneshot, sizeof(s.oneshot), v.oneshot);
        s.has_loader_info = v.has_loader_info;
        s.has_staged = has_staged(b);
        s.features = v.features;
        s.secure_boot = efivar_get_u8(&b->vars, EFI_GLOBAL, "SecureBoot", &secure) >= 0 && secure == 1;
        *ret = s;
        return 0;
}

/* --- names and digests --- */

/* Only the other slots' names count, so that the answer stays the same when the entry of that name is there already. */
static int sd_next_name(Boot *boot, int target_slot, char ret[BOOT_NAME_MAX], Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(view_done) View v = { 0 };
        unsigned highest = ENTRY_INDEX_FIRST - 1, os_index = 0;
        const EspEntry *running;
        int r;

        r = view_load(b, &v, why);
        if (r < 0)
                return r;
        if (view_running(&v, 1 - target_slot, &running, NULL) >= 0 && running->parsed.managed)
                os_index = running->parsed.os_index;
        for (size_t i = 0; i < v.entries.n; i++) {
                const EntryName *n = &v.entries.items[i].parsed;

                if (n->managed && (n->slot != target_slot || n->os_index != os_index))
                        highest = MAX(highest, n->index);
        }
        r = entry_name_format(highest + 1, target_slot, os_index, ret);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "naming the new boot entry") : 0;
}

static int add_digest(Json *out, int dir, const char *folder, const char *name, char hex[65])
{
        _cleanup_(free_charp) char *path = str_printf("%s/%s", folder, name);
        int r = path ? esp_file_digest(dir, name, hex, NULL) : -ENOMEM;

        if (r >= 0)
                json_set_str(out, path, hex);
        return r == -EISDIR ? 0 : r;
}

static int digest_addons(int entries, const char *entry, Json *out)
{
        _cleanup_(free_charp) char *found = NULL, *folder = NULL;
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(close_fdp) int dir = -1;
        char addons[ENTRY_ADDONS_MAX], hex[65];
        int r;

        entry_addons_dir(entry, addons);
        r = esp_find(entries, addons, &found);
        if (r <= 0)
                return r;
        folder = str_printf(ESP_ENTRIES "/%s", found);
        dir = dir_open(entries, found);
        r = !folder ? -ENOMEM : dir < 0 ? dir : dir_list(dir, ".", &names);
        for (char **n = names; r >= 0 && *n; n++)
                r = add_digest(out, dir, folder, *n, hex);
        return r;
}

static int sd_digests(Boot *boot, const char *entry, Json **ret, char ret_uki_sha256[65], Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(close_fdp) int entries = esp_dir(b->esp.fd, ESP_ENTRIES);
        _cleanup_(json_unrefp) Json *out = json_new_object();
        _cleanup_(view_done) View v = { 0 };
        const EspEntry *e;
        char hex[65];
        int r;

        r = view_load(b, &v, why);
        if (r < 0)
                return r;
        e = esp_entry_find(&v.entries, entry);
        if (!e || e->type1)
                return fail(why, -ENOENT, WHY_HOST, "no-entry", "%s: not a UKI on the ESP", entry);
        r = !out ? -ENOMEM : entries < 0 ? entries : add_digest(out, entries, ESP_ENTRIES, e->name, hex);
        if (r >= 0)
                r = digest_addons(entries, e->name, out);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading the boot files of %s", entry);
        if (ret_uki_sha256)
                memcpy(ret_uki_sha256, hex, sizeof(hex));
        *ret = TAKE(out);
        return 0;
}

/* --- life cycle --- */

static const BootOps sdboot_ops = {
        .name = "sdboot",
        .state = sd_state,
        .prove_default = sd_prove_default,
        .plan = sd_plan,
        .retire = sd_retire,
        .file_begin = sd_file_begin,
        .file_write = sd_file_write,
        .file_end = sd_file_end,
        .copy_carried = sd_copy_carried,
        .check = sd_check,
        .open_file = sd_open_file,
        .way_back = sd_way_back,
        .write_intent = sd_write_intent,
        .remove_intent = sd_remove_intent,
        .read_intent = sd_read_intent,
        .next_name = sd_next_name,
        .publish = sd_publish,
        .unpublish = sd_unpublish,
        .arm = sd_arm,
        .disarm = sd_disarm,
        .commit = sd_commit,
        .condemn = sd_condemn,
        .digests = sd_digests,
        .contents = sd_contents,
};

/* Another disk with an ESP of its own may be mounted there. Where udev keeps no links, nobody knows. */
static int check_partition(SdBoot *b, Why *why)
{
        _cleanup_(free_charp) char *partuuid = NULL, *path = NULL;
        _cleanup_(close_fdp) int fd = -1;
        struct stat device, esp;

        if (!env_is_real(b->env) ||
            efivar_get_text(&b->vars, EFI_LOADER, "LoaderDevicePartUUID", &partuuid) < 0)
                return 0;
        for (char *p = partuuid; *p; p++)
                *p = *p >= 'A' && *p <= 'Z' ? (char) (*p - 'A' + 'a') : *p;
        path = str_printf("/dev/disk/by-partuuid/%s", partuuid);
        if (!path)
                return -ENOMEM;
        fd = env_open_path(b->env, path, O_PATH, 0);
        if (fd < 0 || fstat(fd, &device) < 0 || fstat(b->esp.fd, &esp) < 0 || !S_ISBLK(device.st_mode))
                return 0;
        if (device.st_rdev == esp.st_dev)
                return 0;
        (void) fail(why, -ENXIO, WHY_HOST, "wrong-esp",
                    "ESP %s: not the partition that the boot loader came from (%s)", b->esp_path, partuuid);
        return fail_hint(why, -ENXIO, "mount that partition there");
}

int sd_open(SdBoot *b, const Env *env, const char *esp, const BootSlotIds ids[2], Why *why)
{
        int r;

        b->boot.ops = &sdboot_ops;
        b->env = env;
        b->esp = (Esp){ .fd = -1 };
        b->vars = EFIVARS_NULL;
        b->target = -1;
        b->file = (SdFile){ .dir_fd = -1, .fd = -1 };
        memcpy(b->ids, ids, sizeof(b->ids));
        b->esp_path = strdup(esp);
        if (!b->esp_path)
                return -ENOMEM;
        r = esp_open(env, b->esp_path, &b->esp, why);
        if (r < 0)
                return r;
        r = efivars_open(env, &b->vars);
        if (r < 0 && r != -ENOENT)
                return fail_errno(why, r, WHY_HOST, "EFI variables");
        return check_partition(b, why);
}

Boot *boot_free(Boot *boot)
{
        SdBoot *b;

        if (!boot)
                return NULL;
        b = sd(boot);
        sd_file_done(&b->file);
        efivars_done(&b->vars);
        esp_done(&b->esp);
        free(b->esp_path);
        free(b);
        return NULL;
}

void boot_freep(Boot **boot)
{
        *boot = boot_free(*boot);
}
