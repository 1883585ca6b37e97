/* SPDX-License-Identifier: MIT */

/* The bytes of one partition. Direct I/O in units of at most 128 KiB: larger ones are no faster and far worse
 * for whoever shares the disk. Where the target refuses direct I/O (some filesystems under an image file, a
 * partition that starts at an odd sector) the same bytes go through the page cache and are dropped from it as
 * soon as they are on the disk. */

#include "base/fd.h"
#include "disk/node.h"
#include "disk/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define UNIT_MAX  (128u * 1024u)
#define PAGE      (64u * 1024u)        /* the largest page of the machines we know */
#define DIRTY_MAX (8u * 1024u * 1024u) /* written through the page cache before it is flushed and dropped */

struct Area {
        const Partition *part;
        const char *path; /* of the disk, for sentences */
        int fd;
        uint64_t base;      /* of the partition in fd: 0 for a partition's own node */
        uint64_t size, end; /* nothing is read ahead from end on */
        bool writable, direct;
        bool direct_reads, direct_writes; /* the target has taken one of each */
        Queue *queue;                     /* from the second unit on */
        uint64_t dirty;
};

Area *area_free(Area *area)
{
        if (!area)
                return NULL;
        area->queue = queue_free(area->queue);
        if (area->fd >= 0)
                (void) close(area->fd);
        free(area);
        return NULL;
}

void area_freep(Area **area)
{
        *area = area_free(*area);
}

void *area_buffer(size_t size)
{
        return aligned_alloc(AREA_ALIGN, (MAX(size, 1u) + AREA_ALIGN - 1) / AREA_ALIGN * AREA_ALIGN);
}

uint64_t area_size(const Area *area)
{
        return area->size;
}

const Partition *area_partition(const Area *area)
{
        return area->part;
}

void area_set_end(Area *area, uint64_t end)
{
        area->end = end;
}

static int fail_open(const Area *area, int r, Why *why)
{
        if (r == -EBUSY)
                return fail(why, r, WHY_BUSY, "in-use", "%s: partition %u (%s) is in use", area->path,
                            area->part->number, area->part->label);
        return fail_errno(why, r, WHY_HOST, "%s: partition %u (%s) cannot be opened", area->path,
                          area->part->number, area->part->label);
}

/* The node must be what sysfs said: as large as the partition. */
static int check_node(const Area *area, const char *node, Why *why)
{
        uint64_t size = 0;
        struct stat st;

        if (fstat(area->fd, &st) < 0 || !S_ISBLK(st.st_mode))
                return fail(why, -ENOTBLK, WHY_HOST, "no-disk", "/dev/%s: no block device", node);
        if (ioctl(area->fd, BLKGETSIZE64, &size) < 0 || size != area->part->size)
                return fail(why, -ESTALE, WHY_HOST, "stale-table",
                            "/dev/%s: %" PRIu64 " bytes, the partition table says %" PRIu64, node, size,
                            area->part->size);
        return 0;
}

static int open_node(const Disk *disk, const char *node, int flags, Area *area, Why *why)
{
        char path[NODE_NAME_SIZE + 8];

        (void) snprintf(path, sizeof(path), "/dev/%s", node);
        area->fd = env_open_path(disk->env, path, flags, 0);
        if (area->fd == -EINVAL) {
                area->direct = false;
                area->fd = env_open_path(disk->env, path, flags & ~O_DIRECT, 0);
        }
        return area->fd < 0 ? fail_open(area, area->fd, why) : check_node(area, node, why);
}

/* An image file, or a block device whose partitions the kernel does not know: the partition is a range of it. Not exclusive: that
 * would claim all of the disk, and a slot's data and hash areas are two claims. */
static int open_whole(const Disk *disk, int flags, Area *area, Why *why)
{
        struct stat st;

        flags &= ~O_EXCL;
        area->fd = open(disk->path, flags);
        if (area->fd < 0 && errno == EINVAL) {
                area->direct = false;
                area->fd = open(disk->path, flags & ~O_DIRECT);
        }
        if (area->fd < 0)
                return fail_open(area, -errno, why);
        if (fstat(area->fd, &st) < 0 ||
            (disk->is_block ? st.st_rdev != disk->dev : st.st_dev != disk->dev || st.st_ino != disk->ino))
                return fail(why, -ESTALE, WHY_HOST, "no-disk", "%s: was replaced while it was open",
                            disk->path);
        area->base = area->part->offset;
        return 0;
}

int area_open(Disk *disk, const Partition *p, bool writable, Area **ret, Why *why)
{
        _cleanup_(area_freep) Area *area = calloc(1, sizeof(*area));
        char node[NODE_NAME_SIZE];
        int flags = O_CLOEXEC | O_DIRECT | (writable ? O_RDWR : O_RDONLY);
        int r;

        if (!area)
                return -ENOMEM;
        *area = (Area){ .part = p,
                        .path = disk->path,
                        .fd = -1,
                        .size = p->size / AREA_ALIGN * AREA_ALIGN,
                        .end = UINT64_MAX,
                        .writable = writable,
                        .direct = true };
        if (writable && !disk->writable)
                return fail(why, -EROFS, WHY_HOST, "bug", "%s: was opened for reading only", disk->path);
        if (writable && disk->is_block)
                flags |= O_EXCL;
        r = node_of_partition(disk, p, node, why);
        if (r < 0)
                return r;
        r = r > 0 ? open_node(disk, node, flags, area, why) : open_whole(disk, flags, area, why);
        if (r < 0)
                return r;
        *ret = TAKE(area);
        return 0;
}

static void drop_pages(const Area *area, uint64_t offset, uint64_t size)
{
        uint64_t start = (area->base + offset) / PAGE * PAGE;
        uint64_t end =
                (area->base + offset + size + PAGE - 1) / PAGE * PAGE; /* only whole pages are dropped */

        /* advice: where it is not taken, memory is used and nothing is wrong */
        (void) posix_fadvise(area->fd, (off_t) start, (off_t) (end - start), POSIX_FADV_DONTNEED);
}

/* The target took O_DIRECT at open and refuses it now: from here on through the page cache. */
static int go_buffered(Area *area)
{
        int flags = fcntl(area->fd, F_GETFL);
        uint64_t at;
        int r = area->queue ? queue_drain(area->queue, &at) : 0;

        area->queue = queue_free(area->queue);
        if (r < 0)
                return r;
        if (flags < 0 || fcntl(area->fd, F_SETFL, flags & ~O_DIRECT) < 0)
                return -errno;
        area->direct = false;
        drop_pages(area, 0, area->size);
        return 0;
}

/* A caller that gets this wrong is a bug, and a neighbour's partition is no place to find out: refused in every build. */
static int check_request(const Area *area, uint64_t offset, const void *buf, size_t size, bool write,
                         Why *why)
{
        if (offset % AREA_ALIGN == 0 && size % AREA_ALIGN == 0 && (uintptr_t) buf % AREA_ALIGN == 0 &&
            offset <= area->size && size <= area->size - offset && (!write || area->writable))
                return 0;
        return fail(why, -EINVAL, WHY_HOST, "bug",
                    "%s: %s of %zu bytes at byte %" PRIu64 " of %s is not possible", area->path,
                    write ? "a write" : "a read", size, offset, area->part->label);
}

/* Only for a target that has proved to take direct I/O; without a queue things go one after the other. */
static Queue *queue_of(Area *area, bool proved)
{
        if (!area->queue && proved && area->direct && queue_new(area->fd, &area->queue) < 0)
                area->queue = NULL;
        return area->queue;
}

/* What a device says of a place that it cannot read. Through the page cache all of it is EIO; read directly, a bad sector is
 * "no data", failed protection information an illegal sequence, an error inside the device a remote one (the kernel's
 * block/blk-core.c: blk_errors). A timeout, a lost link or somebody else's reservation says nothing of the place: what lies
 * there may be sound, and nothing is to be fetched or written in its stead. */
static int read_failure(int r)
{
        return r == -ENODATA || r == -EILSEQ || r == -EREMOTEIO ? -EIO : r;
}

static int read_unit(Area *area, uint64_t offset, void *buf, size_t size)
{
        Queue *q = queue_of(area, area->direct_reads);
        ssize_t l;

        if (q && queue_read(q, area->base + offset, buf, size, area->base + MIN(area->end, area->size)) > 0)
                return 0;
        l = fd_pread_full(area->fd, buf, size, area->base + offset);
        if (l == -EINVAL && area->direct) {
                int r = go_buffered(area);
                if (r < 0)
                        return r;
                l = fd_pread_full(area->fd, buf, size, area->base + offset);
        }
        if (l < 0)
                return read_failure((int) l);
        if ((size_t) l < size)
                return -ENODATA; /* an image file that became shorter */
        area->direct_reads = area->direct;
        if (!area->direct && area->dirty == 0)
                drop_pages(area, offset, size);
        return 0;
}

/* In the sentence, not in a hint: who reads ahead or behind passes on no more than that. */
static int fail_read(const Area *area, int r, uint64_t at, Why *why)
{
        bool away = r == -ETIMEDOUT || r == -ENOLINK || r == -EBADE;

        return fail_errno(why, r, WHY_HOST, "%s: %scannot read %s at byte %" PRIu64, area->path,
                          away ? "the disk is out of reach, " : "", area->part->label, at);
}

int area_read(Area *area, uint64_t offset, void *buf, size_t size, Why *why)
{
        int r;

        r = check_request(area, offset, buf, size, false, why);
        if (r < 0)
                return r;
        for (size_t done = 0; done < size;) {
                size_t n = MIN(size - done, (size_t) UNIT_MAX);

                r = read_unit(area, offset + done, (uint8_t *) buf + done, n);

                if (r < 0)
                        return fail_read(area, r, offset + done, why);
                done += n;
        }
        return 0;
}

static int fail_write(const Area *area, int r, uint64_t at, Why *why)
{
        return fail_errno(why, r, WHY_HOST, "%s: cannot write %s at byte %" PRIu64, area->path,
                          area->part->label, at);
}

int area_sync(Area *area, Why *why)
{
        uint64_t at = 0;
        int r = area->queue ? queue_drain(area->queue, &at) : 0;

        if (!area->writable)
                return 0;
        if (r < 0)
                return fail_write(area, r, at - area->base, why);
        /* the data and what it takes to find them: of an image file nobody needs the time of its last change on the disk */
        if (fdatasync(area->fd) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s: what was written to %s is not on the disk",
                                  area->path, area->part->label);
        area->dirty = 0;
        if (!area->direct)
                drop_pages(area, 0, area->size);
        return 0;
}

static int write_unit(Area *area, uint64_t offset, const void *buf, size_t size, Why *why)
{
        Queue *q = area->direct_writes ? queue_of(area, true) : NULL;
        uint64_t at = 0;
        int r;

        if (q) {
                r = queue_write(q, area->base + offset, buf, size, &at);
                return r < 0 ? fail_write(area, r, at - area->base, why) : 0;
        }
        /* a read ahead of the reading side must not bring back what was there before */
        if (area->queue && (r = queue_drain(area->queue, &at)) < 0)
                return fail_write(area, r, at - area->base, why);
        r = fd_pwrite_full(area->fd, buf, size, area->base + offset);
        if (r == -EINVAL && area->direct) {
                r = go_buffered(area);
                if (r >= 0)
                        r = fd_pwrite_full(area->fd, buf, size, area->base + offset);
        }
        if (r < 0)
                return fail_write(area, r, offset, why);
        area->direct_writes = area->direct;
        area->dirty += size;
        return !area->direct && area->dirty >= DIRTY_MAX ? area_sync(area, why) : 0;
}

int area_write(Area *area, uint64_t offset, const void *buf, size_t size, Why *why)
{
        int r;

        r = check_request(area, offset, buf, size, true, why);
        if (r < 0)
                return r;
        for (size_t done = 0; done < size;) {
                size_t n = MIN(size - done, (size_t) UNIT_MAX);

                r = write_unit(area, offset + done, (const uint8_t *) buf + done, n, why);

                if (r < 0)
                        return r;
                done += n;
        }
        return 0;
}
