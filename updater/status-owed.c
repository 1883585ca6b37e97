/* SPDX-License-Identifier: MIT */

/* What is owed to servers: locks to be given back, reports to be delivered. Shown, because somebody will ask why another node
 * may not reboot. */

#include "status.h"
#include "coordinator.h"

#include <errno.h>

Json *status_locks_json(const Host *h)
{
        _cleanup_(reboot_locks_done) RebootLocks l = { 0 };
        bool lost = false;
        Json *list;

        if (reboot_locks_load(h->env, &l, &lost, NULL) < 0 || l.n == 0)
                return NULL;
        list = json_new_array();
        for (size_t i = 0; i < l.n; i++) {
                const RebootLock *lock = &l.locks[i];
                Json *o = json_new_object();
                char name[240];

                coordinator_name(lock, name, sizeof(name));
                json_set_str(o, "coordinator", lock->coordinator);
                json_set_str(o, "where", name);
                json_set_str(o, "state", lock_state_name(lock->state));
                if (lock->since > 0)
                        json_set_time(o, "since", lock->since);
                if (lock->failures > 0) {
                        json_set_u64(o, "failures", lock->failures);
                        json_set_time(o, "againAt", lock->not_before);
                }
                json_set_str(o, "message", lock->message);
                json_add(list, o);
        }
        return list;
}

Json *status_outbox_json(const Host *h, OutboxBox box)
{
        _cleanup_(outbox_state_done) OutboxState s = { 0 };
        Json *o;

        if (outbox_state(h->env, box, &s, NULL) < 0 ||
            (s.pending == 0 && s.rejected == 0 && s.last_delivered == 0))
                return NULL;
        o = json_new_object();
        json_set_u64(o, "pending", s.pending);
        json_set_u64(o, "rejected", s.rejected);
        if (s.last_delivered > 0)
                json_set_time(o, "lastDelivered", s.last_delivered);
        if (s.failures > 0) {
                json_set_u64(o, "failures", s.failures);
                json_set_time(o, "againAt", s.not_before);
        }
        json_set_str(o, "message", s.message);
        return o;
}
