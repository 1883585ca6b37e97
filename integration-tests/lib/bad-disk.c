/* SPDX-License-Identifier: MIT */

/* Preloaded: sectors of one file cannot be read. BAD_DISK names it, BAD_SECTORS lists byte offsets, BAD_ERRNO is what is said of
 * them; with BAD_HEALS a sector that was written can be read from then on, as a disk does that has spare ones. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static off_t sectors[256];
static size_t n_sectors;
static struct stat disk;
static int error;

static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);

static void __attribute__((constructor)) begin(void)
{
        const char *path = getenv("BAD_DISK"), *list = getenv("BAD_SECTORS");
        char *end;

        real_pread = dlsym(RTLD_NEXT, "pread64");
        real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
        if (!path || !list || stat(path, &disk) < 0)
                return;
        error = atoi(getenv("BAD_ERRNO"));
        for (; n_sectors < sizeof(sectors) / sizeof(*sectors); list = end) {
                long long at = strtoll(list, &end, 10);

                if (end == list)
                        break;
                sectors[n_sectors++] = at;
        }
}

static int is_disk(int fd)
{
        struct stat st;

        return n_sectors > 0 && fstat(fd, &st) == 0 && st.st_dev == disk.st_dev && st.st_ino == disk.st_ino;
}

ssize_t pread64(int fd, void *buf, size_t n, off_t at)
{
        if (is_disk(fd))
                for (size_t i = 0; i < n_sectors; i++)
                        if (sectors[i] >= at && sectors[i] < at + (off_t) n) {
                                errno = error;
                                return -1;
                        }
        return real_pread(fd, buf, n, at);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off_t at)
{
        ssize_t l = real_pwrite(fd, buf, n, at);

        if (l > 0 && is_disk(fd) && *getenv("BAD_HEALS"))
                for (size_t i = 0; i < n_sectors; i++)
                        if (sectors[i] >= at && sectors[i] < at + l)
                                sectors[i] = -1;
        return l;
}

ssize_t pread(int fd, void *buf, size_t n, off_t at) __attribute__((alias("pread64")));
ssize_t pwrite(int fd, const void *buf, size_t n, off_t at) __attribute__((alias("pwrite64")));
