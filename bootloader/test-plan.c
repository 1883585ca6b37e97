/* SPDX-License-Identifier: MIT */

#undef NDEBUG

#include "bootloader/plan.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define USR_A  "7130c94a-213a-4e5a-8e26-6cce9662f132"
#define HASH_A "b736baf1-cdb4-4535-beba-ddaaa30ad7b7"
#define USR_B  "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"
#define HASH_B "35bdf78b-c453-4661-98e6-f834f534ef5b"
#define ROOT   "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define SHA    "1111111111111111111111111111111111111111111111111111111111111111"

#define SLOT(data, hash, letter)                                                                             \
        "systemd.verity_usr_data=PARTUUID=" data " systemd.verity_usr_hash=PARTUUID=" hash                   \
        " systemd.verity_usr_options=panic-on-corruption usrhash=" ROOT " acl.slot=" letter
#define SLOT_A SLOT(USR_A, HASH_A, "a")
#define SLOT_B SLOT(USR_B, HASH_B, "b")
#define D      "EFI/Linux/vmlinuz-6.6.130.efi.extra.d/"

static const BootSlotIds ids[2] = { { USR_A, HASH_A, "" }, { USR_B, HASH_B, "" } };

#define UKI                                                                                                  \
        {                                                                                                    \
                "EFI/Linux/vmlinuz-6.6.130.efi", BOOT_UKI, 1000, SHA, "root=LABEL=ROOT"                      \
        }
#define LIVE(name, cmdline)                                                                                  \
        {                                                                                                    \
                D name, BOOT_ADDON, 10, SHA, cmdline                                                         \
        }
#define TEMPLATE(name, cmdline)                                                                              \
        {                                                                                                    \
                "acl/uki-addons/" name, BOOT_ADDON_TEMPLATE, 10, SHA, cmdline                                \
        }

/* "+x" an image file, "=x" a carried one, in plan order; live files only when they have no '/' */
static void describe(const BootPlan *plan, char *out, size_t size)
{
        static const char *const folders[_BOOT_KIND_MAX] = {
                [BOOT_ADDON_TEMPLATE] = "t/", [BOOT_LOADER] = "l/", [BOOT_SHIM] = "s/", [BOOT_UKI] = "u/"
        };
        size_t n = 0;

        out[0] = '\0';
        for (size_t i = 0; i < plan->n_files; i++)
                n += (size_t) snprintf(out + n, size - n, "%s%c%s%s", i ? " " : "",
                                       plan->files[i].carried ? '=' : '+',
                                       folders[plan->files[i].kind] ? folders[plan->files[i].kind] : "",
                                       plan->files[i].name);
}

static void test_choice(void)
{
        static const struct {
                const char *because;
                BootImageFile files[10];
                LiveFile running[6];
                int target;
                bool loaders, inline_hash;
                const char *expect; /* NULL: refused with this code: */
                const char *code;
        } cases[] = {
                { "live slot-a is dropped, the target's template taken",
                  { UKI, LIVE("slot-a.addon.efi", SLOT_A),
                    LIVE("firstboot.addon.efi", "flatcar.first_boot=detected"),
                    TEMPLATE("slot-a.addon.efi", SLOT_A), TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  "+u/vmlinuz-6.6.130.efi +slot-b.addon.efi +t/slot-a.addon.efi +t/slot-b.addon.efi",
                  NULL },
                { "older family: template verity-b, live name verity",
                  { UKI, LIVE("verity.addon.efi", SLOT_A), TEMPLATE("verity-a.addon.efi", SLOT_A),
                    TEMPLATE("verity-b.addon.efi", SLOT_B) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  "+u/vmlinuz-6.6.130.efi +verity.addon.efi +t/verity-a.addon.efi +t/verity-b.addon.efi",
                  NULL },
                { "both families: the newer one",
                  { UKI, TEMPLATE("verity-b.addon.efi", SLOT_B), TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  "+u/vmlinuz-6.6.130.efi +slot-b.addon.efi +t/verity-b.addon.efi +t/slot-b.addon.efi",
                  NULL },
                { "case of names does not count",
                  { UKI,
                    { "efi/LINUX/VMLINUZ-6.6.130.EFI.extra.d/Slot-A.Addon.efi", BOOT_ADDON, 1, SHA, SLOT_A },
                    { "ACL/UKI-ADDONS/SLOT-B.ADDON.EFI", BOOT_ADDON_TEMPLATE, 1, SHA, SLOT_B } },
                  { { 0 } },
                  1,
                  true,
                  false,
                  "+u/vmlinuz-6.6.130.efi +SLOT-B.ADDON.EFI +t/SLOT-B.ADDON.EFI",
                  NULL },
                { "operator's fips: the image's template; oem: carried; its own slot addon and firstboot "
                  "stay behind",
                  { UKI, TEMPLATE("slot-b.addon.efi", SLOT_B), TEMPLATE("fips.addon.efi", "fips=1") },
                  { { "fips.addon.efi", 9, SHA, (char *) "fips=1" },
                    { "firstboot.addon.efi", 9, SHA, (char *) "flatcar.first_boot=1" },
                    { "oem.addon.efi", 9, SHA, (char *) "flatcar.oem.id=azure" },
                    { "slot-a.addon.efi", 9, SHA, (char *) SLOT_A } },
                  1,
                  true,
                  false,
                  "+u/vmlinuz-6.6.130.efi +slot-b.addon.efi +fips.addon.efi =oem.addon.efi "
                  "+t/slot-b.addon.efi "
                  "+t/fips.addon.efi",
                  NULL },
                { "oem in the image wins; .cred: the image's, never the bound ones of the running entry",
                  { UKI,
                    LIVE("oem.addon.efi", "flatcar.oem.id=qemu"),
                    { D "acl-ipe-policy.p7b.cred", BOOT_CRED, 5, SHA, NULL },
                    { D "a.cred", BOOT_CRED, 5, SHA, NULL },
                    TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { "acl-ipe-policy-2.cred", 9, SHA, NULL },
                    { "A.CRED", 9, SHA, NULL },
                    { "b.cred", 9, SHA, NULL },
                    { "oem.addon.efi", 9, SHA, (char *) "flatcar.oem.id=azure" },
                    { "verity-usr-00.p7s.cred", 9, SHA, NULL },
                    { "x.raw", 9, SHA, NULL } },
                  1,
                  true,
                  false,
                  "+u/vmlinuz-6.6.130.efi +slot-b.addon.efi +oem.addon.efi +acl-ipe-policy.p7b.cred +a.cred "
                  "=b.cred =x.raw "
                  "+t/slot-b.addon.efi",
                  NULL },
                { "the running slot addon under another name is known by its contents",
                  { UKI, TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { "usr.addon.efi", 9, SHA, (char *) SLOT_A } },
                  1,
                  true,
                  false,
                  "+u/vmlinuz-6.6.130.efi +slot-b.addon.efi +t/slot-b.addon.efi",
                  NULL },
                { "but beside one that has the name it is a stray",
                  { UKI, TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { "slot-a.addon.efi", 9, SHA, (char *) SLOT_A },
                    { "usr.addon.efi", 9, SHA, (char *) SLOT_A } },
                  1,
                  true,
                  false,
                  NULL,
                  "stray-verity" },
                { "an operator's addon overrides one argument",
                  { UKI, TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { "site.addon.efi", 9, SHA, (char *) "systemd.verity_usr_options=ignore-corruption" } },
                  1,
                  true,
                  false,
                  NULL,
                  "stray-verity" },
                { "an addon of the image that is no slot addon",
                  { UKI, LIVE("oem.addon.efi", SLOT_A), TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  NULL,
                  "stray-verity" },
                { "template for the wrong slot",
                  { UKI, TEMPLATE("slot-b.addon.efi", SLOT_A) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  NULL,
                  "slot-addon" },
                { "no template, tree on its own partition",
                  { UKI, LIVE("slot-b.addon.efi", SLOT_B) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  NULL,
                  "slot-addon" },
                { "loader and shim wait; only those of EFI/BOOT",
                  { UKI,
                    TEMPLATE("slot-b.addon.efi", SLOT_B),
                    { "EFI/BOOT/BOOTX64.EFI", BOOT_SHIM, 5, SHA, NULL },
                    { "EFI/BOOT/grubx64.efi", BOOT_LOADER, 5, SHA, NULL },
                    { "EFI/x/y.efi", BOOT_LOADER, 5, SHA, NULL } },
                  { { 0 } },
                  1,
                  true,
                  false,
                  "+u/vmlinuz-6.6.130.efi +slot-b.addon.efi +t/slot-b.addon.efi +s/BOOTX64.EFI "
                  "+l/grubx64.efi",
                  NULL },
                { "the target's loader folder is what runs",
                  { UKI,
                    TEMPLATE("slot-b.addon.efi", SLOT_B),
                    { "EFI/BOOT/BOOTX64.EFI", BOOT_SHIM, 5, SHA, NULL } },
                  { { 0 } },
                  1,
                  false,
                  false,
                  "+u/vmlinuz-6.6.130.efi +slot-b.addon.efi +t/slot-b.addon.efi",
                  NULL },
                { "another UKI's folder is not live",
                  { UKI,
                    { "EFI/Linux/acl.efi.extra.d/x.addon.efi", BOOT_ADDON, 5, SHA, "x" },
                    TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  "+u/vmlinuz-6.6.130.efi +slot-b.addon.efi +t/slot-b.addon.efi",
                  NULL },
                { "two UKIs", { UKI, UKI }, { { 0 } }, 1, true, false, NULL, "two-ukis" },
                { "none",
                  { TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  NULL,
                  "no-uki" },
                { "one name twice",
                  { UKI, LIVE("a.addon.efi", "a"), LIVE("A.addon.efi", "b"),
                    TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  NULL,
                  "duplicate-file" },
                { "first boot and more",
                  { UKI, LIVE("a.addon.efi", "flatcar.first_boot=1 a"),
                    TEMPLATE("slot-b.addon.efi", SLOT_B) },
                  { { 0 } },
                  1,
                  true,
                  false,
                  NULL,
                  "firstboot" },
                { "inline, arguments in the UKI",
                  { { "EFI/Linux/acl.efi", BOOT_UKI, 1, SHA,
                      "systemd.verity_usr_data=PARTUUID=" USR_B " systemd.verity_usr_hash=PARTUUID=" USR_B
                      " usrhash=" ROOT } },
                  { { 0 } },
                  1,
                  true,
                  true,
                  "+u/acl.efi",
                  NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(boot_plan_done) BootPlan plan = { 0 };
                PlanInput in = { cases[i].target,
                                 ROOT,
                                 cases[i].inline_hash,
                                 ids,
                                 cases[i].files,
                                 0,
                                 cases[i].running,
                                 0,
                                 NULL,
                                 0,
                                 cases[i].loaders };
                Why why = { 0 };
                char got[1024];
                int r;

                while (in.n_files < 10 && cases[i].files[in.n_files].path)
                        in.n_files++;
                while (in.n_running < 6 && cases[i].running[in.n_running].name)
                        in.n_running++;
                r = plan_files(&in, &plan, &why);
                describe(&plan, got, sizeof(got));
                if ((r == 0) != !!cases[i].expect || (cases[i].expect && !streq(got, cases[i].expect)))
                        fprintf(stderr, "%s: %d %s\n  %s\n", cases[i].because, r, why.text, got);
                if (cases[i].expect)
                        assert(r == 0 && streq(got, cases[i].expect));
                else
                        assert(r < 0 && why.kind == WHY_TRUST && streq(why.code, cases[i].code));
        }
}

static void test_bytes(void)
{
        BootFile files[] = { { BOOT_UKI, NULL, 4097, "", false, 0 }, { BOOT_LOADER, NULL, 1, "", false, 0 } };
        BootPlan plan = { files, 2, 0 };

        /* two clusters, one, one more to replace a loader, four for folders, and the margin */
        assert(plan_bytes(&plan, 4096) == (2 + 1 + 1 + 4) * 4096 + MIB);
}

static void test_names(void)
{
        assert(plan_name_ok("slot-a.addon.efi") && !plan_name_ok("..") && !plan_name_ok("") &&
               !plan_name_ok("a/b"));
        assert(!plan_name_ok("a\\b") && !plan_name_ok("x~") && !plan_name_ok("a\nb"));
}

int main(void)
{
        test_choice();
        test_bytes();
        test_names();
        return 0;
}
