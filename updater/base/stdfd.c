/* SPDX-License-Identifier: MIT */

#include "base/stdfd.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

void stdfd_open(void)
{
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0)
                        /* the lowest free number is this one; reading only, so that an answer that is lost is noticed */
                        (void) !open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
        (void) signal(SIGPIPE, SIG_IGN);
        setlinebuf(stdout); /* in one file with stderr, what was said first stands first */
}

static bool reader_is_gone(void)
{
        struct pollfd p = { .fd = STDOUT_FILENO };

        return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));
}

int stdfd_finish(const char *program, int code)
{
        bool lost = ferror(stdout) != 0;

        errno = 0;
        if (fflush(stdout) == 0 && !lost)
                return code;
        if (errno == EPIPE || reader_is_gone())
                return code;
        (void) fprintf(stderr, "%s: standard output: %s\n", program,
                       errno ? strerror(errno) : "not everything could be written");
        return code != 0 ? code : 1;
}
