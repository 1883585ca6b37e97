/* SPDX-License-Identifier: MIT */

/* check(): what lies on the ESP now, staged or published, against the plan: every file with its digest, nothing else beside
 * them, and the command line that systemd-stub would put together from these very files. */

#include "bootloader/sdboot.h"
#include "bootloader/uki.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>

typedef struct Check {
        SdBoot *b;
        int slot;
        const BootPlan *plan;
        const char *uki; /* file name */
        char addons[ENTRY_ADDONS_MAX];
        int entries_fd, addons_fd, templates_fd, loaders_fd;
        uint16_t machine; /* of the running UKI; 0 unknown */
        PeSummary pe;     /* of the new one */
        Why *why;
} Check;

static void check_done(Check *c)
{
        close_fdp(&c->entries_fd);
        close_fdp(&c->addons_fd);
        close_fdp(&c->templates_fd);
        close_fdp(&c->loaders_fd);
        pe_summary_done(&c->pe);
}

static bool is_live(const BootFile *f)
{
        return f->kind == BOOT_ADDON || f->kind == BOOT_CRED;
}

static int folder_of(const Check *c, BootKind kind)
{
        switch (kind) {
        case BOOT_UKI:
                return c->entries_fd;
        case BOOT_ADDON:
        case BOOT_CRED:
                return c->addons_fd;
        case BOOT_ADDON_TEMPLATE:
                return c->templates_fd;
        default:
                return c->loaders_fd;
        }
}

static int check_file(const Check *c, const BootFile *f)
{
        const char *name = f->kind == BOOT_UKI ? c->uki : f->name;
        int dir = folder_of(c, f->kind), r;
        uint64_t size = 0;
        char hex[65];

        r = dir < 0 ? dir : esp_file_digest(dir, name, hex, &size);
        if (r == -ENOENT || r == -EISDIR)
                return fail(c->why, -ENOENT, WHY_TRUST, "staged-missing",
                            "%s: it was staged but is not on the ESP", name);
        if (r < 0)
                return fail_errno(c->why, r, WHY_HOST, "reading %s on the ESP", name);
        if (size != f->size || !streq(hex, f->sha256))
                return fail(c->why, -EBADMSG, WHY_TRUST, "staged-changed",
                            "%s: on the ESP it has %llu bytes and SHA-256 %.16s..., staged were %llu and "
                            "%.16s...",
                            name, (unsigned long long) size, hex, (unsigned long long) f->size, f->sha256);
        return 0;
}

/* Whatever lies in the folder takes part in the boot. */
static int check_nothing_else(const Check *c)
{
        _cleanup_(strv_freep) char **names = NULL;
        int r = c->addons_fd < 0 ? c->addons_fd : dir_list(c->addons_fd, ".", &names);

        if (r == -ENOENT)
                return fail(c->why, r, WHY_TRUST, "staged-missing", "%s: it was staged but is not on the ESP",
                            c->addons);
        if (r < 0)
                return fail_errno(c->why, r, WHY_HOST, "reading %s on the ESP", c->addons);
        for (char **n = names; *n; n++) {
                bool planned = false;

                for (size_t i = 0; i < c->plan->n_files; i++)
                        planned = planned || (is_live(c->plan->files + i) &&
                                              str_fold_cmp(c->plan->files[i].name, *n) == 0);
                if (!planned)
                        return fail(c->why, -EBADMSG, WHY_TRUST, "stray-file",
                                    "%s/%s: nobody has staged this file", c->addons, *n);
        }
        return 0;
}

static int read_pe(const Check *c, int dir, const char *name, PeSummary *ret)
{
        _cleanup_(close_fdp) int fd = dir < 0 ? dir : esp_open_file(dir, name);

        if (fd < 0)
                return fail_errno(c->why, fd, WHY_HOST, "reading %s on the ESP", name);
        return pe_texts_fd(fd, name, WHY_TRUST, ret, c->why);
}

/* A profile is chosen at boot, and its arguments replace those of the base: none may lead elsewhere. */
static int check_uki(const Check *c)
{
        CmdlineArgs profiles;
        int r;

        if (!c->pe.has_linux || !c->pe.has_osrel)
                return fail(c->why, -EBADMSG, WHY_TRUST, "not-a-uki",
                            "%s: it has no %s section; the loader would not list it", c->uki,
                            c->pe.has_linux ? ".osrel" : ".linux");
        if (c->machine != 0 && c->pe.machine != c->machine)
                return fail(c->why, -ENOEXEC, WHY_TRUST, "machine",
                            "%s: made for machine type 0x%x, this one is 0x%x", c->uki, c->pe.machine,
                            c->machine);
        r = cmdline_parse(c->pe.profile_cmdlines, &profiles);
        if (r < 0)
                return r;
        if (profiles.n_slot + profiles.n_diverting > 0 || profiles.first_boot)
                return fail(c->why, -EBADMSG, WHY_TRUST, "stray-verity",
                            "%s: one of its profiles has verity arguments", c->uki);
        return 0;
}

/* The stub leaves out an addon that was made for another kernel; without the slot's the machine would not come back. */
static int check_addon(const Check *c, const char *name, const PeSummary *pe, bool slot)
{
        if (slot && pe->uname && c->pe.uname && !streq(pe->uname, c->pe.uname))
                return fail(c->why, -EBADMSG, WHY_TRUST, "slot-addon",
                            "%s: made for kernel %s, the UKI has %s", name, pe->uname, c->pe.uname);
        return 0;
}

static int check_texts(Check *c, const char *roothash, PeSummary *addons, CmdlinePart *parts)
{
        SlotExpect expect = { c->slot, roothash, c->b->ids, -1 };
        GlobalAddon *globals = NULL;
        size_t n = 0, n_globals = 0;
        int r;

        parts[n++] = (CmdlinePart){ c->uki, c->pe.cmdline, PART_UKI };
        for (size_t i = 0; i < c->plan->n_files; i++) {
                const BootFile *f = c->plan->files + i;
                bool slot = f->name && addon_slot_by_name(f->name) >= 0;

                if (f->kind != BOOT_ADDON)
                        continue;
                if ((r = read_pe(c, c->addons_fd, f->name, addons + i)) < 0 ||
                    (r = check_addon(c, f->name, addons + i, slot)) < 0)
                        return r;
                parts[n++] = (CmdlinePart){ f->name, addons[i].cmdline, slot ? PART_SLOT : PART_ADDON };
        }
        r = esp_globals(&c->b->esp, &globals, &n_globals, c->why);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_globals; i++)
                parts[n++] = (CmdlinePart){ globals[i].name, globals[i].cmdline, PART_GLOBAL };
        r = cmdline_check(parts, n, &expect, c->why);
        esp_globals_done(globals, n_globals);
        return r;
}

static int check_cmdline(Check *c, const char *roothash)
{
        PeSummary *addons = calloc(c->plan->n_files + 1, sizeof(*addons));
        CmdlinePart *parts = calloc(c->plan->n_files + 1 + ESP_ADDONS_MAX, sizeof(*parts));
        int r = addons && parts ? check_texts(c, roothash, addons, parts) : -ENOMEM;

        for (size_t i = 0; addons && i < c->plan->n_files; i++)
                pe_summary_done(addons + i);
        free(addons);
        free(parts);
        return r;
}

static int open_folders(Check *c, unsigned os_index)
{
        _cleanup_(free_charp) char *staged = sd_staged_dir(c->slot),
                                   *loaders = sd_loader_dir(c->slot, os_index),
                                   *templates = staged ? str_printf("%s/templates", staged) : NULL;

        if (!loaders || !templates)
                return -ENOMEM;
        c->entries_fd = esp_dir(c->b->esp.fd, ESP_ENTRIES);
        c->addons_fd = c->entries_fd < 0 ? c->entries_fd : esp_dir(c->entries_fd, c->addons);
        c->templates_fd = esp_dir(c->b->esp.fd, templates);
        c->loaders_fd = esp_dir(c->b->esp.fd, loaders);
        return 0;
}

static int look_at_running(Check *c, unsigned *ret_os_index)
{
        _cleanup_(view_done) View v = { 0 };
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        _cleanup_(close_fdp) int dir = -1, fd = -1;
        const EspEntry *running;
        int r;

        if ((r = view_load(c->b, &v, c->why)) < 0 ||
            (r = view_running(&v, 1 - c->slot, &running, c->why)) < 0)
                return r;
        *ret_os_index = running->parsed.os_index;
        dir = esp_dir(c->b->esp.fd, ESP_ENTRIES);
        fd = dir < 0 || running->type1 ? -1 : esp_open_file(dir, running->name);
        if (fd >= 0 && pe_texts_fd(fd, running->name, WHY_HOST, &pe, NULL) >= 0)
                c->machine = pe.machine;
        return 0;
}

static int check_all(Check *c, const char *roothash)
{
        unsigned os_index = 0;
        int r;

        if ((r = look_at_running(c, &os_index)) < 0 || (r = open_folders(c, os_index)) < 0)
                return r;
        for (size_t i = 0; i < c->plan->n_files; i++)
                if ((r = check_file(c, c->plan->files + i)) < 0)
                        return r;
        if ((r = check_nothing_else(c)) < 0 || (r = read_pe(c, c->entries_fd, c->uki, &c->pe)) < 0 ||
            (r = check_uki(c)) < 0)
                return r;
        return check_cmdline(c, roothash);
}

int sd_check(Boot *boot, int target_slot, const char *entry, const BootPlan *plan, const char *roothash,
             Why *why)
{
        _cleanup_(check_done) Check c = {
                .b = sd(boot),
                .slot = target_slot,
                .plan = plan,
                .uki = entry ? entry : ESP_STAGED,
                .addons = ESP_STAGED_D,
                .entries_fd = -1,
                .addons_fd = -1,
                .templates_fd = -1,
                .loaders_fd = -1,
                .why = why,
        };

        if (entry)
                entry_addons_dir(entry, c.addons);
        return check_all(&c, roothash);
}

int sd_open_file(Boot *boot, const char *entry, BootKind kind, const char *name, Why *why)
{
        const char *uki = entry ? entry : ESP_STAGED;
        _cleanup_(close_fdp) int entries = esp_dir(sd(boot)->esp.fd, ESP_ENTRIES), addons = -1;
        char folder[ENTRY_ADDONS_MAX];
        int fd;

        if (entries < 0)
                return fail_errno(why, entries, WHY_HOST, "%s on the ESP", ESP_ENTRIES);
        if (kind == BOOT_UKI) {
                fd = esp_open_file(entries, uki);
                name = uki;
        } else if (kind == BOOT_LOADER || kind == BOOT_SHIM) {
                addons = esp_dir(sd(boot)->esp.fd, FALLBACK_DIR);
                fd = addons < 0 ? addons : esp_open_file(addons, name);
        } else {
                if (entry)
                        entry_addons_dir(entry, folder);
                addons = esp_dir(entries, entry ? folder : ESP_STAGED_D);
                fd = addons < 0 ? addons : esp_open_file(addons, name);
        }
        return fd < 0 ? fail_errno(why, fd, WHY_HOST, "%s on the ESP", name) : fd;
}
