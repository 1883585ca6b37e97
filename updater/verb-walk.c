/* SPDX-License-Identifier: MIT */

/* check, stage, finalize, update, commit, rollback: the walk as far as the verb says. */

#include "cli.h"
#include "answer.h"
#include "control/progress.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/stat.h>

static void on_progress(void *ctx, const UpdateProgress *p)
{
        Cli *cli = ctx;
        ProgressValues v = { p->what, p->done, p->total, p->fetched, p->skipped, p->written };

        progress_show(&cli->progress, &v);
}

static void on_say(void *ctx, const char *line)
{
        Cli *cli = ctx;

        progress_end(&cli->progress);
        if (!cli->quiet && !cli->json)
                (void) printf("%s\n", line);
}

int verb_walk(Cli *cli, Why *why)
{
        UpdateOptions options = {
                .release = cli->n_args > 0 ? cli->args[0] : NULL,
                .version = cli->version,
                .disk_path = cli->disk,
                .allow_downgrade = cli->allow_downgrade,
                .no_reboot = cli->no_reboot,
                .override = cli->override,
                .requested_by = { .uid = getuid(), .how = "cli" },
                .progress = on_progress,
                .say = on_say,
                .ctx = cli,
        };
        _cleanup_(update_done) Update u = { .lock_fd = -1 };
        Why late = { 0 };
        int r;

        (void) umask(022);
        r = update_open(&cli->env, &options, &u, why);
        if (r < 0)
                return r;
        progress_init(&cli->progress, !cli->quiet && !cli->no_progress && !cli->json);
        r = answer_verb(cli->verb)(&u, why);
        progress_end(&cli->progress);
        if (r >= 0 && cli->json) {
                _cleanup_(json_unrefp) Json *j = answer_result(&u, cli->verb);
                (void) cli_print(cli, j);
        }
        for (char **m = u.missing; m && *m && !cli->quiet; m++)
                (void) fprintf(stderr, "gybe: warning: %s\n", *m);
        /* A failed verdict is a failure that wants a reboot all the same. */
        if (answer_reboot_text(&u) && !cli->quiet && !cli->json)
                (void) printf("%s\n", answer_reboot_text(&u));
        if (answer_reboot(&u, &late) < 0 && r >= 0) {
                *why = late;
                return -EIO;
        }
        return r;
}
