/* SPDX-License-Identifier: MIT */
#pragma once

/* Plays journald for a host made of files: a socket of our own where its socket would be. */

#include "base/env.h"
#include "base/fd.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define JOURNALD_ENTRY_MAX (64u * 1024u)

static inline int journald_listen(const Env *env)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert(fd >= 0 && close(env_make_dir(env, "/run/systemd/journal", 0755)) >= 0);
        assert((size_t) snprintf(a.sun_path, sizeof(a.sun_path), "%s/run/systemd/journal/socket", env->root) <
               sizeof(a.sun_path));
        assert(bind(fd, (const struct sockaddr *) &a, sizeof(a)) >= 0);
        return fd;
}

/* The next entry, with a NUL behind it; 0 when there is none. */
static inline size_t journald_receive(int fd, char buf[JOURNALD_ENTRY_MAX])
{
        ssize_t n = recv(fd, buf, JOURNALD_ENTRY_MAX - 1, 0);

        buf[n > 0 ? n : 0] = 0;
        return n > 0 ? (size_t) n : 0;
}
