/* SPDX-License-Identifier: MIT */

/* Opening a disk, asking it, and locking it. A block device and an image file differ here and in area.c,
 * nowhere else. */

#include "base/str.h"
#include "disk/gpt.h"
#include "disk/node.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES       50u /* ten seconds: udev probes a disk in well under one */
#define LOCK_INTERVAL_NS 200000000ll

Disk *disk_free(Disk *disk)
{
        if (!disk)
                return NULL;
        if (disk->fd >= 0)
                (void) close(disk->fd);
        free(disk->path);
        free(disk);
        return NULL;
}

void disk_freep(Disk **disk)
{
        *disk = disk_free(*disk);
}

static int measure_block(Disk *disk, const struct stat *st, Why *why)
{
        int sector = 0;

        disk->is_block = true;
        disk->dev = st->st_rdev;
        if (ioctl(disk->fd, BLKGETSIZE64, &disk->size) < 0 || ioctl(disk->fd, BLKSSZGET, &sector) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s: cannot be measured", disk->path);
        if (sector != 512 && sector != 4096)
                return fail(why, -EOPNOTSUPP, WHY_HOST, "sector-size",
                            "%s: sectors of %i bytes are not supported", disk->path, sector);
        disk->sector_size = (uint32_t) sector;
        return 0;
}

static int measure(Disk *disk, Why *why)
{
        struct stat st;

        if (fstat(disk->fd, &st) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s", disk->path);
        if (S_ISBLK(st.st_mode))
                return measure_block(disk, &st, why);
        if (!S_ISREG(st.st_mode))
                return fail(why, -ENOTBLK, WHY_USAGE, "no-disk",
                            "%s: neither a block device nor an image file", disk->path);
        disk->dev = st.st_dev;
        disk->ino = st.st_ino;
        disk->size = (uint64_t) st.st_size;
        return gpt_find_sector_size(disk->fd, disk->path, &disk->sector_size, why);
}

int disk_open(const Env *env, const char *path, bool writable, Disk **ret, Why *why)
{
        _cleanup_(disk_freep) Disk *disk = calloc(1, sizeof(*disk));
        int r;

        if (!disk)
                return -ENOMEM;
        disk->env = env;
        disk->writable = writable;
        disk->path = strdup(path);
        /* O_NONBLOCK: a path that turns out to be a FIFO must not hang us */
        disk->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (disk->fd < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s", path);
        if (!disk->path)
                return -ENOMEM;
        r = measure(disk, why);
        if (r < 0)
                return r;
        r = gpt_read(disk->fd, path, disk->size, disk->sector_size, disk->parts, &disk->n_parts, &disk->torn,
                     why);
        if (r < 0)
                return r;
        *ret = TAKE(disk);
        return 0;
}

const char *disk_path(const Disk *disk)
{
        return disk->path;
}

uint32_t disk_sector_size(const Disk *disk)
{
        return disk->sector_size;
}

bool disk_table_is_torn(const Disk *disk)
{
        return disk->torn;
}

size_t disk_n_partitions(const Disk *disk)
{
        return disk->n_parts;
}

const Partition *disk_partition(const Disk *disk, size_t i)
{
        return i < disk->n_parts ? &disk->parts[i] : NULL;
}

const Partition *disk_find_partuuid(const Disk *disk, const char *partuuid)
{
        for (size_t i = 0; i < disk->n_parts; i++)
                if (str_fold_cmp(disk->parts[i].partuuid, partuuid) == 0)
                        return &disk->parts[i];
        return NULL;
}

const Partition *disk_find_label(const Disk *disk, const char *label, unsigned *ret_count)
{
        const Partition *found = NULL;
        unsigned n = 0;

        for (size_t i = 0; i < disk->n_parts; i++)
                if (streq(disk->parts[i].label, label)) {
                        found = &disk->parts[i];
                        n++;
                }
        if (ret_count)
                *ret_count = n;
        return n == 1 ? found : NULL;
}

int disk_lock(Disk *disk, Why *why)
{
        for (unsigned i = 0; i < LOCK_TRIES; i++) {
                const struct timespec pause = { .tv_nsec = LOCK_INTERVAL_NS };

                if (flock(disk->fd, LOCK_EX | LOCK_NB) >= 0)
                        return 0;
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return fail_errno(why, -errno, WHY_HOST, "%s: cannot be locked", disk->path);
                (void) nanosleep(&pause, NULL);
        }
        return fail(why, -EBUSY, WHY_BUSY, "disk-locked",
                    "%s: another program has held its lock for %u seconds", disk->path,
                    (unsigned) (LOCK_TRIES * LOCK_INTERVAL_NS / 1000000000));
}
