/* SPDX-License-Identifier: MIT */
#pragma once

/* THE WALK. An update is a table phase -> step (update.c); each step makes the next phase true on the disk and says so in
 * the journal. The verbs of the command line walk the table as far as their name says. Every verb first looks at what the
 * last run left (recovery), so that being killed at any instruction is an ordinary case. */

#include "facts.h"
#include "state/evidence.h"
#include "slot/pace.h"
#include "source/omaha.h"

typedef struct UpdateProgress {
        const char *what;                   /* "checking", "planning", "staging", "verifying", "watching" */
        uint64_t done, total;               /* bytes of the slot; seconds of the soak */
        uint64_t fetched, skipped, written; /* bytes; of written: */
        uint64_t copied, rebuilt;
        const char *pace; /* "paused: io pressure 23 %"; "" while nothing is held back */
} UpdateProgress;

typedef struct UpdateOptions {
        const char *release; /* path or URL an operator named; NULL: ask the source */
        const char *version; /* the version to take; NULL: what the source offers */
        const char *omaha_url, *omaha_app,
                *omaha_track; /* an update server to ask instead of the source; NULL none */
        const char *disk_path;
        bool allow_downgrade, no_reboot;
        bool override; /* a person passes window, wave, age and hold; goes into history */
        bool unattended; /* the agent asks: the automation level counts, and nothing is taken that only a person may name */
        struct { /* for history; borrowed */
                uint64_t uid;
                const char *name; /* NULL unknown */
                const char *how;  /* "cli", "dbus", "agent", "boot"; NULL: not said */
        } requested_by;
        void (*progress)(void *ctx, const UpdateProgress *p);
        void (*say)(void *ctx, const char *line); /* a fact worth a line on the terminal */
        void *ctx;
} UpdateOptions;

typedef struct Update {
        Host host;
        const Env *env;
        UpdateOptions options;
        int lock_fd;
        Fetch *fetch;
        UpdateProgress progress;
        Pace *pace;                     /* update-pace.c; NULL before the first byte */
        char pace_text[PACE_TEXT_SIZE]; /* progress.pace */

        /* step_find */
        Offer offer;

        /* step_trust */
        TrustAnchor anchors[2]; /* factory and operator */
        size_t n_anchors;
        const char *anchor_name; /* the one that accepted the release; NULL without a release file */
        char **signed_by;        /* keyids that verified */
        bool has_release;
        Release release;
        char release_sha256[65];
        uint64_t feed_serial;
        char *cosi_url, *source_text; /* redacted, for people */

        bool omaha_staging; /* what an update server granted is being downloaded, by this process */

        /* what the last verb did, for the caller to tell */
        Recovery recovery;
        bool checking;       /* update_check(): nobody names a release to take it anyway */
        bool already_staged; /* what is asked for is what lies staged */
        char **missing;      /* guarantees of the way back that could not be had */
        bool reboot_due;
        bool rejection_recorded; /* of what a verb refused, in history and so in a report */
        bool lock_granted;       /* the reboot lock, to this process: it need not be asked for again */
        unsigned overrode; /* 1 << PolicyRule of those that would have said no, but for options.override */
} Update;

/* Takes the job lock and reads the host; writable verbs need both. */
int update_open(const Env *env, const UpdateOptions *options, Update *ret, Why *why);
void update_done(Update *u);

/* 0 a newer release (u->offer, u->release say which); -ENODATA with WHY_NOTHING when there is none. */
int update_check(Update *u, Why *why);
int update_stage(Update *u, Why *why);
/* What update_stage() would do, in blocks and bytes (gybe.plan/1); nothing is written. */
int update_plan(Update *u, Json **ret, Why *why);
int update_finalize(Update *u, Why *why);
int update_both(Update *u, Why *why); /* stage + finalize */
int update_commit(Update *u, Why *why);
int update_rollback(Update *u, Why *why);
/* Sends what waits in the outbox, in order, until one cannot be delivered now. Lets go of the job lock first. */
int update_deliver(Update *u, Why *why);
/* Gives back what locks are not needed any more. Lets go of the job lock first. */
int update_unlock(Update *u, Why *why);
/* One look at everything that is asked after an update (gybe.health/1), no verdict; on trial compared with before. */
int update_health(Update *u, Json **ret, Why *why);

/* What is owed to servers, when no agent is there to see to it: behind a verb whose outcome is certain and said. Tries what is
 * due, each for a few seconds; what fails is tried again later. Lets go of the job lock. */
void update_afterwards(Update *u);

/* --- between the files of the walk (update-*.c) --- */

int update_recover(Update *u, Why *why);
int update_find(Update *u, Why *why);
int update_admit(Update *u, Why *why);     /* find's offer becomes a believed release */
int update_fill_slot(Update *u, Why *why); /* the spare slot and the inert boot files */
int update_arm(Update *u, Why *why);
int update_settle(Update *u, Why *why);
/* update-health.c: how things are before the flip; and the watch after it, whose verdict is ret->passed. */
int update_take_baseline(Update *u, Why *why);
int update_watch(Update *u, HealthReport *ret, Why *why);
/* The target's content was proved bad before: -EPERM with WHY_POLICY. */
int update_refuse_quarantined(Update *u, Why *why);
int update_arm_rollback(Update *u, Why *why);
/* update-evidence.c. Recovery found that the target was tried, or may have been, and does not run. */
bool update_has_failed(const Recovery *rec);
/* From what blackbox_collect() found: the cause, in the journal; the black box, stored. Only memory can fail. */
int update_conclude(Update *u, const Recovery *rec, Evidence *e);
/* When everything is durable: the crash dumps that were stored leave NVRAM. */
void update_release_evidence(Update *u, const Evidence *e);
/* A reboot is about to be asked for (refused_by: who said no before it came to that); and what stood against it. */
int update_asks_reboot(Update *u, const char *refused_by, Why *why);
int update_reboot_blocked(Update *u, const char *by, Why *why);
/* update-wayback.c: before anything is armed; u->missing names what could not be proved. */
int update_prove_way_back(Update *u, Why *why);
/* Whoever coordinates reboots (update-coordinate.c, policy reboot.coordinator). Before the flip, when everything else is proved:
 * the lock is ours, or -EBUSY with WHY_POLICY when others hold it. */
int update_take_lock(Update *u, Why *why);
void update_let_go(Update *u); /* of the job lock */
/* Reports (update-deliver.c), where report.url is set: what history got goes to the outbox, too. */
void update_report(Update *u, const Json *event);
void update_deliver_afterwards(Update *u);
/* Update servers (update-omaha.c): whether one is asked, and its offer. */
typedef struct OmahaSelf { /* what an OmahaAsk borrows */
        char machine_id[OMAHA_ID_SIZE], version[OMAHA_VERSION_SIZE], session_id[37], request_id[37];
} OmahaSelf;

bool update_asks_omaha(const Update *u);
int update_find_omaha(Update *u, Why *why);
int update_check_server(const Update *u,
                        Why *why); /* trust.require "server": a hash was named by one that is authenticated */
int update_omaha_self(Update *u, OmahaSelf *ret, OmahaAsk *ask, Why *why);
int update_omaha_exchange(Update *u, const char *url, const OmahaAsk *ask, uint64_t timeout_sec,
                          OmahaReply *ret, Why *why);
/* What they are told (update-omaha-tell.c); none of it makes a verb fail. The offer was granted; the download begins; something
 * was recorded; the walk ended; what the journal says is told. */
int update_omaha_granted(Update *u, const char *url, const char *app, const char *track, const char *from,
                         Why *why);
int update_omaha_close(Update *u, Why *why); /* without a word: it was told in another way */
void update_omaha_downloads(Update *u);
void update_omaha_event(Update *u, const char *event);
void update_omaha_walked(Update *u, int r, const Why *why);
void update_omaha_sync(Update *u);
/* 0 taken; -EBADMSG this is no report; else not now, and not before *ret_pause seconds. */
int update_omaha_send(Update *u, const OutboxEntry *e, uint64_t timeout_sec, uint64_t *ret_pause, Why *why);
char *update_omaha_url(const OutboxEntry *e); /* where it goes; NULL: nowhere */
/* update-deliver.c: everything that waits for this server goes before a question; what waits for another one that cannot be
 * reached is put aside. */
int update_omaha_tell_first(Update *u, const char *url, uint64_t budget_sec, Why *why);
int update_omaha_deliver_now(Update *u); /* a moment, for what is not urgent */
/* It is not needed: written down, and given back by update_unlock(). */
void update_drop_lock(Update *u);
/* Sentinel and lock are what the phase asks for: after recovery, after a flip, after a verdict. Local files only. */
void update_coordinate(Update *u);
/* Nothing is armed after all: the same, and the lock is given back at once if that is quickly done. */
void update_finalize_failed(Update *u);
/* Armed, but the reboot is held up: the lock is not kept meanwhile, others may go first. */
void update_reboot_failed(Update *u);
/* 1 reboot now, 0 somebody else does, negative: not now. */
int update_before_reboot(Update *u, Why *why);
/* Takes the armed entry back: one-shot, publication, intent, deadline. Leaves staged files. */
int update_unarm(Update *u, Why *why);

/* The Secure Boot chain (update-chain.c), where it is required: these PE files would be started by this machine's firmware,
 * and the UKI has the signer of the one that runs. */
typedef struct ChainFile {
        const char *what;
        bool is_uki;
        const PeSummary *pe;
} ChainFile;
int update_check_chain(Update *u, const ChainFile *files, size_t n, Why *why);
/* The same on what lies staged on the ESP. */
int update_check_staged_chain(Update *u, const BootPlan *plan, Why *why);

/* What the operator's rules say to this release at this door (update-door.c); a refusal is WHY_POLICY. */
int update_ask(Update *u, PolicyDoor door, Why *why);

int update_fetch(Update *u, Why *why); /* starts gybe-fetch once */
/* update-pace.c: called after every unit of at most 128 KiB that was read, written or hashed on behalf of an update; comes
 * back when the workload can bear the next one. */
int update_pace(Update *u, uint64_t bytes, Why *why);
int update_save(Update *u, Why *why); /* the journal */
/* One line of history about this update: event name, and more (may be NULL; borrowed). */
int update_record(Update *u, const char *event, Json *more, Why *why);
/* What happens once in an update (with this reason and attempt, where it has them): history has it once, also when it was
 * recorded and the process killed before the journal knew. */
int update_record_once(Update *u, const char *event, Json *more, Why *why);
/* What was recorded, or why a verb was refused, for people who read the system journal (update-tell.c). told() returns r. */
void update_tell(const Env *env, const Json *event);
int update_told(Update *u, int r, const Why *why);
void update_say(Update *u, const char *fmt, ...) _printf_(2, 3);
SlotId update_target(const Update *u);
