/* SPDX-License-Identifier: MIT */

/* From single files to regions: a /usr image, an ESP as a folder, an image or single files, and what else was
 * given. What was not given is a blank partition, so that the COSI describes a whole ACL disk. */

#include "publish/build.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "publish/fsprobe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SIG_PAYLOAD_MAX (1u * MIB) /* acl-disk-and-boot.md 3.1 */

static const char *base_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static int open_image(const char *path, int *ret_fd, ByteRange *ret, Why *why)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", path);
        r = range_of_fd(fd, path, ret, why);
        if (r >= 0 && ret->size == 0)
                r = fail(why, -EINVAL, WHY_USAGE, "empty-image", "%s: is empty", path);
        if (r >= 0)
                *ret_fd = take_fd(&fd);
        return r;
}

/* --- ESP --- */

static int add_boot_file(Build *b, const char *folder, const char *source, const char *suffix, Why *why)
{
        _cleanup_(free_charp) char *path = str_printf("%s%s", folder, base_name(source));

        if (!path)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", source);
        if (!str_ends_fold(path, suffix))
                return fail(why, -EINVAL, WHY_USAGE, "esp-path", "%s: the name must end with %s", source,
                            suffix);
        return esp_tree_add(&b->tree, path, source, why);
}

static int add_boot_files(Build *b, const char *folder, char *const *sources, const char *suffix, Why *why)
{
        for (; sources && *sources; sources++) {
                int r = add_boot_file(b, folder, *sources, suffix, why);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_esp_files(Build *b, Why *why)
{
        for (char **f = b->o->esp_files; f && *f; f++) {
                const char *equals = strchr(*f, '=');
                _cleanup_(free_charp) char *path = equals ? strndup(*f, (size_t) (equals - *f)) : NULL;
                int r;

                if (!path)
                        return fail(why, -EINVAL, WHY_USAGE, "esp-path", "--esp-file %s: expected PATH=FILE",
                                    *f);
                r = esp_tree_add(&b->tree, path, equals + 1, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* shim is started by the firmware and starts its second stage by a fixed name */
static int add_loaders(Build *b, Why *why)
{
        bool arm = b->o->arch && streq(b->o->arch, "aarch64");
        const char *first = arm ? "EFI/BOOT/BOOTAA64.EFI" : "EFI/BOOT/BOOTX64.EFI";
        const char *second = arm ? "EFI/BOOT/grubaa64.efi" : "EFI/BOOT/grubx64.efi";
        int r = 0;

        if (b->o->shim)
                r = esp_tree_add(&b->tree, first, b->o->shim, why);
        if (r >= 0 && b->o->loader)
                r = esp_tree_add(&b->tree, b->o->shim ? second : first, b->o->loader, why);
        return r;
}

static int add_loader_conf(Build *b, const char *uki, Why *why)
{
        _cleanup_(free_charp) char *conf = str_printf("timeout 0\ndefault %s\n", base_name(uki));
        int r = 0;

        if (!conf)
                return fail_errno(why, -ENOMEM, WHY_HOST, "loader.conf");
        if (!esp_tree_find(&b->tree, "loader/loader.conf"))
                r = esp_tree_add_text(&b->tree, "loader/loader.conf", conf, why);
        if (r >= 0 && !esp_tree_find(&b->tree, "loader/entries.srel"))
                r = esp_tree_add_text(&b->tree, "loader/entries.srel", "type1\n", why);
        return r;
}

/* Live addons and credentials lie beside the UKI, under its name: --uki's, or the one in the tree. */
static char *extra_folder(const Build *b)
{
        if (b->o->uki)
                return str_printf("EFI/Linux/%s.extra.d/", base_name(b->o->uki));
        for (size_t i = 0; i < b->tree.n_files; i++)
                if (boot_kind_of_path(b->tree.files[i].path, false) == BOOT_UKI)
                        return str_printf("%s.extra.d/", b->tree.files[i].path);
        return strdup("EFI/Linux/");
}

static int fill_tree(Build *b, Why *why)
{
        _cleanup_(free_charp) char *extra = NULL;
        int r = b->o->esp ? esp_tree_add_dir(&b->tree, b->o->esp, why) : 0;

        if (r >= 0 && b->o->uki)
                r = add_boot_file(b, "EFI/Linux/", b->o->uki, ".efi", why);
        extra = r < 0 ? NULL : extra_folder(b);
        if (r >= 0 && !extra)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ESP");
        if (r >= 0)
                r = add_boot_files(b, extra, b->o->addons, ".addon.efi", why);
        if (r >= 0)
                r = add_boot_files(b, extra, b->o->creds, ".cred", why);
        if (r >= 0)
                r = add_boot_files(b, "acl/uki-addons/", b->o->templates, ".addon.efi", why);
        if (r >= 0)
                r = add_loaders(b, why);
        if (r >= 0)
                r = add_esp_files(b, why);
        if (r >= 0 && b->o->uki)
                r = add_loader_conf(b, b->o->uki, why);
        return r;
}

static int fat_from_range(void *ctx, uint64_t offset, void *buf, size_t size)
{
        bool zero = false;
        int r = range_read(ctx, offset, buf, size, &zero, NULL);

        if (r >= 0 && zero)
                memset(buf, 0, size);
        return r;
}

int build_scan_esp(Build *b, const ByteRange *esp, Why *why)
{
        _cleanup_(fat_freep) Fat *fat = NULL;
        int r = fat_open(fat_from_range, (void *) esp, esp->size, WHY_USAGE, &fat, why);

        if (r < 0)
                return r;
        (void) snprintf(b->esp_serial, sizeof(b->esp_serial), "%s", fat_serial(fat));
        return boot_list_of_fat(fat, &b->boot, why);
}

/* An ESP image stands for itself; single files cannot be put into it. */
static int take_esp_image(Build *b, BuildRegion *region, Why *why)
{
        int r;

        if (b->o->uki || b->o->addons || b->o->templates || b->o->creds || b->o->esp_files || b->o->shim ||
            b->o->loader)
                return fail_hint(why,
                                 fail(why, -EINVAL, WHY_USAGE, "esp-image",
                                      "--esp %s: is an image, no other boot files can be put into it",
                                      b->o->esp),
                                 "give the ESP as a folder");
        r = open_image(b->o->esp, &region->fd, &region->range, why);
        return r < 0 ? r : build_scan_esp(b, &region->range, why);
}

static int take_esp(Build *b, BuildRegion *region, Why *why)
{
        struct stat st;
        int r;

        if (b->o->esp && stat(b->o->esp, &st) < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", b->o->esp);
        if (b->o->esp && !S_ISDIR(st.st_mode))
                return take_esp_image(b, region, why);
        r = fill_tree(b, why);
        return r < 0 ? r : boot_list_of_tree(&b->tree, &b->boot, why);
}

/* The tree becomes an image once the partition's size is known. */
static int make_esp(Build *b, BuildRegion *region, Why *why)
{
        EspImage image;
        int r;

        if (region->fd >= 0)
                return 0;
        r = esp_image_make(&b->tree, region->part.size, b->lba_size, b->o->epoch, b->work_dir, &image, why);
        if (r < 0)
                return r;
        region->fd = image.fd;
        (void) snprintf(b->esp_serial, sizeof(b->esp_serial), "%s", image.serial);
        return range_of_fd(region->fd, "ESP image", &region->range, why);
}

/* --- HASH-SIG --- */

/* acl-disk-and-boot.md 3.1: exactly rootHash and signature, for this root hash, NUL padded to the partition
 */
static int take_signature(Build *b, BuildRegion *region, Why *why)
{
        _cleanup_(bytes_done) Bytes data = BYTES_NULL, der = BYTES_NULL;
        _cleanup_(json_unrefp) Json *doc = NULL;
        const char *roothash, *signature;
        int r = read_text_file(b->o->hash_sig, SIG_PAYLOAD_MAX, &data, why);

        if (r < 0)
                return r;
        while (data.size > 0 && data.data[data.size - 1] == 0)
                data.size--;
        r = json_parse(data.data, data.size, 0, JSON_DEPTH_MAX, b->o->hash_sig, WHY_USAGE, &doc, why);
        if (r < 0)
                return r;
        roothash = json_get_str(doc, "rootHash");
        signature = json_get_str(doc, "signature");
        if (!roothash || !signature || json_members(doc) != 2 ||
            base64_decode(signature, strlen(signature), &der) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "hash-sig",
                            "%s: not an object of exactly rootHash and signature (base64)", b->o->hash_sig);
        if (!streq(roothash, b->roothash))
                return fail(why, -EINVAL, WHY_USAGE, "hash-sig",
                            "%s: signs root hash %s, but this /usr has %s", b->o->hash_sig, roothash,
                            b->roothash);
        region->fd = memfd_create("hash-sig", MFD_CLOEXEC);
        if (region->fd < 0 || fd_write_full(region->fd, data.data, data.size) < 0 ||
            ftruncate(region->fd, (off_t) region->part.size) < 0)
                return fail_errno(why, -errno, WHY_HOST, "HASH-SIG payload");
        b->has_signature = true;
        return range_of_fd(region->fd, b->o->hash_sig, &region->range, why);
}

/* --- everything --- */

static int lay_out(Build *b, BuildRegion esp, Why *why)
{
        LayoutSizes sizes = { 0 };
        uint8_t seed[32];
        GptLayout layout;
        int r = hex_decode(b->roothash, seed, sizeof(seed));

        sizes.needed[PART_ESP] = esp.fd >= 0 ? esp.range.size : esp_size_needed(&b->tree, b->lba_size);
        sizes.needed[PART_USR_A] = b->usr.size;
        sizes.needed[PART_HASH_A] = b->hash.size;
        sizes.chosen[PART_ESP] = b->o->sizes[BUILD_ESP];
        sizes.chosen[PART_USR_A] = b->o->sizes[BUILD_USR];
        sizes.chosen[PART_HASH_A] = b->o->sizes[BUILD_HASH];
        sizes.chosen[PART_OEM] = b->o->sizes[BUILD_OEM];
        sizes.chosen[PART_ROOT] = b->o->sizes[BUILD_ROOT];
        for (LayoutPart i = PART_OEM; i <= PART_ROOT; i++) {
                BuildRegion *region = build_region(b, i);
                const char *path = i == PART_OEM ? b->o->oem : b->o->root;

                if (r >= 0 && path)
                        r = open_image(path, &region->fd, &region->range, why);
                sizes.needed[i] = region->range.size;
        }
        if (r >= 0)
                r = layout_acl(b->arch, b->lba_size, &sizes, seed, &layout, why);
        if (r >= 0)
                r = gpt_region_format(&layout, &b->gpt, why);
        if (r < 0)
                return r;
        b->disk_size = layout.disk_size;
        for (size_t i = 0; i < layout.n_parts; i++)
                b->regions[i].part = layout.parts[i];
        return 0;
}

static int check_usr(Build *b, Why *why)
{
        if (b->usr.size % VERITY_BLOCK == 0)
                return 0;
        return fail_hint(why,
                         fail(why, -EINVAL, WHY_USAGE, "usr-size",
                              "%s: %" PRIu64 " bytes are not a multiple of %u, the verity block", b->o->usr,
                              b->usr.size, VERITY_BLOCK),
                         "pad it: truncate -s %%%u %s", VERITY_BLOCK, b->o->usr);
}

int build_from_parts(Build *b, Why *why)
{
        BuildRegion *sig;
        int r;

        for (LayoutPart i = 0; i < _PART_MAX; i++)
                b->regions[i] = (BuildRegion){ .role = i, .fd = -1, .range = BYTE_RANGE_NULL };
        b->n_regions = _PART_MAX;
        for (unsigned slot = 0; slot < 2; slot++)
                layout_slot_ids(slot, &b->ids[slot]);
        r = open_image(b->o->usr, &b->usr_fd, &b->usr, why);
        if (r >= 0)
                r = check_usr(b, why);
        if (r >= 0 && !b->o->print_verity)
                r = take_esp(b, build_region(b, PART_ESP), why);
        if (r >= 0)
                r = build_verity(b, why);
        if (r < 0 || b->o->print_verity)
                return r;
        sig = build_region(b, PART_HASH_SIG_A);
        sig->part.size = layout_default_size(PART_HASH_SIG_A);
        if (b->o->hash_sig)
                r = take_signature(b, sig, why);
        if (r >= 0)
                r = build_check_boot(b, why);
        if (r >= 0)
                r = lay_out(b, *build_region(b, PART_ESP), why);
        if (r >= 0)
                r = make_esp(b, build_region(b, PART_ESP), why);
        if (r < 0)
                return r;
        build_region(b, PART_USR_A)->range = b->usr;
        build_region(b, PART_HASH_A)->range = b->hash;
        for (size_t i = 0; i < b->n_regions; i++)
                if (b->regions[i].range.size == 0)
                        b->regions[i].range =
                                (ByteRange){ .fd = -1, .size = b->regions[i].part.size, .what = "blank" };
        return 0;
}
