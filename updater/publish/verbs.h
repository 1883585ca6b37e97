/* SPDX-License-Identifier: MIT */
#pragma once

/* The verbs of gybe-release: arguments in, one call of publish.h, an answer out. */

#include "publish/publish.h"

typedef struct Cli {
        Env *env;
        Meter *meter;
        bool json, help;
        char *const *argv; /* behind the verb, NULL-terminated */
        /* answer: result is printed with --json, text without (then warnings of result go to stderr) */
        Json *result;
        char *text;
} Cli;

typedef struct Verb {
        const char *name, *summary;
        int (*run)(Cli *cli, Why *why);
} Verb;

int verb_build(Cli *cli, Why *why);
int verb_verity(Cli *cli, Why *why);
int verb_keygen(Cli *cli, Why *why);
int verb_root(Cli *cli, Why *why);
int verb_sign(Cli *cli, Why *why);
int verb_publish(Cli *cli, Why *why);

int verb_publish_ostree(Cli *cli, Why *why); /* with --ostree */
int verb_publish_oci(Cli *cli, Why *why);    /* with --oci */
int verb_inspect(Cli *cli, Why *why);
int verb_diff(Cli *cli, Why *why);
int verb_verify(Cli *cli, Why *why);
