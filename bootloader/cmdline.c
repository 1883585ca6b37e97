/* SPDX-License-Identifier: MIT */

/* A UKI's command line is put together from several signed files, and a slot is nothing but a handful of arguments in one of
 * them. Two files that name a slot, or an addon of the operator's that overrides one argument, boot something that nobody
 * has verified; so every part is read here, and only one of them may speak of verity. */

#include "bootloader/cmdline.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

typedef enum Arg {
        ARG_USRHASH,
        ARG_DATA,
        ARG_HASH,
        ARG_OPTIONS,
        ARG_SLOT,
        ARG_SIGNATURE,
        _ARG_MAX,
} Arg;

/* The second spelling is Flatcar's. Names are compared as systemd does: '-' is '_', and "rd." makes no difference. */
static const struct {
        const char *name;
        Arg arg;
} slot_args[] = {
        { "usrhash", ARG_USRHASH },
        { "verity.usrhash", ARG_USRHASH },
        { "systemd.verity_usr_data", ARG_DATA },
        { "verity.usr", ARG_DATA },
        { "systemd.verity_usr_hash", ARG_HASH },
        { "systemd.verity_usr_options", ARG_OPTIONS },
        { "acl.slot", ARG_SLOT },
        { "acl.verity_usr_signature", ARG_SIGNATURE },
};

static bool key_is(const char *key, size_t length, const char *name)
{
        if (strlen(name) != length)
                return false;
        for (size_t i = 0; i < length; i++)
                if ((key[i] == '-' ? '_' : key[i]) != (name[i] == '-' ? '_' : name[i]))
                        return false;
        return true;
}

static int parse_partuuid(const char *value, char ret[37])
{
        static const char *const prefixes[] = { "PARTUUID=", "/dev/disk/by-partuuid/" };
        uint8_t uuid[16];

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
                if (strncasecmp(value, prefixes[i], strlen(prefixes[i])) == 0 &&
                    uuid_parse_text(value + strlen(prefixes[i]), uuid) >= 0) {
                        uuid_format_text(uuid, ret);
                        return 0;
                }
        return -EINVAL;
}

/* acl-verity-setup in the initrd takes lower-case digits only; an upper-case hash would be a machine that does not boot. */
static int parse_usrhash(const char *value, char ret[65])
{
        char hash[65];

        if (hex_normalize(value, 64, hash) < 0 || !streq(hash, value))
                return -EINVAL;
        memcpy(ret, hash, sizeof(hash));
        return 0;
}

static int parse_slot_letter(const char *value, int *ret)
{
        if (!streq(value, "a") && !streq(value, "b"))
                return -EINVAL;
        *ret = *value - 'a';
        return 0;
}

static int take_slot_arg(Arg arg, const char *value, CmdlineArgs *a)
{
        switch (arg) {
        case ARG_USRHASH:
                return parse_usrhash(value, a->usrhash);
        case ARG_DATA:
                return parse_partuuid(value, a->data);
        case ARG_HASH:
                return parse_partuuid(value, a->hash);
        case ARG_SIGNATURE:
                return parse_partuuid(value, a->sig);
        case ARG_SLOT:
                return parse_slot_letter(value, &a->slot);
        case ARG_OPTIONS:
                a->ignores_corruption = strstr(value, "ignore-corruption");
                a->odd_options = !streq(value, "panic-on-corruption");
                return 0;
        case _ARG_MAX:
                break;
        }
        return -EINVAL;
}

/* Not the slot's own arguments, but with them an addon could lead /usr past verity. */
static bool is_diverting(const char *key, size_t length, const char *value)
{
        static const char *const verity = "systemd.verity";

        if (length >= strlen(verity) && key_is(key, strlen(verity), verity))
                return true;
        if (key_is(key, length, "roothash") || key_is(key, length, "dm_mod.create"))
                return true;
        return key_is(key, length, "mount.usr") && !streq(value, "/dev/mapper/usr");
}

static void take_other(const char *key, size_t length, const char *value, CmdlineArgs *a)
{
        if (is_diverting(key, length, value)) {
                a->n_diverting++;
                return;
        }
        if (key_is(key, length, "flatcar.first_boot") || key_is(key, length, "ignition.firstboot")) {
                a->first_boot = true;
                return;
        }
        a->n_other++;
        if (key_is(key, length, "panic")) {
                a->panic_stays = streq(value, "0");
                a->panic_reboots = *value && !a->panic_stays;
        }
}

static bool is_off(const char *value)
{
        return streq(value, "0") || streq(value, "no") || streq(value, "off");
}

/* As dracut reads them: whole names, the last one counts, a shell unless it is switched off. */
static void take_initrd(const char *key, size_t length, const char *value, CmdlineArgs *a)
{
        if (key_is(key, length, "rd.emergency"))
                a->rd_reboots = streq(value, "reboot");
        else if (key_is(key, length, "rd.shell"))
                a->rd_no_shell = is_off(value);
        else if (key_is(key, length, "rd.break"))
                a->rd_break = true;
        else if (key_is(key, length, "systemd.watchdog_sec"))
                a->watchdog = *value && !streq(value, "0") && !is_off(value);
}

static void take_word(const char *word, bool seen[_ARG_MAX], CmdlineArgs *a)
{
        const char *key = word, *value = strchr(word, '=');
        size_t length = value ? (size_t) (value - word) : strlen(word);

        value = value ? value + 1 : "";
        take_initrd(key, length, value, a);
        if (length > 3 && strncmp(key, "rd.", 3) == 0) {
                key += 3;
                length -= 3;
        }
        for (size_t i = 0; i < ELEMENTSOF(slot_args); i++) {
                if (!key_is(key, length, slot_args[i].name))
                        continue;
                if ((seen[slot_args[i].arg] || take_slot_arg(slot_args[i].arg, value, a) < 0) && !a->bad)
                        a->bad = slot_args[i].name;
                seen[slot_args[i].arg] = true;
                a->n_slot++;
                return;
        }
        take_other(key, length, value, a);
}

int cmdline_parse(const char *text, CmdlineArgs *ret)
{
        _cleanup_(strv_freep) char **words = NULL;
        CmdlineArgs a = { .slot = -1 };
        bool seen[_ARG_MAX] = { false };
        int r;

        r = strv_split_words(text ? text : "", &words);
        if (r < 0)
                return r;
        for (char **w = words; *w; w++)
                take_word(*w, seen, &a);
        *ret = a;
        return 0;
}

bool boot_names_signature(const char *cmdline)
{
        CmdlineArgs a;

        return cmdline && cmdline_parse(cmdline, &a) >= 0 && *a.sig;
}

bool cmdline_initrd_reboots(const CmdlineArgs *args, const char **ret_missing)
{
        const char *missing = args->rd_break       ? "no rd.break"
                              : !args->rd_no_shell ? "rd.shell=0"
                              : !args->rd_reboots  ? "rd.emergency=reboot"
                                                   : NULL;

        if (ret_missing && missing)
                *ret_missing = missing;
        return !missing;
}

int cmdline_slot(const CmdlineArgs *args, const BootSlotIds ids[2])
{
        int by_data = -1;

        if (args->bad)
                return -1;
        for (int i = 0; i < 2; i++)
                if (*args->data && streq(args->data, ids[i].data_partuuid))
                        by_data = i;
        if (by_data >= 0 && args->slot >= 0 && by_data != args->slot)
                return -1;
        return by_data >= 0 ? by_data : args->slot;
}

int addon_slot_by_name(const char *name)
{
        static const char *const names[][3] = {
                { "slot-a.addon.efi", "verity-a.addon.efi", NULL },
                { "slot-b.addon.efi", "verity-b.addon.efi", NULL },
                { "verity.addon.efi", NULL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                for (size_t k = 0; k < 3 && names[i][k]; k++)
                        if (str_fold_cmp(name, names[i][k]) == 0)
                                return (int) i;
        return -1;
}

bool addon_is_firstboot_by_name(const char *name)
{
        return str_fold_cmp(name, "firstboot.addon.efi") == 0;
}

static int distrust(Why *why, const char *code, const char *name, const char *text)
{
        return fail(why, -EBADMSG, WHY_TRUST, code, "%s: %s", name, text);
}

static int wrong(Why *why, const char *name, const char *arg, const char *got, const char *want)
{
        return fail(why, -EBADMSG, WHY_TRUST, "slot-addon", "%s: %s is %s, the slot that is written needs %s",
                    name, arg, *got ? got : "missing", *want ? want : "none");
}

static int check_devices(const CmdlineArgs *a, const char *name, const SlotExpect *e, Why *why)
{
        const BootSlotIds *ids = e->ids + e->slot;
        bool on_data = !*a->hash || streq(a->hash, a->data);

        if (!*a->data || !streq(a->data, ids->data_partuuid))
                return wrong(why, name, "the data device", a->data, ids->data_partuuid);
        if (e->inline_hash == 1 || (e->inline_hash < 0 && on_data)) {
                if (!on_data)
                        return wrong(why, name, "the hash device", a->hash, ids->data_partuuid);
        } else if (!*a->hash || !streq(a->hash, ids->hash_partuuid))
                return wrong(why, name, "the hash device", a->hash, ids->hash_partuuid);
        if (*a->sig && !streq(a->sig, ids->sig_partuuid))
                return wrong(why, name, "acl.verity_usr_signature", a->sig, ids->sig_partuuid);
        return 0;
}

static int check_fit(const CmdlineArgs *a, const char *name, const SlotExpect *e, Why *why)
{
        static const char *const letters[] = { "a", "b" };

        if (a->bad)
                return fail(why, -EBADMSG, WHY_TRUST, "slot-addon", "%s: %s= is given twice or malformed",
                            name, a->bad);
        if (!streq(a->usrhash, e->roothash))
                return wrong(why, name, "usrhash=", a->usrhash, e->roothash);
        if (a->slot >= 0 && a->slot != e->slot)
                return wrong(why, name, "acl.slot=", letters[a->slot], letters[e->slot]);
        if (a->ignores_corruption)
                return distrust(why, "slot-addon", name, "its verity options ignore corruption");
        /* acl-verity-setup goes by acl.slot= and stops at any other option; where the tree is inline it does not run */
        if (a->odd_options && a->slot >= 0 && *a->hash && !streq(a->hash, a->data))
                return distrust(why, "slot-addon", name,
                                "its verity options are not panic-on-corruption, so the initrd would stop");
        return check_devices(a, name, e, why);
}

static const CmdlinePart *find_slot_part(const CmdlinePart *parts, size_t n, size_t *ret_count)
{
        const CmdlinePart *found = NULL;

        *ret_count = 0;
        for (size_t i = 0; i < n; i++)
                if (parts[i].role == PART_SLOT) {
                        found = parts + i;
                        (*ret_count)++;
                }
        for (size_t i = 0; !found && i < n; i++)
                if (parts[i].role == PART_UKI)
                        found = parts + i;
        return found;
}

static int check_part(const CmdlinePart *part, bool speaks, const SlotExpect *expect, Why *why)
{
        CmdlineArgs a;
        int r;

        r = cmdline_parse(part->text, &a);
        if (r < 0)
                return r;
        if (a.first_boot)
                return distrust(why, "firstboot", part->name,
                                "it would run the first-boot provisioning again");
        if (speaks)
                return check_fit(&a, part->name, expect, why);
        if (a.n_slot > 0 || (part->role != PART_UKI && a.n_diverting > 0))
                return distrust(why, "stray-verity", part->name,
                                "only the slot's own addon may have verity arguments");
        return 0;
}

int cmdline_check(const CmdlinePart *parts, size_t n, const SlotExpect *expect, Why *why)
{
        size_t count;
        const CmdlinePart *slot = find_slot_part(parts, n, &count);
        int r;

        if (count > 1)
                return distrust(why, "slot-addon", slot->name, "there is more than one slot addon");
        if (!slot || (count == 0 && expect->inline_hash == 0))
                return distrust(why, "slot-addon", "new image",
                                "it has no slot addon for the target slot, and its hash tree is on its own "
                                "partition");
        for (size_t i = 0; i < n; i++) {
                r = check_part(parts + i, parts + i == slot, expect, why);
                if (r < 0)
                        return r;
        }
        return 0;
}
