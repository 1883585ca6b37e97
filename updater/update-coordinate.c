/* SPDX-License-Identifier: MIT */

/* Which host reboots when is decided by somebody else: kured, which looks for a file, or a lock that is asked for before the
 * flip and given back when the verdict is in. What this file promises:
 *
 * - A lock is written down (lock.json) before it is asked for, and held only while the update is finalized or on trial. In any
 *   other phase it is unwanted: a finalize that failed, a fallback, a crash in between.
 * - Commit, rollback and recovery only write down that it is unwanted. It is given back by the job "unlock", which no other
 *   verb waits for: neither the job lock nor the verdict depends on a lock server.
 * - Whoever holds coordinator.conf (locksmithd) reboots this host, and we do not.
 * - kured's sentinel is there exactly while an update is finalized and its boot is still to come. So after a boot that fell back
 *   there is none, and kured does not send the host into the same image again. */

#include "update.h"
#include "coordinator.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "control/coordconf.h"
#include "control/sentinel.h"

#include <errno.h>
#include <stdio.h>

#define ASK_SEC                                                                                              \
        60u /* a server may drain the node before it answers; reboot.timeout says how long that takes */
#define GIVE_BACK_SEC  10u    /* nobody drains for that */
#define ASK_WAIT_MS    30000u /* for an unlock that is on its way */
#define FILE_WAIT_MS   5000u  /* nobody holds it longer than a write takes */
#define PHASE_HOLDS(p) ((p) == PHASE_FINALIZED || (p) == PHASE_PROBATION)

/* --- lock.json, for one change --- */

/* Other processes change it, too: it is read again for every change, and nothing is asked in between. */
typedef struct Book {
        int fd;
        RebootLocks locks;
} Book;

static void book_done(Book *b)
{
        reboot_locks_done(&b->locks);
        close_fdp(&b->fd);
}

/* What was lost may have been a lock: it is given back on suspicion, which is harmless where it was not held. */
static int suspect_lock(Update *u, Book *b)
{
        _cleanup_(reboot_lock_done) RebootLock lock = { 0 };
        int r;

        log_warning("%s; a reboot lock that this host may hold is given back", b->locks.lost_because);
        r = coordinator_lock(u, &lock, NULL);
        if (r > 0) {
                (void) reboot_locks_ask(&b->locks, &lock, env_now(u->env));
                if (!PHASE_HOLDS(u->host.journal.phase))
                        (void) reboot_locks_unwant(&b->locks, env_now(u->env));
        }
        return r == -ENOMEM ? r : 0;
}

static int book_open(Update *u, Book *ret, Why *why)
{
        _cleanup_(book_done) Book b = { .fd = -1 };
        bool lost = false;
        int r;

        b.fd = state_lock_other(u->env, "lock-file", FILE_WAIT_MS, why);
        if (b.fd < 0)
                return b.fd;
        r = reboot_locks_load(u->env, &b.locks, &lost, why);
        if (r >= 0 && lost && (r = suspect_lock(u, &b)) >= 0)
                r = reboot_locks_save(u->env, &b.locks, why);
        if (r < 0)
                return r;
        *ret = b;
        b = (Book){ .fd = -1 };
        return 0;
}

/* --- taking it --- */

/* The answer, written down. What cannot be is on the safe side already: it was written as if it were held. */
static void remember_answer(Update *u, int answer, const CoordinatorReply *reply, const Why *said)
{
        _cleanup_(book_done) Book b = { .fd = -1 };
        RebootLock *held;
        Why why = { 0 };
        int r = book_open(u, &b, &why);

        if (r >= 0 && (held = reboot_locks_held(&b.locks))) {
                free(held->message);
                held->message = answer < 0 ? strdup(said->text) : NULL;
                held->since = env_now(u->env);
                if (answer >= 0)
                        held->state = LOCK_GRANTED;
                else if (reply->not_held)
                        reboot_locks_forget(&b.locks, held);
                else
                        (void) reboot_locks_unwant(&b.locks, env_now(u->env));
                r = reboot_locks_save(u->env, &b.locks, &why);
        }
        if (r < 0)
                log_warning("%s; the reboot lock's state is not written down, ignoring", why.text);
}

/* 1: this very lock may have been held before, 0 not */
static int announce_question(Update *u, Why *why)
{
        _cleanup_(reboot_lock_done) RebootLock lock = { 0 };
        _cleanup_(book_done) Book b = { .fd = -1 };
        bool known = false;
        int r = coordinator_lock(u, &lock, why);

        if (r >= 0)
                r = book_open(u, &b, why);
        if (r < 0)
                return r;
        for (size_t i = 0; i < b.locks.n; i++)
                known = known || reboot_lock_same(&b.locks.locks[i], &lock);
        (void) reboot_locks_ask(&b.locks, &lock, env_now(u->env));
        r = reboot_locks_save(u->env, &b.locks, why);
        return r < 0 ? r : known;
}

static void tell_waiting(Update *u)
{
        u->progress.what = "asking for the reboot lock";
        if (u->options.progress)
                u->options.progress(u->options.ctx, &u->progress);
}

int update_take_lock(Update *u, Why *why)
{
        uint64_t timeout = u->host.policy.reboot.timeout_sec;
        _cleanup_(reboot_lock_done) RebootLock lock = { 0 };
        _cleanup_(close_fdp) int talking = -1;
        CoordinatorReply reply = { 0 };
        char name[240];
        int known, r;

        r = coordinator_lock(u, &lock, why);
        if (r <= 0 || u->lock_granted)
                return MIN(r, 0);
        /* not while one is being given back: the server must hear the two in this order */
        talking = state_lock_other(u->env, "coordinate", ASK_WAIT_MS, why);
        if (talking < 0)
                return talking;
        known = announce_question(u, why);
        if (known < 0)
                return known;
        tell_waiting(u);
        r = coordinator_ask(u, &lock, false, timeout > 0 ? timeout : ASK_SEC, &reply, why);
        reply.not_held = reply.not_held || (reply.not_heard && !known);
        remember_answer(u, r, &reply, why);
        if (r < 0)
                return r;
        u->lock_granted = true;
        coordinator_name(&lock, name, sizeof(name));
        update_say(u, "the reboot lock was granted by %s", name);
        return 0;
}

/* --- giving it back --- */

static bool holds_one(const Update *u)
{
        _cleanup_(reboot_locks_done) RebootLocks l = { 0 };
        bool lost = false;

        /* what cannot be read is looked at by who can change it */
        return reboot_locks_load(u->env, &l, &lost, NULL) < 0 || lost || reboot_locks_held(&l);
}

void update_drop_lock(Update *u)
{
        _cleanup_(book_done) Book b = { .fd = -1 };
        Why why = { 0 };
        int r;

        u->lock_granted = false;
        if (!holds_one(u))
                return;
        r = book_open(u, &b, &why);
        if (r >= 0 && reboot_locks_unwant(&b.locks, env_now(u->env)))
                r = reboot_locks_save(u->env, &b.locks, &why);
        if (r < 0)
                log_warning("%s; the reboot lock stays with this host until that is put right", why.text);
}

/* The i-th of those to be given back now, as a copy of its place. 1, 0 there is none. */
static int pick(Update *u, bool also_early, size_t skip, RebootLock *ret, Why *why)
{
        _cleanup_(book_done) Book b = { .fd = -1 };
        int r = book_open(u, &b, why);

        if (r < 0)
                return r;
        for (size_t i = 0; i < b.locks.n; i++) {
                RebootLock *l = &b.locks.locks[i];

                if (l->state != LOCK_UNWANTED ||
                    (!also_early && reboot_lock_due(l, env_now(u->env)) > env_now(u->env)) || skip-- > 0)
                        continue;
                *ret = *l;
                *l = (RebootLock){ 0 };
                return 1;
        }
        return 0;
}

static RebootLock *find(Book *b, const RebootLock *l)
{
        for (size_t i = 0; i < b->locks.n; i++)
                if (b->locks.locks[i].state == LOCK_UNWANTED && reboot_lock_same(&b->locks.locks[i], l))
                        return &b->locks.locks[i];
        return NULL;
}

static int remember_return(Update *u, const RebootLock *l, int answer, const CoordinatorReply *reply,
                           const Why *said, Why *why)
{
        _cleanup_(book_done) Book b = { .fd = -1 };
        RebootLock *there;
        int r = book_open(u, &b, why);

        if (r < 0)
                return r;
        there = find(&b, l);
        if (!there)
                return 0;
        if (answer >= 0)
                reboot_locks_forget(&b.locks, there);
        else {
                there->failures += there->failures < UINT16_MAX;
                there->not_before =
                        env_now(u->env) + MAX(backoff_sec(there->failures), reply->retry_after_sec);
                free(there->message);
                there->message = strdup(said->text);
        }
        return reboot_locks_save(u->env, &b.locks, why);
}

/* All that are due, each once. 0 done, -ENODATA (WHY_NOTHING) none is; else what the last failure was. */
static int give_back(Update *u, bool also_early, Why *why)
{
        _cleanup_(close_fdp) int talking = state_lock_other(u->env, "coordinate", 0, why);
        size_t failures = 0, done = 0;

        if (talking < 0)
                return talking;
        for (size_t i = 0; i < REBOOT_LOCKS_MAX; i++) {
                _cleanup_(reboot_lock_done) RebootLock l = { 0 };
                CoordinatorReply reply = { 0 };
                Why said = { 0 };
                char name[240];
                int r = pick(u, also_early, failures, &l, why), k;

                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                k = coordinator_ask(u, &l, true, GIVE_BACK_SEC, &reply, &said);
                r = remember_return(u, &l, k, &reply, &said, why);
                if (r < 0)
                        return r;
                coordinator_name(&l, name, sizeof(name));
                if (k >= 0) {
                        done++;
                        update_say(u, "the reboot lock was given back to %s", name);
                        continue;
                }
                failures += also_early; /* else its time has moved and it is not picked again */
                *why = said;
        }
        if (why->kind != WHY_NONE)
                return -EAGAIN;
        return done > 0 ? 0
                        : fail(why, -ENODATA, WHY_NOTHING, "no-lock",
                               "unlock: no reboot lock is to be given back");
}

int update_unlock(Update *u, Why *why)
{
        Why ignored = { 0 };

        /* What is not wanted any more is seen by recovery; where that fails, what is known to be unwanted goes all the same. */
        if (host_require(&u->host, &ignored) >= 0)
                (void) update_recover(u, &ignored);
        update_let_go(u);
        return give_back(u, !u->options.unattended, why);
}

/* Servers are slow: what asks them and changes nothing here keeps no job waiting. */
void update_let_go(Update *u)
{
        close_fdp(&u->lock_fd);
        u->lock_fd = -1;
}

static void give_back_afterwards(Update *u)
{
        uint64_t due = UINT64_MAX;
        Why why = { 0 };

        if (reboot_locks_next(u->env, &due, &why) < 0 || due > env_now(u->env))
                return;
        update_let_go(u);
        if (give_back(u, false, &why) < 0 && why.kind != WHY_NOTHING)
                log_warning("%s; it is given back later", why.text);
}

void update_afterwards(Update *u)
{
        give_back_afterwards(u);
        update_deliver_afterwards(u);
}

/* --- what the phase asks for --- */

static void keep_sentinel(Update *u, bool wanted)
{
        _cleanup_(free_charp) char *about = NULL;
        Why why = { 0 };
        int r;

        if (wanted) {
                about = str_printf("%s is to be booted (update %s)",
                                   u->host.journal.version ? u->host.journal.version : "an update",
                                   u->host.journal.update_id ? u->host.journal.update_id : "unknown");
                r = about ? sentinel_make(u->env, about, &why) : -ENOMEM;
        } else
                r = sentinel_remove(u->env, &why);
        if (r > 0)
                update_say(u, wanted ? "kured is told by " SENTINEL_PATH : SENTINEL_PATH " is taken away");
        if (r < 0)
                log_warning("%s; kured is not told", why.text);
}

void update_coordinate(Update *u)
{
        const Journal *j = &u->host.journal;

        keep_sentinel(u, j->phase == PHASE_FINALIZED && !j->no_reboot &&
                                 u->host.policy.reboot.coordinator == POLICY_COORD_KURED);
        if (!PHASE_HOLDS(j->phase))
                update_drop_lock(u);
}

static void give_up_lock(Update *u)
{
        Why ignored = { 0 };

        if (!u->lock_granted && !holds_one(u))
                return;
        update_drop_lock(u);
        if (give_back(u, true, &ignored) < 0 && ignored.kind != WHY_NOTHING)
                log_warning("%s; it is given back later", ignored.text);
}

void update_finalize_failed(Update *u)
{
        keep_sentinel(u, false);
        give_up_lock(u);
}

void update_reboot_failed(Update *u)
{
        if (u->host.journal.phase == PHASE_FINALIZED && !u->host.journal.rollback)
                give_up_lock(u);
}

int update_before_reboot(Update *u, Why *why)
{
        const Journal *j = &u->host.journal;
        char other[64];
        int r;

        /* The way back waits for nobody. */
        if (j->phase != PHASE_FINALIZED || j->rollback)
                return 1;
        if (u->host.policy.reboot.coordinator == POLICY_COORD_KURED) {
                update_say(u, "kured reboots this host when it is its turn");
                return 0;
        }
        if (u->host.policy.reboot.coordinator == POLICY_COORD_DBUS) {
                update_say(u, "whoever watches com.coreos.update1 (locksmithd, FLUO) reboots this host");
                return 0;
        }
        if (coordconf_other(u->env, other, sizeof(other))) {
                update_say(u, "%s reboots this host: it holds " COORDCONF_PATH, other);
                return 0;
        }
        r = update_take_lock(u, why);
        return r < 0 ? r : 1;
}
