/* SPDX-License-Identifier: MIT */

/* The verdict on a trial boot: keep the slot or go back. Default entry first, memory last; what recovery makes of every prefix
 * is told in state/recovery.c. */

#include "update.h"
#include "base/str.h"
#include "health/health.h"

#include <errno.h>

/* The verdict is durable before anything follows from it: the old slot reads it. */
static int fail_trial(Update *u, const HealthReport *report, Why *why)
{
        _cleanup_(json_unrefp) Json *more = json_new_object();
        Journal *j = &u->host.journal;
        const char *what = report->first_failure ? report->first_failure : "a health check failed";
        char *message = strdup(what);
        int r;

        if (!message)
                return -ENOMEM;
        u->reboot_due = true; /* whatever can be remembered of it */
        free(j->message);
        j->message = message;
        j->reason = REASON_HEALTH_FALLBACK;
        json_set_str(more, "message", what);
        json_set(more, "health", health_report_json(report));
        /* In quarantine too, so that the verdict survives a lost journal. */
        if ((r = update_save(u, why)) < 0 ||
            (r = quarantine_add(u->env, j->roothash, j->uki_sha256, j->version, j->reason, what, why)) < 0 ||
            (r = update_record(u, "health-failed", more, why)) < 0)
                return r;
        (void) fail(why, -ECANCELED, WHY_HOST, "health", "%s: %s", j->version ? j->version : "update", what);
        return fail_hint(why, -ECANCELED, "the machine goes back to the other slot at the next boot");
}

static int remember_slot(Update *u, Why *why)
{
        Journal *j = &u->host.journal;
        TrustState *t = &u->host.trust;
        SlotRecord rec = { .committed_at = env_now(u->env),
                           .has_serial = j->serial > 0,
                           .serial = j->serial };
        int r;

        memcpy(rec.roothash, j->roothash, sizeof(rec.roothash));
        r = u->host.boot->ops->digests(u->host.boot, j->entry, &rec.files, rec.uki_sha256, why);
        if (r >= 0 &&
            (!(rec.version = strdup(j->version ? j->version : "unknown")) || !(rec.entry = strdup(j->entry))))
                r = -ENOMEM;
        if (r >= 0) {
                t->has_running_serial = rec.has_serial;
                t->running_serial = rec.serial;
                r = trust_state_put_slot(t, &rec);
        }
        slot_record_done(&rec);
        if (r < 0)
                return r;
        (void) trust_state_raise_floor(t, j->floor_serial);
        r = trust_state_revoke(t, j->revoked_serials, j->n_revoked_serials, j->revoked_roothashes);
        return r < 0 ? r : trust_state_save(u->env, t, why);
}

/* Default entry first: from its last write on, every boot comes here. What follows is memory and may be repeated. */
static int keep(Update *u, const HealthReport *report, Why *why)
{
        const BootOps *ops = u->host.boot->ops;
        _cleanup_(json_unrefp) Json *more = json_new_object();
        Journal *j = &u->host.journal;
        int r;

        r = ops->commit(u->host.boot, (int) u->host.running.slot, j->entry, why);
        if (r > 0) {
                /* Committed, with something a person should know (a full NVRAM): told, not failed. */
                r = strv_add(&u->missing, why->text);
                *why = (Why){ 0 };
        }
        /* What would undo it goes next, and needs no space; what remembers it comes last. */
        if (r < 0 || (r = deadline_disarm(u->env, why)) < 0 || (r = remember_slot(u, why)) < 0 ||
            (r = intent_remove(u->env, why)) < 0 || (r = ops->remove_intent(u->host.boot, why)) < 0 ||
            (r = attempts_forget(u->env, j->roothash, j->uki_sha256)) < 0)
                return r;
        j->phase = PHASE_IDLE;
        j->outcome = j->rollback ? OUTCOME_ROLLED_BACK : OUTCOME_COMMITTED;
        j->reason = j->rollback ? REASON_OPERATOR : REASON_TARGET_BOOTED;
        j->armed = false;
        j->slot_dirty = false;
        json_set_str(more, "outcome", outcome_name(j->outcome));
        json_set_str(more, "reason", reason_name(j->reason));
        json_set_str(more, "entry", j->entry);
        if (report)
                json_set(more, "health", health_report_json(report));
        if ((r = update_record_once(u, "committed", more, why)) < 0)
                return r;
        free(j->message);
        j->message = NULL;
        r = update_save(u, why);
        return r < 0 ? r : host_refresh_boot(&u->host, why);
}

int update_settle(Update *u, Why *why)
{
        _cleanup_(health_report_done) HealthReport report = { 0 };
        Journal *j = &u->host.journal;
        int r;

        /* The default names it already: it was kept, and only the memory of it is missing. */
        if (j->entry && u->host.boot_state.default_is_named &&
            boot_name_equal(u->host.boot_state.default_name, j->entry))
                return keep(u, NULL, why);
        r = update_refuse_quarantined(u, why);
        if (r < 0) {
                u->reboot_due = true;
                return fail_hint(why, r, "reboot; the default slot comes back");
        }
        if (j->reason == REASON_HEALTH_FALLBACK || j->reason == REASON_OPERATOR ||
            j->reason == REASON_DEADLINE) {
                u->reboot_due = true;
                (void) fail(why, -ECANCELED, WHY_POLICY, "given-up", "commit: %s was judged already: %s",
                            j->version ? j->version : "update", reason_name(j->reason));
                return fail_hint(why, -ECANCELED, "reboot; the default slot comes back");
        }
        r = update_watch(u, &report, why);
        if (r < 0)
                return r;
        return report.passed ? keep(u, &report, why) : fail_trial(u, &report, why);
}
