/* SPDX-License-Identifier: MIT */

/* The list of files for the new entry, from two sources: what the image brings, and what the operator had added to the
 * running entry, which would otherwise be lost (and with it, say, fips=1). The rules, in the order in which they apply:
 *
 *      image, slot addon, any name      dropped; instead the target slot's template, under its live name
 *      image, firstboot                 dropped: this machine has been provisioned
 *      image, other addons, .cred       taken
 *      running, slot addon, firstboot   dropped
 *      running, name the image has      the image's wins
 *      running, name of a template      the image's template of that name is taken (signed with the current key)
 *      running, acl-ipe-policy*, verity-usr-* .cred   dropped: bound to their UKI by hash
 *      running, everything else         carried
 *
 * Templates, loader and shim of the image are listed too: they wait until commit. */

#include "bootloader/plan.h"
#include "bootloader/entry.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define PLAN_FILES_MAX (2 * RELEASE_BOOT_MAX) /* the image's and the carried ones */
#define TEMPLATES      "acl/uki-addons"

typedef struct Planner {
        const PlanInput *in;
        BootPlan plan;
        const char *cmdlines[PLAN_FILES_MAX]; /* beside plan.files; borrowed */
        const BootImageFile *uki, *slot_template;
        char addons_dir[32 + ENTRY_ADDONS_MAX]; /* of the image's UKI, as a path on its ESP */
        Why *why;
} Planner;

static const char *base_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static bool in_folder(const char *path, const char *folder)
{
        size_t n = strlen(folder);

        return strncasecmp(path, folder, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

bool plan_name_ok(const char *name)
{
        if (!*name || *name == '.' || strlen(name) >= BOOT_NAME_MAX || str_ends(name, "~"))
                return false;
        for (const char *p = name; *p; p++)
                if ((unsigned char) *p < ' ' || (unsigned char) *p >= 0x7f || strchr("/\\\"*:<>?|", *p))
                        return false;
        return true;
}

static const BootFile *find_planned(const Planner *p, const char *name, bool live)
{
        for (size_t i = 0; i < p->plan.n_files; i++) {
                const BootFile *f = p->plan.files + i;

                if (live == (f->kind == BOOT_ADDON || f->kind == BOOT_CRED) && f->name &&
                    str_fold_cmp(f->name, name) == 0)
                        return f;
        }
        return NULL;
}

static int add(Planner *p, BootKind kind, const char *name, uint64_t size, const char *sha256,
               const char *cmdline)
{
        BootFile *f = p->plan.files + p->plan.n_files;

        if (p->plan.n_files == PLAN_FILES_MAX)
                return fail(p->why, -E2BIG, WHY_HOST, "too-many-files", "boot files: more than %u",
                            PLAN_FILES_MAX);
        if (!plan_name_ok(name))
                return fail(p->why, -EINVAL, WHY_TRUST, "file-name", "%s: not a name for a boot file", name);
        if (hex_normalize(sha256, 64, f->sha256) < 0)
                return fail(p->why, -EINVAL, WHY_HOST, "no-digest", "%s: its digest is not known", name);
        f->name = strdup(name);
        if (!f->name)
                return -ENOMEM;
        f->kind = kind;
        f->size = size;
        p->cmdlines[p->plan.n_files++] = cmdline;
        return 0;
}

static int add_image(Planner *p, const BootImageFile *file, BootKind kind, const char *name)
{
        int r = add(p, kind, name, file->size, file->sha256, file->cmdline);

        if (r >= 0)
                p->plan.files[p->plan.n_files - 1].source = (size_t) (file - p->in->files);
        return r;
}

/* --- the image's files --- */

static int find_uki(Planner *p)
{
        char dir[ENTRY_ADDONS_MAX];

        for (size_t i = 0; i < p->in->n_files; i++) {
                const BootImageFile *f = p->in->files + i;

                if (f->kind != BOOT_UKI)
                        continue;
                if (p->uki)
                        return fail(p->why, -EBADMSG, WHY_TRUST, "two-ukis", "%s: a second UKI beside %s",
                                    f->path, p->uki->path);
                p->uki = f;
        }
        if (!p->uki)
                return fail(p->why, -EBADMSG, WHY_TRUST, "no-uki", "new image: it has no UKI");
        if (strlen(base_name(p->uki->path)) >= BOOT_NAME_MAX)
                return fail(p->why, -EINVAL, WHY_TRUST, "file-name", "%s: its name is too long",
                            p->uki->path);
        entry_addons_dir(base_name(p->uki->path), dir);
        (void) snprintf(p->addons_dir, sizeof(p->addons_dir), "EFI/Linux/%s", dir);
        return 0;
}

/* Where both families of names are there, the newer one ("slot-") counts. */
static void find_slot_template(Planner *p)
{
        for (size_t i = 0; i < p->in->n_files; i++) {
                const BootImageFile *f = p->in->files + i;

                if (f->kind == BOOT_ADDON_TEMPLATE && in_folder(f->path, TEMPLATES) &&
                    addon_slot_by_name(base_name(f->path)) == p->in->target &&
                    (!p->slot_template || strncasecmp(base_name(f->path), "slot-", 5) == 0))
                        p->slot_template = f;
        }
}

static int add_slot_addon(Planner *p)
{
        const char *name = p->slot_template ? base_name(p->slot_template->path) : NULL;

        if (!name)
                return 0; /* cmdline_check() says whether that may be */
        return add_image(p, p->slot_template, BOOT_ADDON,
                         strncasecmp(name, "verity-", 7) == 0 ? "verity.addon.efi" : name);
}

/* An addon that says nothing but "first boot", whatever its name. */
static bool is_firstboot(const char *name, const char *cmdline)
{
        CmdlineArgs a;

        if (addon_is_firstboot_by_name(name))
                return true;
        return cmdline && cmdline_parse(cmdline, &a) >= 0 && a.first_boot &&
               a.n_slot + a.n_diverting + a.n_other == 0;
}

static int add_live(Planner *p, const BootImageFile *f)
{
        const char *name = base_name(f->path);

        if (!in_folder(f->path, p->addons_dir))
                return 0;
        if (f->kind == BOOT_ADDON && (addon_slot_by_name(name) >= 0 || is_firstboot(name, f->cmdline)))
                return 0;
        if (find_planned(p, name, true))
                return fail(p->why, -EBADMSG, WHY_TRUST, "duplicate-file", "%s: named twice", f->path);
        return add_image(p, f, f->kind, name);
}

static int add_waiting(Planner *p, const BootImageFile *f)
{
        const char *folder = f->kind == BOOT_ADDON_TEMPLATE ? TEMPLATES : "EFI/BOOT";
        const char *name = base_name(f->path);

        if (!in_folder(f->path, folder) || (f->kind != BOOT_ADDON_TEMPLATE && !p->in->take_loaders))
                return 0;
        for (size_t i = 0; i < p->plan.n_files; i++)
                if (p->plan.files[i].kind == f->kind && str_fold_cmp(p->plan.files[i].name, name) == 0)
                        return fail(p->why, -EBADMSG, WHY_TRUST, "duplicate-file", "%s: named twice",
                                    f->path);
        return add_image(p, f, f->kind, name);
}

static int add_image_files(Planner *p, bool live)
{
        for (size_t i = 0; i < p->in->n_files; i++) {
                const BootImageFile *f = p->in->files + i;
                int r = 0;

                if (f->kind == BOOT_ADDON || f->kind == BOOT_CRED)
                        r = live ? add_live(p, f) : 0;
                else if (f->kind != BOOT_UKI)
                        r = live ? 0 : add_waiting(p, f);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- the running entry's files --- */

/* The slot addon of the running slot under some other name: by content, and only where no addon has the name. */
static bool is_running_slot_addon(const PlanInput *in, const LiveFile *f)
{
        CmdlineArgs a;

        if (addon_slot_by_name(f->name) >= 0)
                return true;
        for (size_t i = 0; i < in->n_running; i++)
                if (addon_slot_by_name(in->running[i].name) >= 0)
                        return false;
        if (!f->cmdline || cmdline_parse(f->cmdline, &a) < 0)
                return false;
        return *a.usrhash && *a.data && cmdline_slot(&a, in->ids) == 1 - in->target;
}

static const BootImageFile *find_template(const Planner *p, const char *name)
{
        for (size_t i = 0; i < p->in->n_files; i++) {
                const BootImageFile *f = p->in->files + i;

                if (f->kind == BOOT_ADDON_TEMPLATE && in_folder(f->path, TEMPLATES) &&
                    str_fold_cmp(base_name(f->path), name) == 0)
                        return f;
        }
        return NULL;
}

static bool is_left_behind(const Planner *p, const LiveFile *f)
{
        bool cred = str_ends_fold(f->name, ".cred"), addon = str_ends_fold(f->name, ".addon.efi");

        if (!plan_name_ok(f->name) || str_ends_fold(f->name, ".new") || str_ends_fold(f->name, ".old"))
                return true;
        if (cred &&
            (strncasecmp(f->name, "acl-ipe-policy", 14) == 0 || strncasecmp(f->name, "verity-usr-", 11) == 0))
                return true;
        return addon && (is_running_slot_addon(p->in, f) || is_firstboot(f->name, f->cmdline));
}

static int add_running(Planner *p, const LiveFile *f)
{
        const BootImageFile *template = find_template(p, f->name);
        bool addon = str_ends_fold(f->name, ".addon.efi");
        int r;

        if (is_left_behind(p, f) || find_planned(p, f->name, true))
                return 0;
        if (addon && template)
                return add_image(p, template, BOOT_ADDON, base_name(template->path));
        if (addon && !f->cmdline)
                return fail(
                        p->why, -EBADMSG, WHY_HOST, "bad-addon",
                        "%s: an addon of the running entry that cannot be read, so it cannot be carried over",
                        f->name);
        r = add(p, addon ? BOOT_ADDON : BOOT_CRED, f->name, f->size, f->sha256, f->cmdline);
        if (r >= 0)
                p->plan.files[p->plan.n_files - 1].carried = true;
        return r;
}

/* --- the command line that would come of it --- */

static int check_cmdline(const Planner *p)
{
        const PlanInput *in = p->in;
        SlotExpect expect = { in->target, in->roothash, in->ids, in->inline_hash };
        CmdlinePart *parts = calloc(1 + in->n_globals + p->plan.n_files, sizeof(*parts));
        size_t n = 0;
        int r;

        if (!parts)
                return -ENOMEM;
        parts[n++] = (CmdlinePart){ p->uki->path, p->uki->cmdline, PART_UKI };
        for (size_t i = 0; i < in->n_globals; i++)
                parts[n++] = (CmdlinePart){ in->globals[i].name, in->globals[i].cmdline, PART_GLOBAL };
        for (size_t i = 0; i < p->plan.n_files; i++)
                if (p->plan.files[i].kind == BOOT_ADDON)
                        parts[n++] =
                                (CmdlinePart){ p->plan.files[i].name, p->cmdlines[i],
                                               addon_slot_by_name(p->plan.files[i].name) >= 0 ? PART_SLOT
                                                                                              : PART_ADDON };
        r = cmdline_check(parts, n, &expect, p->why);
        free(parts);
        return r;
}

void boot_plan_done(BootPlan *plan)
{
        for (size_t i = 0; i < plan->n_files; i++)
                free(plan->files[i].name);
        free(plan->files);
        *plan = (BootPlan){ 0 };
}

uint64_t plan_bytes(const BootPlan *plan, uint64_t cluster)
{
        uint64_t sum =
                PLAN_MARGIN + 4 * cluster; /* folders: addons, templates, loaders, and growth of EFI/Linux */
        uint64_t largest = 0;

        for (size_t i = 0; i < plan->n_files; i++) {
                const BootFile *f = plan->files + i;
                uint64_t size = (f->size + cluster - 1) / cluster * cluster;

                sum += size;
                if (f->kind == BOOT_LOADER || f->kind == BOOT_SHIM)
                        largest = MAX(largest, size);
        }
        return sum + largest;
}

static int fill_plan(Planner *p)
{
        int r;

        r = find_uki(p);
        if (r < 0)
                return r;
        find_slot_template(p);
        r = add_image(p, p->uki, BOOT_UKI, base_name(p->uki->path));
        if (r >= 0)
                r = add_slot_addon(p);
        if (r >= 0)
                r = add_image_files(p, true);
        for (size_t i = 0; r >= 0 && i < p->in->n_running; i++)
                r = add_running(p, p->in->running + i);
        if (r >= 0)
                r = add_image_files(p, false);
        return r < 0 ? r : check_cmdline(p);
}

int plan_files(const PlanInput *in, BootPlan *ret, Why *why)
{
        Planner p = { .in = in, .why = why };
        int r;

        p.plan.files = calloc(PLAN_FILES_MAX, sizeof(BootFile));
        if (!p.plan.files)
                return -ENOMEM;
        r = fill_plan(&p);
        if (r < 0) {
                boot_plan_done(&p.plan);
                return r;
        }
        *ret = p.plan;
        return 0;
}
