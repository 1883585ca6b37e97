/* SPDX-License-Identifier: MIT */

#include "control/operator.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "state/state.h"

#include <errno.h>

#define PASSWD_MAX      (4u * 1024u * 1024u) /* twenty thousand users */
#define NAME_MAX_LENGTH 64u

/* It goes into history and onto terminals. */
static bool is_name(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) s[i] < 0x21 || (unsigned char) s[i] > 0x7e)
                        return false;
        return n <= NAME_MAX_LENGTH;
}

/* "name:x:1000:..." */
static bool line_is_of(const char *line, size_t n, uint64_t uid, size_t *ret_name)
{
        const char *end = line + n, *name = memchr(line, ':', n), *pass, *p;
        uint64_t value = 0;

        pass = name ? memchr(name + 1, ':', (size_t) (end - name - 1)) : NULL;
        if (!pass || name == line)
                return false;
        for (p = pass + 1; p < end && *p >= '0' && *p <= '9' && value <= UINT32_MAX; p++)
                value = value * 10 + (uint64_t) (*p - '0');
        if (p == pass + 1 || p == end || *p != ':' || value != uid)
                return false;
        *ret_name = (size_t) (name - line);
        return true;
}

char *operator_name(const Env *env, uint64_t uid)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const char *p, *end;

        if (env_read(env, "/etc/passwd", PASSWD_MAX, &b) < 0)
                return NULL;
        p = (const char *) b.data;
        for (end = p + b.size; p < end;) {
                const char *nl = memchr(p, '\n', (size_t) (end - p));
                size_t n = (size_t) ((nl ? nl : end) - p), name;

                if (line_is_of(p, n, uid, &name))
                        return is_name(p, name) ? strndup(p, name) : NULL;
                p += n + 1;
        }
        return NULL;
}

/* Who, as every event of a person's says it. */
static Json *event_new(const char *event, const JobRequester *by)
{
        Json *e = json_new_object();

        json_set_str(e, "event", event);
        json_set_u64(e, "uid", by->uid);
        json_set_str(e, "user", by->name);
        json_set_str(e, "how", by->how);
        return e;
}

int operator_clear_quarantine(const Env *env, const char *id, const JobRequester *by, unsigned *ret_cleared,
                              Why *why)
{
        _cleanup_(json_unrefp) Json *e = NULL;
        _cleanup_(close_fdp) int lock = state_lock(env, why);
        int n, r;

        if (lock < 0)
                return lock;
        n = quarantine_clear(env, id, why);
        if (n < 0)
                return n;
        if (n == 0)
                return fail(why, -ENODATA, WHY_NOTHING, "not-in-quarantine", "quarantine: nothing to clear");
        if (attempts_forget_id(env, id) < 0)
                log_warning("the attempts of what was cleared are still counted");
        e = event_new("quarantine-cleared", by);
        json_set_str(e, "id", id ? id : "all");
        r = history_append(env, e, why);
        if (r < 0)
                return r;
        *ret_cleared = (unsigned) n;
        return 0;
}

/* "pin 3.0.2", "hold until 2026-11-04T06:00:00Z": what was said, for history. */
static Json *rule_event(const PolicyChange *change, const JobRequester *by)
{
        Json *e = event_new("policy-changed", by);

        json_set_str(e, "verb", policy_verb_name(change->verb));
        json_set_str(e, "version", change->version);
        if (change->verb == POLICY_HOLD && change->until != UINT64_MAX)
                json_set_time(e, "until", change->until);
        if (change->verb == POLICY_HOLD)
                json_set_str(e, "reason", change->reason);
        return e;
}

int operator_change_rule(const Env *env, const PolicyChange *change, const JobRequester *by, Why *why)
{
        _cleanup_(free_charp) char *who =
                by->name ? strdup(by->name) : str_printf("uid %llu", (unsigned long long) by->uid);
        _cleanup_(json_unrefp) Json *e = NULL;
        PolicyChange c = *change;
        int r;

        if (!who)
                return -ENOMEM;
        if (c.verb == POLICY_HOLD && !c.by)
                c.by = who;
        r = policy_edit(env, &c, why);
        if (r < 0)
                return r;
        if (r == 0)
                return fail(why, -ENODATA, WHY_NOTHING, "as-it-was", "policy: it is so already");
        e = rule_event(&c, by);
        return history_append(env, e, why);
}
