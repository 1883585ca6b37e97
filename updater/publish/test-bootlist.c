/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "publish/bootlist.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define ROOTHASH "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID(c)    #c #c #c #c #c #c #c #c "-0000-4000-8000-000000000000"
#define SLOT(data, hash, slot)                                                                               \
        "systemd.verity_usr_data=PARTUUID=" data " systemd.verity_usr_hash=PARTUUID=" hash                   \
        " systemd.verity_usr_options=panic-on-corruption usrhash=" ROOTHASH " acl.slot=" slot
#define SLOT_A SLOT(ID(1), ID(2), "a")
#define SLOT_B SLOT(ID(4), ID(5), "b")

static const BootListFacts facts = { .roothash = ROOTHASH,
                                     .arch = "",
                                     .ids = { { ID(1), ID(2), ID(3) }, { ID(4), ID(5), ID(6) } },
                                     .kind = WHY_TRUST };

static void test_kinds(void)
{
        static const struct {
                const char *path;
                bool shim;
                BootKind kind;
        } cases[] = {
                { "EFI/Linux/vmlinuz-6.6.efi", false, BOOT_UKI },
                { "efi/linux/A.EFI", false, BOOT_UKI }, /* FAT does not care */
                { "EFI/Linux/vmlinuz.efi.staged", false, _BOOT_KIND_INVALID },
                { "EFI/Linux/sub/vmlinuz.efi", false,
                  _BOOT_KIND_INVALID }, /* the loader does not look there */
                { "EFI/Linux/v.efi.extra.d/x.addon.efi", false, BOOT_ADDON },
                { "EFI/Linux/v.efi.extra.d/x.efi", false, _BOOT_KIND_INVALID },
                { "EFI/Linux/v.efi.extra.d/x.cred", false, BOOT_CRED },
                { "EFI/Linux/v.extra.d/x.addon.efi", false, _BOOT_KIND_INVALID },
                { "EFI/Linux/v.efi.extra.d/d/x.addon.efi", false, _BOOT_KIND_INVALID },
                { "acl/uki-addons/slot-a.addon.efi", false, BOOT_ADDON_TEMPLATE },
                { "acl/uki-addons/readme", false, _BOOT_KIND_INVALID },
                { "acl/uki-addons/a/b.addon.efi", false, _BOOT_KIND_INVALID },
                { "EFI/BOOT/BOOTX64.EFI", false, BOOT_LOADER },
                { "EFI/BOOT/BOOTX64.EFI", true, BOOT_SHIM },
                { "EFI/BOOT/grubx64.efi", true, BOOT_LOADER },
                { "EFI/BOOT/mmx64.efi", true, _BOOT_KIND_INVALID },
                { "loader/loader.conf", false, _BOOT_KIND_INVALID },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert(boot_kind_of_path(cases[i].path, cases[i].shim) == cases[i].kind);
}

static void add(BootList *list, const char *path, BootKind kind, const char *cmdline)
{
        PeSummary pe = { .machine = 0x8664,
                         .has_linux = kind == BOOT_UKI,
                         .has_osrel = kind == BOOT_UKI,
                         .is_addon = kind != BOOT_UKI };

        pe.cmdline = cmdline ? strdup(cmdline) : NULL;
        assert(boot_list_add(list, path, kind, 100, ROOTHASH, &pe) == 0);
}

/* One odd file in an otherwise good list: code "" accepted. */
static void test_addons(void)
{
        static const struct {
                const char *path, *cmdline, *code;
                unsigned n_warnings;
        } cases[] = {
                { "acl/uki-addons/fips.addon.efi", "fips=1", "", 0 },
                { "acl/uki-addons/none.addon.efi", NULL, "", 0 },
                { "EFI/Linux/v.efi.extra.d/slot-a.addon.efi", SLOT_A, "", 0 },
                { "acl/uki-addons/verity-a.addon.efi", SLOT_A, "addon-slot",
                  0 }, /* a second one for slot a */
                { "EFI/Linux/v.efi.extra.d/slot-a.addon.efi", SLOT_B, "addon-slot", 0 },
                { "EFI/Linux/v.efi.extra.d/x.addon.efi", SLOT(ID(1), ID(2), "b"), "addon-slot", 0 },
                { "EFI/Linux/v.efi.extra.d/x.addon.efi", SLOT(ID(1), ID(5), "a"), "addon-partuuid", 0 },
                { "EFI/Linux/v.efi.extra.d/x.addon.efi", SLOT(ID(7), ID(2), "a"), "addon-partuuid", 0 },
                { "EFI/Linux/v.efi.extra.d/x.addon.efi", SLOT_A " usrhash=" ROOTHASH, "boot-file", 0 },
                { "EFI/Linux/v.efi.extra.d/x.addon.efi", "usrhash=b", "addon-roothash", 0 },
                { "EFI/Linux/v.efi.extra.d/x.addon.efi", "acl.slot=a", "addon-roothash", 0 },
                { "EFI/Linux/v.efi.extra.d/slot-b.addon.efi", "quiet", "boot-file", 0 },
                { "EFI/Linux/v.efi.extra.d/x.addon.efi", SLOT_A " acl.verity_usr_signature=PARTUUID=" ID(3),
                  "boot-file", 0 },
                { "EFI/Linux/v.efi.extra.d/x.addon.efi", SLOT_A " acl.verity_usr_signature=PARTUUID=" ID(6),
                  "addon-partuuid", 0 },
                /* an early image: hosts accept it, its initrd may not */
                { "EFI/Linux/v.efi.extra.d/x.addon.efi",
                  "systemd.verity_usr_data=PARTUUID=" ID(1) " systemd.verity_usr_hash=PARTUUID=" ID(
                          2) " usrhash=" ROOTHASH,
                  "", 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(boot_list_done) BootList list = { 0 };
                _cleanup_(strv_freep) char **warnings = NULL;
                Why why = { 0 };
                int r;

                add(&list, "EFI/Linux/v.efi", BOOT_UKI, "quiet");
                add(&list, "acl/uki-addons/slot-a.addon.efi", BOOT_ADDON_TEMPLATE, SLOT_A);
                add(&list, "acl/uki-addons/slot-b.addon.efi", BOOT_ADDON_TEMPLATE, SLOT_B);
                add(&list, cases[i].path, boot_kind_of_path(cases[i].path, false), cases[i].cmdline);
                r = boot_list_check(&list, &facts, &warnings, &why);
                if (!streq(why.code, cases[i].code))
                        fprintf(stderr, "case %zu: %s\n", i, why.text);
                assert((r < 0) == (*cases[i].code != 0) && streq(why.code, cases[i].code));
                assert(r < 0 || strv_len(warnings) == cases[i].n_warnings);
                assert(r >= 0 || why.kind == WHY_TRUST);
        }
}

static int check_uki(unsigned n, const PeSummary *like, const char *arch, Why *why)
{
        _cleanup_(boot_list_done) BootList list = { 0 };
        _cleanup_(strv_freep) char **warnings = NULL;
        BootListFacts here = facts;

        here.arch = arch;
        for (unsigned i = 0; i < n; i++) {
                PeSummary pe = *like;

                pe.cmdline = like->cmdline ? strdup(like->cmdline) : NULL;
                assert(boot_list_add(&list, i ? "EFI/Linux/w.efi" : "EFI/Linux/v.efi", BOOT_UKI, 1, ROOTHASH,
                                     &pe) == 0);
        }
        return boot_list_check(&list, &here, &warnings, why);
}

static void test_ukis(void)
{
        PeSummary good = { .machine = 0xaa64, .has_linux = true, .has_osrel = true };
        PeSummary no_linux = good, no_osrel = good, strange = good, verity = good;
        Why why = { 0 };

        no_linux.has_linux = no_osrel.has_osrel = false;
        strange.machine = 0x14c;
        verity.cmdline = (char *) "quiet usrhash=" ROOTHASH;
        assert(check_uki(1, &good, "", &why) == 0 && check_uki(1, &good, "aarch64", &why) == 0);
        assert(check_uki(1, &good, "x86_64", NULL) < 0);
        assert(check_uki(0, &good, "", NULL) < 0 && check_uki(2, &good, "", NULL) < 0);
        assert(check_uki(1, &no_linux, "", NULL) < 0 && check_uki(1, &no_osrel, "", NULL) < 0);
        assert(check_uki(1, &strange, "", NULL) < 0 && check_uki(1, &verity, "", NULL) < 0);
}

int main(void)
{
        test_kinds();
        test_addons();
        test_ukis();
        return 0;
}
