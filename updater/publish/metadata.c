/* SPDX-License-Identifier: MIT */

#include "publish/metadata.h"
#include "base/str.h"

#include <errno.h>

static Json *image_json(const CosiImage *image)
{
        Json *j = json_new_object();

        json_set_str(j, "path", image->path);
        json_set_u64(j, "compressedSize", image->compressed_size);
        json_set_u64(j, "uncompressedSize", image->uncompressed_size);
        if (image->has_sha384)
                json_set_str(j, "sha384", image->sha384);
        return j;
}

static Json *disk_json(const Cosi *cosi, uint64_t disk_size)
{
        Json *disk = json_new_object(), *regions = json_new_array();

        for (size_t i = 0; i < cosi->n_regions; i++) {
                Json *region = json_new_object();

                json_set(region, "image", image_json(&cosi->regions[i].image));
                json_set_str(region, "type", cosi->regions[i].is_gpt ? "primary-gpt" : "partition");
                if (!cosi->regions[i].is_gpt)
                        json_set_u64(region, "number", cosi->regions[i].number);
                json_add(regions, region);
        }
        json_set_u64(disk, "size", disk_size);
        json_set_str(disk, "type", "gpt");
        json_set_u64(disk, "lbaSize", cosi->lba_size);
        json_set(disk, "gptRegions", regions);
        return disk;
}

static Json *filesystem_json(const CosiFilesystem *fs)
{
        Json *j = json_new_object();

        json_set(j, "image", image_json(&fs->image));
        json_set_str(j, "mountPoint", fs->mount_point);
        json_set_str(j, "fsType", fs->fs_type);
        json_set_str(j, "fsUuid", fs->fs_uuid);
        json_set_str(j, "partType", fs->part_type);
        if (fs->has_verity) {
                Json *verity = json_new_object();

                json_set(verity, "image", image_json(fs->inline_verity ? &fs->image : &fs->verity));
                json_set_str(verity, "roothash", fs->roothash);
                json_set(j, "verity", verity);
        }
        return j;
}

static Json *bootloader_json(const MetadataBoot *boot)
{
        Json *loader = json_new_object(), *entry, *entries;

        if (boot->grub) {
                json_set_str(loader, "type", "grub");
                return loader;
        }
        entry = json_new_object();
        entries = json_new_array();
        json_set_str(entry, "type", "uki-standalone");
        json_set_str(entry, "path", boot->path);
        json_set_str(entry, "cmdline", boot->cmdline);
        json_set_str(entry, "kernel", boot->kernel);
        json_add(entries, entry);
        json_set_str(loader, "type", "systemd-boot");
        json_set(json_sub(loader, "systemdBoot"), "entries", entries);
        return loader;
}

int metadata_format(const Cosi *cosi, uint64_t disk_size, const MetadataBoot *boot, const char *id,
                    char **ret)
{
        _cleanup_(json_unrefp) Json *doc = json_new_object();
        Json *images = json_new_array();
        char *text;

        for (size_t i = 0; i < cosi->n_filesystems; i++)
                json_add(images, filesystem_json(&cosi->filesystems[i]));
        json_set_str(doc, "version", "1.2");
        json_set_str(doc, "osArch", streq(cosi->arch, "aarch64") ? "arm64" : "x86_64");
        json_set_str(doc, "osRelease", cosi->os_release);
        json_set(doc, "disk", disk_json(cosi, disk_size));
        json_set(doc, "images", images);
        json_set(doc, "bootloader", bootloader_json(boot));
        json_set(doc, "osPackages", cosi->packages ? json_ref(cosi->packages) : json_new_array());
        json_set_u64(json_sub(doc, "compression"), "maxWindowLog", cosi->max_window_log);
        if (*id)
                json_set_str(doc, "id", id);
        text = json_format(doc, false);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}
