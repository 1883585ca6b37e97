/* SPDX-License-Identifier: MIT */

#include "control/schedule.h"
#include "base/digest.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>

#define NEVER UINT64_MAX

#define SPACING 10u /* between two jobs of one kind, whatever the first one said */

/* The first question after a start, when none is remembered: soon, but not all machines of a rack at once. */
#define FIRST_CHECK_SPREAD 300u

typedef struct Plan {
        const ScheduleFacts *f;
        const Policy *policy;
        const Memory *m;
        uint64_t now;
        Schedule *out;
} Plan;

uint64_t schedule_seed(const char *machine_id)
{
        _cleanup_(free_charp) char *text = str_printf("gybe.schedule/1\n%s\n", machine_id ? machine_id : "");
        uint8_t digest[SHA256_SIZE];
        uint64_t v = 0;

        if (!text || sha256(text, strlen(text), digest) < 0)
                return 0;
        for (unsigned i = 0; i < sizeof(v); i++)
                v = v << 8 | digest[i];
        return v;
}

/* --- items --- */

static void say(ScheduleItem *item, const char *fmt, ...) _printf_(2, 3);
static void say(ScheduleItem *item, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(item->because, sizeof(item->because), fmt, ap);
        va_end(ap);
}

static void want(ScheduleItem *item, uint64_t at)
{
        item->wanted = true;
        item->at = at;
}

/* It would be done, but for a pause after a failure. A job that says that it did its work, after which the same work is due
 * again, is not started as fast as this machine can either. */
static void after_pause(const Plan *p, Action a)
{
        const Retry *r = &p->m->retry[a];
        ScheduleItem *item = &p->out->items[a];
        uint64_t at = memory_retry_at(r, p->now, p->f->seed);

        if (item->wanted && item->at != NEVER && r->failures == 0 && p->m->ended_at[a] > 0)
                item->at = MAX(item->at, MIN(p->m->ended_at[a], p->now) + SPACING);
        if (!item->wanted || item->at == NEVER || at <= p->now || at <= item->at)
                return;
        item->at = at;
        item->rule = "retry";
        say(item, "%s failed %u time%s: %.300s", action_name(a), r->failures, r->failures == 1 ? "" : "s",
            r->text);
}

static PolicySubject subject(const Plan *p, bool unattended)
{
        return (PolicySubject){ .version = p->f->version,
                                .serial = p->f->serial,
                                .issued = p->f->issued,
                                .machine_id = p->f->machine_id,
                                .unattended = unattended };
}

/* The item as the door allows it. WAIT without an end is not a time to wake at: somebody has to change a rule. */
static void at_door(const Plan *p, PolicyDoor door, const PolicySubject *s, ScheduleItem *item)
{
        PolicyVerdict v;

        policy_ask(p->policy, door, s, p->now, &v);
        if (v.answer == POLICY_GO) {
                want(item, p->now);
                return;
        }
        item->rule = v.rule;
        say(item, "%s", v.because);
        if (v.answer == POLICY_WAIT)
                want(item, v.until);
}

static bool broken(const Plan *p, ScheduleItem *item)
{
        if (!p->f->problem)
                return false;
        item->rule = "config";
        say(item, "%.400s", p->f->problem);
        return true;
}

/* --- check --- */

uint64_t schedule_check_at(const ScheduleFacts *f, const Memory *m, uint64_t now)
{
        const Retry *r = &m->retry[ACTION_CHECK];
        uint64_t interval = MAX(f->interval, (uint64_t) 1), place = f->seed % interval, at, after, again;

        if (m->last_check == 0 && r->failures == 0)
                return f->started_at + f->seed % (MIN(interval / 10, (uint64_t) FIRST_CHECK_SPREAD) + 1);
        /* The first moment at this machine's place that is not right behind the last question. */
        after = MIN(m->last_check, now) + interval / 2;
        at = after - after % interval + place;
        if (at <= after)
                at += interval;
        again = r->kind == RETRY_TRUST ? 0 : memory_retry_at(r, now, f->seed);
        return again > 0 ? MIN(again, at) : at;
}

static void plan_check(const Plan *p)
{
        ScheduleItem *item = &p->out->items[ACTION_CHECK];
        const Retry *r = &p->m->retry[ACTION_CHECK];

        if (!p->f->has_source) {
                say(item, "no source of releases is configured");
                return;
        }
        if (p->f->phase >= PHASE_FINALIZED || broken(p, item))
                return;
        want(item, schedule_check_at(p->f, p->m, p->now));
        if (r->failures > 0) {
                item->rule = "retry";
                say(item, "the last check failed: %.300s", r->text);
        } else {
                char every[DURATION_TEXT_SIZE];

                format_duration(p->f->interval, every);
                if (p->policy->pin) { /* nothing else is asked for, so nothing else is ever offered */
                        item->rule = "pin";
                        say(item, "this host is pinned to %.200s; the source is asked for it every %s",
                            p->policy->pin, every);
                } else
                        say(item, "the source is asked every %s", every);
        }
}

/* --- stage --- */

static bool offer_is_newer(const Plan *p)
{
        const MemoryOffer *o = &p->m->offer;

        return o->version && !(p->f->running_roothash && streq(o->roothash, p->f->running_roothash)) &&
               !(p->f->running_serial > 0 && o->serial > 0 && o->serial <= p->f->running_serial);
}

static bool offer_is_staged(const Plan *p)
{
        return p->f->phase == PHASE_STAGED && p->f->roothash && streq(p->f->roothash, p->m->offer.roothash);
}

static void plan_stage(const Plan *p)
{
        ScheduleItem *item = &p->out->items[ACTION_STAGE];
        const MemoryOffer *o = &p->m->offer;
        PolicySubject s = { .version = o->version,
                            .serial = o->serial,
                            .issued = o->issued,
                            .machine_id = p->f->machine_id,
                            .unattended = true };

        if (p->f->phase >= PHASE_FINALIZED || p->f->rollback || !offer_is_newer(p) || offer_is_staged(p) ||
            broken(p, item))
                return;
        if (p->f->offer_quarantined) {
                item->rule = "quarantine";
                say(item, "%s: this content is in quarantine: %.300s", o->version, p->f->offer_quarantined);
                return;
        }
        if (p->m->refused[0] && streq(p->m->refused, o->roothash)) {
                item->rule = "trust";
                say(item, "%s was refused and is not tried again before something else is offered: %.300s",
                    o->version, p->m->refused_text);
                return;
        }
        at_door(p, POLICY_FETCH, &s, item);
        if (!item->rule)
                say(item, "%s is offered%s%s", o->version, p->f->phase == PHASE_STAGED ? ", newer than " : "",
                    p->f->phase == PHASE_STAGED && p->f->version ? p->f->version : "");
        after_pause(p, ACTION_STAGE);
}

/* --- finalize --- */

static void plan_finalize(const Plan *p)
{
        ScheduleItem *item = &p->out->items[ACTION_FINALIZE];
        const ScheduleItem *stage = &p->out->items[ACTION_STAGE];
        PolicySubject s = subject(p, true);

        if (p->f->phase != PHASE_STAGED)
                return;
        if (p->f->rollback) {
                say(item, "a rollback was interrupted; gybe rollback goes on with it");
                return;
        }
        if (broken(p, item))
                return;
        /* What may be taken instead is taken first; what has to wait keeps nobody waiting. */
        if (stage->wanted && stage->at <= p->now) {
                say(item, "%s makes way for %s", p->f->version, p->m->offer.version);
                return;
        }
        at_door(p, POLICY_FINALIZE, &s, item);
        if (!item->rule)
                say(item, "%s is staged", p->f->version);
        after_pause(p, ACTION_FINALIZE);
}

/* --- reboot --- */

static bool reboot_is_ours(const Plan *p, ScheduleItem *item)
{
        if (p->f->no_reboot) {
                item->rule = "no-reboot";
                say(item, "whoever finalized said --no-reboot");
                return false;
        }
        if (p->f->phase == PHASE_FINALIZED && p->policy->reboot.coordinator == POLICY_COORD_KURED) {
                item->rule = "coordinator";
                say(item, "kured decides when");
                return false;
        }
        if (p->f->phase == PHASE_FINALIZED && p->policy->reboot.coordinator == POLICY_COORD_DBUS) {
                item->rule = "coordinator";
                say(item, "whoever watches com.coreos.update1 decides when");
                return false;
        }
        return true;
}

/* Asked for already, and the machine is still here. */
static void ask_again(const Plan *p, ScheduleItem *item)
{
        unsigned asks = p->f->reboot_asks;
        uint64_t at = p->f->reboot_again_at;

        if (item->at == NEVER || (item->rule && item->at > at))
                return; /* the door says more */
        item->at = MAX(item->at, at);
        item->rule = "retry";
        if (p->f->reboot_blocked)
                say(item, "the reboot was asked for %u time%s and refused: %.300s", asks,
                    asks == 1 ? "" : "s", p->f->reboot_blocked);
        else if (p->f->reboot_never)
                say(item, "the reboot was asked for %u times and never came", asks);
        else
                say(item, "the reboot was asked for%s; it is asked for again when it does not come",
                    asks > 1 ? " again" : "");
}

static void plan_reboot(const Plan *p)
{
        ScheduleItem *item = &p->out->items[ACTION_REBOOT];
        bool asked = p->f->reboot_asks > 0;
        /* Who asked for a reboot once meant it: then the automation level is no question any more. */
        PolicySubject s = subject(p, !asked);

        if (p->f->phase != PHASE_FINALIZED && !(p->f->phase == PHASE_PROBATION && p->f->given_up))
                return;
        if (!reboot_is_ours(p, item))
                return;
        if (p->f->phase == PHASE_PROBATION || p->f->rollback)
                want(item, p->now); /* the way back waits for no window */
        else
                at_door(p, POLICY_REBOOT, &s, item);
        if (!item->rule)
                say(item, "%s",
                    p->f->phase == PHASE_PROBATION ? "the slot on trial was given up"
                    : p->f->rollback               ? "a rollback is armed"
                                                   : "the next boot tries the new slot");
        if (item->wanted && asked)
                ask_again(p, item);
        after_pause(p, ACTION_REBOOT);
}

/* --- chores --- */

static void plan_look(const Plan *p)
{
        ScheduleItem *item = &p->out->items[ACTION_LOOK];

        if (p->f->status_known)
                return;
        want(item, p->now);
        say(item, "nobody has looked at this host since it changed");
        after_pause(p, ACTION_LOOK);
}

static void plan_deliveries(const Plan *p)
{
        ScheduleItem *deliver = &p->out->items[ACTION_DELIVER], *unlock = &p->out->items[ACTION_UNLOCK];

        if (p->f->deliver_at != NEVER) {
                want(deliver, p->f->deliver_at);
                say(deliver, "a report waits");
                after_pause(p, ACTION_DELIVER);
        }
        if (p->f->unlock_at != NEVER) {
                want(unlock, p->f->unlock_at);
                say(unlock, "the reboot lock is not needed any more");
                after_pause(p, ACTION_UNLOCK);
        }
}

static void plan_trial(const Plan *p)
{
        say(&p->out->items[ACTION_COMMIT], "the slot on trial is judged by gybe-commit.service");
}

static Action headline(const Plan *p)
{
        const ScheduleItem *items = p->out->items;

        if (!p->f->status_known)
                return ACTION_LOOK;
        switch (p->f->phase) {
        case PHASE_PROBATION:
                return p->f->given_up ? ACTION_REBOOT : ACTION_COMMIT;
        case PHASE_FINALIZED:
                return ACTION_REBOOT;
        case PHASE_STAGED:
                return items[ACTION_STAGE].wanted && items[ACTION_STAGE].at <= p->now ? ACTION_STAGE
                                                                                      : ACTION_FINALIZE;
        default:
                if (items[ACTION_STAGE].wanted || items[ACTION_STAGE].rule)
                        return ACTION_STAGE;
                return p->f->has_source ? ACTION_CHECK : ACTION_NONE;
        }
}

static void find_due(const Plan *p)
{
        Schedule *s = p->out;

        s->wake = NEVER;
        for (Action a = ACTION_NONE + 1; a < _ACTION_MAX; a++) {
                const ScheduleItem *item = &s->items[a];

                if (!item->wanted)
                        continue;
                if (item->at <= p->now) {
                        if (s->due == ACTION_NONE)
                                s->due = a;
                } else
                        s->wake = MIN(s->wake, item->at);
        }
}

void schedule_plan(const ScheduleFacts *facts, const Policy *policy, const Memory *memory, uint64_t now,
                   Schedule *ret)
{
        Plan p = { facts, policy, memory, now, ret };

        *ret = (Schedule){ .due = ACTION_NONE };
        for (Action a = 0; a < _ACTION_MAX; a++)
                ret->items[a].at = NEVER;
        plan_look(&p);
        /* What is not known is not acted on; and on trial the other slot is the way back. */
        if (facts->status_known && facts->phase == PHASE_PROBATION) {
                plan_trial(&p);
                plan_reboot(&p);
        } else if (facts->status_known) {
                plan_check(&p);
                plan_stage(&p);
                plan_finalize(&p);
                plan_reboot(&p);
                plan_deliveries(&p);
        }
        if (facts->status_known && !facts->has_source && facts->phase == PHASE_IDLE)
                say(&ret->items[ACTION_NONE], "no source of releases is configured");
        ret->headline = headline(&p);
        find_due(&p);
}
