/* SPDX-License-Identifier: MIT */

#include "publish/bootscan.h"
#include "base/digest.h"
#include "base/str.h"

#include <errno.h>

int boot_list_of_tree(const EspTree *tree, BootList *ret, Why *why)
{
        _cleanup_(boot_list_done) BootList list = { 0 };
        bool shim = false;
        int r;

        for (size_t i = 0; i < tree->n_files; i++)
                shim = shim || boot_path_is_second_stage(tree->files[i].path);
        for (size_t i = 0; i < tree->n_files; i++) {
                const EspFile *f = &tree->files[i];
                _cleanup_(pe_summary_done) PeSummary pe = { 0 };
                BootKind kind = boot_kind_of_path(f->path, shim);

                if (kind == _BOOT_KIND_INVALID)
                        continue;
                r = boot_kind_is_pe(kind) ? pe_parse_fd(f->fd, f->path, WHY_USAGE, &pe, why) : 0;
                if (r < 0)
                        return r;
                r = boot_list_add(&list, f->path, kind, f->size, f->sha256, &pe);
                if (r < 0)
                        return fail_errno(why, r, WHY_USAGE, "boot files of the ESP");
        }
        *ret = list;
        list = (BootList){ 0 };
        return 0;
}

typedef struct FatPe {
        Fat *fat;
        const FatFile *file;
} FatPe;

static int pe_from_fat(void *ctx, uint64_t offset, void *buf, size_t size)
{
        FatPe *f = ctx;

        return fat_pread(f->fat, f->file, offset, buf, size, NULL);
}

static int hash_chunk(void *ctx, const void *data, size_t size)
{
        return digest_update(ctx, data, size);
}

static int hash_file(Fat *fat, const FatFile *file, char hex[SHA256_HEX], Why *why)
{
        Digest *digest = NULL;
        uint8_t sum[SHA256_SIZE];
        int r = digest_new(256, &digest);

        if (r >= 0)
                r = fat_read_file(fat, file, hash_chunk, digest, why);
        if (r >= 0)
                r = digest_final(digest, sum);
        (void) digest_free(digest);
        if (r < 0)
                return fail_errno(why, r, WHY_IMAGE, "%s", file->path);
        hex_encode(sum, sizeof(sum), hex);
        return 0;
}

static int add_fat_file(Fat *fat, const FatFile *file, BootKind kind, BootList *list, Why *why)
{
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        char hex[SHA256_HEX];
        FatPe source = { fat, file };
        int r = hash_file(fat, file, hex, why);

        if (r >= 0 && boot_kind_is_pe(kind))
                r = pe_read(pe_from_fat, &source, file->size, file->path, WHY_USAGE, &pe, why);
        if (r < 0)
                return r;
        r = boot_list_add(list, file->path, kind, file->size, hex, &pe);
        return r < 0 ? fail_errno(why, r, WHY_USAGE, "boot files of the ESP") : 0;
}

int boot_list_of_fat(Fat *fat, BootList *ret, Why *why)
{
        _cleanup_(boot_list_done) BootList list = { 0 };
        bool shim = false;

        for (size_t i = 0; i < fat_n_files(fat); i++)
                shim = shim || boot_path_is_second_stage(fat_file(fat, i)->path);
        for (size_t i = 0; i < fat_n_files(fat); i++) {
                const FatFile *f = fat_file(fat, i);
                BootKind kind = f->is_dir ? _BOOT_KIND_INVALID : boot_kind_of_path(f->path, shim);
                int r = kind == _BOOT_KIND_INVALID ? 0 : add_fat_file(fat, f, kind, &list, why);

                if (r < 0)
                        return r;
        }
        *ret = list;
        list = (BootList){ 0 };
        return 0;
}
