/* SPDX-License-Identifier: MIT */

#include "control/memory.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define SPOILED_MAX                                                                                          \
        3u /* a slot that rots this often has a disk to be looked at, not a download to be repeated */
#define FAILURES_MAX 64u

static const char *const action_names[_ACTION_MAX] = {
        [ACTION_NONE] = "none",     [ACTION_LOOK] = "look",         [ACTION_UNLOCK] = "unlock",
        [ACTION_REBOOT] = "reboot", [ACTION_FINALIZE] = "finalize", [ACTION_DELIVER] = "deliver",
        [ACTION_CHECK] = "check",   [ACTION_STAGE] = "stage",       [ACTION_COMMIT] = "commit",
};

/* First pause and longest one. What was killed is tried again at once; what a server or an uploader has to repair costs them
 * less and less; what an admin has to repair waits for the admin (a reload forgets it all). */
static const struct {
        uint64_t first, longest;
} pace[_RETRY_MAX] = {
        [RETRY_VANISHED] = { 5, 10 * 60 },   [RETRY_NETWORK] = { 60, 3600 },
        [RETRY_HOST] = { 5 * 60, 6 * 3600 }, [RETRY_IMAGE] = { 3600, 24 * 3600 },
        [RETRY_BUSY] = { 30, 10 * 60 },      [RETRY_RULE] = { 5 * 60, 15 * 60 },
        [RETRY_TRUST] = { 3600, 24 * 3600 },
};

const char *action_name(Action action)
{
        return action_names[action];
}

Action action_from_name(const char *name)
{
        for (Action a = 0; name && a < _ACTION_MAX; a++)
                if (streq(action_names[a], name))
                        return a;
        return _ACTION_INVALID;
}

void memory_done(Memory *m)
{
        free(m->offer.version);
        strv_free(m->ended);
        *m = (Memory){ 0 };
}

uint64_t memory_retry_at(const Retry *r, uint64_t now, uint64_t seed)
{
        uint64_t delay;

        if (r->failures == 0 || r->kind == RETRY_NONE)
                return 0;
        delay = pace[r->kind].first;
        for (unsigned i = 1; i < r->failures && delay < pace[r->kind].longest; i++)
                delay *= 2;
        delay = MIN(delay, pace[r->kind].longest);
        /* A fleet that failed together does not come back together. A clock that was set back does not make it wait longer. */
        return MIN(r->last, now) + delay + delay / 4 * (seed % 256) / 256;
}

void memory_forget_retries(Memory *m)
{
        if (m->retry[ACTION_CHECK].failures > 0)
                m->last_check =
                        1; /* so long ago that it is due; 0 is a new host, which waits for its place */
        for (Action a = 0; a < _ACTION_MAX; a++) {
                m->retry[a] = (Retry){ 0 };
                m->ended_at[a] = 0;
        }
}

/* --- what a job's end means --- */

const char *memory_complaint(const Json *result)
{
        const char *text = json_get_str(json_get(result, "error"), "message");

        return text ? text : json_get_str(result, "rebootBlockedBy");
}

static RetryKind kind_of(const MemoryEvent *e)
{
        static const struct {
                WhyKind why;
                RetryKind retry;
        } kinds[] = {
                { WHY_NETWORK, RETRY_NETWORK }, { WHY_IMAGE, RETRY_IMAGE }, { WHY_TRUST, RETRY_TRUST },
                { WHY_POLICY, RETRY_RULE },     { WHY_BUSY, RETRY_BUSY },
        };
        const char *name = json_get_str(json_get(e->result, "error"), "kind");

        /* The one that the job started was killed: the same accident, told by who survived it. */
        if (e->vanished || streq0(json_get_str(json_get(e->result, "error"), "code"), "fetch-died"))
                return RETRY_VANISHED;
        for (size_t i = 0; name && i < ELEMENTSOF(kinds); i++)
                if (streq(why_kind_name(kinds[i].why), name))
                        return kinds[i].retry;
        return RETRY_HOST; /* also mistakes in the configuration */
}

static void fail_again(Retry *r, RetryKind kind, const char *text, uint64_t now)
{
        r->failures = r->kind == kind ? MIN(r->failures + 1, FAILURES_MAX) : 1;
        r->kind = kind;
        r->last = now;
        (void) snprintf(r->text, sizeof(r->text), "%s", text ? text : "");
}

static void forget_offer(MemoryOffer *o)
{
        free(o->version);
        *o = (MemoryOffer){ 0 };
}

static int take_offer(Memory *m, const Json *result)
{
        const Json *j = json_get(result, "offer");
        const char *version = json_get_str(j, "version"), *roothash = json_get_str(j, "roothash"),
                   *uki = json_get_str(j, "ukiSha256");
        MemoryOffer o = { 0 };

        if (version) {
                o.version = strdup(version);
                if (!o.version)
                        return -ENOMEM;
        }
        (void) json_get_u64(j, "serial", &o.serial);
        (void) json_get_time(j, "issued", &o.issued);
        if (roothash && hex_normalize(roothash, 64, o.roothash) < 0)
                o.roothash[0] = 0;
        if (uki && hex_normalize(uki, 64, o.uki_sha256) < 0)
                o.uki_sha256[0] = 0;
        /* Another content: what was said about the last one does not speak against it. */
        if (!streq(o.roothash, m->offer.roothash) || !streq(o.uki_sha256, m->offer.uki_sha256)) {
                m->retry[ACTION_STAGE] = (Retry){ 0 };
                m->refused[0] = 0;
                m->n_spoiled = 0;
        }
        forget_offer(&m->offer);
        m->offer = o;
        return 0;
}

static int note_check(Memory *m, const MemoryEvent *e, RetryKind kind, uint64_t now)
{
        if (!e->of_source)
                return 0;
        m->last_check = now;
        if (!e->vanished && e->exit_code == 0) {
                m->retry[ACTION_CHECK] = (Retry){ 0 };
                return take_offer(m, e->result);
        }
        if (!e->vanished && e->exit_code == 10) {
                m->retry[ACTION_CHECK] = (Retry){ 0 };
                forget_offer(&m->offer);
                return 0;
        }
        fail_again(&m->retry[ACTION_CHECK], kind, memory_complaint(e->result), now);
        return 0;
}

static void refuse(Memory *m, const char *roothash, const MemoryEvent *e)
{
        const Json *error = json_get(e->result, "error");
        const char *code = json_get_str(error, "code"), *text = json_get_str(error, "message");

        (void) snprintf(m->refused, sizeof(m->refused), "%s", roothash);
        (void) snprintf(m->refused_code, sizeof(m->refused_code), "%s", code ? code : "");
        (void) snprintf(m->refused_text, sizeof(m->refused_text), "%s", text ? text : "");
}

static void note_stage(Memory *m, const MemoryEvent *e, RetryKind kind, uint64_t now)
{
        Retry *r = &m->retry[ACTION_STAGE];

        if (!e->unattended)
                return;
        if (e->exit_code == 0 && !e->vanished)
                *r = (Retry){ 0 };
        else if (e->exit_code == 10)
                forget_offer(
                        &m->offer); /* it is here already, or not newer after all: the next check tells */
        else if (kind == RETRY_TRUST && m->offer.roothash[0])
                refuse(m, m->offer.roothash, e);
        else
                fail_again(r, kind, memory_complaint(e->result), now);
}

/* A slot that was staged well and is not what was staged any more is staged again, but not for ever. */
static void note_spoiled(Memory *m, const MemoryEvent *e, uint64_t now)
{
        const char *roothash = e->roothash ? e->roothash : "";

        m->n_spoiled = streq(m->spoiled, roothash) ? m->n_spoiled + 1 : 1;
        (void) snprintf(m->spoiled, sizeof(m->spoiled), "%s", roothash);
        fail_again(&m->retry[ACTION_STAGE], RETRY_HOST, memory_complaint(e->result), now);
        if (m->n_spoiled >= SPOILED_MAX)
                refuse(m, roothash, e);
}

static void note_other(Memory *m, const MemoryEvent *e, Action a, RetryKind kind, uint64_t now)
{
        if (!e->unattended)
                return;
        if (!e->vanished && (e->exit_code == 0 || e->exit_code == 10))
                m->retry[a] = (Retry){ 0 };
        else
                fail_again(&m->retry[a], kind, memory_complaint(e->result), now);
}

int memory_note(Memory *m, const MemoryEvent *e, uint64_t now)
{
        RetryKind kind = kind_of(e);
        Action a = action_from_name(e->verb);

        if ((int) a >= 0 && e->unattended)
                m->ended_at[a] = now;
        switch (a) {
        case ACTION_CHECK:
                return note_check(m, e, kind, now);
        case ACTION_STAGE:
                note_stage(m, e, kind, now);
                return 0;
        case ACTION_FINALIZE:
                if (!e->vanished && kind == RETRY_TRUST && e->exit_code != 0) {
                        note_spoiled(m, e, now);
                        return 0;
                }
                note_other(m, e, a, kind, now);
                return 0;
        case ACTION_LOOK:
        case ACTION_UNLOCK:
        case ACTION_DELIVER:
        case ACTION_REBOOT:
                note_other(m, e, a, kind, now);
                return 0;
        default:
                return 0; /* update, commit, rollback: a person's or the boot's */
        }
}

int memory_add_ended(Memory *m, const char *key, char **ret_evicted)
{
        size_t n;
        int r;

        r = strv_add(&m->ended, key);
        if (r < 0)
                return r;
        n = strv_len(m->ended);
        *ret_evicted = NULL;
        if (n > MEMORY_ENDED_MAX) {
                *ret_evicted = m->ended[0];
                memmove(m->ended, m->ended + 1, n * sizeof(char *));
        }
        return 0;
}
