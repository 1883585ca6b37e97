/* SPDX-License-Identifier: MIT */

/* What the walk tells the journal, beside history: one table from what was recorded to the event that people look up, and one
 * from a refusal to its event. Nothing here can fail, and nothing waits for it. */

#include "update.h"
#include "base/str.h"
#include "control/event.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* An empty column matches everything; the first match counts. */
typedef struct Row {
        const char *event;   /* of history */
        const char *reason;  /* reason_name() */
        const char *outcome; /* outcome_name() */
        Event tell;
} Row;

/* clang-format off */
static const Row rows[] = {
        { "staged",        NULL,                NULL,          EVENT_STAGED },
        { "finalized",     NULL,                NULL,          EVENT_FINALIZED },
        { "superseded",    NULL,                NULL,          EVENT_SUPERSEDED },
        { "health-failed", NULL,                NULL,          EVENT_HEALTH_FAILED },
        { "committed",     NULL,                "rolled-back", EVENT_RETURNED },
        { "committed",     NULL,                NULL,          EVENT_COMMITTED },
        { "trust-lost",    NULL,                NULL,          EVENT_TRUST_LOST },
        { "recovered",     "target-booted",     NULL,          EVENT_TRIAL },
        { "recovered",     "health-fallback",   "rolled-back", EVENT_HEALTH_FALLBACK },
        { "recovered",     "deadline",          "rolled-back", EVENT_DEADLINE },
        { "recovered",     "firmware-fallback", NULL,          EVENT_FIRMWARE_FALLBACK },
        { "recovered",     "power-loss-retry",  NULL,          EVENT_POWER_LOSS_RETRY },
        { "recovered",     "operator",          NULL,          EVENT_OPERATOR },
        { "recovered",     "never-rebooted",    NULL,          EVENT_NEVER_REBOOTED },
        { "recovered",     "interrupted-stage", NULL,          EVENT_INTERRUPTED_STAGE },
        { "recovered",     "wrong-slot",        NULL,          EVENT_WRONG_SLOT },
        { "recovered",     "reimaged",          NULL,          EVENT_REIMAGED },
        { "recovered",     "journal-lost",      NULL,          EVENT_JOURNAL_LOST },
};
/* clang-format on */

static const char *text_of(const Json *event, const char *key, char buf[24])
{
        uint64_t n;

        if (json_get_u64(event, key, &n) > 0) {
                (void) snprintf(buf, 24, "%" PRIu64, n);
                return buf;
        }
        return json_get_str(event, key);
}

/* What a script looks for, and what the catalog's text names. */
static void tell(const Env *env, Event e, const Json *event, const char *detail)
{
        static const struct {
                const char *field, *key;
        } known[] = {
                { "GYBE_UPDATE_ID", "updateId" }, { "GYBE_SERIAL", "serial" },
                { "GYBE_SLOT", "slot" },          { "GYBE_ROOTHASH", "roothash" },
                { "GYBE_REASON", "reason" },      { "GYBE_OUTCOME", "outcome" },
                { "GYBE_ATTEMPT", "attempt" },    { "GYBE_RUNNING", "running" },
                { "GYBE_CAUSE", "cause" },        { "GYBE_STAGE", "stage" },
        };
        char numbers[ELEMENTSOF(known)][24];
        LogField fields[ELEMENTSOF(known)];

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                fields[i] = (LogField){ known[i].field, text_of(event, known[i].key, numbers[i]) };
        event_log(env, e, json_get_str(event, "version"), detail, fields, ELEMENTSOF(fields));
}

static void tell_missing(const Env *env, const Json *event)
{
        const Json *missing = json_get(event, "missingGuarantees");
        _cleanup_(str_done) Str s = STR_NULL;

        json_foreach (m, missing)
                str_addf(&s, "%s%s", s.size > 0 ? "; " : "", json_str(m) ? json_str(m) : "?");
        if (s.text && !s.failed)
                tell(env, EVENT_GUARANTEE_MISSING, event, s.text);
}

void update_tell(const Env *env, const Json *event)
{
        const char *name = json_get_str(event, "event"), *reason = json_get_str(event, "reason"),
                   *outcome = json_get_str(event, "outcome"), *message = json_get_str(event, "message");
        bool quarantined = false;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (streq0(rows[i].event, name) && (!rows[i].reason || streq0(rows[i].reason, reason)) &&
                    (!rows[i].outcome || streq0(rows[i].outcome, outcome))) {
                        tell(env, rows[i].tell, event, message);
                        break;
                }
        tell_missing(env, event);
        (void) json_get_bool(event, "quarantined", &quarantined);
        if (quarantined || streq0(name, "health-failed"))
                tell(env, EVENT_QUARANTINED, event, message);
}

/* By the code of a refusal; every other rule just says no. */
static Event policy_event(const char *code)
{
        static const struct {
                const char *code;
                Event event;
        } events[] = {
                { "quarantined", EVENT_REFUSED_QUARANTINE },
                { "guarantee", EVENT_GUARANTEE_MISSING },
                { "window", EVENT_WAITING },
                { "rollout", EVENT_WAITING },
                { "minimumAge", EVENT_WAITING },
                { "hold", EVENT_WAITING },
        };

        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                if (streq(events[i].code, code))
                        return events[i].event;
        return EVENT_REFUSED_POLICY;
}

/* Not ours to tell: somebody else's turn, a mistyped command, nothing to do. */
static Event event_of(const Why *why)
{
        switch (why->kind) {
        case WHY_TRUST:
                return EVENT_REFUSED_TRUST;
        case WHY_POLICY:
                return policy_event(why->code);
        case WHY_NETWORK:
                return EVENT_SOURCE_UNREACHABLE;
        case WHY_HOST:
        case WHY_IMAGE:
                return EVENT_FAILED;
        default:
                return _EVENT_INVALID;
        }
}

/* A refusal before anything was written is not in history, but who keeps watch over a fleet wants to know. */
static void report_refusal(Update *u, const char *version, const Why *why)
{
        _cleanup_(json_unrefp) Json *e = json_new_object();

        if (why->kind != WHY_TRUST || u->rejection_recorded)
                return;
        json_set_str(e, "event", "refused");
        json_set_str(e, "version", version);
        if (u->release.serial > 0)
                json_set_u64(e, "serial", u->release.serial);
        json_set_str(e, "release", u->release_sha256[0] ? u->release_sha256 : NULL);
        json_set_str(e, "code", why->code);
        json_set_str(e, "message", why->text);
        update_report(u, e);
}

int update_told(Update *u, int r, const Why *why)
{
        const Journal *j = &u->host.journal;
        const char *version = u->release.version         ? u->release.version
                              : j->phase >= PHASE_STAGED ? j->version
                                                         : NULL;
        const LogField code = { "GYBE_CODE", why->code };
        Event e = r < 0 ? event_of(why) : _EVENT_INVALID;

        /* a failed verdict has been told where it was recorded */
        if (e >= 0 && !streq(why->code, "health"))
                event_log(u->env, e, version, why->text, &code, 1);
        if (r < 0)
                report_refusal(u, version, why);
        return r;
}
