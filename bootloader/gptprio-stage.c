/* SPDX-License-Identifier: MIT */

/* The kernel's way onto the ESP: one file, the same for both slots, which waits under an inert name and gets its slot's name
 * when it is to be tried. Until then the slot has no priority, so GRUB looks at neither name. */

#include "bootloader/gptprio.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static void staged_name(int slot, char ret[BOOT_NAME_MAX])
{
        (void) snprintf(ret, BOOT_NAME_MAX, "%s" GPTPRIO_STAGED_SUFFIX, gptprio_entry(slot));
}

/* --- plan --- */

/* The newest images of Flatcar start signed configurations, one for each slot: those cannot be made here. */
static int check_loader(const GptPrio *g, Why *why)
{
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR);
        _cleanup_(free_charp) char *found = NULL;
        int r;

        if (dir < 0)
                return fail_errno(why, dir, WHY_HOST, "%s on the ESP", FLATCAR_DIR);
        r = esp_find(dir, "load-a", &found);
        if (r <= 0)
                return r;
        return fail(why, -EOPNOTSUPP, WHY_HOST, "signed-grub",
                    "%s/%s: this GRUB starts slots by signed files, which gybe " GYBE_VERSION
                    " cannot make for another image",
                    FLATCAR_DIR, found);
}

static int check_space(const GptPrio *g, int target, const BootPlan *plan, Why *why)
{
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR);
        char need_text[SIZE_TEXT_SIZE], have_text[SIZE_TEXT_SIZE], name[BOOT_NAME_MAX];
        uint64_t have, cluster, old = 0, staged = 0;
        int r = esp_space(&g->sd.esp, &have, &cluster);

        staged_name(target, name);
        if (r >= 0 && dir >= 0)
                r = esp_tree_size(dir, gptprio_entry(target), cluster, &old);
        if (r >= 0 && dir >= 0)
                r = esp_tree_size(dir, name, cluster, &staged);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "measuring the ESP %s", g->sd.esp.path);
        if (plan->bytes <= have + old + staged)
                return 0;
        format_size(plan->bytes, need_text);
        format_size(have + old + staged, have_text);
        return fail(why, -ENOSPC, WHY_HOST, "esp-space",
                    "ESP %s: the new kernel needs %s, there is room for %s", g->sd.esp.path, need_text,
                    have_text);
}

static int wrong_roothash(const char *path, const char *its, const char *roothash, Why *why)
{
        return fail(why, -EBADMSG, WHY_TRUST, "kernel-roothash",
                    "%s: GRUB would take the root hash %.16s... from it, /usr has %.16s...", path,
                    its && its[0] ? its : "(none)", roothash);
}

static int find_kernel(const BootImageFile *files, size_t n, size_t *ret, Why *why)
{
        size_t found = n;

        for (size_t i = 0; i < n; i++) {
                if (files[i].kind != BOOT_KERNEL)
                        continue;
                if (found < n)
                        return fail(why, -EBADMSG, WHY_TRUST, "two-kernels", "%s: a second kernel beside %s",
                                    files[i].path, files[found].path);
                found = i;
        }
        if (found == n)
                return fail(why, -EBADMSG, WHY_TRUST, "no-kernel",
                            "new image: it has no %s/vmlinuz-a, which is what this machine's GRUB starts",
                            FLATCAR_DIR);
        *ret = found;
        return 0;
}

int gp_plan(Boot *boot, int target_slot, const char *roothash, bool inline_hash _unused_,
            const BootImageFile *files, size_t n_files, BootPlan *ret, Why *why)
{
        GptPrio *g = gp(boot);
        BootPlan plan = { 0 };
        size_t at = 0;
        int r;

        if ((r = check_loader(g, why)) < 0 || (r = find_kernel(files, n_files, &at, why)) < 0)
                return r;
        if (!streq0(files[at].roothash, roothash))
                return wrong_roothash(files[at].path, files[at].roothash, roothash, why);
        plan.files = calloc(1, sizeof(*plan.files));
        if (!plan.files)
                return -ENOMEM;
        plan.n_files = 1;
        plan.files[0] = (BootFile){ .kind = BOOT_KERNEL,
                                    .name = strdup(gptprio_entry(target_slot)),
                                    .size = files[at].size,
                                    .source = at };
        r = plan.files[0].name ? hex_normalize(files[at].sha256, 64, plan.files[0].sha256) : -ENOMEM;
        if (r >= 0) {
                plan.bytes = plan_bytes(&plan, 4 * KIB);
                r = check_space(g, target_slot, &plan, why);
        }
        if (r < 0) {
                boot_plan_done(&plan);
                return fail_errno(why, r, WHY_HOST, "planning the new kernel");
        }
        g->sd.target = target_slot;
        *ret = plan;
        return 0;
}

/* --- bytes --- */

int gp_file_begin(Boot *boot, const BootFile *file, Why *why)
{
        char name[BOOT_NAME_MAX];
        BootFile staged = *file;
        int slot = gptprio_slot_of(file->name);

        if (file->kind != BOOT_KERNEL || slot < 0)
                return fail(why, -EINVAL, WHY_HOST, "boot-file", "%s: no kernel of a slot", file->name);
        staged_name(slot, name);
        staged.name = name;
        return sd_file_begin(boot, &staged, why);
}

int gp_copy_carried(Boot *boot _unused_, const BootFile *file, Why *why)
{
        return fail(why, -EINVAL, WHY_HOST, "boot-file", "%s: GRUB's slots have no addons", file->name);
}

int gp_open_file(Boot *boot, const char *entry, BootKind kind, const char *name, Why *why)
{
        GptPrio *g = gp(boot);
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR);
        char staged[BOOT_NAME_MAX];
        int fd = dir;

        if (!boot_kind_starts(kind))
                return fail(why, -ENOENT, WHY_HOST, "boot-file", "%s: GRUB's slots have no addons", name);
        for (int slot = 0; dir >= 0 && slot < 2; slot++) {
                staged_name(slot, staged);
                fd = esp_open_file(dir, entry ? entry : staged);
                if (fd != -ENOENT || entry)
                        break;
        }
        return fd < 0 ? fail_errno(why, fd, WHY_HOST, "%s on the ESP", entry ? entry : staged) : fd;
}

/* The file is what was promised, and GRUB would take from it the root hash that was signed. */
int gp_check(Boot *boot, int target_slot, const char *entry, const BootPlan *plan, const char *roothash,
             Why *why)
{
        GptPrio *g = gp(boot);
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR), fd = -1;
        char name[BOOT_NAME_MAX], hex[65], embedded[65];
        uint64_t size = 0;
        int r;

        staged_name(target_slot, name);
        if (entry)
                (void) snprintf(name, sizeof(name), "%s", entry);
        if (plan->n_files != 1 || plan->files[0].kind != BOOT_KERNEL ||
            gptprio_slot_of(plan->files[0].name) != target_slot)
                return fail(why, -EINVAL, WHY_HOST, "boot-plan", "%s: not planned for slot %c", name,
                            'a' + target_slot);
        r = dir < 0 ? dir : esp_file_digest(dir, name, hex, &size);
        if (r == -ENOENT)
                return fail(why, r, WHY_TRUST, "missing-file", "%s/%s: not on the ESP", FLATCAR_DIR, name);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading %s/%s on the ESP", FLATCAR_DIR, name);
        if (size != plan->files[0].size || !streq(hex, plan->files[0].sha256))
                return fail(why, -EBADMSG, WHY_TRUST, "file-digest",
                            "%s/%s: its SHA-256 is %.16s..., it should be %.16s...", FLATCAR_DIR, name, hex,
                            plan->files[0].sha256);
        fd = esp_open_file(dir, name);
        if (fd < 0)
                return fail_errno(why, fd, WHY_HOST, "reading %s/%s on the ESP", FLATCAR_DIR, name);
        gptprio_roothash(fd, embedded);
        return streq(embedded, roothash) ? 0 : wrong_roothash(name, embedded, roothash, why);
}

/* --- names --- */

static int move(GptPrio *g, const char *from, const char *to, bool may_be_missing, Why *why)
{
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR);
        _cleanup_(free_charp) char *source = NULL, *target = NULL;
        int r = dir;

        if (r >= 0)
                r = esp_find(dir, from, &source);
        if (r >= 0)
                r = esp_find(dir, to, &target);
        if (r >= 0 && !source && !target && !may_be_missing)
                return fail(why, -ENOENT, WHY_HOST, "no-entry", "%s/%s: not on the ESP", FLATCAR_DIR, from);
        if (r >= 0 && source)
                r = esp_rename(dir, source, to);
        if (r >= 0 && dir >= 0 && fsync(dir) < 0)
                r = -errno;
        if (r >= 0)
                r = esp_sync(&g->sd.esp);
        return r < 0 && !(r == -ENOENT && may_be_missing)
                       ? fail_errno(why, r, WHY_HOST, "renaming %s/%s", FLATCAR_DIR, from)
                       : 0;
}

int gp_publish(Boot *boot, const char *entry, Why *why)
{
        GptPrio *g = gp(boot);
        int slot = gptprio_slot_of(entry);
        char staged[BOOT_NAME_MAX];

        if (slot < 0 || gptprio_protects(g, slot))
                return fail(why, -EBUSY, WHY_HOST, "entry-in-use", "%s: it runs, or it is the default",
                            entry);
        staged_name(slot, staged);
        return move(g, staged, entry, false, why);
}

int gp_unpublish(Boot *boot, const char *entry, Why *why)
{
        GptPrio *g = gp(boot);
        int slot = gptprio_slot_of(entry);
        char staged[BOOT_NAME_MAX];

        if (slot < 0 || gptprio_protects(g, slot))
                return fail(why, -EBUSY, WHY_HOST, "entry-in-use",
                            "%s: it runs, or it is the default; it stays", entry);
        staged_name(slot, staged);
        return move(g, entry, staged, true, why);
}

int gp_digests(Boot *boot, const char *entry, Json **ret, char ret_sha256[65], Why *why)
{
        GptPrio *g = gp(boot);
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR);
        _cleanup_(free_charp) char *path = str_printf(FLATCAR_DIR "/%s", entry);
        _cleanup_(json_unrefp) Json *out = json_new_object();
        char hex[65];
        int r = !path || !out ? -ENOMEM : dir < 0 ? dir : esp_file_digest(dir, entry, hex, NULL);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading the kernel %s on the ESP", entry);
        json_set_str(out, path, hex);
        if (ret_sha256)
                memcpy(ret_sha256, hex, sizeof(hex));
        *ret = TAKE(out);
        return 0;
}

/* The one file; its command line stands in grub.cfg, which is nobody's slot. */
int gp_contents(Boot *boot, const char *entry, BootContents *ret, Why *why)
{
        GptPrio *g = gp(boot);
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR);
        _cleanup_(boot_contents_done) BootContents c = { .files = calloc(1, sizeof(*c.files)) };
        char name[BOOT_NAME_MAX];
        int r = !c.files ? -ENOMEM : dir < 0 ? dir : -ENOENT;

        for (int slot = 0; r == -ENOENT && slot < 2; slot++) {
                staged_name(slot, name);
                if (entry)
                        (void) snprintf(name, sizeof(name), "%s", entry);
                r = esp_file_digest(dir, name, c.files[0].sha256, &c.files[0].size);
        }
        if (r >= 0 && !(c.files[0].name = strdup(name)))
                r = -ENOMEM;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading the kernel %s on the ESP",
                                  entry ? entry : "staged");
        c.files[0].kind = BOOT_KERNEL;
        c.n_files = 1;
        *ret = c;
        c = (BootContents){ 0 };
        return 0;
}
