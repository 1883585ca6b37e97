/* SPDX-License-Identifier: MIT */

#include "fetch/esp-image.h"
#include "fetch/esp-parts.h"
#include "fetch/scratch.h"
#include "fetch/values.h"
#include "base/fd.h"

#include <errno.h>
#include <inttypes.h>

struct EspImage {
        Scratch scratch;
        WhyKind kind;
        Fat *fat;
        size_t files[FAT_ENTRIES_MAX]; /* numbers of those entries of fat that are files */
        size_t n_files;

        EspParts *parts; /* NULL: the scratch file has everything */
        uint64_t ahead;  /* bytes that will be read from here on */
        Why *why;        /* of the call that reads */
};

EspImage *esp_image_free(EspImage *esp)
{
        if (!esp)
                return NULL;
        fat_free(esp->fat);
        close_fdp(&esp->scratch.fd);
        esp_parts_free(esp->parts);
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

/* Zeroes stay holes. */
static int scratch_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        Scratch *s = ctx;

        s->at += size;
        return 0;
}

static int scratch_fill(EspImage *esp, const EspFrom *from, Why *why)
{
        const FetchSink sink = { scratch_data, scratch_zero, &esp->scratch };

        return container_stream(from->container, from->image, from->window_log_max, from->kind, &sink, why);
}

static int scratch_read(void *ctx, uint64_t offset, void *buf, size_t size)
{
        EspImage *esp = ctx;
        ssize_t n;
        int r = esp->parts ? esp_parts_need(esp->parts, offset, size, esp->ahead, esp->why) : 0;

        if (r < 0)
                return r;
        n = fd_pread_full(esp->scratch.fd, buf, size, offset);
        if (n < 0)
                return (int) n;
        return (size_t) n == size ? 0 : -EIO;
}

/* --- opening --- */

static int new_image(const EspFrom *from, int *scratch_fd, EspImage **ret, Why *why)
{
        EspImage *esp = calloc(1, sizeof(*esp));

        if (!esp)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ESP image");
        *ret = esp;
        esp->scratch.fd = take_fd(scratch_fd);
        esp->scratch.watch = *from->watch;
        esp->kind = from->kind;
        esp->why = why;
        if (from->image->uncompressed_size > ESP_MAX)
                return fail(why, -EFBIG, from->kind, "esp-too-large",
                            "%s: an ESP of %" PRIu64 " bytes, at most %" PRIu64 " are taken",
                            from->image->path, from->image->uncompressed_size, ESP_MAX);
        /* what nobody writes stays a hole, which reads as zeroes */
        if (ftruncate(esp->scratch.fd, 0) < 0 ||
            ftruncate(esp->scratch.fd, (off_t) from->image->uncompressed_size) < 0)
                return fail_errno(why, -errno, WHY_HOST, "scratch file in /var/lib/gybe");
        return 0;
}

static int list_files(EspImage *esp, uint64_t size, Why *why)
{
        int r = fat_open(scratch_read, esp, size, esp->kind, &esp->fat, why);

        if (r < 0)
                return r;
        for (size_t i = 0; i < fat_n_files(esp->fat); i++)
                if (!fat_file(esp->fat, i)->is_dir)
                        esp->files[esp->n_files++] = i;
        return 0;
}

int esp_image_open(const EspFrom *from, int scratch_fd, EspImage **ret, Why *why)
{
        _cleanup_(close_fdp) int fd = scratch_fd;
        _cleanup_(esp_image_freep) EspImage *esp = NULL;
        int r = new_image(from, &fd, &esp, why);

        if (r >= 0)
                r = scratch_fill(esp, from, why);
        if (r >= 0)
                r = list_files(esp, from->image->uncompressed_size, why);
        if (r < 0)
                return r;
        *ret = TAKE(esp);
        return 0;
}

int esp_image_open_parts(const EspFrom *from, Pieces *pieces, int scratch_fd, EspImage **ret, Why *why)
{
        _cleanup_(close_fdp) int fd = scratch_fd;
        _cleanup_(esp_image_freep) EspImage *esp = NULL;
        int r = new_image(from, &fd, &esp, why);

        if (r >= 0)
                r = esp_parts_new(pieces, from->image, esp->scratch.fd, from->watch, &esp->parts, why);
        if (r >= 0)
                r = list_files(esp, from->image->uncompressed_size, why);
        if (r < 0)
                return r;
        *ret = TAKE(esp);
        return 0;
}

/* --- files --- */

int esp_image_like(EspImage *esp, size_t i, int fd, Why *why)
{
        return esp->parts ? esp_parts_like(esp->parts, esp->fat, esp_image_file(esp, i), fd, why) : 0;
}

int esp_image_cost(EspImage *esp, size_t i, uint64_t *ret, Why *why)
{
        *ret = 0;
        return esp->parts ? esp_parts_cost(esp->parts, esp->fat, esp_image_file(esp, i), ret, why) : 0;
}

typedef struct FileSink {
        EspImage *esp;
        const FetchSink *sink;
        Why *why;
} FileSink;

static int file_data(void *ctx, const void *data, size_t size)
{
        FileSink *f = ctx;

        f->esp->ahead -= MIN(f->esp->ahead, (uint64_t) size);
        return f->sink->data(f->sink->ctx, data, size, f->why);
}

int esp_image_read(EspImage *esp, size_t i, const FetchSink *sink, Why *why)
{
        const FatFile *file = esp_image_file(esp, i);
        FileSink f = { esp, sink, why };
        int r;

        esp->why = why;
        esp->ahead = file->size;
        r = fat_read_file(esp->fat, file, file_data, &f, why);
        esp->ahead = 0;
        return r;
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

        esp->why = why;
        r = pe_read(file_read_at, &f, f.file->size, f.file->path, esp->kind, &s, why);
        if (r < 0)
                return r;
        if (s.profile_cmdlines && strlen(s.profile_cmdlines) > VALUE_PE_PROFILES_MAX)
                return fail(why, -EFBIG, esp->kind, "bad-pe", "%s: command lines of more than %u bytes",
                            f.file->path, VALUE_PE_PROFILES_MAX);
        pe_summary_move(ret, &s);
        return 0;
}
