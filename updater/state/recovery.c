/* SPDX-License-Identifier: MIT */

/* Where are we? A pure function of what the journal (or, when that is lost, the boot intent) remembers and
 * what the disk and the boot loader say. The disk is the witness, the journal only the memory: it says which
 * question to ask.
 *
 * What the walk writes, in this order, and what each prefix of it looks like from the next run:
 *
 *   stage      journal(trusted, slotDirty)      before the first block, and before the old entry of the spare
 * slot goes blocks, read back                -> interrupted-stage: trusted, the spare slot is unusable
 *              journal(trusted)                 the slot is complete
 *              boot files, inert names          -> interrupted-stage: trusted, the next stage has little to
 * do journal(staged)                  -> staged: a resting phase finalize   intent on /var, intent on ESP,
 * deadline in /etc, publish, check
 *                                               -> staged: finalizing again repeats all of it
 *              journal(finalized, entry, attempt + 1, armed = false, boot id)
 *                                               -> same boot: never-rebooted, staged, and the attempt is not
 * counted twice later boot: see below arm: boot order, one-shot last   -> the next boot tries the target
 *              journal(armed = true)            if this fails the walk disarms: what is armed is remembered
 * as armed settle     journal(probation)               -> target-booted, as long as the target runs the
 * verdict, in the journal (reason = health-fallback or operator), and in quarantine when it is bad, before
 * the reboot that follows from it default entry, trust.json, no deadline, no intent, journal(idle, committed)
 *                                               -> probation until the last one: settling looks first whether
 * the default names the entry already, and then finishes instead of judging again close      quarantine,
 * one-shot gone, entry inert, no deadline, no intent, history, journal(idle, outcome)
 *                                               -> the same decision again until the last one
 *
 * The attempt is counted before the one-shot is set: an image gets at most `attempts` boots whatever is
 * interrupted. The price is one case that cannot be told from outside, because no write to the disk and to
 * NVRAM is atomic: power lost between journal(finalized) and the one-shot, or between the one-shot and
 * journal(armed). The old slot runs in a new boot and nothing is armed; the target may have been tried or
 * not. It costs an attempt, never more, and `armed` tells people which is likely.
 *
 * An operator's word (reason = operator) is written to the journal before the first thing it undoes, so that
 * an interruption continues with undoing.
 *
 * A row matches when each of its columns does; an empty column matches everything; the first match counts. */

#include "state/state.h"
#include "base/str.h"

/* What remembers. LOST: no journal, no intent. INTENT: no journal, only the intent. */
enum {
        LOST = 1 << 0,
        INTENT = 1 << 1,
        IDLE = 1 << 2,
        OFFERED = 1 << 3,
        TRUSTED = 1 << 4,
        STAGED = 1 << 5,
        FINALIZED = 1 << 6,
        PROBATION = 1 << 7,
};

/* What runs: the slot from before, the target, another content that was committed here once, a content nobody
 * here knows; or the running system does not say. */
enum {
        OLD = 1 << 0,
        TARGET = 1 << 1,
        OTHER = 1 << 2,
        ALIEN = 1 << 3,
        UNKNOWN = 1 << 4,
};

/* What has spoken against the target. */
enum {
        NOTHING = 1 << 0,
        OPERATOR = 1 << 1,
        HEALTH = 1 << 2,
        DEADLINE = 1 << 3,
        PANIC = 1 << 4,
        PROOF = HEALTH | DEADLINE | PANIC, /* of the image's fault; an operator's word is none */
};

/* Columns of two values. */
enum {
        SAME_BOOT = 1 << 0, /* as the journal's last step (the intent's writing) */
        NEW_BOOT = 1 << 1,  /* or nobody knows: then it may have been tried */
        ARMED = 1 << 0,     /* the one-shot names the entry */
        DISARMED = 1 << 1,
        MORE = 1 << 0, /* attempts are left */
        SPENT = 1 << 1,
        WHOLE = 1 << 0, /* the spare slot is complete as far as anybody looked */
        BROKEN = 1 << 1,
        UPDATE = 1 << 0,
        ROLLBACK = 1 << 1,  /* back to a slot that was committed before: there is nothing to stage again */
        PUBLISHED = 1 << 0, /* boot files of the target: under the final name, */
        INERT = 1 << 1,     /* only under staged names, */
        MISSING = 1 << 2,   /* or not there */
};

enum {
        CLOSE = 1 << 0,
        CONDEMN = 1 << 1, /* quarantine */
        RETRY = 1 << 2,
        COUNTED = 1 << 3,
        DISARM = 1 << 4,
};

typedef struct Situation {
        uint8_t memory, runs, word, boot, oneshot, attempts, slot, kind, files;
} Situation;

typedef struct Row {
        Situation when;
        Phase phase;
        Reason reason;
        unsigned flags;
        Outcome outcome;
        const char *means;
} Row;

/* clang-format off */
static const Row rows[] = {
        /* --- nothing remembers --- */
        { { .memory = LOST },
          PHASE_IDLE, REASON_JOURNAL_LOST, DISARM, OUTCOME_NONE,
          "the journal cannot be read and there is no boot intent: what runs is kept, the spare slot is believed only after a check" },

        /* --- only the intent remembers --- */
        { { .memory = INTENT, .runs = TARGET, .word = DEADLINE },
          PHASE_PROBATION, REASON_DEADLINE, 0, OUTCOME_NONE,
          "the target runs beyond its deadline; the reboot back is due" },
        { { .memory = INTENT, .runs = TARGET },
          PHASE_PROBATION, REASON_JOURNAL_LOST, 0, OUTCOME_NONE,
          "the journal cannot be read, but the boot intent names what runs: it is on trial" },
        { { .memory = INTENT, .runs = UNKNOWN },
          PHASE_IDLE, REASON_JOURNAL_LOST, 0, OUTCOME_NONE,
          "the journal cannot be read and the running slot is unknown" },
        { { .memory = INTENT, .word = HEALTH },
          PHASE_IDLE, REASON_HEALTH_FALLBACK, CLOSE|CONDEMN|DISARM, OUTCOME_ROLLED_BACK,
          "the journal cannot be read; the target of the boot intent had failed its health checks" },
        { { .memory = INTENT, .word = DEADLINE },
          PHASE_IDLE, REASON_DEADLINE, CLOSE|CONDEMN|DISARM, OUTCOME_ROLLED_BACK,
          "the journal cannot be read; the target of the boot intent was not committed in time" },
        { { .memory = INTENT, .word = PANIC },
          PHASE_IDLE, REASON_FIRMWARE_FALLBACK, CLOSE|CONDEMN|DISARM, OUTCOME_ROLLED_BACK,
          "the journal cannot be read; the target of the boot intent panicked" },
        { { .memory = INTENT, .boot = NEW_BOOT, .oneshot = DISARMED, .attempts = SPENT },
          PHASE_IDLE, REASON_FIRMWARE_FALLBACK, CLOSE|CONDEMN|DISARM, OUTCOME_ROLLED_BACK,
          "the journal cannot be read; the target of the boot intent did not come up and has no attempt left" },
        { { .memory = INTENT },
          PHASE_IDLE, REASON_JOURNAL_LOST, CLOSE|DISARM, OUTCOME_ROLLED_BACK,
          "the journal cannot be read and the target of the boot intent does not run: the update is given up and may be staged again" },

        /* --- at rest --- */
        { { .memory = IDLE|OFFERED, .runs = ALIEN },
          PHASE_IDLE, REASON_REIMAGED, 0, OUTCOME_NONE,
          "what runs was never committed by gybe: the disk was replaced or another agent updated it" },
        { { .memory = IDLE|OFFERED, .runs = OTHER },
          PHASE_IDLE, REASON_WRONG_SLOT, 0, OUTCOME_NONE,
          "what runs was committed once, but is neither the last update nor what ran before it" },
        { { .memory = IDLE|OFFERED, .runs = OLD, .oneshot = ARMED },
          PHASE_IDLE, REASON_NONE, DISARM, OUTCOME_NONE,
          "a one-shot names the entry of an update that is over" },
        { { .memory = IDLE|OFFERED },
          PHASE_IDLE, REASON_NONE, 0, OUTCOME_NONE,
          "at rest" },

        /* --- the running system does not say what it is: nothing may be concluded, callers refuse to write --- */
        { { .memory = TRUSTED, .runs = UNKNOWN },
          PHASE_TRUSTED, REASON_NONE, 0, OUTCOME_NONE, "the running slot is unknown" },
        { { .memory = STAGED, .runs = UNKNOWN },
          PHASE_STAGED, REASON_NONE, 0, OUTCOME_NONE, "the running slot is unknown" },
        { { .memory = FINALIZED, .runs = UNKNOWN },
          PHASE_FINALIZED, REASON_NONE, 0, OUTCOME_NONE, "the running slot is unknown" },
        { { .memory = PROBATION, .runs = UNKNOWN },
          PHASE_PROBATION, REASON_NONE, 0, OUTCOME_NONE, "the running slot is unknown" },

        /* --- proved bad: holds whatever runs now, as long as it is not the target --- */
        { { .memory = FINALIZED|PROBATION, .runs = OLD|OTHER|ALIEN, .word = HEALTH },
          PHASE_IDLE, REASON_HEALTH_FALLBACK, CLOSE|CONDEMN|DISARM, OUTCOME_ROLLED_BACK,
          "the target failed its health checks and the machine left it" },
        { { .memory = FINALIZED|PROBATION, .runs = OLD|OTHER|ALIEN, .word = DEADLINE },
          PHASE_IDLE, REASON_DEADLINE, CLOSE|CONDEMN|DISARM, OUTCOME_ROLLED_BACK,
          "the target was not committed in time and rebooted itself" },
        { { .memory = FINALIZED|PROBATION, .runs = OLD|OTHER|ALIEN, .word = PANIC },
          PHASE_IDLE, REASON_FIRMWARE_FALLBACK, CLOSE|CONDEMN|DISARM, OUTCOME_ROLLED_BACK,
          "the target panicked and the firmware came back to the default" },

        /* --- something else runs --- */
        { { .memory = TRUSTED|STAGED|FINALIZED|PROBATION, .runs = ALIEN },
          PHASE_IDLE, REASON_REIMAGED, CLOSE|DISARM, OUTCOME_SUPERSEDED,
          "what runs is known neither to the journal nor to the trust state: the disk was replaced" },
        { { .memory = TRUSTED|STAGED|FINALIZED|PROBATION, .runs = OTHER },
          PHASE_IDLE, REASON_WRONG_SLOT, CLOSE|DISARM, OUTCOME_ROLLED_BACK,
          "what runs is neither the target nor what ran before the update" },
        { { .memory = TRUSTED, .runs = TARGET },
          PHASE_IDLE, REASON_WRONG_SLOT, CLOSE|DISARM, OUTCOME_SUPERSEDED,
          "the slot that was to be written runs: it is not written" },

        /* --- staging --- */
        { { .memory = TRUSTED, .oneshot = ARMED },
          PHASE_TRUSTED, REASON_INTERRUPTED_STAGE, DISARM, OUTCOME_NONE,
          "staging was interrupted, and a one-shot names the incomplete slot" },
        { { .memory = TRUSTED },
          PHASE_TRUSTED, REASON_INTERRUPTED_STAGE, 0, OUTCOME_NONE,
          "staging was interrupted: the spare slot is incomplete until it is staged again" },
        { { .memory = STAGED, .runs = TARGET },
          PHASE_PROBATION, REASON_TARGET_BOOTED, 0, OUTCOME_NONE,
          "somebody started the published target by hand: it is on trial" },
        { { .memory = STAGED, .slot = BROKEN, .kind = ROLLBACK },
          PHASE_IDLE, REASON_INTERRUPTED_STAGE, CLOSE|DISARM, OUTCOME_REJECTED,
          "the slot to return to is not what it was" },
        { { .memory = STAGED, .kind = ROLLBACK, .files = INERT|MISSING },
          PHASE_IDLE, REASON_INTERRUPTED_STAGE, CLOSE|DISARM, OUTCOME_REJECTED,
          "the boot entry to return to is gone" },
        { { .memory = STAGED, .slot = BROKEN },
          PHASE_TRUSTED, REASON_INTERRUPTED_STAGE, DISARM, OUTCOME_NONE,
          "the staged slot is not what was staged: it has to be staged again" },
        { { .memory = STAGED, .files = MISSING },
          PHASE_TRUSTED, REASON_INTERRUPTED_STAGE, DISARM, OUTCOME_NONE,
          "the staged boot files are gone: it has to be staged again" },
        { { .memory = STAGED, .oneshot = ARMED },
          PHASE_STAGED, REASON_NONE, DISARM, OUTCOME_NONE,
          "a one-shot names an entry that was not finalized" },
        { { .memory = STAGED },
          PHASE_STAGED, REASON_NONE, 0, OUTCOME_NONE,
          "staged" },

        /* --- the target runs --- */
        { { .memory = FINALIZED|PROBATION, .runs = TARGET, .word = OPERATOR },
          PHASE_PROBATION, REASON_OPERATOR, 0, OUTCOME_NONE,
          "an operator gave the target up; the reboot back is due" },
        { { .memory = FINALIZED|PROBATION, .runs = TARGET, .word = HEALTH },
          PHASE_PROBATION, REASON_HEALTH_FALLBACK, 0, OUTCOME_NONE,
          "the target failed its health checks; the reboot back is due" },
        { { .memory = FINALIZED|PROBATION, .runs = TARGET, .word = DEADLINE },
          PHASE_PROBATION, REASON_DEADLINE, 0, OUTCOME_NONE,
          "the target runs beyond its deadline; the reboot back is due" },
        { { .memory = FINALIZED|PROBATION, .runs = TARGET },
          PHASE_PROBATION, REASON_TARGET_BOOTED, 0, OUTCOME_NONE,
          "the target runs: it is on trial" },

        /* --- an operator's word, not yet carried out or carried out by a reboot --- */
        { { .memory = FINALIZED, .word = OPERATOR, .kind = ROLLBACK },
          PHASE_IDLE, REASON_OPERATOR, CLOSE|DISARM, OUTCOME_ROLLED_BACK,
          "an operator took the rollback back" },
        { { .memory = FINALIZED, .word = OPERATOR, .slot = BROKEN },
          PHASE_TRUSTED, REASON_OPERATOR, DISARM, OUTCOME_NONE,
          "an operator took the finalized update back, and its slot is not what was staged" },
        { { .memory = FINALIZED, .word = OPERATOR, .files = MISSING },
          PHASE_TRUSTED, REASON_OPERATOR, DISARM, OUTCOME_NONE,
          "an operator took the finalized update back, and its boot files are gone" },
        { { .memory = FINALIZED, .word = OPERATOR, .boot = SAME_BOOT },
          PHASE_STAGED, REASON_OPERATOR, DISARM|COUNTED, OUTCOME_NONE,
          "an operator took the finalized update back: it stays staged" },
        { { .memory = FINALIZED, .word = OPERATOR },
          PHASE_STAGED, REASON_OPERATOR, DISARM, OUTCOME_NONE,
          "an operator took the finalized update back: it stays staged" },
        { { .memory = PROBATION, .word = OPERATOR },
          PHASE_IDLE, REASON_OPERATOR, CLOSE|DISARM, OUTCOME_ROLLED_BACK,
          "an operator gave the target up and the machine left it" },

        /* --- finalized, and the target was certainly not tried since --- */
        { { .memory = FINALIZED, .boot = SAME_BOOT, .slot = BROKEN, .kind = ROLLBACK },
          PHASE_IDLE, REASON_INTERRUPTED_STAGE, CLOSE|DISARM, OUTCOME_REJECTED,
          "the slot to return to is not what it was" },
        { { .memory = FINALIZED, .boot = SAME_BOOT, .slot = BROKEN },
          PHASE_TRUSTED, REASON_INTERRUPTED_STAGE, DISARM|COUNTED, OUTCOME_NONE,
          "the finalized slot is not what was staged: it has to be staged again" },
        { { .memory = FINALIZED, .oneshot = ARMED, .slot = BROKEN, .kind = ROLLBACK },
          PHASE_IDLE, REASON_INTERRUPTED_STAGE, CLOSE|DISARM, OUTCOME_REJECTED,
          "the slot to return to is not what it was" },
        { { .memory = FINALIZED, .oneshot = ARMED, .slot = BROKEN },
          PHASE_TRUSTED, REASON_INTERRUPTED_STAGE, DISARM|COUNTED, OUTCOME_NONE,
          "the finalized slot is not what was staged: it has to be staged again" },
        { { .memory = FINALIZED, .oneshot = ARMED, .files = PUBLISHED },
          PHASE_FINALIZED, REASON_NEVER_REBOOTED, 0, OUTCOME_NONE,
          "armed, and no boot through the loader came: the reboot is due" },
        { { .memory = FINALIZED, .oneshot = ARMED, .files = INERT, .kind = UPDATE },
          PHASE_STAGED, REASON_NEVER_REBOOTED, DISARM|COUNTED, OUTCOME_NONE,
          "armed, but the entry is not published: it has to be finalized again" },
        { { .memory = FINALIZED, .oneshot = ARMED, .kind = ROLLBACK },
          PHASE_IDLE, REASON_INTERRUPTED_STAGE, CLOSE|DISARM, OUTCOME_REJECTED,
          "the boot entry to return to is gone" },
        { { .memory = FINALIZED, .oneshot = ARMED },
          PHASE_TRUSTED, REASON_INTERRUPTED_STAGE, DISARM|COUNTED, OUTCOME_NONE,
          "armed, but the boot files are gone: it has to be staged again" },
        { { .memory = FINALIZED, .boot = SAME_BOOT, .files = INERT|MISSING, .kind = ROLLBACK },
          PHASE_IDLE, REASON_INTERRUPTED_STAGE, CLOSE|DISARM, OUTCOME_REJECTED,
          "the boot entry to return to is gone" },
        { { .memory = FINALIZED, .boot = SAME_BOOT, .files = MISSING },
          PHASE_TRUSTED, REASON_INTERRUPTED_STAGE, DISARM|COUNTED, OUTCOME_NONE,
          "the boot files are gone: it has to be staged again" },
        { { .memory = FINALIZED, .boot = SAME_BOOT },
          PHASE_STAGED, REASON_NEVER_REBOOTED, DISARM|COUNTED, OUTCOME_NONE,
          "finalizing was interrupted before the one-shot was set: it has to be finalized again" },

        /* --- finalized or on trial, and the old slot came back: it was tried, or may have been --- */
        { { .memory = FINALIZED|PROBATION, .attempts = SPENT },
          PHASE_IDLE, REASON_FIRMWARE_FALLBACK, CLOSE|CONDEMN|DISARM, OUTCOME_ROLLED_BACK,
          "the target did not come up and no attempt is left" },
        { { .memory = FINALIZED|PROBATION, .slot = BROKEN, .kind = ROLLBACK },
          PHASE_IDLE, REASON_FIRMWARE_FALLBACK, CLOSE|DISARM, OUTCOME_REJECTED,
          "the slot to return to did not come up and is not what it was" },
        { { .memory = FINALIZED|PROBATION, .files = INERT|MISSING, .kind = ROLLBACK },
          PHASE_IDLE, REASON_FIRMWARE_FALLBACK, CLOSE|DISARM, OUTCOME_REJECTED,
          "the slot to return to did not come up and its boot entry is gone" },
        { { .memory = FINALIZED|PROBATION, .slot = BROKEN },
          PHASE_TRUSTED, REASON_POWER_LOSS_RETRY, DISARM|RETRY, OUTCOME_NONE,
          "the target did not come up and its slot is not what was staged: it has to be staged again" },
        { { .memory = FINALIZED|PROBATION, .files = MISSING },
          PHASE_TRUSTED, REASON_POWER_LOSS_RETRY, DISARM|RETRY, OUTCOME_NONE,
          "the target did not come up and its boot files are gone: it has to be staged again" },
        { { .memory = FINALIZED|PROBATION },
          PHASE_STAGED, REASON_POWER_LOSS_RETRY, DISARM|RETRY, OUTCOME_NONE,
          "the target did not come up; it may have been a power cut, so it gets another attempt" },
};
/* clang-format on */

static bool is_empty(const Journal *j)
{
        return j->phase == PHASE_IDLE && !j->update_id;
}

static uint8_t memory_of(const Journal *j, bool lost, const Intent *intent)
{
        /* A missing journal is an empty one; with an intent beside it, it was lost. */
        if (lost || is_empty(j))
                return intent ? INTENT : lost ? LOST : IDLE;
        return (uint8_t) (IDLE << j->phase);
}

typedef struct Aim {
        const char *roothash, *old_roothash; /* "" unknown */
        char slot;
} Aim;

static uint8_t runs_of(const Aim *aim, const RecoveryFacts *f)
{
        bool slot_known = aim->slot && f->running_slot >= 0;
        bool in_target_slot = slot_known && f->running_slot == aim->slot - 'a';

        if (!f->running_roothash[0]) /* the target always says its root hash; the slot before gybe may not */
                return slot_known && !in_target_slot ? OLD : UNKNOWN;
        if (aim->roothash[0] && streq(f->running_roothash, aim->roothash) && (!slot_known || in_target_slot))
                return TARGET;
        if (!in_target_slot && (!aim->old_roothash[0] || streq(f->running_roothash, aim->old_roothash)))
                return OLD;
        return f->running_in_trust ? OTHER : ALIEN;
}

static uint8_t word_of(const Journal *j, const RecoveryFacts *f)
{
        bool tried = j->phase >= PHASE_FINALIZED;

        if (tried && j->reason == REASON_OPERATOR)
                return OPERATOR;
        if (f->failed_verdict || (tried && j->reason == REASON_HEALTH_FALLBACK))
                return HEALTH;
        return f->deadline_fired ? DEADLINE : f->panicked ? PANIC : NOTHING;
}

static bool same_boot(const char *before, const RecoveryFacts *f)
{
        return before && *before && streq(before, f->boot_id);
}

static Situation situation_of(const Journal *j, bool lost, const Intent *i, const RecoveryFacts *f,
                              unsigned attempts)
{
        uint8_t memory = memory_of(j, lost, i);
        bool by_intent = memory == INTENT;
        Aim aim = { .roothash = by_intent ? i->roothash : j->roothash,
                    .old_roothash = by_intent ? "" : j->running_roothash,
                    .slot = by_intent ? i->slot : j->slot };
        unsigned attempt = by_intent ? i->attempt : j->attempt;

        return (Situation){
                .memory = memory,
                .runs = memory == LOST ? UNKNOWN : runs_of(&aim, f),
                .word = word_of(j, f),
                .boot = same_boot(by_intent ? i->boot_id_before : j->boot_id, f) ? SAME_BOOT : NEW_BOOT,
                .oneshot = f->oneshot_set ? ARMED : DISARMED,
                .attempts = attempt < attempts ? MORE : SPENT,
                .slot = f->spare_verifies == 0 || j->slot_dirty ? BROKEN : WHOLE,
                .kind = j->rollback ? ROLLBACK : UPDATE,
                .files = f->entry_published        ? PUBLISHED
                         : f->staged_files_present ? INERT
                                                   : MISSING,
        };
}

static bool fits(uint8_t column, uint8_t value)
{
        return column == 0 || (column & value) != 0;
}

static bool row_fits(const Situation *when, const Situation *s)
{
        return fits(when->memory, s->memory) && fits(when->runs, s->runs) && fits(when->word, s->word) &&
               fits(when->boot, s->boot) && fits(when->oneshot, s->oneshot) &&
               fits(when->attempts, s->attempts) && fits(when->slot, s->slot) && fits(when->kind, s->kind) &&
               fits(when->files, s->files);
}

int recovery_row(size_t i, Recovery *ret)
{
        const Row *row;

        if (i >= ELEMENTSOF(rows))
                return 0;
        row = &rows[i];
        *ret = (Recovery){
                .phase = row->phase,
                .reason = row->reason,
                .quarantine = row->flags & CONDEMN,
                .retry = row->flags & RETRY,
                .counted = row->flags & COUNTED,
                .disarm = row->flags & DISARM,
                .close = row->flags & CLOSE,
                .outcome = row->outcome,
                .means = row->means,
        };
        return 1;
}

void recovery_decide(const Journal *journal, bool journal_lost, const Intent *intent,
                     const RecoveryFacts *facts, unsigned attempts, Recovery *ret)
{
        Situation s = situation_of(journal, journal_lost, intent, facts, attempts);

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (row_fits(&rows[i].when, &s)) {
                        (void) recovery_row(i, ret);
                        ret->by_intent = s.memory == INTENT;
                        return;
                }
        /* Cannot be: every memory has a row that matches anything (test-recovery.c walks all situations). */
        *ret = (Recovery){ .phase = PHASE_IDLE, .reason = REASON_JOURNAL_LOST, .means = "" };
}
