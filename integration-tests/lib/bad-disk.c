/* SPDX-License-Identifier: MIT */

/* Preloaded: sectors of one file cannot be read. BAD_DISK names it, BAD_SECTORS lists byte offsets, BAD_ERRNO is what is said of
 * them; with BAD_HEALS a sector that was written can be read from then on, as a disk does that has spare ones. Asynchronous reads
 * of them are not taken by this kernel. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static off_t sectors[256];
static size_t n_sectors;
static struct stat disk;
static int error;

static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static long (*real_syscall)(long, ...);

static void __attribute__((constructor)) begin(void)
{
        const char *path = getenv("BAD_DISK"), *list = getenv("BAD_SECTORS");
        char *end;

        real_pread = dlsym(RTLD_NEXT, "pread64");
        real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
        real_syscall = dlsym(RTLD_NEXT, "syscall");
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

static int is_bad(int fd, off_t at, size_t n)
{
        if (is_disk(fd))
                for (size_t i = 0; i < n_sectors; i++)
                        if (sectors[i] >= at && sectors[i] < at + (off_t) n)
                                return 1;
        return 0;
}

static void heal(int fd, off_t at, size_t n)
{
        if (is_disk(fd) && *getenv("BAD_HEALS"))
                for (size_t i = 0; i < n_sectors; i++)
                        if (sectors[i] >= at && sectors[i] < at + (off_t) n)
                                sectors[i] = -1;
}

ssize_t pread64(int fd, void *buf, size_t n, off_t at)
{
        if (!is_bad(fd, at, n))
                return real_pread(fd, buf, n, at);
        errno = error;
        return -1;
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off_t at)
{
        ssize_t l = real_pwrite(fd, buf, n, at);

        if (l > 0)
                heal(fd, at, (size_t) l);
        return l;
}

static int takes(const struct iocb *cb)
{
        if (cb->aio_lio_opcode == IOCB_CMD_PREAD)
                return !is_bad((int) cb->aio_fildes, cb->aio_offset, cb->aio_nbytes);
        heal((int) cb->aio_fildes, cb->aio_offset, cb->aio_nbytes);
        return 1;
}

long syscall(long number, ...)
{
        long a[6];
        va_list ap;

        va_start(ap, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(ap, long);
        va_end(ap);
        if (number == SYS_io_submit && a[1] == 1 && !takes(*(struct iocb **) a[2])) {
                errno = EAGAIN;
                return -1;
        }
        return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ssize_t pread(int fd, void *buf, size_t n, off_t at) __attribute__((alias("pread64")));
ssize_t pwrite(int fd, const void *buf, size_t n, off_t at) __attribute__((alias("pwrite64")));
