/* SPDX-License-Identifier: MIT */

/* The way back, guarantee by guarantee. What would make a failed trial final is an error before arming; what only makes the
 * return slower or dependent on luck is named, and policy decides. Each check adds its own guarantee, or fails with the
 * sentence: then the trial must not begin, and somebody who only looks reads "no". */

#include "bootloader/sdboot.h"
#include "bootloader/uki.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define NVRAM_NEED (2u * KIB) /* LoaderEntryOneShot, BootNext, BootOrder and a load option: under 600 bytes */

typedef struct Proof {
        SdBoot *b;
        const View *view;
        const EspEntry *running;
        const Json *files;
        const char *target;
        bool prove;
        Guarantees *list;
} Proof;

#define YES(p, name, ...)     guarantee_add((p)->list, (name), GUARANTEE_YES, __VA_ARGS__)
#define NO(p, name, ...)      guarantee_add((p)->list, (name), GUARANTEE_NO, __VA_ARGS__)
#define UNKNOWN(p, name, ...) guarantee_add((p)->list, (name), GUARANTEE_UNKNOWN, __VA_ARGS__)

/* --- the loader --- */

static int check_default(const Proof *p, Why *why _unused_)
{
        const View *v = p->view;

        if (!v->fallback)
                NO(p, "default", "the boot loader has no entry to boot by default");
        else if (v->fallback != p->running)
                NO(p, "default", "the default entry is %s (by %s), and %s runs", v->fallback->name,
                   v->fallback_by, p->running->name);
        else if (!view_names(v->variable, p->running) && !view_names(v->conf_default, p->running))
                NO(p, "default", "nothing names %s as the default: it boots because it sorts first",
                   p->running->name);
        else
                YES(p, "default", "%s boots by default (%s)", p->running->name, v->fallback_by);
        return 0;
}

static int check_loader(const Proof *p, Why *why)
{
        const View *v = p->view;
        bool booted = v->has_loader_info || v->selected;

        if (!efivars_present(&p->b->vars))
                return fail(why, -EOPNOTSUPP, WHY_HOST, "no-efi-variables",
                            "one-shot boot: impossible without EFI variables, and there are none here");
        if (!booted && env_is_real(p->b->env))
                return fail(
                        why, -EOPNOTSUPP, WHY_HOST, "not-systemd-boot",
                        "one-shot boot: this system was not started by systemd-boot (LoaderInfo is not set)");
        if (!booted)
                UNKNOWN(p, "one-shot", "it is not known whether systemd-boot started this system");
        else if (!v->has_features)
                UNKNOWN(p, "one-shot", "the boot loader does not say whether it supports one-shot entries");
        else if (!(v->features & FEATURE_ENTRY_ONESHOT))
                return fail(why, -EOPNOTSUPP, WHY_HOST, "no-one-shot",
                            "one-shot boot: this boot loader does not have it (LoaderFeatures 0x%llx)",
                            (unsigned long long) v->features);
        else
                YES(p, "one-shot", "the boot loader supports one-shot entries");
        return 0;
}

static int check_boot_option(const Proof *p, Why *why _unused_)
{
        const EspEntry *running = p->running;
        _cleanup_(free_charp) char *dir =
                sd_loader_dir(running->slot >= 0 ? running->slot : 0, running->parsed.os_index);
        const char *because = "unknown";
        uint16_t number;
        int r = dir ? sd_boot_option(p->b, dir, false, &number, &because) : -ENOMEM;

        if (r == -ENOMEM)
                return r;
        if (r < 0)
                UNKNOWN(p, "firmware-return", "the EFI boot entries cannot be read");
        else if (r == 0)
                NO(p, "firmware-return",
                   "firmware may not come back to the boot loader when the new UKI does not start: %s",
                   because);
        else
                YES(p, "firmware-return",
                    "firmware starts the boot loader again (Boot%04X) when the new UKI does not start",
                    number);
        return 0;
}

/* --- the old entry's files --- */

typedef struct Compare {
        const Proof *proof;
        char gone[128]; /* the first file that an operator took back; "" none */
        Why *why;
} Compare;

static int gone(Compare *c, const char *path, const char *name)
{
        /* Ignition removes firstboot itself; an operator may take back what an operator had added. */
        if (addon_is_firstboot_by_name(name))
                return 0;
        if (!str_ends_fold(name, ".addon.efi") || addon_slot_by_name(name) >= 0)
                return fail(c->why, -ENOENT, WHY_HOST, "way-back",
                            "%s: part of the way back, and not on the ESP any more", path);
        if (!c->gone[0])
                (void) snprintf(c->gone, sizeof(c->gone), "%s", path);
        return 0;
}

/* The UKI is found by its present name: a counter may have gone since the record was made. */
static int compare_file(void *ctx, const char *path, const Json *value)
{
        Compare *c = ctx;
        const EspEntry *running = c->proof->running;
        const char *want = json_str(value), *name = strrchr(path, '/');
        _cleanup_(free_charp) char *folder = name ? strndup(path, (size_t) (name - path)) : NULL;
        _cleanup_(close_fdp) int dir = -1;
        char hex[65];
        int r;

        if (!want || !folder)
                return name ? -ENOMEM : 0;
        name++;
        if (str_fold_cmp(folder, ESP_ENTRIES) == 0) {
                if (!boot_name_equal(name, running->name))
                        return fail(c->why, -EUCLEAN, WHY_HOST, "way-back",
                                    "%s: recorded as the way back, but %s runs", path, running->name);
                name = running->name;
        }
        dir = esp_dir(c->proof->b->esp.fd, folder);
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

static int check_files(const Proof *p, Why *why)
{
        Compare c = { .proof = p, .why = why };
        int r;

        if (!p->files) {
                UNKNOWN(p, "old-entry",
                        "what the way back consisted of when it was committed is not recorded");
                return 0;
        }
        r = json_each(p->files, compare_file, &c);
        if (r < 0)
                return r;
        if (c.gone[0])
                NO(p, "old-entry", "%s was there when this slot was committed and has been removed since",
                   c.gone);
        else
                YES(p, "old-entry", "%s and its addons are what was committed", p->running->name);
        return 0;
}

/* --- coming back from a panic and a dead initrd: the new command line --- */

/* In the order of the stub: the UKI's own, global addons, the entry's addons. */
static int add_globals(const Proof *p, Str *out)
{
        const EspEntries *e = &p->view->entries;

        for (size_t i = 0; i < e->n_globals; i++)
                str_addf(out, " %s", e->globals[i].cmdline ? e->globals[i].cmdline : "");
        return 1;
}

static int add_staged(const Proof *p, Str *out)
{
        _cleanup_(close_fdp) int entries = esp_dir(p->b->esp.fd, ESP_ENTRIES), dir = -1, uki = -1;
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };

        uki = entries < 0 ? entries : esp_open_file(entries, ESP_STAGED);
        if (uki < 0 || pe_texts_fd(uki, ESP_STAGED, WHY_HOST, &pe, NULL) < 0)
                return 0;
        str_add(out, pe.cmdline ? pe.cmdline : "");
        (void) add_globals(p, out);
        dir = esp_dir(entries, ESP_STAGED_D);
        if (dir >= 0 && dir_list(dir, ".", &names) < 0)
                return -ENOMEM;
        for (char **n = names; n && *n; n++) {
                _cleanup_(pe_summary_done) PeSummary addon = { 0 };
                _cleanup_(close_fdp) int fd = -1;

                fd = str_ends_fold(*n, ".addon.efi") ? esp_open_file(dir, *n) : -ENOENT;
                if (fd >= 0 && pe_texts_fd(fd, *n, WHY_HOST, &addon, NULL) >= 0 && addon.cmdline)
                        str_addf(out, " %s", addon.cmdline);
        }
        return 1;
}

static int add_entry(const Proof *p, Str *out)
{
        const EspEntry *e = esp_entry_find(&p->view->entries, p->target);
        _cleanup_(esp_live_files_done) LiveFiles files = { 0 };
        int r;

        if (!e || !e->readable)
                return 0;
        r = esp_live_files(&p->b->esp, e->name, &files, NULL);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        str_add(out, e->cmdline ? e->cmdline : "");
        (void) add_globals(p, out);
        for (size_t i = 0; i < files.n; i++)
                if (files.items[i].cmdline)
                        str_addf(out, " %s", files.items[i].cmdline);
        return 1;
}

static int check_new_cmdline(const Proof *p, Why *why _unused_)
{
        _cleanup_(str_done) Str text = STR_NULL;
        _cleanup_(free_charp) char *cmdline = NULL;
        const char *missing = NULL;
        CmdlineArgs args;
        int r = p->target ? add_entry(p, &text) : add_staged(p, &text);

        if (r < 0)
                return r;
        if (r == 0) {
                UNKNOWN(p, "new-panic", "there is no new entry yet whose command line could be judged");
                UNKNOWN(p, "new-initrd", "there is no new entry yet whose command line could be judged");
                return 0;
        }
        cmdline = str_take(&text);
        r = cmdline ? cmdline_parse(cmdline, &args) : -ENOMEM;
        if (r < 0)
                return r;
        if (args.panic_reboots)
                YES(p, "new-panic", "the new command line reboots after a kernel panic (panic=)");
        else
                NO(p, "new-panic", "the new command line does not reboot after a kernel panic (panic=)");
        if (cmdline_initrd_reboots(&args, &missing))
                YES(p, "new-initrd", "the new command line reboots when the initrd fails%s",
                    args.watchdog ? ", and holds the watchdog from there on" : "");
        else
                NO(p, "new-initrd", "the new command line does not reboot when the initrd fails: it needs %s",
                   missing);
        return 0;
}

/* --- NVRAM --- */

static const char nvram_hint[] =
        "a full NVRAM is freed by removing old boot entries, or crash dumps from /sys/fs/pstore";

static int look_nvram(const Proof *p)
{
        uint64_t room = UINT64_MAX;
        int r = efivars_room(&p->b->vars, &room);

        if (r < 0)
                NO(p, "nvram", "EFI variables cannot be written: %s", strerror(-r));
        else if (room == UINT64_MAX && p->b->vars.kernel)
                UNKNOWN(p, "nvram",
                        "EFI variables can be written; how much room is left shows when finalize tries");
        else if (room < NVRAM_NEED)
                NO(p, "nvram", "EFI variables have only %" PRIu64 " bytes left; %s", room, nvram_hint);
        else
                YES(p, "nvram", "EFI variables can be written");
        return 0;
}

/* The same value once more: what fails here would have failed between publishing and arming. */
static int check_nvram(const Proof *p, Why *why)
{
        const View *v = p->view;
        int r;

        if (!p->prove)
                return look_nvram(p);
        r = efivar_set_text(&p->b->vars, EFI_LOADER, "LoaderEntryDefault",
                            v->variable ? v->variable : view_id(v, p->running), true);
        if (r >= 0) {
                YES(p, "nvram", "the default entry was written to NVRAM once more");
                return 0;
        }
        (void) fail_errno(why, r, WHY_HOST, "EFI variables cannot be written");
        return fail_hint(why, r, "%s", nvram_hint);
}

/* --- all of it --- */

/* In the order of the list in bootloader.h; NVRAM last, because that check writes. */
static const struct {
        const char *name;
        int (*check)(const Proof *p, Why *why);
} checks[] = {
        { "default", check_default },       { "old-entry", check_files },
        { "one-shot", check_loader },       { "firmware-return", check_boot_option },
        { "new-panic", check_new_cmdline }, { "nvram", check_nvram },
};

static int run_checks(const Proof *p, Why *why)
{
        for (size_t i = 0; i < ELEMENTSOF(checks); i++) {
                Why no = { 0 };
                int r = checks[i].check(p, p->prove ? why : &no);

                if (r == -ENOMEM || (r < 0 && p->prove))
                        return fail_errno(why, r, WHY_HOST, "proving the way back");
                if (r < 0)
                        NO(p, checks[i].name, "%s", no.text);
        }
        return 0;
}

int sd_way_back(Boot *boot, int running_slot, const Json *files, const char *target, bool prove,
                Guarantees *ret, Why *why)
{
        _cleanup_(view_done) View v = { 0 };
        Proof p = {
                .b = sd(boot), .view = &v, .files = files, .target = target, .prove = prove, .list = ret
        };
        Why no = { 0 };
        int r;

        if ((r = view_load(p.b, &v, prove ? why : &no)) >= 0)
                r = view_running(&v, running_slot, &p.running, prove ? why : &no);
        if (r == -ENOMEM || (r < 0 && prove))
                return fail_errno(why, r, WHY_HOST, "proving the way back");
        if (r < 0) {
                for (size_t i = 0; i < ELEMENTSOF(checks); i++)
                        UNKNOWN(&p, checks[i].name, "%s", no.text);
                return 0;
        }
        return run_checks(&p, why);
}
