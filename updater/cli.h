/* SPDX-License-Identifier: MIT */
#pragma once

/* The verbs of gybe: arguments in, an answer on stdout out, a failure as a Why that main-gybe.c tells. Every verb works by
 * itself on the host at hand; with an agent on the bus those that change something ask the agent. */

#include "base/env.h"
#include "base/json.h"
#include "control/progress.h"
#include "control/remote.h"

typedef struct Cli {
        const char *root, *disk, *version, *at, *until, *reason, *verb;
        char **args; /* behind the verb */
        int n_args;
        bool json, quiet, no_progress, no_reboot, allow_downgrade, override, all, yes, no_agent,
                asked_version;
        unsigned given; /* options, by their place in the table of main-gybe.c */
        bool answered;  /* with --json: the one document was printed */
        Env env;
        Progress progress;
        Remote *remote; /* cli_agent() */
} Cli;

/* 1 and *ret: this verb is the agent's to carry out (borrowed). 0: do it here; a host made of files, a named disk and
 * --no-agent always mean that, and so does a bus without an agent. */
int cli_agent(Cli *cli, Remote **ret, Why *why);

/* The one document that answers --json. */
int cli_print(Cli *cli, const Json *j);
/* A line of the answer; nothing with --json or --quiet. */
void cli_say(Cli *cli, const char *fmt, ...) _printf_(2, 3);
/* Asks whoever sits at the terminal. 0 yes, also where nobody can be asked; -ECANCELED with WHY_USAGE: no. */
int cli_confirm(Cli *cli, const char *question, Why *why);
/* Who types, for jobs and history. *ret_name is the name's owner. */
JobRequester cli_requester(Cli *cli, char **ret_name);
/* A failure that came as a document ({"error": ...}) or as an exit code alone; returns a negative errno. */
int cli_failure(const Json *result, int exit_code, Why *why);
void cli_progress(void *cli, const ProgressValues *values);

int verb_status(Cli *cli, Why *why);
int verb_walk(Cli *cli, Why *why); /* check, stage, finalize, update, commit, rollback */
int verb_plan(Cli *cli, Why *why);
int verb_health(Cli *cli, Why *why);
int verb_watch(Cli *cli, Why *why);
int verb_policy(Cli *cli, Why *why); /* policy explain */
int verb_rule(Cli *cli, Why *why);   /* pin, unpin, hold, unhold, skip, unskip */
int verb_history(Cli *cli, Why *why);
int verb_audit(Cli *cli, Why *why);
int verb_diff(Cli *cli, Why *why);
int verb_quarantine(Cli *cli, Why *why);
