/* SPDX-License-Identifier: MIT */

/* The operator's command line: arguments -> one call. stdout carries the answer, stderr one line per problem; with --json
 * an error is an object on stdout too. Exit codes: why.h. */

#include "answer.h"
#include "base/log.h"
#include "base/stdfd.h"
#include "base/str.h"
#include "base/usage.h"
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>

static const char usage_text[] =
        "usage: gybe [OPTION...] VERB ...\n"
        "\n"
        "  status                       the two slots, what runs, what happens next\n"
        "  check [--version V | RELEASE]   ask the source; exit 0 newer release, 10 nothing newer\n"
        "  plan [--version V | RELEASE]    what staging would skip, copy, fetch and write\n"
        "  stage [--version V | RELEASE]   write a release into the spare slot; RELEASE is a path or\n"
        "                               URL of a .release.json or .cosi, oci:// or ostree://\n"
        "  finalize [--no-reboot]       let the machine boot the staged slot once\n"
        "  update [--version V | RELEASE] [--no-reboot]   stage and finalize\n"
        "  commit                       judge a slot on trial: keep it, or go back\n"
        "  rollback [--no-reboot]       return to the other slot, or take a finalize back\n"
        "  health                       ask the health checks now; exit 1 when one fails\n"
        "  watch                        follow what runs now until it ends\n"
        "\n"
        "  pin V | unpin                only this version; any version again\n"
        "  hold [--until T] [--reason R] | unhold   nothing moves until T (a time, or 8h)\n"
        "  skip V | unskip V            never this version\n"
        "  policy explain [--at TIME]   what each rule says, since which file, and when that changes\n"
        "  quarantine [list | clear ID | clear --all]\n"
        "  history                      what happened, with the chain checked\n"
        "  audit                        history, trust and quarantine in one document\n"
        "  diff                         what differs between the slot that runs and the other one\n"
        "\n"
        "  --allow-downgrade            accept a release below this host's floor (recorded)\n"
        "  --override                   pass hold, window, rollout and minimum age (recorded)\n"
        "  --root DIR --disk PATH       work on a host made of files\n"
        "  --no-agent                   do it here, even where the agent runs\n"
        "  --json                       the answer, and an error, as a document\n"
        "  --no-progress                no bar, even on a terminal\n"
        "  -q, --quiet                  only problems\n"
        "  -y, --yes                    ask no questions\n"
        "  -h, --help                   this; --version: which gybe this is\n"
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

#define WALKING  " check plan stage finalize update commit rollback "
#define CHOOSING " check plan stage update policy "

/* Options that only fill a field: a text, or a flag. What is not for every verb names those that it is for: an option that
 * would be ignored is refused, so that "rollback --version 3.0.1" does not go back to something else. */
static const struct {
        const char *name;
        bool text;
        size_t field;
        const char *verbs;
} fields[] = {
        { "root", true, offsetof(Cli, root), NULL },
        { "disk", true, offsetof(Cli, disk), NULL },
        { "json", false, offsetof(Cli, json), NULL },
        { "quiet", false, offsetof(Cli, quiet), NULL },
        { "yes", false, offsetof(Cli, yes), NULL },
        { "no-progress", false, offsetof(Cli, no_progress), NULL },
        { "no-agent", false, offsetof(Cli, no_agent), NULL },
        { "at", true, offsetof(Cli, at), " policy " },
        { "until", true, offsetof(Cli, until), " hold " },
        { "reason", true, offsetof(Cli, reason), " hold " },
        { "all", false, offsetof(Cli, all), " quarantine " },
        { "no-reboot", false, offsetof(Cli, no_reboot), " finalize update commit rollback " },
        { "allow-downgrade", false, offsetof(Cli, allow_downgrade), WALKING },
        { "override", false, offsetof(Cli, override), WALKING "policy " },
};

enum { OPT_FIELD = 256 };

static void set_field(Cli *cli, size_t i)
{
        char *at = (char *) cli + fields[i].field;
        const char *text = optarg;
        bool flag = true;

        if (fields[i].text)
                memcpy(at, &text, sizeof(text));
        else
                memcpy(at, &flag, sizeof(flag));
}

static int takes_no(const Cli *cli, const char *option, Why *why)
{
        (void) fail(why, -EINVAL, WHY_USAGE, "usage", "%s: takes no --%s", cli->verb, option);
        return fail_hint(why, -EINVAL, "see gybe --help");
}

static int check_options(const Cli *cli, Why *why)
{
        _cleanup_(free_charp) char *word = str_printf(" %s ", cli->verb);

        if (!word)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                if ((cli->given & 1u << i) && fields[i].verbs && !strstr(fields[i].verbs, word))
                        return takes_no(cli, fields[i].name, why);
        if (cli->version && !strstr(CHOOSING, word))
                return takes_no(cli, "version", why);
        if (cli->version && !cli->version[0])
                return usage_arguments("--version: needs a value", "gybe", why);
        return 0;
}

static int dispatch(Cli *cli, Why *why)
{
        static const struct {
                const char *name;
                int max_args;
                int (*run)(Cli *, Why *);
        } verbs[] = {
                { "status", 0, verb_status },   { "quarantine", 2, verb_quarantine },
                { "history", 0, verb_history }, { "audit", 0, verb_audit },
                { "check", 1, verb_walk },      { "stage", 1, verb_walk },
                { "finalize", 0, verb_walk },   { "update", 1, verb_walk },
                { "commit", 0, verb_walk },     { "rollback", 0, verb_walk },
                { "plan", 1, verb_plan },       { "health", 0, verb_health },
                { "watch", 0, verb_watch },     { "policy", 1, verb_policy },
                { "pin", 1, verb_rule },        { "unpin", 0, verb_rule },
                { "hold", 0, verb_rule },       { "unhold", 0, verb_rule },
                { "skip", 1, verb_rule },       { "unskip", 1, verb_rule },
                { "diff", 0, verb_diff },
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                if (!streq(verbs[i].name, cli->verb))
                        continue;
                if ((r = check_options(cli, why)) < 0)
                        return r;
                if (cli->n_args > verbs[i].max_args)
                        (void) fail(why, -EINVAL, WHY_USAGE, "usage", "%s: too many arguments", cli->verb);
                else if (cli->n_args > 0 && cli->version && !streq(cli->verb, "policy"))
                        (void) fail(why, -EINVAL, WHY_USAGE, "usage",
                                    "%s: name a RELEASE or --version, not both", cli->verb);
                else
                        return verbs[i].run(cli, why);
                return fail_hint(why, -EINVAL, "see gybe --help");
        }
        (void) fail(why, -EINVAL, WHY_USAGE, "usage", "unknown verb \"%s\"", cli->verb);
        return fail_hint(why, -EINVAL, "see gybe --help");
}

/* All options, in any order with the verb. 0, 1 done (help), negative: usage */
static int parse_options(int argc, char *argv[], Cli *cli, Why *why)
{
        struct option options[ELEMENTSOF(fields) + 3] = {
                [ELEMENTSOF(fields)] = { "version", optional_argument, NULL, 'V' },
                [ELEMENTSOF(fields) + 1] = { "help", no_argument, NULL, 'h' },
        };
        int c;

        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                options[i] =
                        (struct option){ fields[i].name, fields[i].text ? required_argument : no_argument,
                                         NULL, OPT_FIELD + (int) i };
        opterr = 0;
        while ((c = getopt_long(argc, argv, ":hqy", options, NULL)) >= 0) {
                if (c >= OPT_FIELD) {
                        set_field(cli, (size_t) (c - OPT_FIELD));
                        cli->given |= 1u << (c - OPT_FIELD);
                } else if (c == 'q')
                        cli->quiet = true;
                else if (c == 'y')
                        cli->yes = true;
                else if (c == 'V') {
                        /* "--version V" of stage and update, "--version" alone as everywhere */
                        if (!optarg && optind < argc && argv[optind][0] != '-')
                                optarg = argv[optind++];
                        cli->version = optarg;
                        cli->asked_version = !optarg;
                } else if (c == 'h') {
                        (void) fputs(usage_text, stdout);
                        return 1;
                } else
                        return usage_option(c, argv, "gybe", why);
        }
        return 0;
}

/* 0 go on, 1 done (help), negative: usage */
static int parse(int argc, char *argv[], Cli *cli, Why *why)
{
        int r;

        /* How to answer is wanted even for what cannot be parsed. */
        for (int i = 1; i < argc && !streq(argv[i], "--"); i++)
                cli->json |= streq(argv[i], "--json");
        r = parse_options(argc, argv, cli, why);
        if (r != 0)
                return r;
        if (cli->asked_version && optind >= argc) {
                (void) printf("gybe %s\n", GYBE_VERSION);
                return 1;
        }
        if (cli->asked_version)
                return usage_arguments("--version: needs a value here", "gybe", why);
        if (optind >= argc)
                return usage_arguments("no verb", "gybe", why);
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

        stdfd_open();
        r = parse(argc, argv, &cli, &why);
        if (r > 0)
                return stdfd_finish("gybe", 0);
        if (r >= 0)
                r = env_open(cli.root, &cli.env, &why);
        log_quiet(cli.quiet);
        if (r >= 0)
                r = dispatch(&cli, &why);
        cli.remote = remote_free(cli.remote);
        env_done(&cli.env);
        return stdfd_finish("gybe", r < 0 ? report(&cli, &why, r) : 0);
}
