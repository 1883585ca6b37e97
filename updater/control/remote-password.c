/* SPDX-License-Identifier: MIT */

#include "control/remote-parts.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGENT          "/usr/bin/pkttyagent"
#define AGENT_READY_MS 3000

/* Our own loop takes SIGINT from a queue; the agent wants the ordinary one. */
static int spawn_agent(int notify_fd, pid_t *ret)
{
        char number[16];
        char *const argv[] = { (char *) "pkttyagent", (char *) "--notify-fd", number, (char *) "--fallback",
                               NULL };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none;
        int r;

        (void) snprintf(number, sizeof(number), "%i", notify_fd);
        (void) sigemptyset(&none);
        if (posix_spawnattr_init(&attr) != 0)
                return -ENOMEM;
        if (posix_spawn_file_actions_init(&actions) != 0) {
                (void) posix_spawnattr_destroy(&attr);
                return -ENOMEM;
        }
        r = posix_spawnattr_setsigmask(&attr, &none);
        if (r == 0)
                r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
        if (r == 0) /* onto itself: that takes the close-on-exec away in the child only */
                r = posix_spawn_file_actions_adddup2(&actions, notify_fd, notify_fd);
        if (r == 0)
                r = posix_spawn(ret, AGENT, &actions, &attr, argv, environ);
        (void) posix_spawn_file_actions_destroy(&actions);
        (void) posix_spawnattr_destroy(&attr);
        return -r;
}

bool remote_start_password_agent(Remote *remote)
{
        struct pollfd ready = { .events = POLLIN };
        int ends[2];
        pid_t pid;

        if (remote->password_agent > 0)
                return true;
        if (geteuid() == 0 || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
                return false;
        if (access(AGENT, X_OK) < 0 || pipe2(ends, O_CLOEXEC) < 0)
                return false;
        if (spawn_agent(ends[1], &pid) < 0) {
                (void) close(ends[0]);
                (void) close(ends[1]);
                return false;
        }
        (void) close(ends[1]);
        ready.fd = ends[0];
        (void) poll(&ready, 1, AGENT_READY_MS); /* it closes its end when polkit knows it, or when it fails */
        (void) close(ends[0]);
        remote->password_agent = pid;
        return true;
}

void remote_stop_password_agent(Remote *remote)
{
        if (remote->password_agent <= 0)
                return;
        (void) kill(remote->password_agent, SIGTERM);
        (void) kill(remote->password_agent, SIGCONT);
        (void) waitpid(remote->password_agent, NULL, 0);
        remote->password_agent = 0;
}
