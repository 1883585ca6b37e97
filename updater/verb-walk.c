/* SPDX-License-Identifier: MIT */

/* check, stage, finalize, update, commit, rollback: the walk as far as the verb says, here or as a job of the agent's. Both
 * ways say the same. */

#include "cli.h"
#include "answer.h"
#include "base/str.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_progress(void *ctx, const UpdateProgress *p)
{
        Cli *cli = ctx;
        ProgressValues v = { .what = p->what,
                             .done = p->done,
                             .total = p->total,
                             .fetched = p->fetched,
                             .skipped = p->skipped,
                             .written = p->written,
                             .copied = p->copied,
                             .rebuilt = p->rebuilt,
                             .pace = p->pace };

        progress_show(&cli->progress, &v);
}

static void on_say(void *ctx, const char *line)
{
        Cli *cli = ctx;

        progress_end(&cli->progress);
        if (!cli->quiet && !cli->json)
                (void) printf("%s\n", line);
}

static int walk_here(Cli *cli, Why *why)
{
        _cleanup_(free_charp) char *name = NULL;
        const JobRequester by = cli_requester(cli, &name);
        UpdateOptions options = {
                .release = cli->n_args > 0 ? cli->args[0] : NULL,
                .version = cli->version,
                .disk_path = cli->disk,
                .allow_downgrade = cli->allow_downgrade,
                .no_reboot = cli->no_reboot,
                .override = cli->override,
                .requested_by = { .uid = by.uid, .name = by.name, .how = by.how },
                .progress = on_progress,
                .say = on_say,
                .ctx = cli,
        };
        _cleanup_(update_done) Update u = { .lock_fd = -1 };
        Why late = { 0 };
        int r, asked;

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
        asked = answer_reboot(&u, &late);
        if (asked <= 0)
                update_afterwards(&u);
        if (asked < 0 && r >= 0) {
                *why = late;
                return -EIO;
        }
        return r;
}

/* Asks the witnesses now, here: their programs are root's to run, and a job at work keeps us out. */
int verb_health(Cli *cli, Why *why)
{
        UpdateOptions options = { .disk_path = cli->disk, .requested_by = { .uid = getuid(), .how = "cli" } };
        _cleanup_(update_done) Update u = { .lock_fd = -1 };
        _cleanup_(json_unrefp) Json *report = NULL;
        const char *failure;
        bool passed = false;
        int r;

        if ((r = update_open(&cli->env, &options, &u, why)) < 0 || (r = update_health(&u, &report, why)) < 0)
                return r;
        (void) json_get_bool(report, "passed", &passed);
        failure = json_get_str(report, "firstFailure");
        if (cli->json)
                (void) cli_print(cli, report);
        json_foreach (f, json_get(report, "findings")) {
                const char *weight = json_get_str(f, "weight"), *text = json_get_str(f, "text");

                cli_say(cli, "%-10s  %s", weight ? weight : "-", text ? text : "-");
        }
        if (!passed)
                return fail(why, -EIO, WHY_HOST, "health", "health: %s",
                            failure ? failure : "a check failed");
        cli_say(cli, "Healthy.");
        return 0;
}

/* --- by the agent --- */

static void on_state(void *ctx, const char *line)
{
        Cli *cli = ctx;

        progress_end(&cli->progress);
        if (!cli->quiet && !cli->json && !cli->no_progress)
                (void) fprintf(stderr, "%s\n", line);
}

/* A job runs in another folder. */
static char *absolute(const char *release)
{
        char cwd[PATH_MAX];

        if (release[0] == '/' || strstr(release, "://") || !getcwd(cwd, sizeof(cwd)))
                return strdup(release);
        return str_printf("%s/%s", cwd, release);
}

static void tell_result(Cli *cli, const Json *result)
{
        const char *waits = json_get_str(result, "rebootWaitsFor");

        json_foreach (line, json_get(result, "said"))
                cli_say(cli, "%s", json_str(line) ? json_str(line) : "");
        if (waits)
                cli_say(cli, "The reboot waits: %s", waits);
        json_foreach (m, json_get(result, "missingGuarantees"))
                if (!cli->quiet)
                        (void) fprintf(stderr, "gybe: warning: %s\n", json_str(m) ? json_str(m) : "");
}

static int still_running(const char *id, Why *why)
{
        (void) fail(why, -EINTR, WHY_HOST, "interrupted", "nobody waits for job %s any more, it goes on", id);
        return fail_hint(why, -EINTR, "gybe watch follows it, gybe status says how it ended");
}

static int walk_there(Cli *cli, Remote *agent, Why *why)
{
        static const char *const of_the_job[] = { "said", "exit", "endedAt" };
        const RemoteWatch watch = { .progress = cli_progress, .state = on_state, .ctx = cli };
        _cleanup_(free_charp) char *release = cli->n_args > 0 ? absolute(cli->args[0]) : NULL;
        _cleanup_(json_unrefp) Json *result = NULL;
        JobOrder order = {
                .verb = cli->verb,
                .release = release,
                .version = cli->version,
                .allow_downgrade = cli->allow_downgrade,
                .no_reboot = cli->no_reboot,
                .override = cli->override,
        };
        char id[JOB_ID_SIZE] = "";
        int exit_code = 0, r;

        if (cli->n_args > 0 && !release)
                return -ENOMEM;
        progress_init(&cli->progress, !cli->quiet && !cli->no_progress && !cli->json);
        r = remote_job(agent, &order, &watch, id, &result, &exit_code, why);
        progress_end(&cli->progress);
        if (r == -EINTR && id[0])
                return still_running(id, why);
        if (r < 0)
                return r;
        tell_result(cli, result);
        if (cli->json && result && !json_get(result, "error")) {
                for (size_t i = 0; i < ELEMENTSOF(of_the_job); i++)
                        json_remove(result, of_the_job[i]);
                (void) cli_print(cli, result);
        }
        return exit_code == 0 && result ? 0 : cli_failure(result, exit_code, why);
}

/* What can do harm on the strength of one option is asked about once. */
static int confirm(Cli *cli, Why *why)
{
        int r = 0;

        if (cli->allow_downgrade)
                r = cli_confirm(cli, "Accept a release below this host's floor?", why);
        if (r >= 0 && cli->override)
                r = cli_confirm(cli, "Pass hold, window, rollout and minimum age this time?", why);
        return r;
}

int verb_walk(Cli *cli, Why *why)
{
        Remote *agent;
        int r;

        if ((r = confirm(cli, why)) < 0 || (r = cli_agent(cli, &agent, why)) < 0)
                return r;
        return r > 0 ? walk_there(cli, agent, why) : walk_here(cli, why);
}
