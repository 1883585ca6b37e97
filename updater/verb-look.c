/* SPDX-License-Identifier: MIT */

/* status: questions that change nothing. */

#include "cli.h"
#include "status.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int verb_status(Cli *cli, Why *why)
{
        _cleanup_(json_unrefp) Json *status = NULL;
        _cleanup_(free_charp) char *picture = NULL;
        _cleanup_(host_done) Host host = { 0 };
        int r = host_open(&cli->env, cli->disk, &host, why);

        if (r >= 0)
                r = host_foresee(&host, why);
        if (r < 0)
                return r;
        status = status_json(&host);
        if (cli->json)
                return cli_print(cli, status);
        picture = status_picture(status, isatty(STDOUT_FILENO) && !getenv("NO_COLOR"));
        if (!picture)
                return -ENOMEM;
        (void) fputs(picture, stdout);
        return 0;
}
