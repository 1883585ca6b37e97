/* SPDX-License-Identifier: MIT */

/* Who uses a partition. Three kinds of evidence: what is mounted, what is mapped over it, and whether the
 * kernel would let us have it alone. On a host of files only its own tree speaks. */

#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "disk/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define MOUNTINFO_MAX (16u * 1024u * 1024u) /* a node with ten thousand volumes has 5 MB */
#define FIELDS_MAX    64u                   /* of one line; six, optional ones, and three more */

typedef struct User {
        const Env *env;
        const Partition *part;
        char node[NODE_NAME_SIZE]; /* "" when not known */
        char dev[32];              /* "259:3", "" when not known */
} User;

static int used(const User *u, Why *why, const char *how, const char *by)
{
        (void) fail(why, 1, WHY_BUSY, "in-use", "%s%s%s%s: %s %s", u->part->label,
                    u->node[0] ? " (/dev/" : "", u->node, u->node[0] ? ")" : "", how, by);
        return 1;
}

/* Sources are written as whoever mounted them wrote them. */
static bool is_source(const User *u, const char *source)
{
        static const char *const by_uuid[] = { "/dev/disk/by-partuuid/", "PARTUUID=" };
        static const char *const by_label[] = { "/dev/disk/by-partlabel/", "PARTLABEL=" };
        char node[NODE_NAME_SIZE];

        for (size_t i = 0; i < ELEMENTSOF(by_uuid); i++)
                if (str_starts(source, by_uuid[i]) &&
                    str_fold_cmp(source + strlen(by_uuid[i]), u->part->partuuid) == 0)
                        return true;
        for (size_t i = 0; i < ELEMENTSOF(by_label); i++)
                if (str_starts(source, by_label[i]) && streq(source + strlen(by_label[i]), u->part->label))
                        return true;
        node_of_source(u->env, source, node);
        return node[0] && streq(node, u->node);
}

/* "36 35 98:0 /root /mount rw,noatime master:1 - ext4 /dev/root rw" */
static int check_mount(const User *u, char *line, Why *why)
{
        char *fields[FIELDS_MAX], *save = NULL;
        size_t n = 0, dash = 0;

        for (char *f = strtok_r(line, " ", &save); f && n < FIELDS_MAX; f = strtok_r(NULL, " ", &save)) {
                if (!dash && n >= 6 && streq(f, "-"))
                        dash = n;
                fields[n++] = f;
        }
        if (!dash || dash + 2 >= n)
                return 0;
        if ((u->dev[0] && streq(fields[2], u->dev)) || is_source(u, fields[dash + 2]))
                return used(u, why, "mounted at", fields[4]);
        return 0;
}

static int check_mounts(const User *u, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r;

        r = env_read(u->env, "/proc/self/mountinfo", MOUNTINFO_MAX, &b);
        if (r == -ENOENT && !env_is_real(u->env))
                return 0; /* unknown there */
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "/proc/self/mountinfo");
        for (char *line = (char *) b.data, *next; line && *line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                r = check_mount(u, line, why);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int check_holders(const User *u, Why *why)
{
        _cleanup_(free_charp) char *mapping = NULL;
        _cleanup_(strv_freep) char **holders = NULL;
        _cleanup_(close_fdp) int dir_fd = -1;
        char path[160], by[160];

        (void) snprintf(path, sizeof(path), "/sys/class/block/%s/holders", u->node);
        dir_fd = u->node[0] ? env_open_dir(u->env, path) : -ENOENT;
        if (dir_fd < 0 || dir_list(dir_fd, ".", &holders) < 0 || strv_len(holders) == 0)
                return 0;
        (void) snprintf(path, sizeof(path), "/sys/class/block/%.64s/dm/name", holders[0]);
        if (env_read_line(u->env, path, &mapping) < 0)
                return used(u, why, "held by", holders[0]);
        (void) snprintf(by, sizeof(by), "/dev/mapper/%.128s", mapping);
        return used(u, why, "mapped as", by);
}

/* Asked of the partition's node, or of the whole disk where it has none. */
static int open_exclusive(const Disk *disk, const User *u)
{
        char path[NODE_NAME_SIZE + 8];
        int fd;

        if (env_is_real(disk->env) && u->node[0]) {
                (void) snprintf(path, sizeof(path), "/dev/%s", u->node);
                return env_open_path(disk->env, path, O_RDONLY | O_EXCL, 0);
        }
        fd = open(disk->path, O_RDONLY | O_EXCL | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int check_exclusive(const Disk *disk, const User *u, Why *why)
{
        _cleanup_(close_fdp) int fd = -1;

        if (!disk->is_block)
                return 0;
        fd = open_exclusive(disk, u);
        if (fd == -EBUSY)
                return used(u, why, "claimed by the kernel", "(a mount elsewhere, a mapping or swap)");
        if (fd < 0)
                return fail_errno(why, fd, WHY_HOST, "%s: %s cannot be opened", disk->path, u->part->label);
        return 0;
}

int disk_in_use(const Disk *disk, const Partition *p, Why *why)
{
        _cleanup_(free_charp) char *dev = NULL;
        User u = { .env = disk->env, .part = p };
        char path[128];
        int r;

        r = env_is_real(disk->env) ? node_of_partition(disk, p, u.node, why)
                                   : node_of_links(disk->env, p, u.node);
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof(path), "/sys/class/block/%s/dev", u.node);
        if (u.node[0] && env_read_line(disk->env, path, &dev) >= 0)
                (void) snprintf(u.dev, sizeof(u.dev), "%s", dev);
        /* A disk image on the real machine is nobody's root: what is mounted there says nothing about it. */
        if (disk->is_block || !env_is_real(disk->env)) {
                r = check_holders(&u, why);
                if (r != 0)
                        return r;
                r = check_mounts(&u, why);
                if (r != 0)
                        return r;
        }
        return check_exclusive(disk, &u, why);
}
