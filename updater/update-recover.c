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
        /* A commit that was interrupted may have named the target already; what runs is named again before it is put away. */
        if (u->host.running.known && u->host.running.slot != update_target(u) &&
            (r = ops->prove_default(u->host.boot, (int) u->host.running.slot, why)) < 0)
                return r;
        if (j->entry && !j->rollback && (r = ops->unpublish(u->host.boot, j->entry, why)) < 0)
                return r;
        if ((r = deadline_disarm(u->env, why)) < 0 || (r = intent_remove(u->env, why)) < 0 ||
            (r = ops->remove_intent(u->host.boot, why)) < 0)
                return r;
        return host_refresh_boot(&u->host, why);
}

/* The journal is lost, the intent is not: it says enough to judge what runs, and to put away what does not. */
static int journal_from_intent(const Intent *i, const char *version, Journal *j)
{
        journal_begin(j);
        j->slot = i->slot;
        j->attempt = i->attempt;
        memcpy(j->roothash, i->roothash, sizeof(j->roothash));
        memcpy(j->uki_sha256, i->uki_sha256, sizeof(j->uki_sha256));
        j->update_id = i->update_id ? strdup(i->update_id) : NULL;
        j->entry = i->entry ? strdup(i->entry) : NULL;
        j->version = strdup(version ? version : "unknown");
        return (i->update_id && !j->update_id) || (i->entry && !j->entry) || !j->version ? -ENOMEM : 0;
}

/* What the decision asks of the boot loader, the quarantine and /etc. The quarantine is written first: whatever interrupts
 * the rest, an image that was proved bad is not tried again. The entry of a rollback belongs to a committed slot and stays. */
static int carry_out(Update *u, const Recovery *rec, Why *why)
{
        Journal *j = &u->host.journal;
        int r;

        if (rec->quarantine && (r = quarantine_add(u->env, j->roothash, j->uki_sha256, j->version,
                                                   rec->reason, j->message, why)) < 0)
                return r;
        if (!rec->disarm)
                return 0;
        r = update_unarm(u, why);
        if (r < 0 || !rec->close || j->rollback || !j->entry)
                return r;
        return u->host.boot->ops->condemn(u->host.boot, j->entry, why);
}

static int remember(Update *u, const Recovery *rec, Phase before, Why *why)
{
        _cleanup_(json_unrefp) Json *more = json_new_object();
        _cleanup_(free_charp) char *evidence = NULL;
        Journal *j = &u->host.journal;
        int r;

        json_set_str(more, "reason", reason_name(rec->reason));
        json_set_str(more, "message", j->message);
        json_set_str(more, "from", phase_name(before));
        json_set_str(more, "to", phase_name(rec->phase));
        if (rec->close)
                json_set_str(more, "outcome", outcome_name(rec->outcome));
        if (rec->quarantine)
                json_set_bool(more, "quarantined", true);
        if (j->attempt > 0)
                json_set_u64(more, "attempt", j->attempt);
        r = j->roothash[0] ? deadline_fired(u->env, j->roothash, &evidence, why) : 0;
        if (r < 0)
                return r;
        json_set_str(more, "evidence", evidence);
        r = update_record(u, "recovered", more, why);
        if (r >= 0)
                r = update_save(u, why);
        if (r < 0 && rec->phase == PHASE_PROBATION) {
                /* The verdict waits for no log: a full disk does not keep a healthy slot from being kept. */
                log_warning("%s; going on without remembering it", why->text);
                *why = (Why){ 0 };
                return 0;
        }
        if (r < 0)
                return r;
        return evidence && rec->close ? deadline_forget(u->env, why) : 0;
}

/* The sentence people read. What a failing check said explains more than the name of the scenario. */
static int tell(Journal *j, const Recovery *rec)
{
        char *message;

        if (rec->reason == REASON_NONE || (rec->reason == REASON_HEALTH_FALLBACK && j->message))
                return 0;
        message = strdup(rec->means);
        if (!message)
                return -ENOMEM;
        free(j->message);
        j->message = message;
        return 0;
}

/* Floor and revocations are gone with it: said once, to people and to history. The next save starts a new file. */
static int tell_trust_lost(Update *u, Why *why)
{
        const char *because = u->host.trust.lost_because ? u->host.trust.lost_because : "trust.json was lost";
        _cleanup_(json_unrefp) Json *more = json_new_object();
        int r;

        log_warning("%s; this host's serial floor and revocations are unknown", because);
        json_set_str(more, "message", because);
        r = trust_state_save(u->env, &u->host.trust, why);
        if (r < 0)
                return r;
        u->host.trust_lost = false;
        return update_record(u, "trust-lost", more, why);
}

int update_recover(Update *u, Why *why)
{
        Journal *j = &u->host.journal;
        RecoveryFacts facts = { 0 };
        Recovery rec = { 0 };
        Phase before = j->phase;
        int r;

        if (u->host.trust_lost && (r = tell_trust_lost(u, why)) < 0)
                return r;
        r = host_recovery_facts(&u->host, &facts, why);
        if (r < 0)
                return r;
        recovery_decide(j, u->host.journal_lost, u->host.has_intent ? &u->host.intent : NULL, &facts,
                        u->host.policy.attempts, &rec);
        u->recovery = rec;
        if (rec.phase == before && !rec.close && !rec.quarantine && !rec.disarm && !u->host.journal_lost &&
            (rec.reason == REASON_NONE || rec.reason == REASON_NEVER_REBOOTED || rec.reason == j->reason))
                return 0;
        log_debug("recovery: %s -> %s, %s: %s", phase_name(before), phase_name(rec.phase),
                  reason_name(rec.reason), rec.means);

        if (rec.by_intent &&
            (r = journal_from_intent(&u->host.intent, rec.phase == PHASE_PROBATION ? u->host.version : NULL,
                                     j)) < 0)
                return r;
        if ((r = tell(j, &rec)) < 0 || (r = carry_out(u, &rec, why)) < 0)
                return r;
        j->phase = rec.phase;
        j->armed = j->armed && rec.phase >= PHASE_FINALIZED;
        if (rec.reason != REASON_NONE)
                j->reason = rec.reason;
        if (rec.close)
                j->outcome = rec.outcome;
        if (rec.counted && j->attempt > 0) {
                j->attempt--; /* counted when it was armed, but never booted */
                if ((r = attempts_set(u->env, j->roothash, j->uki_sha256, j->attempt, why)) < 0)
                        return r;
        }
        if (u->host.journal_lost && u->host.journal.lost_because)
                update_say(u, "%s", u->host.journal.lost_because);
        u->host.journal_lost = false;
        if (rec.reason != REASON_NONE)
                update_say(u, "%s: %s", reason_name(rec.reason), rec.means);
        return remember(u, &rec, before, why);
}
