/* SPDX-License-Identifier: MIT */
#pragma once

/* What we were doing and must remember: phase, journal, history, quarantine, trust state, boot intent. All of
 * it lives in /var/lib/gybe, which both slots share: every document has a major version, unknown fields
 * survive a rewrite, and a file that cannot be read is lost, not fatal: the disk is the witness, the journal
 * is memory. formats.md section 7. */

#include "base/env.h"
#include "base/json.h"

#define STATE_DIR "/var/lib/gybe"

/* A phase is something that is true on disk after the plug was pulled. Outcome is a separate field. */
typedef enum Phase {
        PHASE_IDLE,
        PHASE_OFFERED,
        PHASE_TRUSTED,
        PHASE_STAGED,
        PHASE_FINALIZED,
        PHASE_PROBATION,
        _PHASE_MAX,
        _PHASE_INVALID = -22,
} Phase;

const char *phase_name(Phase p);
Phase phase_from_name(const char *name);

typedef enum Outcome {
        OUTCOME_NONE,
        OUTCOME_COMMITTED,
        OUTCOME_ROLLED_BACK,
        OUTCOME_REJECTED,
        OUTCOME_SUPERSEDED,
        _OUTCOME_MAX,
        _OUTCOME_INVALID = -22,
} Outcome;

const char *outcome_name(Outcome o);
Outcome outcome_from_name(const char *name);

/* Why the machine is where it is. A closed list: the table scenario -> reason is in the man page and is a
 * test. */
typedef enum Reason {
        REASON_NONE,
        REASON_TARGET_BOOTED,
        REASON_FIRMWARE_FALLBACK,
        REASON_HEALTH_FALLBACK,
        REASON_NEVER_REBOOTED,
        REASON_INTERRUPTED_STAGE,
        REASON_REIMAGED,
        REASON_WRONG_SLOT,
        REASON_JOURNAL_LOST,
        REASON_POWER_LOSS_RETRY,
        REASON_DEADLINE,
        REASON_OPERATOR,
        _REASON_MAX,
        _REASON_INVALID = -22,
} Reason;

const char *reason_name(Reason r);
Reason reason_from_name(const char *name);

/* One file placed on the ESP for the staged update. */
typedef struct JournalFile {
        char *kind, *name;
        uint64_t size;
        char sha256[65];
        bool carried;
        Json *unknown; /* as read; NULL in a new one */
} JournalFile;

/* The transaction. Strings are owned; "" / NULL mean not set. */
typedef struct Journal {
        Phase phase;
        Outcome outcome; /* of the last update */
        Reason reason;
        char *update_id; /* UUID of this update, in every record about it */
        char *version;
        uint64_t serial, floor_serial;
        char *product;
        char *release_sha256; /* of the release payload that was verified */
        char *source;         /* redacted address it came from */
        char slot;            /* 'a', 'b', 0: the target */
        char roothash[65], uki_sha256[65];
        char running_roothash[65]; /* of the slot that was running when it began */
        uint64_t data_size, hash_size;
        char sig_sha256[65]; /* of the whole HASH-SIG partition; "" where the slot has none */
        bool slot_dirty;     /* the spare slot's partitions were touched and not (yet) verified: unusable */
        bool rollback;       /* this transaction returns to a slot that was committed before */
        bool no_reboot;      /* --no-reboot: the reboot that is due is somebody else's to ask for */
        JournalFile *files;
        size_t n_files;
        char *entry;       /* final entry name, from finalize on */
        unsigned attempt;  /* one-shots spent on this content, the coming one included: counted before it is
                              set */
        bool armed;        /* the one-shot of this attempt was certainly set (written right after it) */
        char *boot_id;     /* boot in which the last step was made */
        uint64_t deadline; /* of probation, absolute; 0 none */
        char *message;     /* one line about the last outcome */
        uint64_t finalized_at; /* when the last attempt was armed; 0 never, or by an older version */
        /* The reboot that the attempt, or the verdict, waits for: when it was asked for last, how often, and what stood
         * against it then (NULL: nothing said no). */
        uint64_t reboot_asked_at;
        unsigned reboot_asks;
        char *reboot_blocked;
        bool reboot_told; /* that it never came was told */
        /* The attempt that failed last; all NULL: none has. See state/evidence.h. */
        char *failed_kind, *failed_stage, *cause, *evidence /* file name in STATE_DIR/evidence */;
        uint64_t *revoked_serials; /* of the release, remembered by the host at commit */
        size_t n_revoked_serials;
        char **revoked_roothashes;
        uint64_t issued;
        Json *unknown;      /* the document as read: unknown fields survive */
        char *lost_because; /* set by journal_load() with *ret_lost: the sentence for the human; never written
                             */
} Journal;

void journal_done(Journal *j);
void journal_move(Journal *dst, Journal *src);
/* A new transaction: everything is emptied but the fields this version does not know. */
void journal_begin(Journal *j);
/* *ret_lost: there was a file and it could not be used (torn, newer major, not ours). A missing file is an
 * empty journal. */
int journal_load(const Env *env, Journal *ret, bool *ret_lost, Why *why);
/* Refuses (a bug, WHY_HOST) what journal_load() would not take back. A file that had been lost is kept as
 * journal.json.lost. */
int journal_save(const Env *env, const Journal *j, Why *why);
int journal_parse(const void *data, size_t size, Journal *ret, Why *why); /* pure; fuzzed */
int journal_format(const Journal *j, char **ret);

/* How long a reboot that was asked for may take, and when it is asked for again: the hang between the flip and the reboot is
 * owned by whoever asks. The journal alone remembers the asking: whoever asked (a person's gybe, a job, the boot's verdict), the
 * next one knows. Pure. */
#define REBOOT_PATIENCE_SEC (15u * 60u) /* inhibitors, kubelet's graceful shutdown, units that stop slowly */
#define REBOOT_AGAIN_MAX_SEC                                                                                 \
        (6u * 60u * 60u) /* the pause doubles up to this; one that was refused disturbs nobody: it does not */
#define REBOOT_ASKS_NEVER 3u /* asked for that often in vain, it is reported as never-rebooted */

typedef struct RebootWait {
        uint64_t again_at; /* not before; 0: it was not asked for yet */
        bool never;        /* asked for often enough, and it did not come */
} RebootWait;

void reboot_wait(const Journal *j, uint64_t now, RebootWait *ret);
/* It is asked for now. by: who refuses it already; NULL nobody. -ENOMEM. */
int reboot_asked(Journal *j, uint64_t now, const char *by);
/* It came, or is not wanted any more: the next one is another one. */
void reboot_forget(Journal *j);
/* On trial, and the verdict against it is written: only the reboot is missing. */
bool journal_given_up(const Journal *j);

/* The boot intent: written before the one-shot, read by whichever gybe version boots next. Both copies
 * (STATE_DIR and the ESP hint) hold the same text. */
typedef struct Intent {
        char *update_id, *entry, *boot_id_before;
        char slot;
        char roothash[65], uki_sha256[65];
        unsigned attempt;
        uint64_t written_at;
        uint64_t deadline; /* seconds from the start of the target's boot to its commit; 0 none */
} Intent;

void intent_done(Intent *i);
int intent_format(const Intent *i, char **ret);
int intent_parse(const void *data, size_t size, Intent *ret, Why *why);
int intent_load(const Env *env, Intent *ret, Why *why); /* 1 found, 0 none or lost */
int intent_save(const Env *env, const Intent *i, Why *why);
int intent_remove(const Env *env, Why *why);

/* --- recovery: pure --- */

/* What the disk and the boot loader say right now. Tri-states: -1 unknown. "The entry" is the journal's, or
 * where the journal has none yet (or is lost) the intent's: the intent is written before anything is
 * published. */
typedef struct RecoveryFacts {
        int running_slot;          /* 0, 1, -1 */
        char running_roothash[65]; /* "" unknown */
        bool running_in_trust;     /* trust.json has a record of the running root hash */
        char boot_id[40];
        bool oneshot_set;          /* and names the entry */
        bool entry_published;      /* the final entry name exists */
        bool staged_files_present; /* inert names exist */
        int spare_verifies;        /* 1, 0; -1 not looked at */
        bool intent_present;       /* and belongs to this update */
        bool deadline_fired;       /* the /etc deadline left its mark: deadline_fired() */
        bool failed_verdict;       /* probation wrote a failing verdict before it rebooted */
        bool panicked;             /* pstore or the boot loader tells of a panic in the target */
} RecoveryFacts;

typedef struct Recovery {
        Phase phase;     /* where to go on */
        Reason reason;   /* REASON_NONE: nothing unusual */
        bool quarantine; /* proved bad, or attempts used up: write it before anything else */
        bool retry;      /* another attempt is allowed: finalize again, which counts one more */
        bool counted; /* the attempt in the journal was counted and certainly not spent: take it off again */
        bool disarm;  /* a one-shot, intent or deadline may be left over: take them away before going on */
        bool close;   /* the transaction is over: outcome below goes to history */
        bool by_intent; /* all this is about the intent's update: fill the journal from it first */
        Outcome outcome;
        const char *means; /* one line for history and status: what this scenario is; static */
} Recovery;

/* attempts: policy. Every combination has a row in recovery.c, whose opening comment says what the walk has
 * to write when. */
void recovery_decide(const Journal *journal, bool journal_lost, const Intent *intent,
                     const RecoveryFacts *facts, unsigned attempts, Recovery *ret);
/* The table itself, for the man page and the test: 1 and the i-th row's answer, 0 behind the last. */
int recovery_row(size_t i, Recovery *ret);

/* --- history: append-only, hash-chained --- */

/* Adds prev and time to event (an object; borrowed) and appends one line. A torn last line is cut off and
 * noted. */
int history_append(const Env *env, Json *event, Why *why);
/* The newest lines (HISTORY_READ_MAX bytes of them), oldest first, as a JSON array. The chain is checked from
 * the first line of the file on: *ret_broken_at is the 1-based line where it breaks, 0 when it holds. */
int history_read(const Env *env, Json **ret, uint64_t *ret_broken_at, Why *why);
/* The same, with the newest max_bytes only. ret_head (may be NULL; "": no line yet): the SHA-256 of the last line, which the
 * next one will name; who keeps it elsewhere notices when lines are cut off. */
int history_read_newest(const Env *env, uint64_t max_bytes, Json **ret, uint64_t *ret_broken_at,
                        char ret_head[65], Why *why);
/* The newest event that has this member, unchecked: 1 and *ret, 0 none. */
int history_last(const Env *env, const char *member, Json **ret, Why *why);

/* --- quarantine: keyed by content --- */

#define QUARANTINE_ID_SIZE 33u
int quarantine_id(const char *roothash, const char *uki_sha256, char ret[QUARANTINE_ID_SIZE]);
/* 1 there, 0 not. A record that cannot be understood still counts. ret_reason (one line) may be NULL. */
int quarantine_has(const Env *env, const char *id, char **ret_reason, Why *why);
/* The first record of a content stays: adding it again changes nothing. */
int quarantine_add(const Env *env, const char *roothash, const char *uki_sha256, const char *version,
                   Reason reason, const char *message, Why *why);
int quarantine_clear(const Env *env, const char *id /* NULL: all */, Why *why); /* number removed */
/* [{"id", "roothash", "ukiSha256", "version", "reason", "message", "since"}], by id */
int quarantine_list(const Env *env, Json **ret, Why *why);

/* --- attempts: boots a content has had, whatever was staged in between --- */
/* 1 and *ret, 0 none (*ret 0) */
int attempts_get(const Env *env, const char *roothash, const char *uki_sha256, unsigned *ret);
int attempts_set(const Env *env, const char *roothash, const char *uki_sha256, unsigned n, Why *why);
int attempts_forget(const Env *env, const char *roothash, const char *uki_sha256);
int attempts_forget_id(const Env *env, const char *id /* NULL: all */); /* the quarantine id */

/* --- trust.json --- */

typedef struct SlotRecord {
        char roothash[65];
        bool has_serial;
        uint64_t serial;
        char *version;
        char uki_sha256[65];
        char *entry;
        Json *files; /* {"<ESP path>": "<sha256>"} */
        uint64_t committed_at;
        Json *unknown; /* as read; NULL in a new one */
} SlotRecord;

typedef struct TrustState {
        bool has_running_serial;
        uint64_t running_serial; /* believed where the running slot is unknown */
        uint64_t high_water_serial;
        uint64_t *revoked_serials;
        size_t n_revoked_serials;
        char **revoked_roothashes;
        uint64_t time_floor; /* 0 none; only verified issued times */
        SlotRecord *slots;
        size_t n_slots;
        Json *feed_serials; /* {"<product> <url>": N} */
        Json *unknown;
        char *lost_because; /* set by trust_state_load() with *ret_lost; never written */
} TrustState;

void trust_state_done(TrustState *t);
int trust_state_load(const Env *env, TrustState *ret, bool *ret_lost, Why *why);
int trust_state_save(const Env *env, const TrustState *t, Why *why);
int trust_state_parse(const void *data, size_t size, TrustState *ret, Why *why); /* pure; fuzzed */
int trust_state_format(const TrustState *t, char **ret);
/* Both only move forward; true when they moved. */
bool trust_state_raise_time(TrustState *t, uint64_t issued);
bool trust_state_raise_floor(TrustState *t, uint64_t serial);
/* Remembers what a committed release revokes, each once. */
int trust_state_revoke(TrustState *t, const uint64_t *serials, size_t n_serials, char *const *roothashes);
bool trust_state_revoked(const TrustState *t, bool has_serial, uint64_t serial, const char *roothash);
/* key: "<product> <url>". 1 and *ret, or 0. */
int trust_state_feed_serial(const TrustState *t, const char *key, uint64_t *ret);
/* The newest. Of too many, the one that was set the longest ago goes. -ENOMEM: t is not to be saved. */
int trust_state_set_feed_serial(TrustState *t, const char *key, uint64_t serial);
const SlotRecord *trust_state_slot(const TrustState *t, const char *roothash);
/* Takes record on success; replaces the one with the same root hash. Keeps the newest few. */
int trust_state_put_slot(TrustState *t, SlotRecord *record);
void slot_record_done(SlotRecord *r);

/* --- the deadline that does not need gybe --- */

/* Before the one-shot: from now on a boot whose command line carries roothash reboots seconds after its
 * start, unless deadline_disarm() was called before. Written to /etc/systemd/system, which both slots share.
 * Idempotent. */
int deadline_arm(const Env *env, const char *roothash, uint64_t seconds, Why *why);
/* At commit, and whenever a transaction closes. 1 there was one, 0 not. The mark stays. */
int deadline_disarm(const Env *env, Why *why);
/* Could one be armed? 0, or what stands against it (-EROFS, -EACCES). Writes nothing. */
int deadline_possible(const Env *env);
/* 1 the next boot of this root hash has a deadline, 0 not. */
int deadline_armed(const Env *env, const char *roothash);
/* 1: the deadline ended a boot of this root hash; *ret_evidence (may be NULL) gets what it saw, printable. 0
 * it did not. */
int deadline_fired(const Env *env, const char *roothash, char **ret_evidence, Why *why);
/* After the mark went to history. */
int deadline_forget(const Env *env, Why *why);

/* --- the baseline of a trial: baseline.json, what health/ wrote down before the slot was left --- */

/* 1 and *ret; 0 none, or lost: then *lost (may be NULL) says why. */
int baseline_load(const Env *env, Json **ret, Why *lost, Why *why);
int baseline_save(const Env *env, const Json *content, Why *why);

/* --- reboot locks: lock.json --- */

#define REBOOT_LOCKS_MAX 4u /* the one in use, and those of coordinators that were configured before */

typedef enum LockState {
        LOCK_ASKED,    /* written before the question: it may be held, whatever became of the answer */
        LOCK_GRANTED,  /* held */
        LOCK_UNWANTED, /* to be given back, until somebody has taken it */
        _LOCK_MAX,
        _LOCK_INVALID = -22,
} LockState;

const char *lock_state_name(LockState s);

/* Where it was asked for is where it is given back, whatever is configured by then. */
typedef struct RebootLock {
        char *coordinator;      /* "fleetlock", "hook" */
        char *url, *group, *id; /* fleetlock */
        char *hook;             /* hook */
        char *update_id;
        LockState state;
        uint64_t since;      /* of the state */
        unsigned failures;   /* to give it back, in a row */
        uint64_t not_before; /* the next try to */
        char *message;       /* what the last try was told */
        Json *unknown;       /* as read; NULL in a new one */
} RebootLock;

typedef struct RebootLocks {
        RebootLock locks[REBOOT_LOCKS_MAX];
        size_t n;
        Json *unknown;
        char *lost_because; /* never written */
} RebootLocks;

void reboot_lock_done(RebootLock *l);
void reboot_locks_done(RebootLocks *l);
/* A missing file is no locks; one that cannot be used is none, with *ret_lost. */
int reboot_locks_load(const Env *env, RebootLocks *ret, bool *ret_lost, Why *why);
int reboot_locks_save(const Env *env, const RebootLocks *l, Why *why);
int reboot_locks_parse(const void *data, size_t size, RebootLocks *ret, Why *why); /* pure; fuzzed */
int reboot_locks_format(const RebootLocks *l, char **ret);
/* The one that is asked for or held; NULL none. At most one is. */
RebootLock *reboot_locks_held(RebootLocks *l);
/* Makes lock (taken) the one that is asked for, in place of the same one if it is there. Every other becomes unwanted, and the
 * oldest is forgotten when there is no room. Borrowed. */
RebootLock *reboot_locks_ask(RebootLocks *l, RebootLock *lock, uint64_t now);
/* true when something changed */
bool reboot_locks_unwant(RebootLocks *l, uint64_t now);
void reboot_locks_forget(RebootLocks *l, RebootLock *lock);
bool reboot_lock_same(const RebootLock *a, const RebootLock *b); /* the same place, that is */
/* When this one is to be given back; UINT64_MAX: it is wanted. A time too far away was written under another clock: 0. Pure. */
uint64_t reboot_lock_due(const RebootLock *l, uint64_t now);
/* When the first of them is. Pure. */
uint64_t reboot_locks_due(const RebootLocks *l, uint64_t now);
/* The same of the file; 0 (now) also when it is lost. */
int reboot_locks_next(const Env *env, uint64_t *ret, Why *why);

/* --- outbox: reports that wait for their receiver, in order --- */

/* One for each kind of receiver: one that is not there keeps only its own reports waiting. */
typedef enum OutboxBox {
        OUTBOX_REPORTS, /* report.url */
        OUTBOX_OMAHA,   /* update servers */
        _OUTBOX_MAX,
} OutboxBox;

#define OUTBOX_ID_SIZE    37u
#define OUTBOX_REPORT_MAX (16u * 1024u) /* one outcome; its longest part is what a failing check said */

typedef struct OutboxEntry {
        uint64_t number; /* of its file */
        char id[OUTBOX_ID_SIZE];
        bool progress;
        char *text; /* the document as it is sent */
} OutboxEntry;

void outbox_entry_done(OutboxEntry *e);

/* Writes report (an object; borrowed) as the last one. An id that waits already is not written again: 0; 1 written. Progress
 * makes way when there are too many, oldest first; outcomes never do. */
int outbox_add(const Env *env, OutboxBox box, const char *id, const Json *report, bool progress, Why *why);
/* 1 and the first one, 0 there is none. What cannot be read is put aside as rejected, and said in *ret_aside (one line; may
 * be NULL). */
int outbox_first(const Env *env, OutboxBox box, OutboxEntry *ret, char **ret_aside, Why *why);
/* Gone, and the failures before it forgotten. */
int outbox_delivered(const Env *env, OutboxBox box, const OutboxEntry *e, Why *why);
/* Never to be delivered: kept in outbox/rejected with the receiver's words, the newest few of them. Failures are forgotten. */
int outbox_rejected(const Env *env, OutboxBox box, const OutboxEntry *e, unsigned status, const char *answer,
                    Why *why);
int outbox_parse(const void *data, size_t size, OutboxEntry *ret,
                 Why *why); /* pure; fuzzed; number stays 0 */

/* What is known about a box's receiver: one for all its reports, since nothing overtakes. */
typedef struct OutboxState {
        size_t pending, rejected; /* files */
        unsigned failures;        /* in a row */
        uint64_t not_before;      /* of the next try; 0 none */
        uint64_t last_delivered;  /* 0 never */
        char *message;            /* what the last failure was; NULL none */
} OutboxState;

void outbox_state_done(OutboxState *s);
int outbox_state(const Env *env, OutboxBox box, OutboxState *ret, Why *why);
/* Counts a failure; the next try is not before a growing, jittered pause, and not before after_sec. */
int outbox_failed(const Env *env, OutboxBox box, uint64_t after_sec, const char *message, Why *why);
/* When the next delivery is due: UINT64_MAX there is nothing to deliver. */
int outbox_due(const Env *env, OutboxBox box, uint64_t *ret, Why *why);

/* --- what an update server granted: omaha.json --- */

/* What it was told last, in the order in which it may be told. */
typedef enum OmahaStep {
        OMAHA_STEP_NONE, /* there is no grant, or it was ended by COMPLETE or ERROR */
        OMAHA_STEP_GRANTED,
        OMAHA_STEP_DOWNLOADING,
        OMAHA_STEP_DOWNLOADED,
        OMAHA_STEP_INSTALLED,
        OMAHA_STEP_COMPLETE,
        OMAHA_STEP_ERROR,
        _OMAHA_STEP_MAX,
        _OMAHA_STEP_INVALID = -22,
} OmahaStep;

const char *omaha_step_name(OmahaStep s);
OmahaStep omaha_step_from_name(const char *name);

typedef struct OmahaGrant {
        OmahaStep step;
        char *id;                /* UUID of this grant: its reports' ids are made of it */
        char *url, *app, *track; /* who granted it */
        char *version, *from;    /* as the server calls what it granted, and what ran then */
        char *update_id;         /* of the journal, from staged on; NULL before */
        uint64_t since;
        Json *unknown;
} OmahaGrant;

void omaha_grant_done(OmahaGrant *g);
/* A missing or lost file is no grant. */
int omaha_grant_load(const Env *env, OmahaGrant *ret, Why *why);
int omaha_grant_save(const Env *env, const OmahaGrant *g, Why *why);
int omaha_grant_parse(const void *data, size_t size, OmahaGrant *ret, Why *why); /* pure; fuzzed */
/* What the server has to be told next, as things are: NONE nothing. staging: this process is at it. Pure. */
OmahaStep omaha_grant_owes(const OmahaGrant *g, const Journal *j, bool staging);

/* A pause of 30 s that doubles with each failure up to an hour, half of it by chance: a fleet that lost the same server does
 * not come back in one moment. */
uint64_t backoff_sec(unsigned failures);

/* --- job lock: one job at a time, /run/gybe/lock --- */
/* An fd to keep, or -EBUSY with WHY_BUSY. */
int state_lock(const Env *env, Why *why);
/* One of a few others, /run/gybe/NAME.lock, for what must not wait for a job, nor a job for it: "deliver", "coordinate",
 * "lock-file". Waits for it at most wait_ms. */
int state_lock_other(const Env *env, const char *name, uint64_t wait_ms, Why *why);
/* Without touching it: 1 somebody holds it (*ret_pid who, 0 not known yet), 0 nobody, negative: cannot be told. */
int state_lock_held(const Env *env, uint64_t *ret_pid);
