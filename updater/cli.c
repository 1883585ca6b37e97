/* SPDX-License-Identifier: MIT */

#include "cli.h"

#include <errno.h>
#include <stdio.h>

int cli_print(Cli *cli, const Json *j)
{
        _cleanup_(free_charp) char *text = json_format(j, true);

        if (!text)
                return -ENOMEM;
        (void) fputs(text, stdout);
        cli->answered = true;
        return 0;
}
