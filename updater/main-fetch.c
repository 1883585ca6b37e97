/* SPDX-License-Identifier: MIT */

/* gybe-fetch: reads bytes from outside for a job that must not. Has no arguments: everything comes over the socket it was
 * started with. */

#include "fetch/serve.h"
#include "fetch/spawn.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
        struct sockaddr_storage peer;
        socklen_t size = sizeof(peer);

        if (argc == 2 && strcmp(argv[1], "--version") == 0)
                return printf("gybe-fetch %s\n", GYBE_VERSION) < 0;
        if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
                return puts("usage: gybe-fetch [--help | --version]\n\n"
                            "Reads bytes from outside for gybe and its jobs, which start it.") < 0;
        if (argc != 1 || getpeername(SPAWN_SOCKET_FD, (struct sockaddr *) &peer, &size) < 0 ||
            peer.ss_family != AF_UNIX) {
                (void) fprintf(stderr, "gybe-fetch: is started by gybe, not by hand\n");
                return 2;
        }
        /* no exit handlers: what they do (leak checks, coverage files) the sandbox forbids */
        _exit(serve(SPAWN_SOCKET_FD));
}
