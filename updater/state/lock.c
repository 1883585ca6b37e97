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

#define LOCK_DIR     "/run/gybe"
#define LOCK_NAME    "lock"
#define LOCK_PATH    LOCK_DIR "/" LOCK_NAME
#define WAIT_STEP_MS 50u

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

static int open_lock(const Env *env, const char *name, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = env_make_dir(env, LOCK_DIR, 0755);
        int fd;

        if (dir_fd < 0)
                return fail_errno(why, dir_fd, WHY_HOST, "%s", LOCK_DIR);
        fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        return fd < 0 ? fail_errno(why, -errno, WHY_HOST, "%s/%s", LOCK_DIR, name) : fd;
}

/* 1 ours, 0 somebody else's */
static int try_lock(int fd, const char *name, Why *why)
{
        struct flock lock = whole_file(F_WRLCK);

        if (fcntl(fd, F_OFD_SETLK, &lock) >= 0)
                return 1;
        return errno == EAGAIN || errno == EACCES
                       ? 0
                       : fail_errno(why, -errno, WHY_HOST, "%s/%s", LOCK_DIR, name);
}

int state_lock(const Env *env, Why *why)
{
        _cleanup_(close_fdp) int fd = open_lock(env, LOCK_NAME, why);
        char text[24];
        int n, r;

        if (fd < 0)
                return fd;
        r = try_lock(fd, LOCK_NAME, why);
        if (r <= 0)
                return r < 0 ? r : fail_busy(fd, why);
        n = snprintf(text, sizeof(text), "%ld\n", (long) getpid());
        if (ftruncate(fd, 0) >= 0)
                (void) fd_pwrite_full(fd, text, (size_t) n, 0); /* only for other people's sentences */
        return take_fd(&fd);
}

int state_lock_other(const Env *env, const char *name, uint64_t wait_ms, Why *why)
{
        _cleanup_(free_charp) char *file = str_printf("%s.lock", name);
        _cleanup_(close_fdp) int fd = file ? open_lock(env, file, why) : -ENOMEM;

        if (fd < 0)
                return fd;
        for (uint64_t waited = 0;; waited += WAIT_STEP_MS) {
                int r = try_lock(fd, file, why);

                if (r != 0)
                        return r < 0 ? r : take_fd(&fd);
                if (waited >= wait_ms)
                        return fail(why, -EBUSY, WHY_BUSY, "busy",
                                    "another gybe process is at it already (%s)", name);
                (void) usleep(WAIT_STEP_MS * 1000);
        }
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
