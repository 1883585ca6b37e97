/* SPDX-License-Identifier: MIT */

/* What was packed, as metadata.json says it. */

#include "publish/build.h"
#include "base/str.h"
#include "publish/fsprobe.h"
#include "publish/metadata.h"

#include <errno.h>
#include <stdio.h>

static const char *mount_point_of(const Build *b, LayoutPart role)
{
        switch (role) {
        case PART_ESP:
                return b->o->esp_mount ?: "/boot";
        case PART_USR_A:
                return "/usr";
        case PART_OEM:
                return "/oem";
        case PART_ROOT:
                return "/";
        default:
                return NULL;
        }
}

static int probe_region(const Build *b, const BuildRegion *region, FsFacts *ret, Why *why)
{
        size_t n = (size_t) MIN(region->range.size, (uint64_t) FS_PROBE_SIZE);
        _cleanup_(bytes_done) Bytes head = { calloc(1, FS_PROBE_SIZE), n };
        uint8_t derived[16], seed[32];
        bool zero = false;
        int r;

        if (!head.data)
                return fail_errno(why, -ENOMEM, WHY_HOST, "file system probe");
        r = range_read(&region->range, 0, head.data, n, &zero, why);
        if (r < 0)
                return r;
        fs_probe(head.data, n, ret);
        if (region->role != PART_USR_A)
                return 0;
        if (b->o->fs_type && *b->o->fs_type)
                (void) snprintf(ret->type, sizeof(ret->type), "%s", b->o->fs_type);
        if (b->o->fs_uuid && *b->o->fs_uuid)
                (void) snprintf(ret->uuid, sizeof(ret->uuid), "%s", b->o->fs_uuid);
        if (!*ret->type)
                return fail_hint(why,
                                 fail(why, -EINVAL, WHY_USAGE, "fs-type", "%s: no known file system in it",
                                      region->range.what),
                                 "name it with --fs-type");
        if (!*ret->uuid) {
                r = hex_decode(b->roothash, seed, sizeof(seed));
                uuid_derive("gybe fs uuid", seed, sizeof(seed), derived);
                uuid_format_text(derived, ret->uuid);
        }
        return r;
}

static const CosiImage *packed_image(const Build *b, const Pack *pack, LayoutPart role)
{
        for (size_t i = 0; i < b->n_regions; i++)
                if (b->regions[i].role == role)
                        return &pack->regions[i + 1].cosi.image; /* the GPT is region 0 */
        return NULL;
}

static int add_filesystem(Build *b, const Pack *pack, size_t i, Cosi *cosi, Why *why)
{
        const BuildRegion *region = &b->regions[i];
        const char *mount_point = mount_point_of(b, region->role);
        CosiFilesystem *fs = &cosi->filesystems[cosi->n_filesystems];
        FsFacts facts = { 0 };
        int r;

        if (!mount_point)
                return 0;
        r = probe_region(b, region, &facts, why);
        if (r < 0)
                return r;
        if (!*facts.type || !*facts.uuid)
                return 0; /* a blank partition */
        fs->image = pack->regions[i + 1].cosi.image;
        fs->mount_point = strdup(mount_point);
        fs->fs_type = strdup(facts.type);
        fs->fs_uuid = strdup(facts.uuid);
        cosi->n_filesystems++;
        if (!fs->mount_point || !fs->fs_type || !fs->fs_uuid)
                return fail_errno(why, -ENOMEM, WHY_HOST, "metadata");
        (void) snprintf(fs->part_type, sizeof(fs->part_type), "%s", region->part.type);
        if (region->role == PART_USR_A) {
                fs->has_verity = true;
                fs->verity = *packed_image(b, pack, PART_HASH_A);
                (void) snprintf(fs->roothash, sizeof(fs->roothash), "%s", b->roothash);
        }
        return 0;
}

int build_describe(Build *b, const Pack *pack, Cosi *cosi, Why *why)
{
        int r = 0;

        cosi->lba_size = b->lba_size;
        (void) snprintf(cosi->arch, sizeof(cosi->arch), "%s", b->arch);
        cosi->os_release = strdup(b->os_release);
        cosi->packages = b->packages ? json_ref(b->packages) : NULL;
        cosi->regions = calloc(pack->n_regions, sizeof(*cosi->regions));
        cosi->filesystems = calloc(_PART_MAX, sizeof(*cosi->filesystems));
        if (!cosi->os_release || !cosi->regions || !cosi->filesystems)
                return fail_errno(why, -ENOMEM, WHY_HOST, "metadata");
        for (size_t i = 0; i < pack->n_regions; i++) {
                cosi->regions[cosi->n_regions++] = pack->regions[i].cosi;
                cosi->max_window_log = MAX(cosi->max_window_log, pack->regions[i].window_log);
        }
        for (size_t i = 0; r >= 0 && i < b->n_regions; i++)
                r = add_filesystem(b, pack, i, cosi, why);
        return r;
}

/* .uname, else what vmlinuz-<version>.efi says */
static char *kernel_of(const BootListFile *uki)
{
        const char *name = strrchr(uki->path, '/') ? strrchr(uki->path, '/') + 1 : uki->path;

        if (uki->pe.uname && *uki->pe.uname)
                return strdup(uki->pe.uname);
        if (str_starts(name, "vmlinuz-") && str_ends_fold(name, ".efi"))
                return strndup(name + 8, strlen(name) - 12);
        return strdup("");
}

/* The id names the content: a UUID from the metadata without it, unless the engineer gave one. */
int build_format_metadata(Build *b, const Cosi *cosi, char **ret, Why *why)
{
        const char *esp_mount = b->o->esp_mount ?: "/boot";
        _cleanup_(free_charp) char *kernel = kernel_of(b->boot.uki), *text = NULL;
        _cleanup_(free_charp) char *path =
                str_printf("%s/%s", streq(esp_mount, "/") ? "" : esp_mount, b->boot.uki->path);
        MetadataBoot boot = { b->boot.uki->kind == BOOT_KERNEL, path, kernel, b->boot.uki->pe.cmdline ?: "" };
        uint8_t id[16];
        char id_text[37] = "";
        int r;

        if (!kernel || !path)
                return fail_errno(why, -ENOMEM, WHY_HOST, "metadata");
        r = metadata_format(cosi, b->disk_size, &boot, "", &text);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "metadata");
        uuid_derive("gybe cosi id", (const uint8_t *) text, strlen(text), id);
        if (b->o->id && uuid_parse_text(b->o->id, id) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "id", "--id %s: no UUID", b->o->id);
        uuid_format_text(id, id_text);
        r = metadata_format(cosi, b->disk_size, &boot, id_text, ret);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "metadata") : 0;
}
