/* SPDX-License-Identifier: MIT */

#include "control/explain.h"
#include "base/str.h"
#include "state/state.h"

#include <errno.h>

int explain_policy(const Env *env, const Policy *policy, const ExplainQuestion *q, Json **ret)
{
        _cleanup_(journal_done) Journal journal = { 0 };
        _cleanup_(free_charp) char *machine_id = NULL;
        PolicySubject subject = { .version = q->offered,
                                  .serial = q->offered_serial,
                                  .issued = q->offered_issued,
                                  .unattended = !q->override,
                                  .override = q->override };
        bool lost = false;
        int r;

        r = policy_machine_id(env, &machine_id);
        if (r < 0)
                return r;
        r = journal_load(env, &journal, &lost, NULL);
        if (r == -ENOMEM)
                return r;
        /* What is under way is what the doors will be asked about next; afterwards it is the next offer. */
        if (r >= 0 && journal.phase != PHASE_IDLE) {
                subject.version = journal.version;
                subject.serial = journal.serial;
                subject.issued = journal.issued;
        }
        if (q->version && !streq0(q->version, subject.version)) {
                subject.version = q->version;
                subject.serial = subject.issued = 0;
        }
        subject.machine_id = machine_id;
        *ret = policy_explain(policy, &subject, q->at > 0 ? q->at : env_now(env));
        return *ret ? 0 : -ENOMEM;
}
