/* SPDX-License-Identifier: MIT */
#pragma once

/* The process at the other end of the wire: started with nothing but one socket, as another user when the
 * caller is root, and never outliving the caller. */

#include "base/env.h"

#include <sys/types.h>

#define SPAWN_SOCKET_FD 3 /* where the child finds its end */

typedef struct Spawn {
        int sock;
        pid_t pid;
} Spawn;

#define SPAWN_NULL                                                                                           \
        (Spawn)                                                                                              \
        {                                                                                                    \
                .sock = -1                                                                                   \
        }

/* The program is looked for in ${GYBE_LIBEXEC}, beside the running program (a build folder), and in
 * env->libexec. */
int spawn_start(const Env *env, Spawn *ret, Why *why);
/* Kills and reaps. */
void spawn_stop(Spawn *s);
/* After its end of the socket was closed: reaps, and says how the process ended. Always negative. */
int spawn_explain(Spawn *s, Why *why);
