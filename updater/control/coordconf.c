/* SPDX-License-Identifier: MIT */

#include "control/coordconf.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

#define DIR_PATH "/run/update-engine"
#define FILE_MAX 4096u /* three short lines */
#define OUR_NAME "gybe"

/* The value of NAME=, as a word: it goes into sentences. */
static void read_name(int fd, char *name, size_t size)
{
        char text[FILE_MAX] = "";
        ssize_t l = fd_pread_full(fd, text, sizeof(text) - 1, 0);
        const char *at = NULL;
        size_t n;

        (void) snprintf(name, size, "somebody");
        text[l > 0 ? l : 0] = 0;
        if (str_starts(text, "NAME="))
                at = text + 5;
        else if ((at = strstr(text, "\nNAME=")))
                at += 6;
        n = at ? strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") : 0;
        if (n > 0)
                (void) snprintf(name, size, "%.*s", (int) MIN(n, size - 1), at);
}

int coordconf_other(const Env *env, char *name, size_t size)
{
        _cleanup_(close_fdp) int fd = env_open_path(env, COORDCONF_PATH, O_RDONLY | O_NONBLOCK, 0);

        if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) >= 0 || errno != EWOULDBLOCK)
                return 0;
        read_name(fd, name, size);
        return !streq(name, OUR_NAME);
}

/* In place: the lock belongs to this very file, and three lines are one write. */
static int write_state(int fd, const char *strategy, const char *state)
{
        char text[160];
        int n = snprintf(text, sizeof(text), "NAME=" OUR_NAME "\nSTRATEGY=%.40s\nSTATE=%.40s\n", strategy,
                         state);
        int r = fd_pwrite_full(fd, text, (size_t) n, 0);

        return r < 0 ? r : ftruncate(fd, n) < 0 ? -errno : 1;
}

int coordconf_hold(const Env *env, int *fd, const char *strategy, const char *state, char *name, size_t size)
{
        _cleanup_(close_fdp) int dir = -1, file = -1;
        int r;

        if (*fd >= 0)
                return write_state(*fd, strategy, state);
        dir = env_make_dir(env, DIR_PATH, 0755);
        if (dir < 0)
                return dir;
        file = env_open_path(env, COORDCONF_PATH, O_RDWR | O_CREAT | O_NONBLOCK, 0644);
        if (file < 0)
                return file;
        if (flock(file, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return -errno;
                read_name(file, name, size);
                return 0;
        }
        r = write_state(file, strategy, state);
        if (r < 0)
                return r;
        *fd = file;
        file = -1;
        return 1;
}
