/* SPDX-License-Identifier: MIT */

/* Which reboot locks this host holds, or may hold: lock.json. Written before the question is asked, so that a lock that was
 * granted to a job which never heard it is found again and given back. Knows nothing of how they are asked for. */

#include "state/document.h"
#include "base/str.h"

#include <errno.h>

#define LOCK_NAME "lock.json"
#define LOCK_MAX  (64u * 1024u) /* a few locks with an address each */

/* A server may ask to come again within a day (Retry-After), our own pauses are an hour. */
#define LATEST_SEC (26u * 3600u)

static const char *const state_names[_LOCK_MAX] = {
        [LOCK_ASKED] = "asked",
        [LOCK_GRANTED] = "granted",
        [LOCK_UNWANTED] = "unwanted",
};

const char *lock_state_name(LockState s)
{
        return s >= 0 && s < _LOCK_MAX ? state_names[s] : NULL;
}

void reboot_lock_done(RebootLock *l)
{
        free(l->coordinator);
        free(l->url);
        free(l->group);
        free(l->id);
        free(l->hook);
        free(l->update_id);
        free(l->message);
        json_unref(l->unknown);
        *l = (RebootLock){ 0 };
}

void reboot_locks_done(RebootLocks *l)
{
        for (size_t i = 0; i < l->n; i++)
                reboot_lock_done(&l->locks[i]);
        json_unref(l->unknown);
        free(l->lost_because);
        *l = (RebootLocks){ 0 };
}

/* --- as a document --- */

static void parse_state(Fields *f, LockState *ret)
{
        _cleanup_(free_charp) char *name = NULL;

        field_text(f, "state", &name);
        if (!name)
                return; /* asked, as far as anybody knows: it is given back */
        for (LockState s = 0; s < _LOCK_MAX; s++)
                if (streq(name, state_names[s])) {
                        *ret = s;
                        return;
                }
        (void) field_wrong(f, "state", "not a state of a lock");
}

static int parse_lock(const Json *object, RebootLock *ret, Why *why)
{
        _cleanup_(reboot_lock_done) RebootLock l = { .unknown = json_ref(object) };
        Fields f = { .object = object, .what = "lock", .why = why };

        if (!json_is_object(object))
                return fail(why, -EBADMSG, WHY_HOST, "lost", "lock: not a list of objects");
        field_text(&f, "coordinator", &l.coordinator);
        field_text(&f, "url", &l.url);
        field_text(&f, "group", &l.group);
        field_text(&f, "id", &l.id);
        field_text(&f, "hook", &l.hook);
        field_text(&f, "updateId", &l.update_id);
        parse_state(&f, &l.state);
        field_time(&f, "since", &l.since);
        field_unsigned(&f, "failures", &l.failures);
        field_time(&f, "notBefore", &l.not_before);
        field_text(&f, "message", &l.message);
        if (f.r >= 0 && !l.coordinator)
                (void) field_wrong(&f, "coordinator", "missing");
        if (f.r < 0)
                return f.r;
        *ret = l;
        l = (RebootLock){ 0 };
        return 0;
}

int reboot_locks_parse(const void *data, size_t size, RebootLocks *ret, Why *why)
{
        _cleanup_(reboot_locks_done) RebootLocks l = { 0 };
        Fields f = { .what = "lock", .why = why };
        const Json *list;
        int r;

        if (size > LOCK_MAX)
                return fail(why, -EFBIG, WHY_HOST, "lost", "lock: longer than %u bytes, so not ours",
                            LOCK_MAX);
        r = document_parse(data, size, "lock", &l.unknown, why);
        if (r < 0)
                return r;
        f.object = l.unknown;
        list = field_array(&f, "locks", REBOOT_LOCKS_MAX);
        if (f.r < 0)
                return f.r;
        json_foreach (item, list) {
                r = parse_lock(item, &l.locks[l.n], why);
                if (r < 0)
                        return r;
                if (l.locks[l.n].state != LOCK_UNWANTED && reboot_locks_held(&l))
                        l.locks[l.n].state = LOCK_UNWANTED; /* one is enough; the first is the newest */
                l.n++;
        }
        *ret = l;
        l = (RebootLocks){ 0 };
        return 0;
}

static Json *lock_json(const RebootLock *l)
{
        Json *o = json_new_object();

        json_merge(o, l->unknown);
        member_text(o, "coordinator", l->coordinator);
        member_text(o, "url", l->url);
        member_text(o, "group", l->group);
        member_text(o, "id", l->id);
        member_text(o, "hook", l->hook);
        member_text(o, "updateId", l->update_id);
        member_text(o, "state", lock_state_name(l->state));
        member_time(o, "since", l->since);
        member_u64(o, "failures", l->failures, l->failures > 0);
        member_time(o, "notBefore", l->not_before);
        member_text(o, "message", l->message);
        return o;
}

int reboot_locks_format(const RebootLocks *l, char **ret)
{
        _cleanup_(json_unrefp) Json *doc = document_new("lock", l->unknown);
        Json *list = json_new_array();

        for (size_t i = 0; i < l->n; i++)
                json_add(list, lock_json(&l->locks[i]));
        json_set(doc, "locks", list);
        return document_format(doc, ret);
}

int reboot_locks_load(const Env *env, RebootLocks *ret, bool *ret_lost, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        RebootLocks none = { 0 };
        Why lost = { 0 };
        int r;

        *ret_lost = false;
        r = document_read(env, LOCK_NAME, LOCK_MAX, &b, &lost, why);
        if (r < 0)
                return r;
        if (r == DOCUMENT_MISSING) {
                *ret = none;
                return 0;
        }
        if (r == DOCUMENT_READ)
                r = reboot_locks_parse(b.data ? (const void *) b.data : "", b.size, ret, &lost);
        else
                r = -EBADMSG;
        if (r >= 0 || r == -ENOMEM)
                return r;
        none.lost_because = strdup(lost.text);
        if (!none.lost_because)
                return -ENOMEM;
        *ret = none;
        *ret_lost = true;
        return 0;
}

int reboot_locks_save(const Env *env, const RebootLocks *l, Why *why)
{
        _cleanup_(free_charp) char *text = NULL;
        int r = reboot_locks_format(l, &text);

        if (r < 0)
                return r;
        if (l->lost_because)
                (void) document_keep_lost(env, LOCK_NAME); /* for an admin; without room for it we go on */
        return document_write(env, LOCK_NAME, text, why);
}

/* --- questions and changes --- */

RebootLock *reboot_locks_held(RebootLocks *l)
{
        for (size_t i = 0; i < l->n; i++)
                if (l->locks[i].state != LOCK_UNWANTED)
                        return &l->locks[i];
        return NULL;
}

bool reboot_lock_same(const RebootLock *a, const RebootLock *b)
{
        return streq0(a->coordinator, b->coordinator) && streq0(a->url, b->url) &&
               streq0(a->group, b->group) && streq0(a->id, b->id) && streq0(a->hook, b->hook);
}

void reboot_locks_forget(RebootLocks *l, RebootLock *lock)
{
        size_t i = (size_t) (lock - l->locks);

        reboot_lock_done(lock);
        memmove(lock, lock + 1, (l->n - i - 1) * sizeof(*lock));
        l->locks[--l->n] = (RebootLock){ 0 };
}

bool reboot_locks_unwant(RebootLocks *l, uint64_t now)
{
        RebootLock *held = reboot_locks_held(l);

        if (!held)
                return false;
        held->state = LOCK_UNWANTED;
        held->since = now;
        held->failures = 0;
        held->not_before = 0;
        return true;
}

/* The newest stands first. */
RebootLock *reboot_locks_ask(RebootLocks *l, RebootLock *lock, uint64_t now)
{
        for (size_t i = 0; i < l->n; i++)
                if (reboot_lock_same(&l->locks[i], lock)) {
                        lock->unknown = lock->unknown ? lock->unknown : json_ref(l->locks[i].unknown);
                        reboot_locks_forget(l, &l->locks[i]);
                        break;
                }
        (void) reboot_locks_unwant(l, now);
        if (l->n == REBOOT_LOCKS_MAX)
                reboot_locks_forget(l, &l->locks[l->n - 1]);
        memmove(l->locks + 1, l->locks, l->n * sizeof(*lock));
        l->locks[0] = *lock;
        *lock = (RebootLock){ 0 };
        l->n++;
        l->locks[0].state = LOCK_ASKED;
        l->locks[0].since = now;
        return &l->locks[0];
}

uint64_t reboot_lock_due(const RebootLock *l, uint64_t now)
{
        if (l->state != LOCK_UNWANTED)
                return UINT64_MAX;
        return l->not_before > now + LATEST_SEC ? 0 : l->not_before;
}

uint64_t reboot_locks_due(const RebootLocks *l, uint64_t now)
{
        uint64_t due = UINT64_MAX;

        for (size_t i = 0; i < l->n; i++)
                due = MIN(due, reboot_lock_due(&l->locks[i], now));
        return due;
}

int reboot_locks_next(const Env *env, uint64_t *ret, Why *why)
{
        _cleanup_(reboot_locks_done) RebootLocks l = { 0 };
        bool lost = false;
        int r = reboot_locks_load(env, &l, &lost, why);

        if (r < 0)
                return r;
        *ret = lost ? 0 : reboot_locks_due(&l, env_now(env));
        return 0;
}
