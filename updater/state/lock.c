/* SPDX-License-Identifier: MIT */

/* One job at a time. The lock is the open descriptor (an open file description lock): it dies with its
 * holder, whatever kills that, and unlike flock() it can be asked about without being taken, so that looking
 * never makes a job fail. The number in the file is for the sentence, and for whoever waits for that process.
 * The file is never removed (a lock on an unlinked file would be a second lock) and only root may open it
 * (whoever can open it can hold it). */

#include "state/state.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define LOCK_DIR  "/run/gybe"
#define LOCK_PATH LOCK_DIR "/lock"

static struct flock whole_file(short type)
{
        return (struct flock){ .l_type = type, .l_whence = SEEK_SET };
}

/* 0 when it says nothing. */
static uint64_t holder(int fd)
{
        char text[24] = { 0 };
        uint64_t pid;

        if (fd_pread_full(fd, text, sizeof(text) - 1, 0) < 0)
                return 0;
        text[strcspn(text, "\n")] = 0;
        return parse_u64(text, &pid) < 0 ? 0 : pid;
}

static int fail_busy(int fd, Why *why)
{
        uint64_t pid = holder(fd);

        if (pid > 0)
                (void) fail(why, -EBUSY, WHY_BUSY, "busy", "another gybe job is at work (process %llu)",
                            (unsigned long long) pid);
        else
                (void) fail(why, -EBUSY, WHY_BUSY, "busy", "another gybe job is at work");
        return fail_hint(why, -EBUSY, "wait for it: gybe watch");
}

int state_lock(const Env *env, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = env_make_dir(env, LOCK_DIR, 0755), fd = -1;
        struct flock lock = whole_file(F_WRLCK);
        char text[24];
        int n;

        if (dir_fd < 0)
                return fail_errno(why, dir_fd, WHY_HOST, "%s", LOCK_DIR);
        fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s", LOCK_PATH);
        if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
                return errno == EAGAIN || errno == EACCES
                               ? fail_busy(fd, why)
                               : fail_errno(why, -errno, WHY_HOST, "%s", LOCK_PATH);
        n = snprintf(text, sizeof(text), "%ld\n", (long) getpid());
        if (ftruncate(fd, 0) >= 0)
                (void) fd_pwrite_full(fd, text, (size_t) n, 0); /* only for other people's sentences */
        return take_fd(&fd);
}

int state_lock_held(const Env *env, uint64_t *ret_pid)
{
        _cleanup_(close_fdp) int fd = env_open_path(env, LOCK_PATH, O_RDONLY | O_NOFOLLOW, 0);
        struct flock lock = whole_file(F_WRLCK);

        if (fd == -ENOENT)
                return 0;
        if (fd < 0)
                return fd;
        if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
                return -errno;
        if (lock.l_type == F_UNLCK)
                return 0;
        *ret_pid = holder(fd);
        return 1;
}
