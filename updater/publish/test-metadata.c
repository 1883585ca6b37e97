/* SPDX-License-Identifier: MIT */

/* Judge: the hosts' reader. What it reads back is what was written. */

#undef NDEBUG
#include "publish/metadata.h"
#include "base/str.h"

#include <assert.h>
#include <stdio.h>

static void set_image(CosiImage *image, const char *path, uint64_t packed, uint64_t raw)
{
        (void) snprintf(image->path, sizeof(image->path), "%s", path);
        image->compressed_size = packed;
        image->uncompressed_size = raw;
        image->has_sha384 = true;
        memset(image->sha384, 'a', 96);
}

int main(void)
{
        CosiRegion regions[4] = { { .is_gpt = true }, { .number = 1 }, { .number = 2 }, { .number = 3 } };
        CosiFilesystem fs[2] = { 0 };
        Cosi cosi = { .lba_size = 512,
                      .max_window_log = 20,
                      .regions = regions,
                      .n_regions = 4,
                      .filesystems = fs,
                      .n_filesystems = 2 };
        MetadataBoot boot = { false, "/boot/EFI/Linux/vmlinuz-1.efi", "1", "quiet \"two words\"" };
        _cleanup_(free_charp) char *text = NULL;
        _cleanup_(cosi_done) Cosi back = { 0 };
        _cleanup_(json_unrefp) Json *doc = NULL;
        const Json *entry;
        Why why = { 0 };

        set_image(&regions[0].image, "images/gpt.zst", 500, 17408);
        set_image(&regions[1].image, "images/esp.zst", 1000, 40 * MIB);
        set_image(&regions[2].image, "images/usr-a.zst", UINT64_C(1) << 40, UINT64_C(1) << 41);
        set_image(&regions[3].image, "images/hash-a.zst", 77, 8192);
        (void) snprintf(cosi.arch, sizeof(cosi.arch), "aarch64");
        cosi.os_release = (char *) "ID=x\nNAME=\"A B\"\n";
        fs[0] = (CosiFilesystem){ .image = regions[1].image,
                                  .mount_point = (char *) "/boot",
                                  .fs_type = (char *) "vfat",
                                  .fs_uuid = (char *) "C3D4-250D",
                                  .part_type = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" };
        fs[1] = (CosiFilesystem){ .image = regions[2].image,
                                  .mount_point = (char *) "/usr",
                                  .fs_type = (char *) "ext4",
                                  .fs_uuid = (char *) "5d0e1a2b-0000-4000-8000-000000000001",
                                  .part_type = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6",
                                  .has_verity = true,
                                  .verity = regions[3].image };
        memset(fs[1].roothash, 'b', 64);

        assert(metadata_format(&cosi, UINT64_C(1) << 42, &boot, "433719b7-4542-8ead-84da-1737d4c89555",
                               &text) == 0);
        assert(cosi_parse(text, strlen(text), WHY_IMAGE, true, &back, &why) == 0);
        assert(back.major == 1 && back.minor == 2 && streq(back.arch, "aarch64") && back.lba_size == 512);
        assert(streq(back.os_release, cosi.os_release) && back.max_window_log == 20);
        assert(back.n_regions == 4 && back.regions[0].is_gpt && back.regions[3].number == 3);
        assert(back.regions[2].image.uncompressed_size == UINT64_C(1) << 41);
        assert(streq(back.usr->roothash, fs[1].roothash) &&
               streq(back.usr->verity.path, "images/hash-a.zst"));
        assert(streq(back.esp->fs_uuid, "C3D4-250D") && !back.esp->has_verity);

        assert(json_parse(text, strlen(text), 0, COSI_DEPTH_MAX, "metadata", WHY_IMAGE, &doc, &why) == 0);
        entry = json_at(json_get(json_get(json_get(doc, "bootloader"), "systemdBoot"), "entries"), 0);
        assert(streq(json_get_str(entry, "cmdline"), boot.cmdline) &&
               streq(json_get_str(entry, "kernel"), "1"));
        assert(streq(json_get_str(doc, "osArch"), "arm64") &&
               streq(json_get_str(doc, "id"), "433719b7-4542-8ead-84da-1737d4c89555"));
        return 0;
}
