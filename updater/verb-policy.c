/* SPDX-License-Identifier: MIT */

/* policy explain: what the rules say to the release at hand, as the agent would be told. Goes by files that anybody may read;
 * who may not read the journal gets the answer for no release in particular. */

#include "cli.h"
#include "base/fd.h"
#include "base/str.h"
#include "policy/policy.h"
#include "state/state.h"

#include <errno.h>
#include <stdio.h>

static int explain(Cli *cli, const PolicySubject *subject, const Policy *policy, uint64_t at)
{
        _cleanup_(json_unrefp) Json *answer = policy_explain(policy, subject, at);
        _cleanup_(free_charp) char *text = NULL;

        if (cli->json)
                return cli_print(cli, answer);
        text = policy_explain_text(answer);
        if (!text)
                return -ENOMEM;
        (void) fputs(text, stdout);
        return 0;
}

int verb_policy(Cli *cli, Why *why)
{
        _cleanup_(policy_done) Policy policy = POLICY_DEFAULT;
        _cleanup_(free_charp) char *machine_id = NULL;
        _cleanup_(journal_done) Journal journal = { 0 };
        PolicySubject subject = { .unattended = !cli->override, .override = cli->override };
        uint64_t at = env_now(&cli->env);
        bool lost;
        int r;

        if (cli->n_args != 1 || !streq(cli->args[0], "explain"))
                return fail(why, -EINVAL, WHY_USAGE, "usage", "policy: use policy explain");
        if (cli->at && parse_time(cli->at, &at) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "--at: \"%s\" is not a time like 2026-11-04T06:00:00Z", cli->at);
        if ((r = policy_load(&cli->env, &policy, NULL)) < 0 ||
            (r = policy_machine_id(&cli->env, &machine_id)) < 0)
                return r;
        r = journal_load(&cli->env, &journal, &lost, NULL);
        if (r == -ENOMEM)
                return r;
        if (r >= 0 && journal.phase != PHASE_IDLE) {
                subject.version = journal.version;
                subject.serial = journal.serial;
                subject.issued = journal.issued;
        }
        if (cli->version && !streq0(cli->version, subject.version)) {
                subject.version = cli->version;
                subject.serial = subject.issued = 0;
        }
        subject.machine_id = machine_id;
        return explain(cli, &subject, &policy, at);
}
