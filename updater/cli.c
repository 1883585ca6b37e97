/* SPDX-License-Identifier: MIT */

#include "cli.h"
#include "base/str.h"
#include "control/operator.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int cli_agent(Cli *cli, Remote **ret, Why *why)
{
        int r;

        if (cli->root || cli->disk || cli->no_agent)
                return 0;
        if (!cli->remote) {
                r = remote_open(&cli->remote, why);
                if (r <= 0)
                        return r;
        }
        *ret = cli->remote;
        return 1;
}

int cli_print(Cli *cli, const Json *j)
{
        _cleanup_(free_charp) char *text = json_format(j, true);

        if (!text)
                return -ENOMEM;
        (void) fputs(text, stdout);
        cli->answered = true;
        return 0;
}

void cli_say(Cli *cli, const char *fmt, ...)
{
        va_list ap;

        if (cli->quiet || cli->json)
                return;
        va_start(ap, fmt);
        (void) vprintf(fmt, ap);
        va_end(ap);
        (void) putchar('\n');
}

int cli_confirm(Cli *cli, const char *question, Why *why)
{
        char answer[16] = "";

        if (cli->yes || cli->json || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
                return 0;
        (void) fprintf(stderr, "%s [y/N] ", question);
        if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
                return 0;
        return fail(why, -ECANCELED, WHY_USAGE, "not-confirmed", "nothing was done");
}

JobRequester cli_requester(Cli *cli, char **ret_name)
{
        *ret_name = operator_name(&cli->env, getuid());
        return (JobRequester){ .uid = getuid(), .name = *ret_name, .how = "cli" };
}

int cli_failure(const Json *result, int exit_code, Why *why)
{
        const Json *e = json_get(result, "error");
        const char *text = json_get_str(e, "message"), *hint = json_get_str(e, "hint"),
                   *code = json_get_str(e, "code"), *kind = json_get_str(e, "kind"),
                   *blocked = json_get_str(result, "rebootBlockedBy");

        if (!e && blocked)
                return fail(why, -EIO, why_kind_from_exit(exit_code), "reboot", "%s", blocked);
        if (!e) {
                (void) fail(why, -EIO, why_kind_from_exit(exit_code), "no-result",
                            "the job ended without a word (exit %i)", exit_code);
                return fail_hint(why, -EIO, "its journal says more: journalctl -u 'gybe-job@*'");
        }
        (void) fail(why, -EIO, kind ? why_kind_from_name(kind) : why_kind_from_exit(exit_code),
                    code ? code : "failed", "%s", text ? text : "the job failed");
        return hint ? fail_hint(why, -EIO, "%s", hint) : -EIO;
}

void cli_progress(void *ctx, const ProgressValues *values)
{
        Cli *cli = ctx;

        progress_show(&cli->progress, values);
}
