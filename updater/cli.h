/* SPDX-License-Identifier: MIT */
#pragma once

/* The verbs of gybe: arguments in, an answer on stdout out, a failure as a Why that main-gybe.c tells. Every verb works by
 * itself on the host at hand; with an agent on the bus those that change something ask the agent. */

#include "base/env.h"
#include "base/json.h"
#include "control/progress.h"

typedef struct Cli {
        const char *root, *disk, *version, *at, *verb;
        char **args; /* behind the verb */
        int n_args;
        bool json, quiet, no_progress, no_reboot, allow_downgrade, override, all, asked_version;
        bool answered; /* with --json: the one document was printed */
        Env env;
        Progress progress;
} Cli;

/* The one document that answers --json. */
int cli_print(Cli *cli, const Json *j);

int verb_status(Cli *cli, Why *why);
int verb_walk(Cli *cli, Why *why); /* check, stage, finalize, update, commit, rollback */
int verb_policy(Cli *cli, Why *why);
int verb_history(Cli *cli, Why *why);
int verb_quarantine(Cli *cli, Why *why);
