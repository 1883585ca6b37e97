/* SPDX-License-Identifier: MIT */

/* history, quarantine: what this host remembers. */

#include "cli.h"
#include "base/log.h"
#include "base/str.h"
#include "state/state.h"

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

int verb_history(Cli *cli, Why *why)
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
                (void) cli_print(cli, j);
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
                return cli_print(cli, j);
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

int verb_quarantine(Cli *cli, Why *why)
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
                (void) cli_print(cli, j);
        } else if (r > 0 && !cli->quiet)
                (void) printf("Cleared %i.\n", r);
        return r < 0 ? r : 0;
}
