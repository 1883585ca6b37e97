/* SPDX-License-Identifier: MIT */

#include "control/record.h"
#include "control/record-roots.h"
#include "state/state.h"

#include <errno.h>
#include <inttypes.h>

int record_history(const Env *env, uint64_t max, Json **ret, uint64_t *ret_broken, Why *why)
{
        Json *events = NULL, *j;
        uint64_t broken = 0;
        char head[65];
        int r = history_read_newest(env, max, &events, &broken, head, why);

        if (r < 0)
                return r;
        j = json_new_object();
        json_set_str(j, "schema", "gybe.history/1");
        json_set_bool(j, "chainHolds", broken == 0);
        if (broken > 0)
                json_set_u64(j, "brokenAtLine", broken);
        json_set_str(j, "head", head[0] ? head : NULL);
        json_set(j, "events", events);
        *ret = j;
        *ret_broken = broken;
        return 0;
}

int record_quarantine(const Env *env, Json **ret, Why *why)
{
        Json *list = NULL, *j;
        int r = quarantine_list(env, &list, why);

        if (r < 0)
                return r;
        j = json_new_object();
        json_set_str(j, "schema", "gybe.quarantine/1");
        json_set(j, "entries", list);
        *ret = j;
        return 0;
}

/* --- audit --- */

void record_problem(Json *problems, const Why *why)
{
        Json *p = json_new_object();

        json_set_str(p, "code", why->code);
        json_set_str(p, "message", why->text);
        json_set_str(p, "hint", why->hint[0] ? why->hint : NULL);
        json_add(problems, p);
}

static int add_history(const Env *env, uint64_t max, Json *out, Json *problems)
{
        Why why = { 0 };
        Json *history = NULL;
        uint64_t broken = 0;
        int r = record_history(env, max, &history, &broken, &why);

        if (r >= 0)
                json_set(out, "history", history);
        if (broken > 0)
                (void) fail(&why, -EBADMSG, WHY_HOST, "history-broken",
                            "history: the hash chain breaks at line %" PRIu64, broken);
        if (why.kind != WHY_NONE)
                record_problem(problems, &why);
        return r == -ENOMEM ? r : 0;
}

static int add_quarantine(const Env *env, Json *out, Json *problems)
{
        Why why = { 0 };
        Json *list = NULL;
        int r = quarantine_list(env, &list, &why);

        if (r >= 0)
                json_set(out, "quarantine", list);
        else
                record_problem(problems, &why);
        return r == -ENOMEM ? r : 0;
}

/* As it stands in trust.json, fields of later versions included. */
static int add_trust(const Env *env, Json *out, Json *problems)
{
        _cleanup_(trust_state_done) TrustState trust = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        Why why = { 0 };
        Json *j = NULL;
        bool lost = false;
        int r = trust_state_load(env, &trust, &lost, &why);

        if (r >= 0 && lost)
                (void) fail(&why, -EBADMSG, WHY_HOST, "trust-lost", "%s",
                            trust.lost_because ? trust.lost_because : "trust.json was lost");
        if (r >= 0)
                r = trust_state_format(&trust, &text);
        if (r >= 0)
                r = json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "trust.json", WHY_HOST, &j, &why);
        if (r >= 0)
                json_set(out, "trust", j);
        if (why.kind != WHY_NONE)
                record_problem(problems, &why);
        return r == -ENOMEM ? r : 0;
}

int record_audit(const Env *env, uint64_t history_max, Json **ret, Why *why)
{
        _cleanup_(json_unrefp) Json *out = json_new_object();
        Json *problems = json_new_array(), *roots = json_new_array();
        _cleanup_(free_charp) char *machine = NULL;
        int r;

        (void) env_read_line(env, "/etc/machine-id", &machine);
        json_set_str(out, "schema", "gybe.audit/1");
        json_set_str(out, "gybe", GYBE_VERSION);
        json_set_time(out, "at", env_now(env));
        json_set_str(out, "machineId", machine);
        json_set(out, "problems", problems);
        json_set(out, "roots", roots);
        if ((r = record_roots(env, roots, problems)) < 0 || (r = add_trust(env, out, problems)) < 0 ||
            (r = add_quarantine(env, out, problems)) < 0 ||
            (r = add_history(env, history_max, out, problems)) < 0)
                return fail_errno(why, r, WHY_HOST, "audit");
        *ret = TAKE(out);
        return 0;
}
