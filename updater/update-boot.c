/* SPDX-License-Identifier: MIT */

/* The flips: finalize (the next boot tries the staged slot, once) and roll back; update-settle.c judges what came of it. The
 * order of writes is the safety: promises P1-P4. What recovery makes of every prefix of them is told in state/recovery.c. */

#include "update.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/str.h"
#include "base/uuid.h"

#include <errno.h>

/* The plan of the staged files, as the journal remembers it. Names are borrowed from the journal. */
static int plan_from_journal(const Journal *j, BootPlan *ret)
{
        BootPlan plan = { .files = calloc(MAX(j->n_files, (size_t) 1), sizeof(BootFile)),
                          .n_files = j->n_files };

        if (!plan.files)
                return -ENOMEM;
        for (size_t i = 0; i < j->n_files; i++) {
                BootFile *f = &plan.files[i];

                f->kind = boot_kind_from_name(j->files[i].kind ? j->files[i].kind : "");
                f->name = j->files[i].name ? strdup(j->files[i].name) : NULL;
                f->size = j->files[i].size;
                f->carried = j->files[i].carried;
                memcpy(f->sha256, j->files[i].sha256, sizeof(f->sha256));
                if (!f->name) {
                        boot_plan_done(&plan);
                        return -ENOMEM;
                }
        }
        *ret = plan;
        return 0;
}

int update_refuse_quarantined(Update *u, Why *why)
{
        const Journal *j = &u->host.journal;
        _cleanup_(free_charp) char *reason = NULL;
        char id[QUARANTINE_ID_SIZE];
        int r;

        r = quarantine_id(j->roothash, j->uki_sha256, id);
        if (r >= 0)
                r = quarantine_has(u->env, id, &reason, why);
        if (r <= 0)
                return r;
        (void) fail(why, -EPERM, WHY_POLICY, "quarantined", "%s: this content is in quarantine: %s",
                    j->version ? j->version : "update", reason ? reason : "it failed here before");
        return fail_hint(why, -EPERM, "gybe quarantine clear %s, if you know better", id);
}

static int on_verify(void *ctx, uint64_t done, uint64_t total)
{
        Update *u = ctx;

        u->progress.what = "verifying";
        u->progress.done = done;
        u->progress.total = total;
        if (u->options.progress)
                u->options.progress(u->options.ctx, &u->progress);
        return 0;
}

static int verify_target(Update *u, Why *why)
{
        uint8_t expect[VERITY_ROOT_SIZE];
        const SlotParts *parts = &u->host.layout.slot[update_target(u)];
        const char *sig = u->host.journal.sig_sha256;
        int r = hex_decode(u->host.journal.roothash, expect, sizeof(expect));

        if (r < 0)
                return fail(why, r, WHY_HOST, "journal", "journal: its root hash is malformed");
        if (parts->sig && *sig && (r = slot_check_sig(u->host.disk, parts, sig, why)) < 0)
                return r;
        return slot_verify(u->host.disk, parts, expect, on_verify, u, why);
}

/* The staged slot is not what was staged any more: it must be staged again before anybody boots it. */
static int distrust_slot(Update *u, int error, const Why *why)
{
        _cleanup_(json_unrefp) Json *more = json_new_object();
        Why ignored = { 0 };

        if (why->kind != WHY_TRUST)
                return error;
        json_set_str(more, "code", why->code);
        json_set_str(more, "message", why->text);
        u->host.journal.phase = PHASE_IDLE;
        u->host.journal.slot_dirty = true;
        u->host.journal.outcome = OUTCOME_REJECTED;
        free(u->host.journal.message);
        u->host.journal.message = strdup(why->text);
        (void) update_record(u, "finalize-refused", more, &ignored);
        (void) update_save(u, &ignored);
        return error;
}

static int write_intent(Update *u, Why *why)
{
        Journal *j = &u->host.journal;
        Intent i = {
                .update_id = j->update_id,
                .entry = j->entry,
                .boot_id_before = u->host.boot_id,
                .slot = j->slot,
                .attempt = j->attempt,
                .written_at = env_now(u->env),
                .deadline = u->host.policy.deadline_sec,
        };
        _cleanup_(free_charp) char *text = NULL;
        int r;

        memcpy(i.roothash, j->roothash, sizeof(i.roothash));
        memcpy(i.uki_sha256, j->uki_sha256, sizeof(i.uki_sha256));
        if ((r = intent_save(u->env, &i, why)) < 0 || (r = intent_format(&i, &text)) < 0)
                return r;
        return u->host.boot->ops->write_intent(u->host.boot, text, why);
}

/* Everything between "the staged slot is proved" and "the next boot tries it". One-shot last. */
static int launch(Update *u, const BootPlan *plan, Why *why)
{
        const BootOps *ops = u->host.boot->ops;
        Boot *boot = u->host.boot;
        Journal *j = &u->host.journal;
        _cleanup_(json_unrefp) Json *more = NULL;
        int r;

        r = update_take_baseline(u, why);
        if (r < 0)
                return r;
        j->attempt++;
        r = attempts_set(u->env, j->roothash, j->uki_sha256, j->attempt, why);
        if (r < 0)
                return r;
        j->reason = REASON_NONE; /* an earlier verdict must not speak against this try */
        if ((r = write_intent(u, why)) < 0 ||
            (u->host.policy.deadline_sec > 0 &&
             (r = deadline_arm(u->env, j->roothash, u->host.policy.deadline_sec, why)) < 0))
                return r;
        if (plan && ((r = ops->publish(boot, j->entry, why)) < 0 ||
                     (r = ops->check(boot, (int) update_target(u), j->entry, plan, j->roothash, why)) < 0))
                return r;
        j->phase = PHASE_FINALIZED;
        j->armed = false;
        j->no_reboot = u->options.no_reboot;
        j->finalized_at = env_now(u->env);
        reboot_forget(j);
        if ((r = update_save(u, why)) < 0 || (r = ops->arm(boot, j->entry, why)) < 0)
                return r;
        j->armed = true;
        r = update_save(u, why);
        if (r < 0) {
                /* What is armed is remembered as armed, or it is not armed. */
                Why ignored = { 0 };

                (void) ops->disarm(boot, j->entry, &ignored);
                return r;
        }
        more = json_new_object();
        json_set_str(more, "entry", j->entry);
        json_set_u64(more, "attempt", j->attempt);
        if (u->options.allow_downgrade)
                json_set_bool(more, "allowDowngrade", true);
        if (u->missing) {
                Json *m = json_new_array();
                for (char **s = u->missing; *s; s++)
                        json_add_str(m, *s);
                json_set(more, "missingGuarantees", m);
        }
        r = update_record(u, "finalized", more, why);
        return r < 0 ? r : host_refresh_boot(&u->host, why);
}

int update_arm(Update *u, Why *why)
{
        const BootOps *ops = u->host.boot->ops;
        Journal *j = &u->host.journal;
        _cleanup_(boot_plan_done) BootPlan plan = { 0 };
        char name[BOOT_NAME_MAX];
        int r;

        if (u->host.config_why.kind != WHY_NONE) {
                *why = u->host.config_why;
                return -EINVAL;
        }
        r = update_ask(u, POLICY_FINALIZE, why);
        if (r < 0)
                return r;
        /* A finalize that was interrupted may have published already: back under the staged names, and everything once more. */
        if ((r = update_refuse_quarantined(u, why)) < 0 || (r = plan_from_journal(j, &plan)) < 0 ||
            (r = ops->next_name(u->host.boot, (int) update_target(u), name, why)) < 0 ||
            (r = ops->unpublish(u->host.boot, name, why)) < 0)
                return r;
        r = verify_target(u, why);
        if (r >= 0)
                r = ops->check(u->host.boot, (int) update_target(u), NULL, &plan, j->roothash, why);
        if (r >= 0)
                r = update_check_staged_chain(u, &plan, why);
        if (r < 0)
                return distrust_slot(u, r, why);
        /* The window may have closed while the slot was read, and somebody may have said hold. The lock is last, so that it is
         * not held while others could reboot, nor for an update that is refused. */
        if ((r = update_prove_way_back(u, why)) < 0 || (r = update_ask(u, POLICY_FINALIZE, why)) < 0 ||
            (r = update_take_lock(u, why)) < 0)
                return r;
        free(j->entry);
        j->entry = strdup(name);
        return j->entry ? launch(u, &plan, why) : -ENOMEM;
}

/* --- roll back --- */

int update_arm_rollback(Update *u, Why *why)
{
        int r;

        if ((r = update_refuse_quarantined(u, why)) < 0 || (r = verify_target(u, why)) < 0 ||
            (r = update_prove_way_back(u, why)) < 0)
                return r;
        return launch(u, NULL, why);
}

static int nothing_to_return_to(Why *why, const char *because)
{
        return fail(why, -EPERM, WHY_POLICY, "no-way-back", "rollback: %s", because);
}

static const BootEntry *other_entry(const Update *u)
{
        SlotId other = slot_other(u->host.running.slot);
        const BootEntry *best = NULL;

        for (size_t i = 0; i < u->host.boot_state.n_entries; i++) {
                const BootEntry *e = &u->host.boot_state.entries[i];

                if (e->slot == (int) other && e->roothash[0] && (!best || e->index > best->index))
                        best = e;
        }
        return best;
}

/* May this content come back? Revocation, floor, and the files being what they were when they were kept. */
static int judge_return(Update *u, const BootEntry *entry, const Json *files, const SlotRecord *record,
                        Why *why)
{
        const TrustState *t = &u->host.trust;
        _cleanup_(free_charp) char *have = NULL, *kept = NULL;

        if (trust_state_revoked(t, record && record->has_serial, record ? record->serial : 0,
                                entry->roothash))
                return fail(why, -EKEYREVOKED, WHY_TRUST, "revoked",
                            "rollback: what slot %s holds was revoked", slot_name((SlotId) entry->slot));
        if (record && record->has_serial && record->serial < t->high_water_serial &&
            !u->options.allow_downgrade) {
                (void) fail(why, -EPERM, WHY_TRUST, "below-floor",
                            "rollback: serial %llu is below this host's floor %llu",
                            (unsigned long long) record->serial, (unsigned long long) t->high_water_serial);
                return fail_hint(why, -EPERM, "--allow-downgrade, if you must; it is recorded");
        }
        if (!record || !record->files)
                return 0;
        have = json_format(files, false);
        kept = json_format(record->files, false);
        if (!have || !kept)
                return -ENOMEM;
        if (!streq(have, kept))
                return fail(why, -EBADMSG, WHY_TRUST, "changed-files",
                            "rollback: the boot files of %s are not those that were committed", entry->name);
        return 0;
}

static int begin_rollback(Update *u, const BootEntry *entry, const SlotRecord *record, const char *uki_sha256,
                          Why *why)
{
        Journal *j = &u->host.journal;
        char id[37];
        int r;

        r = uuid_random(id);
        if (r < 0)
                return r;
        journal_begin(j);
        j->phase = PHASE_STAGED;
        j->rollback = true;
        j->slot = *slot_name((SlotId) entry->slot);
        j->update_id = strdup(id);
        j->entry = strdup(entry->name);
        j->version = strdup(record && record->version ? record->version
                            : entry->version[0]       ? entry->version
                                                      : "unknown");
        if (!j->update_id || !j->entry || !j->version)
                return -ENOMEM;
        j->serial = record && record->has_serial ? record->serial : 0;
        memcpy(j->roothash, entry->roothash, sizeof(j->roothash));
        memcpy(j->uki_sha256, uki_sha256, sizeof(j->uki_sha256));
        memcpy(j->running_roothash, u->host.running.roothash, sizeof(j->running_roothash));
        return update_save(u, why);
}

/* From a committed slot to the one before it: everything is checked before anything is written. */
static int roll_back_committed(Update *u, Why *why)
{
        const BootEntry *found = other_entry(u);
        _cleanup_(json_unrefp) Json *files = NULL;
        const SlotRecord *record;
        char uki[SHA256_HEX];
        BootEntry entry;
        int r;

        if (!found)
                return nothing_to_return_to(why, "the other slot has no boot entry");
        if (u->host.journal.slot_dirty && u->host.journal.slot == *slot_name((SlotId) found->slot))
                return nothing_to_return_to(
                        why, "the other slot was overwritten by a staging that did not finish");
        entry = *found; /* the list is read anew below */
        record = trust_state_slot(&u->host.trust, entry.roothash);
        if ((r = u->host.boot->ops->digests(u->host.boot, entry.name, &files, uki, why)) < 0 ||
            (r = judge_return(u, &entry, files, record, why)) < 0 ||
            (r = begin_rollback(u, &entry, record, uki, why)) < 0)
                return r;
        r = update_arm_rollback(u, why);
        if (r < 0 && u->host.journal.phase == PHASE_STAGED) {
                /* refused before the flip: there is no transaction */
                Why ignored = { 0 };

                u->host.journal.phase = PHASE_IDLE;
                u->host.journal.rollback = false;
                (void) update_save(u, &ignored);
        }
        return r;
}

/* An operator says no to the slot on trial. The default is still the old slot: a reboot is all it takes. */
static int give_up_trial(Update *u, Why *why)
{
        Journal *j = &u->host.journal;
        int r;

        j->reason = REASON_OPERATOR;
        j->no_reboot = u->options.no_reboot;
        if ((r = update_save(u, why)) < 0 || (r = update_record(u, "rollback-asked", NULL, why)) < 0)
                return r;
        u->reboot_due = true;
        update_say(u, "%s is given up; the default slot comes back at the next boot",
                   j->version ? j->version : "The update");
        return 0;
}

/* The word is written before the first thing it undoes; undoing is recovery's work, also when it is interrupted. */
static int take_back(Update *u, Why *why)
{
        Journal *j = &u->host.journal;
        int r;

        j->reason = REASON_OPERATOR;
        r = update_save(u, why);
        if (r < 0) {
                /* Nothing can be remembered, but what matters most needs no space. */
                Why ignored = { 0 };

                (void) u->host.boot->ops->disarm(u->host.boot, j->entry, &ignored);
                return r;
        }
        if ((r = update_record(u, "rollback-asked", NULL, why)) < 0 || (r = update_recover(u, why)) < 0)
                return r;
        update_say(u, "%s is not tried at the next boot any more%s", j->version ? j->version : "The update",
                   j->phase == PHASE_STAGED ? "; it stays staged" : "");
        return 0;
}

int update_rollback(Update *u, Why *why)
{
        int r;

        if ((r = host_require(&u->host, why)) < 0 || (r = update_recover(u, why)) < 0)
                return r;
        switch (u->host.journal.phase) {
        case PHASE_STAGED:
                if (u->host.journal.rollback) /* asked for before, and interrupted before it was armed */
                        break;
                (void) nothing_to_return_to(
                        why, "an update is staged and nothing was flipped, so there is nothing to return to");
                return fail_hint(why, -EPERM, "leave it staged, or stage another release");
        case PHASE_FINALIZED:
                return take_back(u, why);
        case PHASE_PROBATION:
                return give_up_trial(u, why);
        default:
                break;
        }
        r = u->host.journal.phase == PHASE_STAGED ? update_arm_rollback(u, why) : roll_back_committed(u, why);
        if (r >= 0) {
                u->reboot_due = true;
                update_coordinate(u);
                update_say(u, "%s in slot %c comes back at the next boot", u->host.journal.version,
                           u->host.journal.slot);
        }
        return r;
}
