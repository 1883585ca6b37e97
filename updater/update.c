/* SPDX-License-Identifier: MIT */

/* The whole program. Each row of the table: what is already true on the disk, and the step that makes the next row true.
 * No room calls the next room; this file and its parts (update-*.c) are the only ones that see them all. */

#include "update.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static int step_finalize(Update *u, Why *why)
{
        int r = u->host.journal.rollback ? update_arm_rollback(u, why) : update_arm(u, why);

        if (r >= 0)
                update_coordinate(u);
        else
                update_finalize_failed(u);
        return r;
}

/* Rebooting is not ours to do in a host made of files, and not wanted with --no-reboot: then it is due, and said. */
static int step_restart(Update *u, Why *why _unused_)
{
        u->reboot_due = true;
        return 0;
}

static int (*const walk[_PHASE_MAX])(Update *, Why *) = {
        [PHASE_IDLE] = update_find,         /* source/          an Offer                        */
        [PHASE_OFFERED] = update_admit,     /* release/         a believed Release              */
        [PHASE_TRUSTED] = update_fill_slot, /* image/, slot/  verified bytes in the spare slot */
        [PHASE_STAGED] = step_finalize,     /* bootloader/      the next boot tries it          */
        [PHASE_FINALIZED] = step_restart,   /*                  the reboot                      */
        [PHASE_PROBATION] = update_settle,  /* health/         commit, or back                 */
};

/* Walks from where we are until phase `until` is true. find and trust leave nothing on the disk, so the phase in memory
 * runs ahead of the journal there; from staging on each step saves the journal itself. */
static int update_walk(Update *u, Phase from, Phase until, Why *why)
{
        for (Phase p = from; p < until; p++) {
                int r = walk[p](u, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

void update_say(Update *u, const char *fmt, ...)
{
        char line[512];
        va_list ap;

        if (!u->options.say)
                return;
        va_start(ap, fmt);
        (void) vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);
        u->options.say(u->options.ctx, line);
}

SlotId update_target(const Update *u)
{
        char name[2] = { u->host.journal.slot, 0 };

        return slot_from_name(name);
}

int update_save(Update *u, Why *why)
{
        char *boot_id = u->host.boot_id ? strdup(u->host.boot_id) : NULL;

        if (u->host.boot_id && !boot_id)
                return -ENOMEM;
        free(u->host.journal.boot_id);
        u->host.journal.boot_id = boot_id;
        return journal_save(u->env, &u->host.journal, why);
}

/* The event with everything that each has. */
static Json *describe(const Update *u, const char *event, Json *more)
{
        Json *e = json_new_object();
        const Journal *j = &u->host.journal;
        char slot[2] = { j->slot, 0 };

        json_set_str(e, "event", event);
        if (j->update_id) {
                json_set_str(e, "updateId", j->update_id);
                json_set_str(e, "version", j->version);
                if (j->serial > 0)
                        json_set_u64(e, "serial", j->serial);
                json_set_str(e, "slot", slot[0] ? slot : NULL);
                json_set_str(e, "roothash", j->roothash[0] ? j->roothash : NULL);
                json_set_str(e, "ukiSha256", j->uki_sha256[0] ? j->uki_sha256 : NULL);
        }
        json_set_str(e, "running", u->host.running.known ? slot_name(u->host.running.slot) : "unknown");
        json_set_u64(e, "uid", u->options.requested_by.uid);
        json_set_str(e, "by", u->options.requested_by.name);
        json_set_str(e, "how", u->options.requested_by.how);
        if (u->overrode)
                json_set(e, "overrode", policy_rules_json(u->overrode));
        json_merge(e, more);
        return e;
}

int update_record(Update *u, const char *event, Json *more, Why *why)
{
        _cleanup_(json_unrefp) Json *e = describe(u, event, more);
        int r;

        update_tell(u->env, e);
        r = history_append(u->env, e, why);
        u->rejection_recorded =
                u->rejection_recorded || streq(event, "stage-failed") || streq(event, "finalize-refused");
        update_report(u, e);
        update_omaha_event(u, event);
        return r;
}

static bool is_same(const Json *a, const Json *b)
{
        static const char *const texts[] = { "event", "updateId", "reason" };
        uint64_t m = 0, n = 0;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                const char *s = json_get_str(a, texts[i]), *t = json_get_str(b, texts[i]);

                if (!s != !t || (s && !streq(s, t)))
                        return false;
        }
        (void) json_get_u64(a, "attempt", &m);
        (void) json_get_u64(b, "attempt", &n);
        return m == n;
}

/* What cannot be read is no reason to say nothing: rather twice than never. */
int update_record_once(Update *u, const char *event, Json *more, Why *why)
{
        _cleanup_(json_unrefp) Json *e = describe(u, event, more), *last = NULL;

        if (!u->host.journal.update_id || history_last(u->env, "updateId", &last, NULL) <= 0 ||
            !is_same(last, e))
                return update_record(u, event, more, why);
        update_report(u, e); /* the outbox knows what it has */
        return 0;
}

int update_fetch(Update *u, Why *why)
{
        FetchOptions *o = &u->host.config.http;

        if (!o->arch && !(o->arch = strdup(u->host.arch)))
                return -ENOMEM;
        o->bandwidth = u->host.policy.bandwidth;
        return u->fetch ? 0 : fetch_start(u->env, o, &u->fetch, why);
}

int update_open(const Env *env, const UpdateOptions *options, Update *ret, Why *why)
{
        Update u = { .env = env, .options = *options, .lock_fd = -1 };
        int r;

        u.lock_fd = state_lock(env, why);
        if (u.lock_fd < 0)
                return u.lock_fd;
        r = host_open(env, options->disk_path, &u.host, why);
        if (r < 0) {
                (void) close(u.lock_fd);
                return r;
        }
        *ret = u;
        return 0;
}

void update_done(Update *u)
{
        u->fetch = fetch_stop(u->fetch);
        u->pace = pace_free(u->pace);
        offer_done(&u->offer);
        for (size_t i = 0; i < u->n_anchors; i++)
                trust_anchor_done(&u->anchors[i]);
        release_done(&u->release);
        u->signed_by = strv_free(u->signed_by);
        u->missing = strv_free(u->missing);
        free(u->cosi_url);
        free(u->source_text);
        host_done(&u->host);
        close_fdp(&u->lock_fd);
}

/* What an operator may do while a release is on trial: nothing that touches the way back. */
static int refuse_probation(const Update *u, Why *why)
{
        if (u->host.journal.phase != PHASE_PROBATION)
                return 0;
        (void) fail(why, -EBUSY, WHY_POLICY, "probation",
                    "%s: the running slot is on trial and the other slot is the way back",
                    u->host.journal.version ? u->host.journal.version : "update");
        return fail_hint(why, -EBUSY, "run gybe commit or gybe rollback first");
}

int update_check(Update *u, Why *why)
{
        int r = host_require(&u->host, why);

        u->checking = true;
        if (r < 0)
                return r;
        r = update_walk(u, PHASE_IDLE, PHASE_TRUSTED, why);
        update_omaha_walked(u, r, why);
        return r;
}

int update_stage(Update *u, Why *why)
{
        Phase before;
        int r;

        if ((r = host_require(&u->host, why)) < 0 || (r = update_recover(u, why)) < 0 ||
            (r = refuse_probation(u, why)) < 0)
                return r;
        before = u->host.journal.phase;
        r = update_walk(u, PHASE_IDLE, PHASE_STAGED, why);
        /* Already there is an answer, not a failure; update_both() goes on from it. */
        if (r == -ENODATA && why->kind == WHY_NOTHING)
                u->host.journal.phase = before;
        update_omaha_walked(u, r, why);
        return r;
}

int update_finalize(Update *u, Why *why)
{
        int r;

        if ((r = host_require(&u->host, why)) < 0 || (r = update_recover(u, why)) < 0 ||
            (r = refuse_probation(u, why)) < 0)
                return r;
        switch (u->host.journal.phase) {
        case PHASE_STAGED:
                return update_walk(u, PHASE_STAGED, PHASE_PROBATION, why);
        case PHASE_FINALIZED:
                u->reboot_due = true;
                return fail(why, -ENODATA, WHY_NOTHING, "already-finalized",
                            "finalize: %s is finalized already; the reboot is due",
                            u->host.journal.version ? u->host.journal.version : "the update");
        default:
                (void) fail(why, -ENODATA, WHY_NOTHING, "nothing-staged", "finalize: nothing is staged");
                return fail_hint(why, -ENODATA, "run gybe stage first");
        }
}

int update_both(Update *u, Why *why)
{
        int r = update_stage(u, why);

        /* Only what was asked for goes on: not an older staging, and not a rollback that somebody interrupted. */
        if (r == -ENODATA && u->already_staged && u->host.journal.phase == PHASE_STAGED) {
                *why = (Why){ 0 };
                r = 0;
        }
        return r < 0 ? r : update_walk(u, PHASE_STAGED, PHASE_PROBATION, why);
}

int update_commit(Update *u, Why *why)
{
        int r;

        if ((r = host_require(&u->host, why)) < 0 || (r = update_recover(u, why)) < 0)
                return r;
        switch (u->host.journal.phase) {
        case PHASE_PROBATION:
                r = update_settle(u, why);
                update_coordinate(u);
                return r;
        case PHASE_FINALIZED:
                (void) fail(why, -EBUSY, WHY_POLICY, "not-rebooted",
                            "commit: %s is finalized but has not been booted",
                            u->host.journal.version ? u->host.journal.version : "the update");
                return fail_hint(why, -EBUSY, "reboot first");
        default:
                return fail(why, -ENODATA, WHY_NOTHING, "nothing-to-commit", "commit: no update is on trial");
        }
}
