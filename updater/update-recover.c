/* SPDX-License-Identifier: MIT */

/* The first thing every verb does: compare what the journal remembers with what the disk and the boot loader say, and put
 * right what the last run (or the last boot) left. The decision is pure (state/recovery.c); this file carries it out.
 * Every action here may be repeated: being killed in the middle means doing it again. */

#include "update.h"
#include "blackbox.h"
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
        Journal *j = &u->host.journal;
        int r, fired;

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
        if (update_has_failed(rec)) {
                json_set_str(more, "cause", j->cause);
                json_set_str(more, "kind", j->failed_kind);
                json_set_str(more, "stage", j->failed_stage);
                json_set_str(more, "evidence", j->evidence);
        }
        fired = j->roothash[0] ? deadline_fired(u->env, j->roothash, NULL, why) : 0;
        if (fired < 0)
                return fired;
        r = update_record_once(u, "recovered", more, why);
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
        return fired > 0 && rec->close ? deadline_forget(u->env, why) : 0;
}

/* The sentence people read: what this is, and why. What a failing check said explains more than the name of the scenario. */
static int tell(Journal *j, const Recovery *rec)
{
        bool caused = update_has_failed(rec) && j->cause;
        char *message;

        if (rec->reason == REASON_NONE || (rec->reason == REASON_HEALTH_FALLBACK && j->message))
                return 0;
        message = str_printf("%s%s%s", rec->means, caused ? ": " : "", caused ? j->cause : "");
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

/* Armed, or given up, and no boot came. Most often nobody has rebooted yet, which is nobody's fault: it is reported when
 * a reboot was asked for again and again, or when a boot went past the loader (kexec). Once; the verdict against a slot that is
 * still on trial stays the reason. */
static int tell_never_rebooted(Update *u, const Recovery *rec, Why *why)
{
        _cleanup_(json_unrefp) Json *more = json_new_object();
        Journal *j = &u->host.journal;
        bool armed = rec->reason == REASON_NEVER_REBOOTED,
             past = armed && j->boot_id && u->host.boot_id && !streq(j->boot_id, u->host.boot_id);
        _cleanup_(free_charp) char *message = NULL;
        char when[TIME_TEXT_SIZE];
        RebootWait wait;
        int r;

        reboot_wait(j, env_now(u->env), &wait);
        if (j->reboot_told || !(past || (wait.never && (armed || journal_given_up(j)))))
                return 0;
        format_time(j->reboot_asked_at, when);
        message = past ? strdup("the machine rebooted without its boot loader (kexec, or another boot "
                                "entry): the reboot is still due")
                       : str_printf("a reboot was asked for %u times, last at %s, and never came%s%s",
                                    j->reboot_asks, when, j->reboot_blocked ? ": " : "",
                                    j->reboot_blocked ? j->reboot_blocked : "");
        if (!message)
                return -ENOMEM;
        json_set_str(more, "reason", reason_name(REASON_NEVER_REBOOTED));
        json_set_str(more, "message", message);
        json_set_str(more, "from", phase_name(j->phase));
        json_set_str(more, "to", phase_name(j->phase));
        json_set_u64(more, "attempt", j->attempt);
        update_say(u, "%s: %s", reason_name(REASON_NEVER_REBOOTED), message);
        j->reboot_told = true;
        if (armed) {
                j->reason = REASON_NEVER_REBOOTED;
                free(j->message);
                j->message = TAKE(message);
        }
        r = update_record_once(u, "recovered", more, why);
        return r < 0 ? r : update_save(u, why);
}

/* How often is in the journal; that it was, in history. */
int update_asks_reboot(Update *u, const char *refused_by, Why *why)
{
        Journal *j = &u->host.journal;
        int r = reboot_asked(j, env_now(u->env), refused_by);

        if (r < 0)
                return r;
        r = update_save(u, why);
        return r < 0 || j->reboot_asks > 1 || refused_by ? r : update_record(u, "reboot-asked", NULL, why);
}

int update_reboot_blocked(Update *u, const char *by, Why *why)
{
        char *text = strdup(by);

        if (!text)
                return -ENOMEM;
        free(u->host.journal.reboot_blocked);
        u->host.journal.reboot_blocked = text;
        return update_save(u, why);
}

/* What the last run and the last boot left: facts, and if a trial is behind us, what is known of it. */
static int look_back(Update *u, RecoveryFacts *facts, Evidence *e, Recovery *rec, Why *why)
{
        const Host *h = &u->host;
        int r = host_recovery_facts(&u->host, facts, why);

        if (r >= 0 && blackbox_due(h))
                r = blackbox_collect(h, e, &facts->panicked);
        if (r < 0)
                return r;
        recovery_decide(&h->journal, h->journal_lost, h->has_intent ? &h->intent : NULL, facts,
                        h->policy.attempts, rec);
        return 0;
}

static bool is_nothing_new(const Update *u, const Recovery *rec)
{
        const Journal *j = &u->host.journal;

        return rec->phase == j->phase && !rec->close && !rec->quarantine && !rec->disarm &&
               !u->host.journal_lost &&
               (rec->reason == REASON_NONE || rec->reason == REASON_NEVER_REBOOTED ||
                rec->reason == j->reason);
}

/* The decision, in the journal in memory. */
static int adopt(Update *u, const Recovery *rec, Why *why)
{
        Journal *j = &u->host.journal;

        if (j->phase != rec->phase)
                reboot_forget(j);
        j->phase = rec->phase;
        j->armed = j->armed && rec->phase >= PHASE_FINALIZED;
        if (rec->reason != REASON_NONE)
                j->reason = rec->reason;
        if (rec->close)
                j->outcome = rec->outcome;
        if (!rec->counted || j->attempt == 0)
                return 0;
        j->attempt--; /* counted when it was armed, but never booted */
        return attempts_set(u->env, j->roothash, j->uki_sha256, j->attempt, why);
}

static int recover(Update *u, Why *why)
{
        _cleanup_(evidence_done) Evidence evidence = { 0 };
        Journal *j = &u->host.journal;
        RecoveryFacts facts = { 0 };
        Recovery rec = { 0 };
        Phase before = j->phase;
        int r;

        if (u->host.trust_lost && (r = tell_trust_lost(u, why)) < 0)
                return r;
        r = look_back(u, &facts, &evidence, &rec, why);
        if (r < 0)
                return r;
        u->recovery = rec;
        if (is_nothing_new(u, &rec))
                return tell_never_rebooted(u, &rec, why);
        log_debug("recovery: %s -> %s, %s: %s", phase_name(before), phase_name(rec.phase),
                  reason_name(rec.reason), rec.means);

        if (rec.by_intent &&
            (r = journal_from_intent(&u->host.intent, rec.phase == PHASE_PROBATION ? u->host.version : NULL,
                                     j)) < 0)
                return r;
        if ((update_has_failed(&rec) && (r = update_conclude(u, &rec, &evidence)) < 0) ||
            (r = tell(j, &rec)) < 0 || (r = carry_out(u, &rec, why)) < 0 || (r = adopt(u, &rec, why)) < 0)
                return r;
        if (u->host.journal_lost && u->host.journal.lost_because)
                update_say(u, "%s", u->host.journal.lost_because);
        u->host.journal_lost = false;
        if (rec.reason != REASON_NONE)
                update_say(u, "%s: %s", reason_name(rec.reason), j->message ? j->message : rec.means);
        r = remember(u, &rec, before, why);
        if (r >= 0 && update_has_failed(&rec))
                update_release_evidence(u, &evidence);
        return r;
}

int update_recover(Update *u, Why *why)
{
        int r = recover(u, why);

        if (r >= 0) {
                update_coordinate(u);
                update_omaha_sync(u);
        }
        return r;
}
