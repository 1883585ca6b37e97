/* SPDX-License-Identifier: MIT */

/* The way back, proved before the new slot is tried. What would make a failed trial final refuses; what only makes the return
 * slower or dependent on luck is named, and policy decides. */

#include "bootloader/sdboot.h"
#include "bootloader/uki.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>

static int note(char ***missing, const char *text)
{
        return strv_add(missing, text);
}

/* --- the loader --- */

static int check_loader(SdBoot *b, const View *v, char ***missing, Why *why)
{
        bool booted = v->has_loader_info || v->selected;

        if (!efivars_present(&b->vars))
                return fail(why, -EOPNOTSUPP, WHY_HOST, "no-efi-variables",
                            "one-shot boot: impossible without EFI variables, and there are none here");
        if (!booted && env_is_real(b->env))
                return fail(
                        why, -EOPNOTSUPP, WHY_HOST, "not-systemd-boot",
                        "one-shot boot: this system was not started by systemd-boot (LoaderInfo is not set)");
        if (!booted)
                return note(missing, "it is not known whether systemd-boot started this system");
        if (v->has_features && !(v->features & FEATURE_ENTRY_ONESHOT))
                return fail(why, -EOPNOTSUPP, WHY_HOST, "no-one-shot",
                            "one-shot boot: this boot loader does not have it (LoaderFeatures 0x%llx)",
                            (unsigned long long) v->features);
        return v->has_features
                       ? 0
                       : note(missing, "the boot loader does not say whether it supports one-shot entries");
}

static int check_boot_option(SdBoot *b, const EspEntry *running, char ***missing)
{
        _cleanup_(free_charp) char *dir = sd_loader_dir(running->slot >= 0 ? running->slot : 0,
                                                        running->parsed.os_index),
                                   *text = NULL;
        const char *because = "unknown";
        uint16_t number;
        int r = dir ? sd_boot_option(b, dir, false, &number, &because) : -ENOMEM;

        if (r != 0)
                return r < 0 && r != -ENOMEM ? note(missing, "the EFI boot entries cannot be read")
                                             : MIN(r, 0);
        text = str_printf("firmware may not come back to the boot loader when the new UKI does not start: %s",
                          because);
        return text ? note(missing, text) : -ENOMEM;
}

/* --- the old entry's files --- */

typedef struct Compare {
        SdBoot *b;
        const EspEntry *running;
        char ***missing;
        Why *why;
} Compare;

static int gone(const Compare *c, const char *path, const char *name)
{
        _cleanup_(free_charp) char *text = NULL;

        /* Ignition removes firstboot itself; an operator may take back what an operator had added. */
        if (addon_is_firstboot_by_name(name))
                return 0;
        if (!str_ends_fold(name, ".addon.efi") || addon_slot_by_name(name) >= 0)
                return fail(c->why, -ENOENT, WHY_HOST, "way-back",
                            "%s: part of the way back, and not on the ESP any more", path);
        text = str_printf("%s was there when this slot was committed and has been removed since", path);
        return text ? note(c->missing, text) : -ENOMEM;
}

/* The UKI is found by its present name: a counter may have gone since the record was made. */
static int compare_file(void *ctx, const char *path, const Json *value)
{
        const Compare *c = ctx;
        const char *want = json_str(value), *name = strrchr(path, '/');
        _cleanup_(free_charp) char *folder = name ? strndup(path, (size_t) (name - path)) : NULL;
        _cleanup_(close_fdp) int dir = -1;
        char hex[65];
        int r;

        if (!want || !folder)
                return name ? -ENOMEM : 0;
        name++;
        if (str_fold_cmp(folder, ESP_ENTRIES) == 0) {
                if (!boot_name_equal(name, c->running->name))
                        return fail(c->why, -EUCLEAN, WHY_HOST, "way-back",
                                    "%s: recorded as the way back, but %s runs", path, c->running->name);
                name = c->running->name;
        }
        dir = esp_dir(c->b->esp.fd, folder);
        r = dir < 0 ? dir : esp_file_digest(dir, name, hex, NULL);
        if (r == -ENOENT)
                return gone(c, path, name);
        if (r < 0)
                return fail_errno(c->why, r, WHY_HOST, "reading %s on the ESP", path);
        if (str_fold_cmp(hex, want) != 0)
                return fail(c->why, -EBADMSG, WHY_HOST, "way-back",
                            "%s: part of the way back, and not what was committed (SHA-256 %.16s..., "
                            "recorded %.16s...)",
                            path, hex, want);
        return 0;
}

/* --- coming back from a panic, a dead initrd, a hang --- */

static int add_new_cmdline(SdBoot *b, Str *out)
{
        _cleanup_(close_fdp) int entries = esp_dir(b->esp.fd, ESP_ENTRIES), dir = -1, uki = -1;
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };

        uki = entries < 0 ? entries : esp_open_file(entries, ESP_STAGED);
        if (uki < 0 || pe_texts_fd(uki, ESP_STAGED, WHY_HOST, &pe, NULL) < 0)
                return 0;
        str_add(out, pe.cmdline ? pe.cmdline : "");
        dir = esp_dir(entries, ESP_STAGED_D);
        if (dir >= 0 && dir_list(dir, ".", &names) < 0)
                return -ENOMEM;
        for (char **n = names; n && *n; n++) {
                _cleanup_(pe_summary_done) PeSummary addon = { 0 };
                _cleanup_(close_fdp) int fd = esp_open_file(dir, *n);

                if (fd >= 0 && pe_texts_fd(fd, *n, WHY_HOST, &addon, NULL) >= 0 && addon.cmdline)
                        str_addf(out, " %s", addon.cmdline);
        }
        return 1;
}

static int check_new_cmdline(SdBoot *b, char ***missing)
{
        _cleanup_(str_done) Str text = STR_NULL;
        _cleanup_(free_charp) char *cmdline = NULL;
        CmdlineArgs args;
        int r = add_new_cmdline(b, &text);

        if (r <= 0)
                return r; /* nothing is staged: an entry that was committed once is armed again */
        cmdline = str_take(&text);
        r = cmdline ? cmdline_parse(cmdline, &args) : -ENOMEM;
        if (r >= 0 && !args.panic_reboots)
                r = note(missing, "the new command line does not reboot after a kernel panic (panic=)");
        if (r >= 0 && !args.initrd_reboots)
                r = note(missing,
                         "the new command line does not reboot when the initrd fails (rd.emergency=reboot)");
        return r < 0 ? r : 0;
}

static int check_running(SdBoot *b, char ***missing)
{
        _cleanup_(free_charp) char *panic = NULL, *watchdog = NULL;
        int r = 0;

        if (env_read_line(b->env, "/proc/sys/kernel/panic", &panic) < 0)
                r = note(missing, "it is not known whether the running kernel reboots after a panic");
        else if (streq(panic, "0"))
                r = note(missing, "the running kernel does not reboot after a panic (kernel.panic = 0)");
        if (r >= 0 && (env_read_line(b->env, "/sys/class/watchdog/watchdog0/state", &watchdog) < 0 ||
                       !streq(watchdog, "active")))
                r = note(missing, "no watchdog is held: a hang stays a hang");
        return r;
}

/* --- NVRAM --- */

/* The same value once more: what fails here would have failed between publishing and arming. */
static int check_nvram(SdBoot *b, const View *v, const EspEntry *running, Why *why)
{
        int r = efivar_set_text(&b->vars, EFI_LOADER, "LoaderEntryDefault",
                                v->variable ? v->variable : view_id(v, running), true);

        if (r >= 0)
                return 0;
        (void) fail_errno(why, r, WHY_HOST, "EFI variables cannot be written");
        return fail_hint(why, r,
                         "a full NVRAM is freed by removing old boot entries or crash dumps in efivarfs");
}

int sd_prove_way_back(Boot *boot, int running_slot, const Json *files, char ***ret_missing, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(strv_freep) char **missing = NULL;
        _cleanup_(view_done) View v = { 0 };
        const EspEntry *running;
        Compare compare = { .b = b, .missing = &missing, .why = why };
        int r;

        if ((r = view_load(b, &v, why)) < 0 || (r = view_running(&v, running_slot, &running, why)) < 0)
                return r;
        compare.running = running;
        if ((r = check_loader(b, &v, &missing, why)) < 0 ||
            (files && (r = json_each(files, compare_file, &compare)) < 0) ||
            (!files &&
             (r = note(&missing, "what the way back consisted of when it was committed is not recorded")) <
                     0) ||
            (r = check_boot_option(b, running, &missing)) < 0 || (r = check_new_cmdline(b, &missing)) < 0 ||
            (r = check_running(b, &missing)) < 0 || (r = check_nvram(b, &v, running, why)) < 0)
                return fail_errno(why, r, WHY_HOST, "proving the way back");
        for (char **m = missing; m && *m; m++)
                if (strv_add(ret_missing, *m) < 0)
                        return -ENOMEM;
        return 0;
}
