/* SPDX-License-Identifier: MIT */

/* history, audit, quarantine: what this host remembers. */

#include "cli.h"
#include "base/str.h"
#include "control/operator.h"
#include "control/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* An event is one line, whatever a machine that was going down wrote into it. */
static void one_line(char *text)
{
        for (; text && *text; text++)
                if ((unsigned char) *text < 0x20 || *text == 0x7f)
                        *text = ' ';
}

/* What is for machines, or is told in another column. */
static bool is_hidden(const char *key)
{
        static const char *const hidden[] = {
                "time",      "event",  "prev",          "updateId",          "uid", "bytes", "roothash",
                "ukiSha256", "health", "releaseSha256", "missingGuarantees",
        };

        for (size_t i = 0; i < ELEMENTSOF(hidden); i++)
                if (streq(hidden[i], key))
                        return true;
        return false;
}

/* Digests are told apart by their beginnings; --json has all of them. */
static void show_list(Str *line, const char *key, const Json *list)
{
        const char *comma = "=";

        if (json_len(list) == 0)
                return;
        str_addf(line, "  %s", key);
        json_foreach (item, list) {
                const char *s = json_str(item);

                str_addf(line, streq(key, "keys") ? "%s%.16s" : "%s%s", comma, s ? s : "?");
                comma = ",";
        }
}

typedef struct EventLine {
        Str text;
        const Json *event;
} EventLine;

static int show_event(void *ctx, const char *key, const Json *value)
{
        EventLine *e = ctx;
        Str *line = &e->text;
        const char *s = json_str(value);
        bool yes;
        uint64_t n;

        if (is_hidden(key))
                return 0;
        if (json_is_array(value))
                show_list(line, key, value);
        else if (s)
                str_addf(line, "  %s=%s", key, s);
        else if (json_u64(value, &n) > 0 && (n > 0 || !streq(key, "yieldedMs")))
                str_addf(line, "  %s=%" PRIu64, key, n);
        else if (json_get_bool(e->event, key, &yes) > 0 && yes)
                str_addf(line, "  %s=yes", key);
        return 0;
}

/* Who decided, where no name is known. */
static void show_actor(Str *line, const Json *event)
{
        uint64_t uid;

        if (!json_get_str(event, "by") && json_get_u64(event, "uid", &uid) > 0)
                str_addf(line, "  by=uid %" PRIu64, uid);
}

static void show_events(const Json *events)
{
        json_foreach (e, events) {
                EventLine line = { .text = STR_NULL, .event = e };
                const char *when = json_get_str(e, "time"), *what = json_get_str(e, "event");

                str_addf(&line.text, "%s  %-13s", when ? when : "-", what ? what : "-");
                (void) json_each(e, show_event, &line);
                show_actor(&line.text, e);
                one_line(line.text.text);
                (void) printf("%s\n", line.text.text ? line.text.text : "");
                str_done(&line.text);
        }
}

static int broken_chain(uint64_t line, Why *why)
{
        (void) fail(why, -EBADMSG, WHY_HOST, "history-broken",
                    "history: the hash chain breaks at line %" PRIu64, line);
        return fail_hint(why, -EBADMSG, "lines after it were changed or lost; keep a copy for your auditors");
}

/* gybe.audit/1. The files are root's; anybody else asks the agent, which asks polkit. */
static int audit(Cli *cli, Json **ret, Why *why)
{
        Remote *agent;
        int r = geteuid() == 0 ? 0 : cli_agent(cli, &agent, why);

        return r < 0   ? r
               : r > 0 ? remote_read(agent, "Audit", ret, why)
                       : record_audit(&cli->env, RECORD_HISTORY_ALL, ret, why);
}

int verb_history(Cli *cli, Why *why)
{
        _cleanup_(json_unrefp) Json *history = NULL, *whole = NULL;
        uint64_t broken = 0;
        Remote *agent;
        int r = geteuid() == 0 ? 0 : cli_agent(cli, &agent, why);

        if (r > 0) {
                r = audit(cli, &whole, why);
                history = json_ref(json_get(whole, "history"));
                (void) json_get_u64(history, "brokenAtLine", &broken);
        } else if (r == 0)
                r = record_history(&cli->env, RECORD_HISTORY_ALL, &history, &broken, why);
        if (r < 0)
                return r;
        if (cli->json)
                (void) cli_print(cli, history);
        else
                show_events(json_get(history, "events"));
        return broken > 0 ? broken_chain(broken, why) : 0;
}

/* Always a document: it is for those who collect it. */
int verb_audit(Cli *cli, Why *why)
{
        _cleanup_(json_unrefp) Json *whole = NULL;
        uint64_t broken = 0;
        int r = audit(cli, &whole, why);

        if (r < 0)
                return r;
        (void) cli_print(cli, whole);
        return json_get_u64(json_get(whole, "history"), "brokenAtLine", &broken) > 0
                       ? broken_chain(broken, why)
                       : 0;
}

static int quarantine_show(Cli *cli, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        const Json *list;
        Remote *agent;
        int r = cli_agent(cli, &agent, why);

        if (r >= 0)
                r = r > 0 ? remote_read(agent, "ListQuarantine", &j, why)
                          : record_quarantine(&cli->env, &j, why);
        if (r < 0)
                return r;
        if (cli->json)
                return cli_print(cli, j);
        list = json_get(j, "entries");
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

static int clear_here(Cli *cli, const char *id, unsigned *ret_cleared, Why *why)
{
        _cleanup_(free_charp) char *name = NULL;
        JobRequester by = cli_requester(cli, &name);

        return operator_clear_quarantine(&cli->env, id, &by, ret_cleared, why);
}

int verb_quarantine(Cli *cli, Why *why)
{
        const char *what = cli->n_args > 0 ? cli->args[0] : "list",
                   *id = cli->n_args > 1 ? cli->args[1] : NULL;
        _cleanup_(json_unrefp) Json *j = NULL;
        unsigned cleared = 0;
        Remote *agent;
        int r;

        if (streq(what, "list") && !id && !cli->all)
                return quarantine_show(cli, why);
        if (!streq(what, "clear") || !id == !cli->all)
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "quarantine: use list, clear ID, or clear --all");
        if ((!id && (r = cli_confirm(cli, "Let everything that failed here be tried again?", why)) < 0) ||
            (r = cli_agent(cli, &agent, why)) < 0)
                return r;
        r = r > 0 ? remote_clear_quarantine(agent, id, &cleared, why) : clear_here(cli, id, &cleared, why);
        if (r < 0)
                return r;
        cli_say(cli, "Cleared %u.", cleared);
        if (!cli->json)
                return 0;
        j = json_new_object();
        json_set_str(j, "schema", "gybe.quarantine/1");
        json_set_u64(j, "cleared", cleared);
        return cli_print(cli, j);
}
