/* SPDX-License-Identifier: MIT */

/* Bytes as an ESP: what opens can be read to its last byte, and nothing outside is ever asked for. */

#include "image/fat.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Image {
        const uint8_t *data;
        size_t size;
} Image;

static int read_image(void *ctx, uint64_t offset, void *buf, size_t size)
{
        const Image *image = ctx;

        assert(offset <= image->size && size <= image->size - offset);
        memcpy(buf, image->data + offset, size);
        return 0;
}

static int count(void *ctx, const void *data _unused_, size_t size)
{
        *(uint64_t *) ctx += size;
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(fat_freep) Fat *fat = NULL;
        Image image = { data, size };
        Why why = { 0 };

        if (fat_open(read_image, &image, size, WHY_IMAGE, &fat, &why) < 0) {
                assert(why.kind == WHY_IMAGE && !fat);
                return 0;
        }
        for (size_t i = 0; i < fat_n_files(fat); i++) {
                const FatFile *f = fat_file(fat, i);
                uint8_t buf[100];
                uint64_t n = 0;

                assert(*f->path && f->path[0] != '/' && f->size <= size && fat_find(fat, f->path) == f);
                if (f->is_dir)
                        continue;
                assert(fat_read_file(fat, f, count, &n, &why) == 0 && n == f->size);
                assert(fat_pread(fat, f, f->size / 2, buf, MIN((size_t) f->size / 3, sizeof(buf)), &why) ==
                       0);
        }
        return 0;
}
