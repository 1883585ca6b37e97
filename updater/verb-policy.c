/* SPDX-License-Identifier: MIT */

/* The rules of this host: what they say (policy explain), and how a person changes them (pin, hold, skip and their opposites).
 * Explaining goes by files that anybody may read; who may not read the journal, and has no agent to ask, gets the answer for no
 * release in particular. */

#include "cli.h"
#include "base/str.h"
#include "control/operator.h"

#include <errno.h>
#include <stdio.h>

static int explain_here(Cli *cli, const ExplainQuestion *question, Json **ret)
{
        _cleanup_(policy_done) Policy policy = POLICY_DEFAULT;
        int r = policy_load(&cli->env, &policy, NULL);

        return r < 0 ? r : explain_policy(&cli->env, &policy, question, ret);
}

int verb_policy(Cli *cli, Why *why)
{
        ExplainQuestion question = { .version = cli->version, .override = cli->override };
        _cleanup_(json_unrefp) Json *answer = NULL;
        _cleanup_(free_charp) char *text = NULL;
        Remote *agent;
        int r;

        if (cli->n_args != 1 || !streq(cli->args[0], "explain"))
                return fail(why, -EINVAL, WHY_USAGE, "usage", "policy: use policy explain");
        if (cli->at && parse_time(cli->at, &question.at) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "--at: \"%s\" is not a time like 2026-11-04T06:00:00Z", cli->at);
        r = cli_agent(cli, &agent, why);
        if (r > 0)
                r = remote_explain(agent, &question, &answer, why);
        else if (r == 0)
                r = explain_here(cli, &question, &answer);
        if (r < 0)
                return r;
        if (cli->json)
                return cli_print(cli, answer);
        text = policy_explain_text(answer);
        if (!text)
                return -ENOMEM;
        (void) fputs(text, stdout);
        return 0;
}

/* --- changing them --- */

/* "8h" from now on, or a time. */
static int parse_until(Cli *cli, uint64_t *ret, Why *why)
{
        uint64_t now = env_now(&cli->env), sec;

        if (!cli->until) {
                *ret = UINT64_MAX;
                return 0;
        }
        if (parse_time(cli->until, ret) >= 0) {
                if (*ret > now)
                        return 0;
                return fail(why, -EINVAL, WHY_USAGE, "usage", "--until: %s is over", cli->until);
        }
        if (parse_duration(cli->until, &sec) < 0 || sec == 0 || sec > UINT32_MAX)
                return fail(
                        why, -EINVAL, WHY_USAGE, "usage",
                        "--until: \"%s\" is neither a time like 2026-11-04T06:00:00Z nor a duration like 8h",
                        cli->until);
        *ret = now + sec;
        return 0;
}

static int read_change(Cli *cli, PolicyChange *ret, Why *why)
{
        PolicyChange c = { .verb = policy_verb_from_name(cli->verb), .until = UINT64_MAX };
        bool versioned = c.verb == POLICY_PIN || c.verb == POLICY_SKIP || c.verb == POLICY_UNSKIP;
        int r = 0;

        if (versioned && cli->n_args != 1)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "%s: name a version", cli->verb);
        if (c.verb != POLICY_HOLD && (cli->until || cli->reason))
                return fail(why, -EINVAL, WHY_USAGE, "usage", "%s: --until and --reason are for hold",
                            cli->verb);
        if (versioned)
                c.version = cli->args[0];
        if (c.verb == POLICY_HOLD) {
                c.reason = cli->reason;
                r = parse_until(cli, &c.until, why);
        }
        *ret = c;
        return r;
}

static int change_there(Remote *agent, const PolicyChange *c, Why *why)
{
        static const char *const members[_POLICY_VERB_MAX] = {
                [POLICY_PIN] = "Pin",       [POLICY_UNPIN] = "Unpin", [POLICY_HOLD] = "Hold",
                [POLICY_UNHOLD] = "Unhold", [POLICY_SKIP] = "Skip",   [POLICY_UNSKIP] = "Unskip",
        };

        return c->verb == POLICY_HOLD ? remote_hold(agent, c->until, c->reason, why)
                                      : remote_tell(agent, members[c->verb], c->version, why);
}

static int change_here(Cli *cli, const PolicyChange *c, Why *why)
{
        _cleanup_(free_charp) char *name = NULL;
        JobRequester by = cli_requester(cli, &name);

        return operator_change_rule(&cli->env, c, &by, why);
}

static int tell(Cli *cli, const PolicyChange *c)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        char until[TIME_TEXT_SIZE] = "";

        if (c->verb == POLICY_HOLD && c->until != UINT64_MAX)
                format_time(c->until, until);
        switch (c->verb) {
        case POLICY_PIN:
                cli_say(cli, "Only %s from now on.", c->version);
                break;
        case POLICY_UNPIN:
                cli_say(cli, "Any version again.");
                break;
        case POLICY_HOLD:
                cli_say(cli, "Held until %s.", until[0] ? until : "gybe unhold");
                break;
        case POLICY_UNHOLD:
                cli_say(cli, "No longer held.");
                break;
        case POLICY_SKIP:
                cli_say(cli, "Never %s.", c->version);
                break;
        default:
                cli_say(cli, "%s is no longer skipped.", c->version);
        }
        if (!cli->json)
                return 0;
        j = json_new_object();
        json_set_str(j, "schema", "gybe.result/1");
        json_set_str(j, "verb", cli->verb);
        json_set_str(j, "version", c->version);
        json_set_str(j, "until", until[0] ? until : NULL);
        json_set_str(j, "reason", c->reason);
        return cli_print(cli, j);
}

int verb_rule(Cli *cli, Why *why)
{
        PolicyChange change;
        Remote *agent;
        int r;

        if ((r = read_change(cli, &change, why)) < 0 || (r = cli_agent(cli, &agent, why)) < 0)
                return r;
        r = r > 0 ? change_there(agent, &change, why) : change_here(cli, &change, why);
        return r < 0 ? r : tell(cli, &change);
}
