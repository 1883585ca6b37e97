/* SPDX-License-Identifier: MIT */

/* The first thing every verb does: compare what the journal remembers with what the disk and the boot loader say, and put
 * right what the last run (or the last boot) left. The decision is pure (state/recovery.c); this file carries it out.
 * Every action here may be repeated: being killed in the middle means doing it again. */

#include "update.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>

int update_unarm(Update *u, Why *why)
{
        const BootOps *ops = u->host.boot->ops;
        Journal *j = &u->host.journal;
        int r;

        /* One-shot first: from here on a reset cannot reach the target any more. */
        if ((r = ops->disarm(u->host.boot, j->entry, why)) < 0)
                return r;
        if (j->entry && !j->rollback && (r = ops->unpublish(u->host.boot, j->entry, why)) < 0)
                return r;
        if ((r = deadline_disarm(u->env, why)) < 0 || (r = intent_remove(u->env, why)) < 0 ||
            (r = ops->remove_intent(u->host.boot, why)) < 0)
                return r;
        return host_refresh_boot(&u->host, why);
}

/* The tried entry goes out of the loader's sight, proved bad or not. */
static int take_entry_back(Update *u, const Recovery *rec, Why *why)
{
        const BootOps *ops = u->host.boot->ops;
        Journal *j = &u->host.journal;
        int r;

        r = update_unarm(u, why);
        if (r < 0 || !rec->quarantine)
                return r;
        if (j->entry && (r = ops->condemn(u->host.boot, j->entry, why)) < 0)
                return r;
        return quarantine_add(u->env, j->roothash, j->uki_sha256, j->version, rec->reason, j->message, why);
}

static const char *reason_sentence(Reason reason)
{
        static const char *const sentences[_REASON_MAX] = {
                [REASON_TARGET_BOOTED] = "the new slot booted and is on trial",
                [REASON_FIRMWARE_FALLBACK] = "the new slot did not come up; the machine came back to the old one",
                [REASON_HEALTH_FALLBACK] = "the new slot failed its health checks; the machine came back to the old one",
                [REASON_NEVER_REBOOTED] = "the update was finalized but the machine was not rebooted",
                [REASON_INTERRUPTED_STAGE] = "staging was interrupted; the spare slot is incomplete",
                [REASON_REIMAGED] = "the disk was replaced; what the journal remembers is about another installation",
                [REASON_WRONG_SLOT] = "the machine booted something else than the update or the slot before it",
                [REASON_JOURNAL_LOST] = "the journal could not be read; the disk and the boot intent decide",
                [REASON_POWER_LOSS_RETRY] = "the new slot did not come up and nothing proves it bad; it may be tried again",
                [REASON_DEADLINE] = "the new slot was not committed in time; the machine came back to the old one",
                [REASON_OPERATOR] = "an operator decided",
        };

        return (unsigned) reason < _REASON_MAX && sentences[reason] ? sentences[reason] : "nothing unusual";
}

static int remember(Update *u, const Recovery *rec, Why *why)
{
        _cleanup_(json_unrefp) Json *more = json_new_object();
        Journal *j = &u->host.journal;
        int r;

        json_set_str(more, "reason", reason_name(rec->reason));
        json_set_str(more, "message", j->message);
        if (rec->outcome != OUTCOME_NONE)
                json_set_str(more, "outcome", outcome_name(rec->outcome));
        if (rec->quarantine)
                json_set_bool(more, "quarantined", true);
        if (j->attempt > 0)
                json_set_u64(more, "attempt", j->attempt);
        r = update_record(u, "recovered", more, why);
        return r < 0 ? r : update_save(u, why);
}

int update_recover(Update *u, Why *why)
{
        Journal *j = &u->host.journal;
        RecoveryFacts facts = { 0 };
        Recovery rec = { 0 };
        bool moved;
        int r;

        r = host_recovery_facts(&u->host, &facts, why);
        if (r < 0)
                return r;
        recovery_decide(j, u->host.journal_lost, u->host.has_intent ? &u->host.intent : NULL, &facts,
                        u->host.policy.attempts, &rec);
        u->recovery = rec;
        moved = rec.phase != j->phase || rec.close || rec.quarantine;
        if (!moved && !u->host.journal_lost)
                return 0;
        log_debug("recovery: %s -> %s, %s", phase_name(j->phase), phase_name(rec.phase), reason_name(rec.reason));

        if (rec.reason != REASON_NONE) {
                char *message = strdup(reason_sentence(rec.reason));

                if (!message)
                        return -ENOMEM;
                free(j->message);
                j->message = message;
        }
        if (u->host.journal_lost && u->host.has_intent && (r = journal_from_intent(&u->host.intent, j)) < 0)
                return r;
        /* Back on the old slot, whatever the reason: the tried entry must not stay where the loader finds it. */
        if (rec.phase < PHASE_FINALIZED && j->entry && !facts.oneshot_set)
                r = take_entry_back(u, &rec, why);
        if (r < 0)
                return r;
        j->phase = rec.phase;
        j->reason = rec.reason;
        if (rec.close)
                j->outcome = rec.outcome;
        u->host.journal_lost = false;
        update_say(u, "%s: %s", reason_name(rec.reason), reason_sentence(rec.reason));
        return remember(u, &rec, why);
}
