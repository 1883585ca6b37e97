/* SPDX-License-Identifier: MIT */

/* gybe-release: arguments -> one verb -> an answer on stdout, at most one line of trouble on stderr. */

#include "base/json.h"
#include "base/log.h"
#include "base/stdfd.h"
#include "base/str.h"
#include "publish/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static const Verb verbs[] = {
        { "keygen", "makes keys and a first root.json", verb_keygen },
        { "root", "makes, rotates and countersigns root.json", verb_root },
        { "build", "makes a COSI from parts or from a disk image", verb_build },
        { "verity", "says the root hash of a /usr image", verb_verity },
        { "sign", "writes or extends X.release.json", verb_sign },
        { "publish", "into a feed, a registry or an OSTree repository", verb_publish },
        { "inspect", "shows everything in a COSI or a signed file", verb_inspect },
        { "diff", "says what changes from one COSI to another", verb_diff },
        { "verify", "says valid, or the first reason why not", verb_verify },
};

typedef struct Arguments {
        const Verb *verb;
        bool json, quiet, no_progress, help, version;
        char **rest; /* borrowed strings */
        size_t n_rest;
} Arguments;

static const Verb *verb_find(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i].name, name))
                        return &verbs[i];
        return NULL;
}

static bool take_global(Arguments *a, const char *arg)
{
        const struct {
                const char *name;
                bool *flag;
        } flags[] = {
                { "--json", &a->json },       { "--quiet", &a->quiet }, { "--no-progress", &a->no_progress },
                { "-q", &a->quiet },          { "--help", &a->help },   { "-h", &a->help },
                { "--version", &a->version },
        };

        for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                /* sign has a --version of its own */
                if (streq(arg, flags[i].name) && !(a->verb && flags[i].flag == &a->version))
                        return *flags[i].flag = true;
        return false;
}

/* Global options may stand before or after the verb; everything else is the verb's own. */
static int parse_arguments(char *argv[], Arguments *a, Why *why)
{
        for (; *argv; argv++) {
                if (take_global(a, *argv))
                        continue;
                if (a->verb) {
                        a->rest[a->n_rest++] = *argv;
                        continue;
                }
                a->verb = verb_find(*argv);
                if (!a->verb)
                        return fail_hint(why,
                                         fail(why, -EINVAL, WHY_USAGE, "usage", "%s: no such %s", *argv,
                                              **argv == '-' ? "option" : "verb"),
                                         "see gybe-release --help");
        }
        return 0;
}

static void print_help(void)
{
        puts("usage: gybe-release [--json] [--quiet] [--no-progress] VERB ...\n\nMakes, signs, publishes and "
             "explains releases for gybe.\n");
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
        puts("\n  --json         the answer, and an error, as JSON on stdout\n"
             "  -q, --quiet    no warnings\n"
             "  --no-progress  no bar, even on a terminal\n"
             "  -h, --help     this; --version: which gybe-release this is\n\n"
             "gybe-release VERB --help explains a verb.\n"
             "exit: 0 done, 1 failed, 2 usage, 4 refused by trust");
}

static void print_error(const Why *why, bool json)
{
        if (json) {
                _cleanup_(json_unrefp) Json *doc = json_new_object();
                _cleanup_(free_charp) char *text = NULL;
                Json *error = json_sub(doc, "error");

                json_set_str(error, "kind", why_kind_name(why->kind));
                json_set_str(error, "code", *why->code ? why->code : "failed");
                json_set_str(error, "message", *why->text ? why->text : "out of memory");
                json_set_str(error, "hint", *why->hint ? why->hint : NULL);
                text = json_format(doc, true);
                (void) fputs(text ?: "", stdout);
        }
        fprintf(stderr, "gybe-release: %s%s%s\n", *why->text ? why->text : "out of memory",
                *why->hint ? "; " : "", why->hint);
}

static void print_answer(const Cli *cli, bool quiet)
{
        _cleanup_(free_charp) char *text = cli->json && cli->result ? json_format(cli->result, true) : NULL;
        const char *answer = cli->json && cli->result ? text : cli->text;

        if (!quiet)
                json_foreach (warning, json_get(cli->result, "warnings"))
                        fprintf(stderr, "gybe-release: warning: %s\n", json_str(warning) ?: "");
        (void) fputs(answer ?: "", stdout); /* stdfd_finish() looks whether it arrived */
}

static int run_verb(const Arguments *a, Env *env, Meter *meter, Why *why)
{
        Cli cli = { .env = env, .meter = meter, .json = a->json, .help = a->help, .argv = a->rest };
        int r = a->verb->run(&cli, why);

        if (r >= 0)
                print_answer(&cli, a->quiet);
        (void) json_unref(cli.result);
        free(cli.text);
        return r;
}

int main(int argc, char *argv[])
{
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(meter_freep) Meter *meter = NULL;
        Arguments a = { .rest = calloc((size_t) argc + 1, sizeof(char *)) };
        Why why = { 0 };
        int r;

        stdfd_open();
        r = a.rest ? parse_arguments(argv + 1, &a, &why) : -ENOMEM;
        if (r >= 0 && a.version) {
                puts("gybe-release " GYBE_VERSION);
        } else if (r >= 0 && !a.verb && a.help) {
                print_help();
        } else if (r >= 0 && !a.verb) {
                r = fail_hint(&why, fail(&why, -EINVAL, WHY_USAGE, "usage", "no verb given"),
                              "see gybe-release --help");
        } else if (r >= 0) {
                r = env_open(NULL, &env, &why);
                if (r >= 0)
                        r = meter_new(a.no_progress || a.quiet || a.json ? -1 : STDERR_FILENO, &meter);
                if (r >= 0)
                        r = run_verb(&a, &env, meter, &why);
                meter_end(meter);
        }
        if (r < 0)
                print_error(&why, a.json);
        free(a.rest);
        return stdfd_finish("gybe-release", r < 0 ? why_exit_code(&why) : 0);
}
