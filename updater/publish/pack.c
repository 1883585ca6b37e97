/* SPDX-License-Identifier: MIT */

#include "publish/pack.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "publish/tarwrite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static const uint8_t zeroes[2 * TAR_BLOCK];

void pack_done(Pack *pack)
{
        free(pack->regions);
        close_fdp(&pack->fd);
        *pack = PACK_NULL;
}

int pack_open(const char *work_dir, Pack *ret, Why *why)
{
        char *path;
        int fd = open(work_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        /* not every file system has nameless files */
        if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
                path = str_printf("%s/.gybe-pack.XXXXXX", work_dir);
                fd = path ? mkostemp(path, O_CLOEXEC) : -1;
                if (fd >= 0)
                        (void) unlink(path);
                free(path);
        }
        if (fd < 0)
                return fail_errno(why, -errno, WHY_HOST, "temporary file in %s", work_dir);
        ret->fd = fd;
        return 0;
}

int pack_add(Pack *pack, const char *path, unsigned number, const ByteRange *range,
             const SeekableOptions *options)
{
        PackRegion *more = reallocarray(pack->regions, pack->n_regions + 1, sizeof(*more));

        if (!more)
                return -ENOMEM;
        pack->regions = more;
        more += pack->n_regions++;
        *more = (PackRegion){ .range = *range, .options = *options };
        more->cosi.is_gpt = number == 0;
        more->cosi.number = number;
        (void) snprintf(more->cosi.image.path, sizeof(more->cosi.image.path), "%s", path);
        return 0;
}

int pack_compress(Pack *pack, Meter *meter, Why *why)
{
        uint64_t at = 0;

        for (size_t i = 0; i < pack->n_regions; i++) {
                PackRegion *p = &pack->regions[i];
                CosiImage *image = &p->cosi.image;
                SeekableResult z;
                int r;

                meter_begin(meter, strchr(image->path, '/') ? strchr(image->path, '/') + 1 : image->path,
                            p->range.size);
                r = seekable_write(&p->range, &p->options, pack->fd, meter, &z, why);
                meter_end(meter);
                if (r < 0)
                        return r;
                p->offset = at;
                p->window_log = z.window_log;
                p->n_frames = z.n_frames;
                image->compressed_size = z.compressed_size;
                image->uncompressed_size = z.raw_size;
                image->has_sha384 = true;
                (void) snprintf(image->sha384, sizeof(image->sha384), "%s", z.sha384);
                at += z.compressed_size;
        }
        return 0;
}

static int put_header(int fd, const char *name, uint64_t size, uint64_t epoch)
{
        uint8_t block[TAR_BLOCK];
        int r = tar_header(name, size, epoch, block);

        return r < 0 ? r : fd_write_full(fd, block, sizeof(block));
}

static int put_bytes(int fd, const char *name, const void *data, size_t size, uint64_t epoch)
{
        int r = put_header(fd, name, size, epoch);

        if (r >= 0)
                r = fd_write_full(fd, data, size);
        return r < 0 ? r : fd_write_full(fd, zeroes, tar_padding(size));
}

static int put_region(int fd, const Pack *pack, const PackRegion *p, uint64_t epoch)
{
        uint64_t size = p->cosi.image.compressed_size;
        int r = put_header(fd, p->cosi.image.path, size, epoch);

        if (r >= 0 && lseek(pack->fd, (off_t) p->offset, SEEK_SET) < 0)
                r = -errno;
        if (r >= 0)
                r = file_copy_bytes(pack->fd, fd, size);
        return r < 0 ? r : fd_write_full(fd, zeroes, tar_padding(size));
}

static int put_archive(int fd, const Pack *pack, const char *metadata, const PackExtra *extra, size_t n_extra,
                       uint64_t epoch)
{
        int r = put_header(fd, "cosi-marker", 0, epoch);

        if (r >= 0)
                r = put_bytes(fd, "metadata.json", metadata, strlen(metadata), epoch);
        for (size_t i = 0; r >= 0 && i < pack->n_regions; i++)
                r = put_region(fd, pack, &pack->regions[i], epoch);
        for (size_t i = 0; r >= 0 && i < n_extra; i++)
                r = put_bytes(fd, extra[i].name, extra[i].data, extra[i].size, epoch);
        if (r >= 0)
                r = fd_write_full(fd, zeroes, TAR_END_SIZE);
        return r >= 0 && fsync(fd) < 0 ? -errno : r;
}

int pack_write(const Pack *pack, const char *metadata, const PackExtra *extra, size_t n_extra, uint64_t epoch,
               const char *output, uint64_t *ret_size, Why *why)
{
        _cleanup_(free_charp) char *tmp = str_printf("%s.new~", output);
        _cleanup_(close_fdp) int fd = -1;
        off_t size;
        int r;

        if (!tmp)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", output);
        fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
        r = fd < 0 ? -errno : put_archive(fd, pack, metadata, extra, n_extra, epoch);
        size = fd < 0 ? 0 : lseek(fd, 0, SEEK_CUR);
        if (r >= 0 && rename(tmp, output) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlink(tmp);
                return fail_errno(why, r, WHY_HOST, "%s", output);
        }
        *ret_size = (uint64_t) size;
        return 0;
}
