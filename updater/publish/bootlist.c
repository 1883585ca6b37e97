/* SPDX-License-Identifier: MIT */

/* A host refuses a slot addon that does not fit (exit 4), a second UKI, verity arguments in the wrong place.
 * All of that can be known when the COSI is made, where one engineer reads the sentence instead of ten
 * thousand nodes. */

#include "publish/bootlist.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define EXTRA_SUFFIX ".efi.extra.d/"

void boot_list_done(BootList *list)
{
        for (size_t i = 0; i < list->n_files; i++) {
                free(list->files[i].path);
                pe_summary_done(&list->files[i].pe);
        }
        free(list->files);
        *list = (BootList){ 0 };
}

static const char *skip_fold(const char *path, const char *prefix)
{
        size_t n = strlen(prefix);
        char head[32];

        if (strlen(path) < n || n >= sizeof(head))
                return NULL;
        (void) snprintf(head, sizeof(head), "%.*s", (int) n, path);
        return str_fold_cmp(head, prefix) == 0 ? path + n : NULL;
}

static bool one_of(const char *name, const char *a, const char *b)
{
        return str_fold_cmp(name, a) == 0 || str_fold_cmp(name, b) == 0;
}

bool boot_path_is_second_stage(const char *path)
{
        return one_of(path, "EFI/BOOT/grubx64.efi", "EFI/BOOT/grubaa64.efi");
}

static BootKind kind_below_linux(const char *rest)
{
        const char *slash = strchr(rest, '/');

        if (!slash)
                return str_ends_fold(rest, ".efi") ? BOOT_UKI : _BOOT_KIND_INVALID;
        if (strchr(slash + 1, '/') || slash - rest < (ptrdiff_t) strlen(EXTRA_SUFFIX) ||
            !skip_fold(slash + 1 - strlen(EXTRA_SUFFIX), EXTRA_SUFFIX))
                return _BOOT_KIND_INVALID;
        if (str_ends_fold(rest, ".addon.efi"))
                return BOOT_ADDON;
        return str_ends_fold(rest, ".cred") ? BOOT_CRED : _BOOT_KIND_INVALID;
}

BootKind boot_kind_of_path(const char *path, bool shim)
{
        const char *rest = skip_fold(path, "EFI/Linux/");

        if (rest)
                return kind_below_linux(rest);
        if (one_of(path, "flatcar/vmlinuz-a", "flatcar/vmlinuz-b"))
                return BOOT_KERNEL;
        rest = skip_fold(path, "acl/uki-addons/");
        if (rest)
                return !strchr(rest, '/') && str_ends_fold(rest, ".addon.efi") ? BOOT_ADDON_TEMPLATE
                                                                               : _BOOT_KIND_INVALID;
        if (one_of(path, "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/BOOTAA64.EFI"))
                return shim ? BOOT_SHIM : BOOT_LOADER;
        return boot_path_is_second_stage(path) ? BOOT_LOADER : _BOOT_KIND_INVALID;
}

bool boot_kind_is_pe(BootKind kind)
{
        return boot_kind_starts(kind) || kind == BOOT_ADDON || kind == BOOT_ADDON_TEMPLATE;
}

int boot_list_add(BootList *list, const char *path, BootKind kind, uint64_t size, const char sha256[65],
                  PeSummary *pe)
{
        BootListFile file = { .kind = kind, .size = size };
        BootListFile *more;

        if (list->n_files >= RELEASE_BOOT_MAX)
                return -EFBIG;
        more = reallocarray(list->files, list->n_files + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        list->files = more;
        file.path = strdup(path);
        if (!file.path)
                return -ENOMEM;
        (void) snprintf(file.sha256, sizeof(file.sha256), "%s", sha256);
        if (pe)
                pe_summary_move(&file.pe, pe);
        list->files[list->n_files++] = file;
        return 0;
}

/* The verity arguments of one command line. */
typedef struct SlotArgs {
        unsigned n_usrhash, n_data, n_hash, n_options, n_slot, n_sig;
        const char *usrhash, *data, *hash, *options, *slot, *sig; /* values */
} SlotArgs;

static void take_arg(const char *word, const char *key, const char **value, unsigned *n)
{
        size_t len = strlen(key);

        if (strncmp(word, key, len) != 0)
                return;
        *value = word + len;
        (*n)++;
}

static bool slot_args(char *const *words, SlotArgs *a)
{
        *a = (SlotArgs){ 0 };
        for (; words && *words; words++) {
                take_arg(*words, "usrhash=", &a->usrhash, &a->n_usrhash);
                take_arg(*words, "systemd.verity_usr_data=", &a->data, &a->n_data);
                take_arg(*words, "systemd.verity_usr_hash=", &a->hash, &a->n_hash);
                take_arg(*words, "systemd.verity_usr_options=", &a->options, &a->n_options);
                take_arg(*words, "acl.slot=", &a->slot, &a->n_slot);
                take_arg(*words, "acl.verity_usr_signature=", &a->sig, &a->n_sig);
        }
        return a->n_usrhash || a->n_data || a->n_hash || a->n_options || a->n_slot || a->n_sig;
}

static int refuse(const BootListFacts *facts, Why *why, const BootListFile *f, const char *problem)
{
        return fail(why, -EINVAL, facts->kind, "boot-file", "%s: %s", f->path, problem);
}

static bool is_partuuid(const char *value, const char *id)
{
        return value && *id && str_starts(value, "PARTUUID=") &&
               str_fold_cmp(value + strlen("PARTUUID="), id) == 0;
}

/* The slot in a template's name: slot-a, verity-b; -1 for any other. */
static int slot_of_name(const char *path)
{
        const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;

        if (one_of(name, "slot-a.addon.efi", "verity-a.addon.efi"))
                return 0;
        return one_of(name, "slot-b.addon.efi", "verity-b.addon.efi") ? 1 : -1;
}

bool boot_file_is_slot_addon(const BootListFile *file)
{
        _cleanup_(strv_freep) char **words = NULL;
        SlotArgs args;

        if (file->kind != BOOT_ADDON && file->kind != BOOT_ADDON_TEMPLATE)
                return false;
        /* without memory for its words a file is held to be one: the stricter answer */
        if (file->pe.cmdline && strv_split_words(file->pe.cmdline, &words) < 0)
                return true;
        return slot_of_name(file->path) >= 0 || slot_args(words, &args);
}

static int check_slot_addon(const BootListFile *f, const SlotArgs *a, const BootListFacts *facts,
                            int *ret_slot, char ***warnings, Why *why)
{
        int named = slot_of_name(f->path), slot;
        _cleanup_(free_charp) char *sentence = NULL;

        if (a->n_usrhash > 1 || a->n_data > 1 || a->n_hash > 1 || a->n_options > 1 || a->n_slot > 1 ||
            a->n_sig > 1)
                return refuse(facts, why, f, "a verity argument stands there twice");
        if (!a->usrhash || !streq(a->usrhash, facts->roothash))
                return fail_hint(why,
                                 fail(why, -EINVAL, facts->kind, "addon-roothash",
                                      "%s: usrhash=%s, but this /usr has %s", f->path, a->usrhash ?: "",
                                      facts->roothash),
                                 "make the addon with the root hash that gybe-release verity prints");
        for (slot = 0; slot < 2 && !is_partuuid(a->data, facts->ids[slot].data_partuuid); slot++)
                ;
        if (slot == 2)
                return fail(why, -EINVAL, facts->kind, "addon-partuuid",
                            "%s: systemd.verity_usr_data=%s is the PARTUUID of neither slot", f->path,
                            a->data ?: "");
        if (!is_partuuid(a->hash, facts->ids[slot].hash_partuuid))
                return fail(why, -EINVAL, facts->kind, "addon-partuuid",
                            "%s: systemd.verity_usr_hash=%s, slot %c has PARTUUID=%s", f->path, a->hash ?: "",
                            'a' + slot, facts->ids[slot].hash_partuuid);
        if ((named >= 0 && named != slot) || (a->slot && !streq(a->slot, slot ? "b" : "a")))
                return fail(why, -EINVAL, facts->kind, "addon-slot",
                            "%s: its name or acl.slot= says another slot than its PARTUUIDs, which are those "
                            "of %c",
                            f->path, 'a' + slot);
        if (a->sig && !is_partuuid(a->sig, facts->ids[slot].sig_partuuid))
                return fail(why, -EINVAL, facts->kind, "addon-partuuid",
                            "%s: acl.verity_usr_signature=%s, slot %c has PARTUUID=%s", f->path, a->sig,
                            'a' + slot, facts->ids[slot].sig_partuuid);
        if (a->sig && !facts->has_signature)
                return fail_hint(why,
                                 refuse(facts, why, f,
                                        "asks for a signed root hash, but the image has no HASH-SIG payload"),
                                 "give it with --hash-sig");
        if (!a->slot || !a->options || !streq(a->options, "panic-on-corruption")) {
                sentence = str_printf(
                        "%s: without acl.slot= or options other than panic-on-corruption; the initrd of"
                        " current images refuses that",
                        f->path);
                if (!sentence || strv_add(warnings, sentence) < 0)
                        return -ENOMEM;
        }
        *ret_slot = slot;
        return 0;
}

static int check_file(const BootListFile *f, const BootListFacts *facts, unsigned templates[2],
                      char ***warnings, Why *why)
{
        _cleanup_(strv_freep) char **words = NULL;
        SlotArgs args;
        int r = f->pe.cmdline ? strv_split_words(f->pe.cmdline, &words) : 0, slot = -1;

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", f->path);
        if (f->kind != BOOT_UKI && !f->pe.is_addon)
                return refuse(facts, why, f, "has a kernel in it, so it is a UKI and no addon");
        if (!slot_args(words, &args))
                return slot_of_name(f->path) < 0
                               ? 0
                               : refuse(facts, why, f, "is named as a slot addon, but has no usrhash=");
        if (f->kind == BOOT_UKI)
                return fail_hint(why,
                                 refuse(facts, why, f,
                                        "the UKI itself has verity arguments; only slot addons may"),
                                 "build the UKI without them, then both slots can use it");
        r = check_slot_addon(f, &args, facts, &slot, warnings, why);
        if (r >= 0 && f->kind == BOOT_ADDON_TEMPLATE)
                templates[slot]++;
        return r;
}

static int check_machine(const BootList *list, const BootListFacts *facts, Why *why)
{
        uint16_t machine = list->uki->pe.machine;

        if (machine != 0x8664 && machine != 0xaa64)
                return refuse(facts, why, list->uki, "made for neither x86_64 nor aarch64");
        if (*facts->arch && streq(facts->arch, "aarch64") != (machine == 0xaa64))
                return fail(why, -EINVAL, facts->kind, "arch", "%s: not made for %s", list->uki->path,
                            facts->arch);
        for (size_t i = 0; i < list->n_files; i++)
                if (boot_kind_is_pe(list->files[i].kind) && list->files[i].pe.machine != machine)
                        return refuse(facts, why, &list->files[i],
                                      "made for another machine type than the UKI");
        return 0;
}

static int find_uki(BootList *list, const BootListFacts *facts, Why *why)
{
        list->uki = NULL;
        for (size_t i = 0; i < list->n_files; i++) {
                if (!boot_kind_starts(list->files[i].kind))
                        continue;
                if (list->uki)
                        return fail(why, -EINVAL, facts->kind, "two-ukis",
                                    "two UKIs or kernels: %s and %s; hosts take exactly one", list->uki->path,
                                    list->files[i].path);
                list->uki = &list->files[i];
        }
        if (!list->uki)
                return fail_hint(why,
                                 fail(why, -EINVAL, facts->kind, "no-uki", "no UKI in EFI/Linux of the ESP"),
                                 "give one with --uki, or an ESP that has one");
        if (list->uki->kind == BOOT_KERNEL)
                return 0;
        if (!list->uki->pe.has_linux || !list->uki->pe.has_osrel)
                return refuse(facts, why, list->uki,
                              "a UKI without .linux or .osrel; the boot loader would not list it");
        return 0;
}

/* Flatcar's kernel is for both slots, and GRUB takes the root hash out of it. */
static int check_kernel(const BootList *list, const BootListFacts *facts, Why *why)
{
        const char *its = list->uki->pe.embedded_roothash;

        if (streq(its, facts->roothash))
                return 0;
        return fail_hint(why,
                         fail(why, -EINVAL, facts->kind, "kernel-roothash",
                              "%s: the root hash in it is %.16s..., this /usr has %.16s...", list->uki->path,
                              its[0] ? its : "(none)", facts->roothash),
                         "write the root hash into the kernel, as Flatcar's build does, before it is signed");
}

int boot_list_check(BootList *list, const BootListFacts *facts, char ***warnings, Why *why)
{
        unsigned templates[2] = { 0 };
        int r = find_uki(list, facts, why);

        if (r >= 0)
                r = check_machine(list, facts, why);
        if (r >= 0 && list->uki->kind == BOOT_KERNEL)
                return check_kernel(list, facts, why);
        for (size_t i = 0; r >= 0 && i < list->n_files; i++)
                if (boot_kind_is_pe(list->files[i].kind))
                        r = check_file(&list->files[i], facts, templates, warnings, why);
        if (r < 0)
                return r;
        if (templates[0] > 1 || templates[1] > 1)
                return fail(why, -EINVAL, facts->kind, "addon-slot", "two addon templates for the same slot");
        if (!templates[0] || !templates[1])
                return strv_add(warnings,
                                "no slot addon template for both slots in acl/uki-addons; a host whose spare"
                                " slot has none refuses this image");
        return 0;
}
