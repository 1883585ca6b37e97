/* SPDX-License-Identifier: MIT */

/* Attributes of partitions, the only part of a table that is ever written here. libfdisk knows how: it writes the backup's
 * entries and header, then the primary's. Each of its writes is on the medium before the next one (O_DSYNC), so that a power
 * cut leaves at least one copy whole, and gpt.c knows the states in between. What was written is read back by our own reader.
 *
 * On a disk that was enlarged the new backup goes to the new end, as GRUB puts it, too. The old one stays whole until the
 * primary points to the new one. */

#include "base/fd.h"
#include "base/str.h"
#include "disk/gpt.h"
#include "disk/node.h"

#include <errno.h>
#include <fcntl.h>
#include <libfdisk/libfdisk.h>
#include <unistd.h>

static void unref_contextp(struct fdisk_context **c)
{
        if (*c)
                fdisk_unref_context(*c);
}

/* libfdisk asks and warns in words for people; what it did is read back. */
static int no_dialog(struct fdisk_context *cxt _unused_, struct fdisk_ask *ask _unused_, void *data _unused_)
{
        return 0;
}

static int write_table(const Disk *disk, int fd, const PartitionAttrs *set, size_t n)
{
        _cleanup_(unref_contextp) struct fdisk_context *cxt = fdisk_new_context();
        int r;

        if (!cxt)
                return -ENOMEM;
        (void) fdisk_set_ask(cxt, no_dialog, NULL);
        (void) fdisk_disable_dialogs(cxt, 1);
        (void) fdisk_save_user_sector_size(cxt, disk->sector_size, disk->sector_size);
        r = fdisk_assign_device_by_fd(cxt, fd, disk->path, 0);
        if (r >= 0 && !fdisk_is_label(cxt, GPT))
                r = -EBADMSG;
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = fdisk_gpt_set_partition_attrs(cxt, set[i].partition->number - 1, set[i].attrs);
        if (r >= 0)
                r = fdisk_write_disklabel(cxt);
        return r > 0 ? -EIO : r;
}

static bool same_partition(const Partition *a, const Partition *b)
{
        return a->number == b->number && a->offset == b->offset && a->size == b->size &&
               a->attrs == b->attrs && streq(a->label, b->label) && streq(a->type, b->type) &&
               streq(a->partuuid, b->partuuid);
}

/* Everything as it was, and the new attributes. */
static int read_back(Disk *disk, const PartitionAttrs *set, size_t n, Why *why)
{
        Partition *parts = calloc(DISK_PARTITIONS_MAX, sizeof(*parts));
        size_t found = 0;
        bool torn = false;
        int r;

        if (!parts)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < disk->n_parts; k++)
                        if (&disk->parts[k] == set[i].partition)
                                disk->parts[k].attrs = set[i].attrs;
        r = gpt_read(disk->fd, disk->path, disk->size, disk->sector_size, parts, &found, &torn, why);
        torn = torn || found != disk->n_parts;
        for (size_t i = 0; r >= 0 && !torn && i < found; i++)
                torn = !same_partition(&parts[i], &disk->parts[i]);
        if (r >= 0 && torn)
                r = fail(why, -EIO, WHY_HOST, "gpt", "%s: its partition table is not what was written",
                         disk->path);
        if (r >= 0)
                disk->torn = false;
        free(parts);
        return r;
}

int disk_set_attrs(Disk *disk, const PartitionAttrs *set, size_t n, Why *why)
{
        _cleanup_(close_fdp) int fd = -1;
        int r;

        if (!disk->writable)
                return fail(why, -EROFS, WHY_HOST, "read-only", "%s: opened for reading only", disk->path);
        r = disk_lock(disk, why);
        if (r < 0)
                return r;
        fd = open(disk->path, O_RDWR | O_DSYNC | O_CLOEXEC | O_NONBLOCK);
        r = fd < 0 ? -errno : write_table(disk, fd, set, n);
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s: writing partition attributes", disk->path);
        return read_back(disk, set, n, why);
}
