/* SPDX-License-Identifier: MIT */

/* The operator's command line: arguments -> one call. stdout carries the answer, stderr one line per problem; with --json
 * an error is an object on stdout too. Exit codes: why.h. */

#include "answer.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "control/progress.h"
#include "status.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Cli {
        const char *root, *disk, *version, *verb;
        char **args; /* behind the verb */
        int n_args;
        bool json, quiet, no_progress, no_reboot, allow_downgrade, all, asked_version;
        bool answered; /* with --json: the one document was printed */
        Env env;
        Progress progress;
} Cli;

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
        "  history                      what happened, with the chain checked\n"
        "\n"
        "  --allow-downgrade            accept a release below this host's floor (recorded)\n"
        "  --root DIR --disk FILE       work on a host made of files\n"
        "\n"
        "exit: 0 done, 1 failed, 2 usage, 3 refused by policy, 4 refused by trust, 5 busy, 10 nothing to "
        "do\n";

static int print_json(Cli *cli, Json *j)
{
        _cleanup_(free_charp) char *text = json_format(j, true);

        if (!text)
                return -ENOMEM;
        (void) fputs(text, stdout);
        cli->answered = true;
        return 0;
}

/* The one place where a failure becomes words and a number. */
static int report(Cli *cli, const Why *why, int r)
{
        const char *text = why->text[0] ? why->text : strerror(-r);

        if (cli->json && !cli->answered) {
                _cleanup_(json_unrefp) Json *j = answer_error(why, r);

                (void) print_json(cli, j);
        }
        if (!cli->quiet || why->kind != WHY_NOTHING)
                (void) fprintf(stderr, "gybe: %s%s%s\n", text, why->hint[0] ? "; " : "", why->hint);
        return why_exit_code(why);
}

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

static int verb_status(Cli *cli, Why *why)
{
        _cleanup_(host_done) Host host = { 0 };
        int r = host_open(&cli->env, cli->disk, &host, why);

        if (r >= 0)
                r = host_foresee(&host, why);
        if (r < 0)
                return r;
        if (cli->json) {
                _cleanup_(json_unrefp) Json *j = status_json(&host);
                return print_json(cli, j);
        }
        _cleanup_(free_charp) char *picture =
                status_picture(&host, isatty(STDOUT_FILENO) && !getenv("NO_COLOR"));
        if (!picture)
                return -ENOMEM;
        (void) fputs(picture, stdout);
        return 0;
}

/* --- the walking verbs --- */

static int walk_verb(Cli *cli, const char *verb, Why *why)
{
        UpdateOptions options = {
                .release = cli->n_args > 0 ? cli->args[0] : NULL,
                .version = cli->version,
                .disk_path = cli->disk,
                .allow_downgrade = cli->allow_downgrade,
                .no_reboot = cli->no_reboot,
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
        r = answer_verb(verb)(&u, why);
        progress_end(&cli->progress);
        if (r >= 0 && cli->json) {
                _cleanup_(json_unrefp) Json *j = answer_result(&u, verb);
                (void) print_json(cli, j);
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

/* --- memory --- */

/* An event is one line, whatever a machine that was going down wrote into it. */
static void one_line(char *text)
{
        for (; text && *text; text++)
                if ((unsigned char) *text < 0x20 || *text == 0x7f)
                        *text = ' ';
}

static int show_event(void *ctx, const char *key, const Json *value)
{
        Str *line = ctx;
        const char *s = json_str(value);
        uint64_t n;

        if (streq(key, "time") || streq(key, "event") || streq(key, "prev") || streq(key, "updateId") ||
            streq(key, "uid") || streq(key, "keys") || streq(key, "bytes") || streq(key, "roothash") ||
            streq(key, "ukiSha256") || streq(key, "health"))
                return 0;
        if (s)
                str_addf(line, "  %s=%s", key, s);
        else if (json_u64(value, &n) > 0)
                str_addf(line, "  %s=%" PRIu64, key, n);
        return 0;
}

static int verb_history(Cli *cli, Why *why)
{
        _cleanup_(json_unrefp) Json *events = NULL;
        uint64_t broken = 0;
        int r = history_read(&cli->env, &events, &broken, why);

        if (r < 0)
                return r;
        if (cli->json) {
                _cleanup_(json_unrefp) Json *j = json_new_object();

                json_set_str(j, "schema", "gybe.history/1");
                json_set_bool(j, "chainHolds", broken == 0);
                if (broken > 0)
                        json_set_u64(j, "brokenAtLine", broken);
                json_set(j, "events", json_ref(events));
                (void) print_json(cli, j);
        } else
                json_foreach (e, events) {
                        Str line = STR_NULL;
                        const char *when = json_get_str(e, "time"), *what = json_get_str(e, "event");

                        str_addf(&line, "%s  %-12s", when ? when : "-", what ? what : "-");
                        (void) json_each(e, show_event, &line);
                        one_line(line.text);
                        (void) printf("%s\n", line.text ? line.text : "");
                        str_done(&line);
                }
        if (broken > 0) {
                (void) fail(why, -EBADMSG, WHY_HOST, "history-broken",
                            "history: the hash chain breaks at line %" PRIu64, broken);
                return fail_hint(why, -EBADMSG,
                                 "lines after it were changed or lost; keep a copy for your auditors");
        }
        return 0;
}

static int quarantine_show(Cli *cli, Why *why)
{
        _cleanup_(json_unrefp) Json *list = NULL;
        int r = quarantine_list(&cli->env, &list, why);

        if (r < 0)
                return r;
        if (cli->json) {
                _cleanup_(json_unrefp) Json *j = json_new_object();

                json_set_str(j, "schema", "gybe.quarantine/1");
                json_set(j, "entries", json_ref(list));
                return print_json(cli, j);
        }
        if (json_len(list) == 0)
                (void) printf("Nothing is in quarantine.\n");
        json_foreach (q, list) {
                const char *id = json_get_str(q, "id"), *version = json_get_str(q, "version"),
                           *reason = json_get_str(q, "reason"), *message = json_get_str(q, "message");

                (void) printf("%s  %s  %s  %s\n", id ? id : "-", version ? version : "-",
                              reason ? reason : "-", message ? message : "");
        }
        return 0;
}

static int verb_quarantine(Cli *cli, Why *why)
{
        const char *what = cli->n_args > 0 ? cli->args[0] : "list",
                   *id = cli->n_args > 1 ? cli->args[1] : NULL;
        _cleanup_(json_unrefp) Json *e = NULL;
        int lock, r;

        if (streq(what, "list"))
                return quarantine_show(cli, why);
        if (!streq(what, "clear") || (!id && !cli->all))
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "quarantine: use list, clear ID, or clear --all");
        lock = state_lock(&cli->env, why);
        if (lock < 0)
                return lock;
        r = quarantine_clear(&cli->env, id, why);
        if (r > 0) {
                e = json_new_object();
                json_set_str(e, "event", "quarantine-cleared");
                json_set_str(e, "id", id ? id : "all");
                json_set_u64(e, "uid", getuid());
                if (history_append(&cli->env, e, why) < 0)
                        r = -EIO;
        }
        (void) close(lock);
        if (r == 0)
                return fail(why, -ENODATA, WHY_NOTHING, "not-in-quarantine", "quarantine: nothing to clear");
        if (r > 0 && attempts_forget_id(&cli->env, id) < 0)
                log_warning("the attempts of what was cleared are still counted");
        if (r > 0 && cli->json) {
                _cleanup_(json_unrefp) Json *j = json_new_object();

                json_set_str(j, "schema", "gybe.quarantine/1");
                json_set_u64(j, "cleared", (uint64_t) r);
                (void) print_json(cli, j);
        } else if (r > 0 && !cli->quiet)
                (void) printf("Cleared %i.\n", r);
        return r < 0 ? r : 0;
}

/* --- arguments --- */

static int dispatch(Cli *cli, Why *why)
{
        static const struct {
                const char *name;
                int max_args;
                int (*simple)(Cli *, Why *);
        } verbs[] = {
                { "status", 0, verb_status },
                { "quarantine", 2, verb_quarantine },
                { "history", 0, verb_history },
                /* the walk */
                { "check", 1, NULL },
                { "stage", 1, NULL },
                { "finalize", 0, NULL },
                { "update", 1, NULL },
                { "commit", 0, NULL },
                { "rollback", 0, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                if (!streq(verbs[i].name, cli->verb))
                        continue;
                if (cli->n_args > verbs[i].max_args)
                        return fail(why, -EINVAL, WHY_USAGE, "usage", "%s: too many arguments", cli->verb);
                if (cli->n_args > 0 && cli->version && !verbs[i].simple)
                        return fail(why, -EINVAL, WHY_USAGE, "usage",
                                    "%s: name a RELEASE or --version, not both", cli->verb);
                return verbs[i].simple ? verbs[i].simple(cli, why) : walk_verb(cli, cli->verb, why);
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
        OPT_DOWNGRADE
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
