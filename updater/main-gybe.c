/* SPDX-License-Identifier: MIT */

/* The operator's command line: arguments -> one call. stdout carries the answer, stderr one line per problem; with --json
 * an error is an object on stdout too. Exit codes: why.h. */

#include "answer.h"
#include "base/log.h"
#include "base/str.h"
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

static const char usage_text[] =
        "usage: gybe [--root DIR] [--disk PATH] [--json] [--quiet] [--no-progress] VERB ...\n"
        "\n"
        "  status                       the two slots, what runs, what happens next\n"
        "  check                        ask the source; exit 0 newer release, 10 nothing newer\n"
        "  stage [--version V | RELEASE]   write a release into the spare slot; RELEASE is a path or\n"
        "                               URL of a .release.json or .cosi\n"
        "  finalize [--no-reboot]       let the machine boot the staged slot once\n"
        "  update [--version V | RELEASE] [--no-reboot]   stage and finalize\n"
        "  commit                       judge a slot on trial: keep it, or go back\n"
        "  rollback [--no-reboot]       return to the other slot, or take a finalize back\n"
        "  quarantine [list | clear ID | clear --all]\n"
        "  policy explain [--at TIME]   what each rule says, since which file, and when that changes\n"
        "  history                      what happened, with the chain checked\n"
        "\n"
        "  --allow-downgrade            accept a release below this host's floor (recorded)\n"
        "  --override                   pass hold, window, rollout and minimum age (recorded)\n"
        "  --root DIR --disk FILE       work on a host made of files\n"
        "\n"
        "exit: 0 done, 1 failed, 2 usage, 3 refused by policy, 4 refused by trust, 5 busy, 10 nothing to "
        "do\n";

/* The one place where a failure becomes words and a number. */
static int report(Cli *cli, const Why *why, int r)
{
        const char *text = why->text[0] ? why->text : strerror(-r);

        if (cli->json && !cli->answered) {
                _cleanup_(json_unrefp) Json *j = answer_error(why, r);

                (void) cli_print(cli, j);
        }
        if (!cli->quiet || why->kind != WHY_NOTHING)
                (void) fprintf(stderr, "gybe: %s%s%s\n", text, why->hint[0] ? "; " : "", why->hint);
        return why_exit_code(why);
}

/* --- arguments --- */

static int dispatch(Cli *cli, Why *why)
{
        static const struct {
                const char *name;
                int max_args;
                int (*run)(Cli *, Why *);
        } verbs[] = {
                { "status", 0, verb_status },   { "quarantine", 2, verb_quarantine },
                { "history", 0, verb_history }, { "check", 1, verb_walk },
                { "stage", 1, verb_walk },      { "finalize", 0, verb_walk },
                { "update", 1, verb_walk },     { "commit", 0, verb_walk },
                { "rollback", 0, verb_walk },   { "policy", 1, verb_policy },
        };

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                if (!streq(verbs[i].name, cli->verb))
                        continue;
                if (cli->n_args > verbs[i].max_args)
                        return fail(why, -EINVAL, WHY_USAGE, "usage", "%s: too many arguments", cli->verb);
                if (cli->n_args > 0 && cli->version && verbs[i].run == verb_walk)
                        return fail(why, -EINVAL, WHY_USAGE, "usage",
                                    "%s: name a RELEASE or --version, not both", cli->verb);
                return verbs[i].run(cli, why);
        }
        (void) fail(why, -EINVAL, WHY_USAGE, "usage", "unknown verb \"%s\"", cli->verb);
        return fail_hint(why, -EINVAL, "gybe --help lists the verbs");
}

enum {
        OPT_ROOT = 256,
        OPT_DISK,
        OPT_JSON,
        OPT_QUIET,
        OPT_NO_PROGRESS,
        OPT_ALL,
        OPT_VERSION,
        OPT_NO_REBOOT,
        OPT_DOWNGRADE,
        OPT_OVERRIDE,
        OPT_AT
};

/* 0 go on, 1 done (help), negative: usage */
static int parse(int argc, char *argv[], Cli *cli, Why *why)
{
        static const struct option options[] = {
                { "root", required_argument, NULL, OPT_ROOT },
                { "disk", required_argument, NULL, OPT_DISK },
                { "json", no_argument, NULL, OPT_JSON },
                { "quiet", no_argument, NULL, OPT_QUIET },
                { "no-progress", no_argument, NULL, OPT_NO_PROGRESS },
                { "all", no_argument, NULL, OPT_ALL },
                { "version", optional_argument, NULL, OPT_VERSION },
                { "no-reboot", no_argument, NULL, OPT_NO_REBOOT },
                { "allow-downgrade", no_argument, NULL, OPT_DOWNGRADE },
                { "override", no_argument, NULL, OPT_OVERRIDE },
                { "at", required_argument, NULL, OPT_AT },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        int c;

        /* How to answer is wanted even for what cannot be parsed. */
        for (int i = 1; i < argc && !streq(argv[i], "--"); i++)
                cli->json |= streq(argv[i], "--json");
        opterr = 0;
        while ((c = getopt_long(argc, argv, "hq", options, NULL)) >= 0) {
                switch (c) {
                case OPT_ROOT:
                        cli->root = optarg;
                        break;
                case OPT_DISK:
                        cli->disk = optarg;
                        break;
                case OPT_JSON:
                        cli->json = true;
                        break;
                case OPT_QUIET:
                case 'q':
                        cli->quiet = true;
                        break;
                case OPT_NO_PROGRESS:
                        cli->no_progress = true;
                        break;
                case OPT_ALL:
                        cli->all = true;
                        break;
                case OPT_NO_REBOOT:
                        cli->no_reboot = true;
                        break;
                case OPT_DOWNGRADE:
                        cli->allow_downgrade = true;
                        break;
                case OPT_OVERRIDE:
                        cli->override = true;
                        break;
                case OPT_AT:
                        cli->at = optarg;
                        break;
                case OPT_VERSION:
                        /* "--version V" of stage and update, "--version" alone as everywhere */
                        if (!optarg && optind < argc && argv[optind][0] != '-')
                                optarg = argv[optind++];
                        cli->version = optarg;
                        cli->asked_version = !optarg;
                        break;
                case 'h':
                        (void) fputs(usage_text, stdout);
                        return 1;
                default:
                        (void) fail(why, -EINVAL, WHY_USAGE, "usage", "unknown option or missing value: %s",
                                    argv[optind - 1]);
                        return fail_hint(why, -EINVAL, "gybe --help lists the options");
                }
        }
        if (cli->asked_version && optind >= argc) {
                (void) printf("gybe %s\n", GYBE_VERSION);
                return 1;
        }
        if (cli->asked_version)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "--version needs a value here");
        if (optind >= argc) {
                (void) fail(why, -EINVAL, WHY_USAGE, "usage", "no verb");
                return fail_hint(why, -EINVAL, "gybe --help lists the verbs");
        }
        cli->verb = argv[optind];
        cli->args = argv + optind + 1;
        cli->n_args = argc - optind - 1;
        return 0;
}

int main(int argc, char *argv[])
{
        Cli cli = { .env = ENV_NULL };
        Why why = { 0 };
        int r;

        r = parse(argc, argv, &cli, &why);
        if (r > 0)
                return 0;
        if (r >= 0)
                r = env_open(cli.root, &cli.env, &why);
        log_quiet(cli.quiet);
        if (r >= 0)
                r = dispatch(&cli, &why);
        env_done(&cli.env);
        return r < 0 ? report(&cli, &why, r) : 0;
}
