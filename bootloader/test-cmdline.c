/* SPDX-License-Identifier: MIT */

#undef NDEBUG

#include "bootloader/cmdline.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define USR_A  "7130c94a-213a-4e5a-8e26-6cce9662f132"
#define HASH_A "b736baf1-cdb4-4535-beba-ddaaa30ad7b7"
#define USR_B  "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"
#define HASH_B "35bdf78b-c453-4661-98e6-f834f534ef5b"
#define SIG_B  "d8941eb2-f713-4bb6-b4ae-bd8350ca27d4"
#define ROOT_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

#define DATA(x) "systemd.verity_usr_data=PARTUUID=" x " "
#define HASH(x) "systemd.verity_usr_hash=PARTUUID=" x " "
#define OPTIONS "systemd.verity_usr_options=panic-on-corruption "
#define SLOT_B  DATA(USR_B) HASH(HASH_B) OPTIONS "usrhash=" ROOT_B " acl.slot=b"

static const BootSlotIds ids[2] = { { USR_A, HASH_A, "" }, { USR_B, HASH_B, SIG_B } };

static void test_parse(void)
{
        static const struct {
                const char *text;
                const char *bad;
                int slot;
                unsigned n_slot, n_diverting;
                bool first_boot;
        } cases[] = {
                { NULL, NULL, -1, 0, 0, false },
                { "mount.usr=/dev/mapper/usr mount.usrflags=ro root=LABEL=ROOT", NULL, -1, 0, 0, false },
                { SLOT_B, NULL, 1, 5, 0, false },
                { DATA(USR_A), NULL, 0, 1, 0, false },
                { "systemd.verity_usr_data=PARTUUID=7130C94A-213A-4E5A-8E26-6CCE9662F132", NULL, 0, 1, 0,
                  false },
                { DATA(USR_A) "acl.slot=b", NULL, -1, 2, 0, false }, /* they contradict each other */
                { "acl.slot=a", NULL, 0, 1, 0, false },
                { "acl.slot=c", "acl.slot", -1, 1, 0, false },
                { "verity.usr=PARTUUID=" USR_B " verity.usrhash=" ROOT_B, NULL, 1, 2, 0,
                  false }, /* Flatcar */
                { "usrhash=" ROOT_B " usrhash=" ROOT_B, "usrhash", -1, 2, 0, false },
                { "usrhash=" ROOT_B " verity.usrhash=" ROOT_B, "verity.usrhash", -1, 2, 0, false },
                { "usrhash=BBBB", "usrhash", -1, 1, 0, false },
                { "usrhash", "usrhash", -1, 1, 0, false },
                { "usrhash=BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", "usrhash", -1,
                  1, 0, false },
                { "systemd.verity_usr_data=/dev/sda2", "systemd.verity_usr_data", -1, 1, 0, false },
                /* systemd takes '-' for '_', quotes, and "rd." in the initrd */
                { "systemd.verity-usr-data=PARTUUID=" USR_B, NULL, 1, 1, 0, false },
                { "\"usrhash=" ROOT_B "\"", NULL, -1, 1, 0, false },
                { "rd.usrhash=" ROOT_B, NULL, -1, 1, 0, false },
                { "systemd.verity=0", NULL, -1, 0, 1, false },
                { "rd.systemd.verity=no", NULL, -1, 0, 1, false },
                { "systemd.verity_usr_later=1", NULL, -1, 0, 1, false },
                { "mount.usr=/dev/sdb1", NULL, -1, 0, 1, false },
                { "dm-mod.create=usr", NULL, -1, 0, 1, false },
                { "roothash=00", NULL, -1, 0, 1, false },
                { "flatcar.first_boot=detected", NULL, -1, 0, 0, true },
                { "usrhashx=1 xusrhash=2 fips=1 console=ttyS0", NULL, -1, 0, 0, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                CmdlineArgs a;

                assert(cmdline_parse(cases[i].text, &a) == 0);
                if (!streq0(a.bad, cases[i].bad) || a.n_slot != cases[i].n_slot ||
                    cmdline_slot(&a, ids) != cases[i].slot)
                        fprintf(stderr, "case %zu: %s %u %d\n", i, a.bad, a.n_slot, cmdline_slot(&a, ids));
                assert(streq0(a.bad, cases[i].bad) && cmdline_slot(&a, ids) == cases[i].slot);
                assert(a.n_slot == cases[i].n_slot && a.n_diverting == cases[i].n_diverting &&
                       a.first_boot == cases[i].first_boot);
        }
}

static void test_return(void)
{
        static const struct {
                const char *text;
                const char *missing; /* for a failed initrd to end in a reboot; NULL: nothing */
                bool watchdog;
        } cases[] = {
                { "rd.shell=0 rd.emergency=reboot", NULL, false },
                { "rd.emergency=reboot rd.shell=no", NULL, false },
                { "rd.shell=1 rd.shell=off rd.emergency=reboot systemd.watchdog_sec=30", NULL, true },
                { "rd.emergency=reboot", "rd.shell=0", false }, /* a shell that waits for ever */
                { "rd.shell=0", "rd.emergency=reboot", false }, /* dracut switches the machine off */
                { "rd.shell=0 rd.emergency=halt", "rd.emergency=reboot", false },
                { "rd.shell=0 rd.emergency=reboot rd.shell", "rd.shell=0", false },
                { "rd.shell=0 rd.emergency=reboot rd.emergency=poweroff", "rd.emergency=reboot", false },
                { "shell=0 emergency=reboot", "rd.shell=0", false },
                { "rd.shell=0 rd.emergency=reboot rd.break=mount", "no rd.break", false },
                { "systemd.watchdog-sec=off", "rd.shell=0", false },
                { "", "rd.shell=0", false },
        };
        CmdlineArgs a;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *missing = NULL;

                assert(cmdline_parse(cases[i].text, &a) == 0);
                assert(cmdline_initrd_reboots(&a, &missing) == !cases[i].missing);
                assert(streq0(missing, cases[i].missing) && a.watchdog == cases[i].watchdog);
        }
        assert(cmdline_parse("panic=5 rd.emergency=reboot", &a) == 0 && a.panic_reboots && a.rd_reboots);
        assert(cmdline_parse("panic=-1", &a) == 0 && a.panic_reboots);
        assert(cmdline_parse("panic=5 panic=0", &a) == 0 && !a.panic_reboots && a.panic_stays);
        assert(cmdline_parse("panic=0", &a) == 0 && !a.panic_reboots && a.panic_stays);
}

static void test_names(void)
{
        assert(addon_slot_by_name("slot-a.addon.efi") == 0 && addon_slot_by_name("VERITY-B.addon.efi") == 1);
        assert(addon_slot_by_name("verity.addon.efi") == 2 && addon_slot_by_name("slot-c.addon.efi") == -1);
        assert(addon_is_firstboot_by_name("firstboot.addon.EFI") &&
               !addon_is_firstboot_by_name("fips.addon.efi"));
}

static void test_check(void)
{
        static const char base[] = "mount.usr=/dev/mapper/usr root=LABEL=ROOT";
        static const struct {
                const char *why; /* of the row */
                const char *uki, *slot, *addon, *global;
                int inline_hash;
                const char *code; /* NULL: accepted */
        } cases[] = {
                { "as it should be", base, SLOT_B, "fips=1", "console=ttyS0", 0, NULL },
                { "early builds lack acl.slot", base, DATA(USR_B) HASH(HASH_B) "usrhash=" ROOT_B, NULL, NULL,
                  0, NULL },
                { "flags of the file system live in the slot addon", base, SLOT_B " mount.usrflags=ro,noload",
                  NULL, NULL, 0, NULL },
                { "signature partition of the slot", base, SLOT_B " acl.verity_usr_signature=PARTUUID=" SIG_B,
                  NULL, NULL, 0, NULL },
                { "signature partition of nobody", base, SLOT_B " acl.verity_usr_signature=PARTUUID=" HASH_A,
                  NULL, NULL, 0, "slot-addon" },
                { "other root hash", base,
                  DATA(USR_B) HASH(
                          HASH_B) "usrhash=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                  NULL, NULL, 0, "slot-addon" },
                { "no root hash", base, DATA(USR_B) HASH(HASH_B), NULL, NULL, 0, "slot-addon" },
                { "the other slot's data", base, DATA(USR_A) HASH(HASH_B) "usrhash=" ROOT_B, NULL, NULL, 0,
                  "slot-addon" },
                { "the other slot's hash", base, DATA(USR_B) HASH(HASH_A) "usrhash=" ROOT_B, NULL, NULL, 0,
                  "slot-addon" },
                { "the other slot's letter", base, DATA(USR_B) HASH(HASH_B) "usrhash=" ROOT_B " acl.slot=a",
                  NULL, NULL, 0, "slot-addon" },
                { "twice within", base, SLOT_B " acl.slot=b", NULL, NULL, 0, "slot-addon" },
                { "corruption ignored", base,
                  DATA(USR_B) HASH(HASH_B) "usrhash=" ROOT_B " systemd.verity_usr_options=ignore-corruption",
                  NULL, NULL, 0, "slot-addon" },
                { "an option that acl-verity-setup refuses", base,
                  DATA(USR_B) HASH(HASH_B) "usrhash=" ROOT_B
                                           " acl.slot=b systemd.verity_usr_options=restart-on-corruption",
                  NULL, NULL, 0, "slot-addon" },
                { "the same where nothing says that it runs", base,
                  DATA(USR_B) HASH(HASH_B) "usrhash=" ROOT_B
                                           " systemd.verity_usr_options=restart-on-corruption",
                  NULL, NULL, 0, NULL },
                { "inline, where it does not run", base,
                  DATA(USR_B) HASH(USR_B) "usrhash=" ROOT_B " acl.slot=b systemd.verity_usr_options="
                                          "hash-offset=4096,panic-on-corruption",
                  NULL, NULL, 1, NULL },
                { "no slot addon, tree apart", base, NULL, NULL, NULL, 0, "slot-addon" },
                { "no slot addon, tree apart, all in the UKI", SLOT_B, NULL, NULL, NULL, 0, "slot-addon" },
                { "both", SLOT_B, SLOT_B, NULL, NULL, 0, "stray-verity" },
                { "an argument in an operator's addon", base, SLOT_B, "usrhash=" ROOT_B, NULL, 0,
                  "stray-verity" },
                { "options in an operator's addon", base, SLOT_B, "systemd.verity_usr_options=", NULL, 0,
                  "stray-verity" },
                { "another /usr in an operator's addon", base, SLOT_B, "mount.usr=/dev/sdb1", NULL, 0,
                  "stray-verity" },
                { "verity off in a global addon", base, SLOT_B, NULL, "systemd.verity=0", 0, "stray-verity" },
                { "global addon", base, SLOT_B, NULL, "acl.slot=b", 0, "stray-verity" },
                { "first boot", base, SLOT_B, "flatcar.first_boot=detected", NULL, 0, "firstboot" },
                { "first boot in the UKI", "flatcar.first_boot=1", SLOT_B, NULL, NULL, 0, "firstboot" },
                { "inline, in the UKI", DATA(USR_B) HASH(USR_B) "usrhash=" ROOT_B, NULL, NULL, NULL, 1,
                  NULL },
                { "inline, Flatcar", "verity.usr=PARTUUID=" USR_B " verity.usrhash=" ROOT_B, NULL, NULL, NULL,
                  1, NULL },
                { "inline, with slot addon", base, DATA(USR_B) HASH(USR_B) "usrhash=" ROOT_B, NULL, NULL, 1,
                  NULL },
                { "inline, UKI of the other slot", DATA(USR_A) HASH(USR_A) "usrhash=" ROOT_B, NULL, NULL,
                  NULL, 1, "slot-addon" },
                { "inline, nothing at all", base, NULL, NULL, NULL, 1, "slot-addon" },
                { "inline, but tree on its partition", base, SLOT_B, NULL, NULL, 1, "slot-addon" },
                { "not known: tree apart", base, SLOT_B, NULL, NULL, -1, NULL },
                { "not known: inline", DATA(USR_B) "usrhash=" ROOT_B, NULL, NULL, NULL, -1, NULL },
                { "not known: the other's hash", base, DATA(USR_B) HASH(HASH_A) "usrhash=" ROOT_B, NULL, NULL,
                  -1, "slot-addon" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                SlotExpect e = { 1, ROOT_B, ids, cases[i].inline_hash };
                CmdlinePart parts[4] = { { "uki", cases[i].uki, PART_UKI } };
                Why why = { 0 };
                size_t n = 1;
                int r;

                if (cases[i].global)
                        parts[n++] = (CmdlinePart){ "global", cases[i].global, PART_GLOBAL };
                if (cases[i].addon)
                        parts[n++] = (CmdlinePart){ "addon", cases[i].addon, PART_ADDON };
                if (cases[i].slot)
                        parts[n++] = (CmdlinePart){ "slot", cases[i].slot, PART_SLOT };
                r = cmdline_check(parts, n, &e, &why);
                if ((r == 0) != !cases[i].code || !streq(why.code, cases[i].code ? cases[i].code : ""))
                        fprintf(stderr, "%s: %d %s\n", cases[i].why, r, why.text);
                assert((r == 0) == !cases[i].code);
                assert(r == 0 || (why.kind == WHY_TRUST && streq(why.code, cases[i].code)));
        }
}

int main(void)
{
        test_parse();
        test_return();
        test_names();
        test_check();
        return 0;
}
