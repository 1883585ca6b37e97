/* SPDX-License-Identifier: MIT */

#include "fetch/esp-image.h"
#include "fetch/values.h"
#include "base/fd.h"

#include <errno.h>
#include <inttypes.h>

struct EspImage {
        int fd;
        uint64_t written;
        const OriginWatch *watch; /* while it is unpacked */
        WhyKind kind;
        Fat *fat;
        size_t files[FAT_ENTRIES_MAX]; /* numbers of those entries of fat that are files */
        size_t n_files;
};

EspImage *esp_image_free(EspImage *esp)
{
        if (!esp)
                return NULL;
        fat_free(esp->fat);
        close_fdp(&esp->fd);
        free(esp);
        return NULL;
}

void esp_image_freep(EspImage **esp)
{
        esp_image_free(*esp);
}

size_t esp_image_n_files(const EspImage *esp)
{
        return esp->n_files;
}

const FatFile *esp_image_file(const EspImage *esp, size_t i)
{
        return fat_file(esp->fat, esp->files[i]);
}

static int scratch_data(void *ctx, const void *data, size_t size, Why *why)
{
        EspImage *esp = ctx;
        int r = fd_pwrite_full(esp->fd, data, size, esp->written);

        esp->written += size;
        if (r >= 0)
                r = esp->watch->alive(esp->watch->ctx);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "scratch file in /var/lib/gybe") : 0;
}

/* Zeroes stay holes. */
static int scratch_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        EspImage *esp = ctx;

        esp->written += size;
        return 0;
}

static int scratch_fill(EspImage *esp, Container *c, const CosiImage *image, unsigned window_log_max,
                        Why *why)
{
        const FetchSink sink = { scratch_data, scratch_zero, esp };
        int r;

        if (ftruncate(esp->fd, 0) < 0)
                return fail_errno(why, -errno, WHY_HOST, "scratch file in /var/lib/gybe");
        r = container_stream(c, image, window_log_max, esp->kind, &sink, why);
        if (r < 0)
                return r;
        if (ftruncate(esp->fd, (off_t) image->uncompressed_size) < 0)
                return fail_errno(why, -errno, WHY_HOST, "scratch file in /var/lib/gybe");
        return 0;
}

static int scratch_read(void *ctx, uint64_t offset, void *buf, size_t size)
{
        const EspImage *esp = ctx;
        ssize_t n = fd_pread_full(esp->fd, buf, size, offset);

        if (n < 0)
                return (int) n;
        return (size_t) n == size ? 0 : -EIO;
}

int esp_image_open(Container *c, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                   int scratch_fd, const OriginWatch *watch, EspImage **ret, Why *why)
{
        _cleanup_(close_fdp) int fd = scratch_fd;
        _cleanup_(esp_image_freep) EspImage *esp = calloc(1, sizeof(*esp));
        int r;

        if (!esp)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ESP image");
        esp->fd = take_fd(&fd);
        esp->watch = watch;
        esp->kind = kind;
        if (image->uncompressed_size > ESP_MAX)
                return fail(why, -EFBIG, kind, "esp-too-large",
                            "%s: an ESP of %" PRIu64 " bytes, at most %" PRIu64 " are taken", image->path,
                            image->uncompressed_size, ESP_MAX);
        r = scratch_fill(esp, c, image, window_log_max, why);
        if (r < 0)
                return r;
        r = fat_open(scratch_read, esp, image->uncompressed_size, kind, &esp->fat, why);
        if (r < 0)
                return r;
        for (size_t i = 0; i < fat_n_files(esp->fat); i++)
                if (!fat_file(esp->fat, i)->is_dir)
                        esp->files[esp->n_files++] = i;
        esp->watch = NULL;
        *ret = TAKE(esp);
        return 0;
}

typedef struct FileSink {
        const FetchSink *sink;
        Why *why;
} FileSink;

static int file_data(void *ctx, const void *data, size_t size)
{
        FileSink *f = ctx;

        return f->sink->data(f->sink->ctx, data, size, f->why);
}

int esp_image_read(EspImage *esp, size_t i, const FetchSink *sink, Why *why)
{
        FileSink f = { sink, why };

        return fat_read_file(esp->fat, esp_image_file(esp, i), file_data, &f, why);
}

typedef struct FileReader {
        EspImage *esp;
        const FatFile *file;
        Why *why;
} FileReader;

static int file_read_at(void *ctx, uint64_t offset, void *buf, size_t size)
{
        FileReader *f = ctx;

        return fat_pread(f->esp->fat, f->file, offset, buf, size, f->why);
}

int esp_image_pe(EspImage *esp, size_t i, PeSummary *ret, Why *why)
{
        _cleanup_(pe_summary_done) PeSummary s = { 0 };
        FileReader f = { esp, esp_image_file(esp, i), why };
        int r;

        r = pe_read(file_read_at, &f, f.file->size, f.file->path, esp->kind, &s, why);
        if (r < 0)
                return r;
        if (s.profile_cmdlines && strlen(s.profile_cmdlines) > VALUE_PE_PROFILES_MAX)
                return fail(why, -EFBIG, esp->kind, "bad-pe", "%s: command lines of more than %u bytes",
                            f.file->path, VALUE_PE_PROFILES_MAX);
        pe_summary_move(ret, &s);
        return 0;
}
