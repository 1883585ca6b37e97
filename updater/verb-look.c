/* SPDX-License-Identifier: MIT */

/* status, watch: what is, and what is going on. They change nothing. */

#include "cli.h"
#include "base/str.h"
#include "base/terminal.h"
#include "state/state.h"
#include "status.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define WATCH_EVERY_US    250000u /* progress is written twice a second */
#define STARTS_WITHIN_SEC 5u      /* from the order to the first progress */

static int status_here(Cli *cli, Json **ret, Why *why)
{
        _cleanup_(host_done) Host host = { 0 };
        int r = host_open(&cli->env, cli->disk, &host, why);

        if (r >= 0)
                r = host_foresee(&host, why);
        if (r < 0)
                return r;
        *ret = status_json(&host);
        return *ret ? 0 : -ENOMEM;
}

/* 1: the agent's, which knows what comes next; 0: ours. */
static int find_status(Cli *cli, Json **ret, Why *why)
{
        Remote *agent;
        int r = cli_agent(cli, &agent, why);

        if (r > 0)
                r = remote_read(agent, "Describe", ret, why);
        else if (r == 0)
                return status_here(cli, ret, why);
        return r < 0 ? r : 1;
}

int verb_status(Cli *cli, Why *why)
{
        _cleanup_(json_unrefp) Json *status = NULL;
        _cleanup_(free_charp) char *picture = NULL;
        int r = find_status(cli, &status, why);

        if (r < 0)
                return r;
        if (cli->json)
                return cli_print(cli, status);
        picture = status_picture(status, r > 0 ? env_now(&cli->env) : 0,
                                 (PictureStyle){ .colour = terminal_colour(STDOUT_FILENO),
                                                 .ascii = !terminal_utf8(),
                                                 .columns = terminal_columns(STDOUT_FILENO) });
        if (!picture)
                return -ENOMEM;
        (void) fputs(picture, stdout);
        return 0;
}

/* --- watch --- */

static void on_state(void *ctx, const char *line)
{
        Cli *cli = ctx;

        progress_end(&cli->progress);
        cli_say(cli, "%s", line);
}

/* Ordered a moment ago, and its process is on the way. */
static bool is_starting(Cli *cli, const char *id)
{
        _cleanup_(job_done) Job job = { 0 };
        uint64_t now = env_now(&cli->env);

        return job_load(&cli->env, id, &job, NULL) >= 0 && job.at <= now && now - job.at < STARTS_WITHIN_SEC;
}

static bool is_alive(uint64_t pid)
{
        return pid > 0 && pid <= INT32_MAX && (kill((pid_t) pid, 0) >= 0 || errno == EPERM);
}

/* The job that runs now or is about to. 1 and *ret, 0 none. */
static int running_job(Cli *cli, char ret_id[JOB_ID_SIZE], JobProgress *ret)
{
        _cleanup_(strv_freep) char **ids = NULL;
        int r = job_list(&cli->env, &ids);

        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (char **id = ids; id && *id; id++) {
                _cleanup_(json_unrefp) Json *result = NULL;
                JobProgress p = { 0 };

                if (job_result_load(&cli->env, *id, &result, NULL) != 0)
                        continue;
                if (job_progress_load(&cli->env, *id, &p) > 0 ? !is_alive(p.pid) : !is_starting(cli, *id))
                        continue;
                (void) snprintf(ret_id, JOB_ID_SIZE, "%s", *id);
                *ret = p;
                return 1;
        }
        return 0;
}

/* What is at work now, in a word. 1, 0 nothing. */
static int working(Cli *cli, JobProgress *ret, char what[64])
{
        char id[JOB_ID_SIZE];
        uint64_t pid = 0;
        int r = running_job(cli, id, ret);

        if (r > 0)
                (void) snprintf(what, 64, "job %s runs", id);
        if (r != 0)
                return r;
        *ret = (JobProgress){ 0 };
        if (state_lock_held(&cli->env, &pid) <= 0)
                return 0;
        (void) snprintf(what, 64, "process %" PRIu64 " is at work", pid);
        return 1;
}

/* Without an agent the jobs' own files tell, and the lock. */
static int watch_here(Cli *cli)
{
        char what[64], before[64] = "";
        JobProgress p;
        int r;

        while ((r = working(cli, &p, what)) > 0) {
                ProgressValues v = { .what = p.what,
                                     .done = p.done,
                                     .total = p.total,
                                     .fetched = p.fetched,
                                     .skipped = p.skipped,
                                     .written = p.written,
                                     .copied = p.copied,
                                     .rebuilt = p.rebuilt,
                                     .pace = p.pace };

                if (!streq(what, before))
                        on_state(cli, what);
                (void) snprintf(before, sizeof(before), "%s", what);
                if (p.what[0])
                        cli_progress(cli, &v);
                (void) usleep(WATCH_EVERY_US);
        }
        return r;
}

int verb_watch(Cli *cli, Why *why)
{
        const RemoteWatch watch = { .progress = cli_progress, .state = on_state, .ctx = cli };
        _cleanup_(json_unrefp) Json *status = NULL;
        Remote *agent;
        int r = cli_agent(cli, &agent, why);

        if (r < 0)
                return r;
        progress_init(&cli->progress, !cli->quiet && !cli->no_progress && !cli->json);
        r = r > 0 ? remote_watch(agent, &watch, why) : watch_here(cli);
        progress_end(&cli->progress);
        if (r == -EINTR)
                return 0; /* whoever watched has seen enough */
        if (r >= 0)
                r = find_status(cli, &status, why);
        if (r < 0)
                return r;
        if (cli->json)
                return cli_print(cli, status);
        cli_say(cli, "Nothing runs; the phase is %s.",
                json_get_str(status, "phase") ? json_get_str(status, "phase") : "unknown");
        return 0;
}
