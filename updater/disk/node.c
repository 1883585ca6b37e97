/* SPDX-License-Identifier: MIT */

/* The kernel's names. A partition number says which node, but only together with start and size: the kernel's
 * list may be older than the table on the disk, and writing by an old list destroys a neighbour. */

#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "disk/node.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#define ATTRIBUTE_MAX 4096u /* a sysfs attribute is one page */

/* A number in sysfs below dir: 1 found, 0 absent or no number. */
static int read_number(int dir_fd, const char *node, const char *attribute, uint64_t *ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char name[128];

        (void) snprintf(name, sizeof(name), "%.64s/%s", node, attribute);
        if (file_read(dir_fd, name, ATTRIBUTE_MAX, &b) < 0 || b.size == 0)
                return 0;
        b.data[strcspn((char *) b.data, "\n")] = 0;
        return parse_u64((char *) b.data, ret) < 0 ? 0 : 1;
}

/* start and size are in units of 512 bytes there, whatever the sector size. */
static int check_extent(const Disk *disk, const Partition *p, int dir_fd, const char *name, Why *why)
{
        uint64_t start = 0, size = 0;

        if (read_number(dir_fd, name, "start", &start) <= 0 || read_number(dir_fd, name, "size", &size) <= 0)
                return fail(why, -EIO, WHY_HOST, "sysfs", "/dev/%s: sysfs does not say where it is", name);
        if (start != p->offset / 512 || size != p->size / 512)
                return fail_hint(why,
                                 fail(why, -ESTALE, WHY_HOST, "stale-table",
                                      "%s: partition %u is at sector %" PRIu64
                                      ", but the kernel has /dev/%s at %" PRIu64 " (in 512 bytes)",
                                      disk->path, p->number, p->offset / 512, name, start),
                                 "let the kernel read the partition table again: partx -u %s", disk->path);
        return 0;
}

int node_of_partition(const Disk *disk, const Partition *p, char ret_name[NODE_NAME_SIZE], Why *why)
{
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(close_fdp) int dir_fd = -1;
        char path[64];
        bool any = false;
        int r;

        if (!disk->is_block || !env_is_real(disk->env))
                return 0;
        (void) snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(disk->dev), minor(disk->dev));
        dir_fd = env_open_dir(disk->env, path);
        if (dir_fd < 0)
                return fail_errno(why, dir_fd, WHY_HOST, "%s: %s", disk->path, path);
        r = dir_list(dir_fd, ".", &names);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", path);
        for (char **name = names; *name; name++) {
                uint64_t number;

                if (strlen(*name) >= NODE_NAME_SIZE || read_number(dir_fd, *name, "partition", &number) <= 0)
                        continue;
                any = true;
                if (number != p->number)
                        continue;
                r = check_extent(disk, p, dir_fd, *name, why);
                if (r < 0)
                        return r;
                (void) snprintf(ret_name, NODE_NAME_SIZE, "%s", *name);
                return 1;
        }
        if (any)
                return fail(why, -ENXIO, WHY_HOST, "stale-table",
                            "%s: the kernel has no node for partition %u (%s)", disk->path, p->number,
                            p->label);
        return 0;
}

static bool set_basename(const char *path, char ret_name[NODE_NAME_SIZE])
{
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;

        if (!*name || strlen(name) >= NODE_NAME_SIZE)
                return false;
        memcpy(ret_name, name, strlen(name) + 1);
        return true;
}

/* 1 when folder/link is a symbolic link; its target's last component. */
static int follow(const Env *env, const char *folder, const char *link, char ret_name[NODE_NAME_SIZE])
{
        _cleanup_(close_fdp) int dir_fd = env_open_dir(env, folder);
        char target[512];
        ssize_t l;

        if (dir_fd < 0 || !*link || strchr(link, '/'))
                return 0;
        l = readlinkat(dir_fd, link, target, sizeof(target) - 1);
        if (l <= 0)
                return 0;
        target[l] = 0;
        return set_basename(target, ret_name);
}

/* Newer kernels say it in the partition's uevent. */
static bool uevent_partuuid(const Env *env, const char *node, char ret_partuuid[DISK_UUID_SIZE])
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char path[160];
        uint8_t uuid[16];

        (void) snprintf(path, sizeof(path), "/sys/class/block/%.64s/uevent", node);
        if (env_read(env, path, ATTRIBUTE_MAX, &b) < 0 || !b.data)
                return false;
        for (char *line = (char *) b.data, *next; line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                if (str_starts(line, "PARTUUID=") && uuid_parse_text(line + strlen("PARTUUID="), uuid) >= 0) {
                        uuid_format_text(uuid, ret_partuuid);
                        return true;
                }
        }
        return false;
}

static bool uevent_names(const Env *env, const char *node, const char *partuuid)
{
        char found[DISK_UUID_SIZE];

        return uevent_partuuid(env, node, found) && str_fold_cmp(found, partuuid) == 0;
}

int disk_partuuid_of_node(const Env *env, const char *node, char ret_partuuid[DISK_UUID_SIZE])
{
        static const char folder[] = "/dev/disk/by-partuuid";
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(close_fdp) int dir_fd = -1;
        char target[NODE_NAME_SIZE];
        uint8_t uuid[16];

        if (uevent_partuuid(env, node, ret_partuuid))
                return 1;
        dir_fd = env_open_dir(env, folder);
        if (dir_fd < 0 || dir_list(dir_fd, ".", &names) < 0)
                return 0;
        for (char **name = names; *name; name++)
                if (uuid_parse_text(*name, uuid) >= 0 && follow(env, folder, *name, target) &&
                    streq(target, node)) {
                        uuid_format_text(uuid, ret_partuuid);
                        return 1;
                }
        return 0;
}

int node_of_links(const Env *env, const Partition *p, char ret_name[NODE_NAME_SIZE])
{
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(close_fdp) int dir_fd = -1;

        if (follow(env, "/dev/disk/by-partuuid", p->partuuid, ret_name))
                return 1;
        dir_fd = env_open_dir(env, "/sys/class/block");
        if (dir_fd >= 0 && dir_list(dir_fd, ".", &names) >= 0)
                for (char **name = names; *name; name++)
                        if (uevent_names(env, *name, p->partuuid) && set_basename(*name, ret_name))
                                return 1;
        return follow(env, "/dev/disk/by-partlabel", p->label, ret_name);
}

void node_of_source(const Env *env, const char *source, char ret_name[NODE_NAME_SIZE])
{
        const char *slash = strrchr(source, '/');
        _cleanup_(free_charp) char *folder = NULL;

        ret_name[0] = 0;
        if (!str_starts(source, "/dev/"))
                return;
        folder = strndup(source, (size_t) (slash - source));
        if (!folder || !follow(env, folder, slash + 1, ret_name))
                (void) set_basename(source, ret_name);
}

static int parent_disk(const Env *env, const char *node, char **ret)
{
        _cleanup_(close_fdp) int node_fd = -1, disk_fd = -1;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char path[128];
        char *name, *copy;

        (void) snprintf(path, sizeof(path), "/sys/class/block/%.64s", node);
        node_fd = env_open_dir(env, path);
        if (node_fd < 0)
                return node_fd;
        /* The link leads to .../block/vda/vda3: one up is the disk. */
        disk_fd = openat(node_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (disk_fd < 0)
                return -errno;
        if (file_read(disk_fd, "uevent", ATTRIBUTE_MAX, &b) < 0 || !b.data)
                return -ENOENT;
        name = strstr((char *) b.data, "DEVNAME=");
        if (!name || faccessat(disk_fd, "partition", F_OK, 0) == 0)
                return -ENOENT;
        name += strlen("DEVNAME=");
        name[strcspn(name, "\n")] = 0;
        copy = str_printf("/dev/%s", name);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int disk_path_of_partuuid(const Env *env, const char *partuuid, char **ret, Why *why)
{
        Partition wanted = { 0 };
        char node[NODE_NAME_SIZE];
        uint8_t uuid[16];
        int r;

        if (!env_is_real(env))
                return fail_hint(why,
                                 fail(why, -ENOENT, WHY_USAGE, "no-disk",
                                      "a host on files has no disks of its own"),
                                 "name the disk image with --disk");
        if (uuid_parse_text(partuuid, uuid) < 0)
                return fail(why, -EINVAL, WHY_HOST, "no-disk", "\"%.64s\" is no PARTUUID", partuuid);
        uuid_format_text(uuid, wanted.partuuid);
        if (!node_of_links(env, &wanted, node))
                return fail(why, -ENOENT, WHY_HOST, "no-disk", "no partition has the PARTUUID %s",
                            wanted.partuuid);
        r = parent_disk(env, node, ret);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "/dev/%s: the disk that it is on cannot be found", node);
        return 0;
}
