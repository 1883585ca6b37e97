/* SPDX-License-Identifier: MIT */

/* The one-shot, and what catches a UKI that does not even start. systemd-boot hands such a UKI back to firmware, which goes
 * on with BootOrder *behind* the entry it had started: on most machines that is a shell, for ever. BootNext is spent on
 * the first start, so with BootNext = the running loader's own entry X and X in BootOrder as well, firmware starts X a
 * second time; by then the one-shot is used up and the default boots (integration-tests/vm/FINDINGS.md).
 *
 * X is BootCurrent. Where firmware does not say, or came by another road, an entry for the loader is made from the facts
 * about the ESP's partition. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LABEL_FALLBACK "gybe" /* description of an entry for EFI/BOOT; AZLA, AZLB as Trident has them */

const char *sd_loader_name(void)
{
#if defined(__aarch64__)
        return "BOOTAA64.EFI";
#else
        return "BOOTX64.EFI";
#endif
}

static int read_option(SdBoot *b, const char *name, BootOption *ret)
{
        _cleanup_(bytes_done) Bytes raw = BYTES_NULL;
        int r = efivar_get(&b->vars, EFI_GLOBAL, name, &raw);

        return r < 0 ? r : boot_option_parse(raw.data, raw.size, ret);
}

static void option_name(uint16_t number, char ret[9])
{
        (void) snprintf(ret, 9, "Boot%04X", number);
}

/* "Boot0003": exactly four upper-case hex digits. */
static int option_number(const char *name, uint16_t *ret)
{
        uint8_t raw[2];

        if (strlen(name) != 8 || hex_decode(name + 4, raw, 2) < 0)
                return -EINVAL;
        *ret = (uint16_t) (raw[0] << 8 | raw[1]);
        return 0;
}

static int read_order(SdBoot *b, uint16_t order[BOOT_ORDER_MAX], size_t *ret_n)
{
        _cleanup_(bytes_done) Bytes raw = BYTES_NULL;
        int r = efivar_get(&b->vars, EFI_GLOBAL, "BootOrder", &raw);

        *ret_n = 0;
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        if (raw.size / 2 > BOOT_ORDER_MAX - 1)
                return -EBADMSG;
        /* an odd byte at the end is nobody's entry; firmware ignores it as well */
        for (size_t i = 0; i + 1 < raw.size; i += 2)
                order[(*ret_n)++] = (uint16_t) (raw.data[i] | raw.data[i + 1] << 8);
        return 0;
}

/* The number in front, the others behind it in their order. Nothing is written when it is there already. */
int sd_order_first(SdBoot *b, uint16_t number)
{
        uint16_t order[BOOT_ORDER_MAX];
        uint8_t raw[2 * BOOT_ORDER_MAX];
        size_t n, out = 0;
        int r;

        r = read_order(b, order, &n);
        if (r < 0 || (n > 0 && order[0] == number))
                return r;
        raw[out++] = (uint8_t) number;
        raw[out++] = (uint8_t) (number >> 8);
        for (size_t i = 0; i < n; i++) {
                if (order[i] == number)
                        continue;
                raw[out++] = (uint8_t) order[i];
                raw[out++] = (uint8_t) (order[i] >> 8);
        }
        return efivar_set(&b->vars, EFI_GLOBAL, "BootOrder", raw, out, false);
}

/* "\EFI\AZLA\bootx64.efi" and "EFI/AZLA": the file lies in the folder. */
static bool path_in(const char *path, const char *dir)
{
        size_t n = strlen(dir);

        path += *path == '\\' || *path == '/';
        for (size_t i = 0; i < n; i++) {
                char p[2] = { path[i] == '\\' ? '/' : path[i], 0 }, d[2] = { dir[i], 0 };

                if (str_fold_cmp(p, d) != 0)
                        return false;
        }
        return path[n] == '\\' || path[n] == '/';
}

static bool option_starts_in(SdBoot *b, uint16_t number, const char *dir)
{
        _cleanup_(boot_option_done) BootOption o = { 0 };
        char name[9];

        option_name(number, name);
        return read_option(b, name, &o) >= 0 && o.path && path_in(o.path, dir);
}

bool sd_order_starts_in(SdBoot *b, const char *dir)
{
        uint16_t order[BOOT_ORDER_MAX];
        size_t n;

        return read_order(b, order, &n) >= 0 && n > 0 && option_starts_in(b, order[0], dir);
}

bool sd_loader_runs_from(SdBoot *b, const char *dir)
{
        _cleanup_(free_charp) char *image = NULL;
        uint16_t current;

        if (efivar_get_text(&b->vars, EFI_LOADER, "LoaderImageIdentifier", &image) >= 0 &&
            path_in(image, dir))
                return true;
        if (efivar_get_u16(&b->vars, EFI_GLOBAL, "BootCurrent", &current) >= 0 &&
            option_starts_in(b, current, dir))
                return true;
        return sd_order_starts_in(b, dir);
}

/* --- facts about the ESP's partition --- */

static int sys_number(SdBoot *b, dev_t dev, const char *file, uint64_t *ret)
{
        _cleanup_(free_charp) char *path = str_printf("/sys/dev/block/%u:%u/%s", major(dev), minor(dev),
                                                      file),
                                   *line = NULL;
        int r = path ? env_read_line(b->env, path, &line) : -ENOMEM;

        return r < 0 ? r : parse_u64(line, ret);
}

/* Sectors of 512 bytes in sysfs, logical blocks in a device path. */
static int disk_from_sysfs(SdBoot *b, const char *partuuid, EfiDisk *ret)
{
        uint64_t number, start, size, block = 512;
        uint8_t uuid[16];
        struct stat st;
        int r;

        if (!env_is_real(b->env) || uuid_parse_text(partuuid, uuid) < 0)
                return -ENOENT;
        if (fstat(b->esp.fd, &st) < 0)
                return -errno;
        if ((r = sys_number(b, st.st_dev, "partition", &number)) < 0 ||
            (r = sys_number(b, st.st_dev, "start", &start)) < 0 ||
            (r = sys_number(b, st.st_dev, "size", &size)) < 0)
                return r;
        (void) sys_number(b, st.st_dev, "../queue/logical_block_size", &block);
        if (block < 512 || block % 512 != 0 || number == 0 || number > UINT32_MAX)
                return -ERANGE;
        *ret = (EfiDisk){ .number = (uint32_t) number,
                          .start_lba = start / (block / 512),
                          .size_lba = size / (block / 512) };
        uuid_format_text(uuid, ret->partuuid);
        return 0;
}

/* Another entry on the same partition has the facts already. */
static int disk_from_options(SdBoot *b, char *const *options, const char *partuuid, EfiDisk *ret)
{
        for (char *const *o = options; o && *o; o++) {
                _cleanup_(boot_option_done) BootOption option = { 0 };
                uint16_t number;

                if (option_number(*o, &number) < 0 || read_option(b, *o, &option) < 0 || !option.has_disk)
                        continue;
                if (str_fold_cmp(option.disk.partuuid, partuuid) == 0) {
                        *ret = option.disk;
                        return 0;
                }
        }
        return -ENOENT;
}

/* --- the entry that starts the loader --- */

static int find_option(SdBoot *b, char *const *options, const char *partuuid, const char *path, uint16_t *ret)
{
        for (char *const *o = options; o && *o; o++) {
                _cleanup_(boot_option_done) BootOption option = { 0 };
                uint16_t number;

                if (option_number(*o, &number) < 0 || read_option(b, *o, &option) < 0 || !option.active ||
                    !option.has_disk || !option.path)
                        continue;
                if (str_fold_cmp(option.disk.partuuid, partuuid) == 0 &&
                    str_fold_cmp(option.path, path) == 0) {
                        *ret = number;
                        return 1;
                }
        }
        return 0;
}

static int free_number(char *const *options, uint16_t *ret)
{
        for (unsigned n = 0; n < 0x1000; n++) {
                bool used = false;

                for (char *const *o = options; o && *o; o++) {
                        uint16_t number;

                        used = used || (option_number(*o, &number) >= 0 && number == n);
                }
                if (!used) {
                        *ret = (uint16_t) n;
                        return 0;
                }
        }
        return -ENOSPC;
}

/* 1 and a path as firmware writes it, 0 when there is no loader in the folder. */
static int loader_path(SdBoot *b, const char *dir, char **ret)
{
        _cleanup_(close_fdp) int fd = esp_dir(b->esp.fd, dir), file = -1;
        char *path;

        file = fd < 0 ? fd : esp_open_file(fd, sd_loader_name());
        if (file < 0)
                return file == -ENOENT ? 0 : file;
        path = str_printf("\\%s\\%s", dir, sd_loader_name());
        if (!path)
                return -ENOMEM;
        for (char *p = path; *p; p++)
                *p = *p == '/' ? '\\' : *p;
        *ret = path;
        return 1;
}

static int make_option(SdBoot *b, char *const *options, const char *partuuid, const char *path,
                       const char *description, uint16_t *ret)
{
        _cleanup_(bytes_done) Bytes raw = BYTES_NULL;
        EfiDisk disk;
        char name[9];
        uint16_t number;
        int r;

        if (disk_from_options(b, options, partuuid, &disk) < 0 && disk_from_sysfs(b, partuuid, &disk) < 0)
                return 0;
        if ((r = free_number(options, &number)) < 0 ||
            (r = boot_option_format(description, &disk, path, &raw)) < 0)
                return r;
        option_name(number, name);
        r = efivar_set(&b->vars, EFI_GLOBAL, name, raw.data, raw.size, false);
        if (r < 0)
                return r;
        *ret = number;
        return 1;
}

static int option_in(SdBoot *b, const char *dir, bool make, uint16_t *ret, const char **missing)
{
        _cleanup_(strv_freep) char **options = NULL;
        _cleanup_(free_charp) char *partuuid = NULL, *path = NULL;
        EfiDisk disk;
        int r;

        r = efivar_list(&b->vars, EFI_GLOBAL, "Boot", &options);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        *missing = "the partition that the loader came from is not known";
        if (efivar_get_text(&b->vars, EFI_LOADER, "LoaderDevicePartUUID", &partuuid) < 0)
                return 0;
        *missing = "there is no loader in EFI/BOOT on the ESP";
        r = loader_path(b, dir, &path);
        if (r <= 0)
                return r;
        r = find_option(b, options, partuuid, path, ret);
        if (r != 0)
                return r;
        *missing = "no EFI boot entry starts the loader, and where the ESP lies on the disk is not known";
        if (make)
                return make_option(b, options, partuuid, path,
                                   streq(dir, FALLBACK_DIR) ? LABEL_FALLBACK : strrchr(dir, '/') + 1, ret);
        return disk_from_options(b, options, partuuid, &disk) >= 0 ||
               disk_from_sysfs(b, partuuid, &disk) >= 0;
}

int sd_boot_option_in(SdBoot *b, const char *loader_dir, uint16_t *ret)
{
        const char *missing;

        return efivars_present(&b->vars) ? option_in(b, loader_dir, true, ret, &missing) : 0;
}

/* The option's file, when it lies on this ESP, is still there: firmware spends BootNext even on nothing. */
static bool file_is_there(SdBoot *b, const BootOption *o)
{
        _cleanup_(free_charp) char *partuuid = NULL, *path = o->path ? strdup(o->path) : NULL;
        _cleanup_(close_fdp) int dir = -1, file = -1;
        char *name;

        if (!path || !o->has_disk ||
            efivar_get_text(&b->vars, EFI_LOADER, "LoaderDevicePartUUID", &partuuid) < 0 ||
            str_fold_cmp(partuuid, o->disk.partuuid) != 0)
                return true; /* another road to the same loader; it was taken at this boot */
        for (char *p = path; *p; p++)
                *p = *p == '\\' ? '/' : *p;
        name = strrchr(path, '/');
        if (!name)
                return false;
        *name++ = '\0';
        dir = esp_dir(b->esp.fd, path);
        file = dir < 0 ? dir : esp_open_file(dir, name);
        return file >= 0;
}

int sd_boot_option(SdBoot *b, const char *loader_dir, bool make, uint16_t *ret, const char **ret_missing)
{
        _cleanup_(boot_option_done) BootOption current = { 0 };
        const char *missing = "this host has no EFI variables";
        uint16_t number;
        char name[9];
        int r = 0;

        if (efivars_present(&b->vars)) {
                if (efivar_get_u16(&b->vars, EFI_GLOBAL, "BootCurrent", &number) >= 0) {
                        option_name(number, name);
                        if (read_option(b, name, &current) >= 0 && current.active &&
                            file_is_there(b, &current)) {
                                *ret = number;
                                return 1;
                        }
                }
                r = loader_dir ? option_in(b, loader_dir, make, ret, &missing) : 0;
                if (r == 0)
                        r = option_in(b, FALLBACK_DIR, make, ret, &missing);
        }
        if (r == 0 && ret_missing)
                *ret_missing = missing;
        return r;
}

/* --- verbs --- */

/* The option that firmware is to start once more: for arming, and for recognising it afterwards (make: false). */
static int way_back_option(SdBoot *b, const View *v, bool make, uint16_t *ret)
{
        const EspEntry *running = esp_entry_find(&v->entries, v->selected);
        _cleanup_(free_charp) char *dir = NULL;

        if (!running)
                running = v->fallback;
        if (running && running->slot >= 0 && !(dir = sd_loader_dir(running->slot, running->parsed.os_index)))
                return -ENOMEM;
        return sd_boot_option(b, dir, make, ret, NULL);
}

static int arm_firmware(SdBoot *b, const View *v, Why *why)
{
        uint16_t number = 0;
        int r = way_back_option(b, v, true, &number);

        if (r == 0)
                return 0; /* way_back() has named it as missing */
        if (r > 0)
                r = sd_order_first(b, number);
        if (r >= 0)
                r = efivar_set_u16(&b->vars, EFI_GLOBAL, "BootNext", number);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "EFI variables BootOrder and BootNext") : 0;
}

int sd_arm(Boot *boot, const char *entry, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(view_done) View v = { 0 };
        const EspEntry *e;
        int r;

        if (!efivars_present(&b->vars)) {
                (void) fail(why, -EOPNOTSUPP, WHY_HOST, "no-efi-variables",
                            "one-shot boot: impossible without EFI variables, and there are none here");
                return fail_hint(why, -EOPNOTSUPP, "mount efivarfs on /sys/firmware/efi/efivars");
        }
        if ((r = view_load(b, &v, why)) < 0)
                return r;
        e = esp_entry_find(&v.entries, entry);
        if (!e)
                return fail(why, -ENOENT, WHY_HOST, "no-entry",
                            "%s: not on the ESP, so the next boot cannot try it", entry);
        if (e == v.fallback || view_names(v.variable, e) || view_names(v.conf_default, e))
                return fail(why, -EUCLEAN, WHY_HOST, "default",
                            "%s: it is the boot default; nothing would come back from it", e->name);
        if (!entry_name_literal(view_id(&v, e)))
                return fail(why, -EINVAL, WHY_HOST, "entry-name",
                            "%s: the loader would read this name as a pattern", e->name);
        if ((r = arm_firmware(b, &v, why)) < 0)
                return r;
        r = efivar_set_text(&b->vars, EFI_LOADER, "LoaderEntryOneShot", view_id(&v, e), false);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "EFI variable LoaderEntryOneShot") : 0;
}

/* A BootNext that starts something else (a firmware update, say) is somebody else's. Ours is BootCurrent or, where that could
 * not be used, the option that arming found or made instead. An ESP that cannot be read says nothing: then it stays, and
 * firmware starts the same loader once more. */
static bool is_own_next(SdBoot *b)
{
        _cleanup_(view_done) View v = { 0 };
        uint16_t next, own;

        if (efivar_get_u16(&b->vars, EFI_GLOBAL, "BootNext", &next) < 0)
                return false;
        if (efivar_get_u16(&b->vars, EFI_GLOBAL, "BootCurrent", &own) >= 0 && next == own)
                return true;
        own = (uint16_t) ~next; /* as it stays where the option would first have to be made */
        return view_load(b, &v, NULL) >= 0 && way_back_option(b, &v, false, &own) > 0 && next == own;
}

int sd_disarm(Boot *boot, const char *entry, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(free_charp) char *oneshot = NULL;
        int r = 0;

        if (entry && efivar_get_text(&b->vars, EFI_LOADER, "LoaderEntryOneShot", &oneshot) == -ENOENT)
                oneshot = NULL;
        if (!entry || (oneshot && boot_name_equal(oneshot, entry)))
                r = efivar_delete(&b->vars, EFI_LOADER, "LoaderEntryOneShot");
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "removing the EFI variable LoaderEntryOneShot");
        r = is_own_next(b) ? efivar_delete(&b->vars, EFI_GLOBAL, "BootNext") : 0;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "removing the EFI variable BootNext");
        return sd_remove_intent(boot, why);
}
