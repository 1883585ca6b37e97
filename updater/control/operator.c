/* SPDX-License-Identifier: MIT */

#include "control/operator.h"
#include "base/fd.h"
#include "base/log.h"
#include "state/state.h"

#include <errno.h>

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
