/* SPDX-License-Identifier: MIT */

/* The judge of units. It gets one look after the other and remembers what was odd.
 *
 *   failed at two looks in a row, and not before the update       a regression
 *   failed once and well again                                    told
 *   restarted more often in the soak than the limit, and more
 *   often than before the update                                  a regression
 *   must be active: failed or gone at two looks, or not active
 *   for the time limit                                            a regression, unless it was not active before
 *
 * Without a baseline nobody knows what is new: then only what must be active decides. */

#include "health/watch.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

static void must_add(UnitsWatch *w, const char *name, bool agent, uint64_t now)
{
        const HealthBaseline *b = w->plan->baseline;
        const HealthSeen *old = b && b->has_units ? health_seen(&b->units, name) : NULL;

        w->must[w->n_must++] = (MustUnit){ .name = name,
                                           .if_started = agent && !(old && old->passed),
                                           .before = old && !old->passed,
                                           .down_since = now };
}

void units_watch_init(UnitsWatch *w, const HealthPlan *plan, uint64_t now)
{
        *w = (UnitsWatch){ .plan = plan, .started = now };
        for (char **name = plan->config->units; name && *name && w->n_must < HEALTH_UNITS_MAX; name++)
                must_add(w, *name, false, now);
        if (!strv_has(plan->config->units, HEALTH_AGENT))
                must_add(w, HEALTH_AGENT, true, now);
}

void units_watch_done(UnitsWatch *w)
{
        health_units_done(&w->last);
        for (size_t i = 0; i < w->n_odd; i++)
                free(w->odd[i].name);
        free(w->odd);
        *w = (UnitsWatch){ 0 };
}

static bool is_must(const UnitsWatch *w, const char *name)
{
        for (size_t i = 0; i < w->n_must; i++)
                if (streq(w->must[i].name, name))
                        return !w->must[i].if_started || !w->must[i].before;
        return false;
}

static int odd_get(UnitsWatch *w, const char *name, OddUnit **ret)
{
        OddUnit *list;

        for (size_t i = 0; i < w->n_odd; i++)
                if (streq(w->odd[i].name, name)) {
                        *ret = &w->odd[i];
                        return 0;
                }
        list = reallocarray(w->odd, w->n_odd + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        w->odd = list;
        list[w->n_odd] = (OddUnit){ .name = strdup(name) };
        if (!list[w->n_odd].name)
                return -ENOMEM;
        *ret = &list[w->n_odd++];
        return 0;
}

/* "12s after boot (exit-code)", as far as anybody knows */
static void since(const HealthUnit *u, uint64_t seen_at, char *out, size_t size)
{
        char when[DURATION_TEXT_SIZE];

        format_duration(u->since_sec > 0 ? u->since_sec : seen_at, when);
        (void) snprintf(out, size, "%s after boot%s%.60s%s", when, u->result ? " (" : "",
                        u->result ? u->result : "", u->result ? ")" : "");
}

/* --- failed units --- */

static int tell_failed(const UnitsWatch *w, const HealthUnit *u, OddUnit *odd, HealthReport *report)
{
        const HealthBaseline *b = w->plan->baseline;
        bool known = b && b->has_units, before = known && strv_has(b->failed, u->name);
        char when[128];

        since(u, odd->failed_at, when, sizeof(when));
        odd->told = true;
        if (before)
                return health_report_add(report, HEALTH_BEFORE, u->name,
                                         "%s: failed; it had failed before the update, too", u->name);
        return health_report_add(report, known ? HEALTH_REGRESSION : HEALTH_UNKNOWN, u->name,
                                 "%s: failed since %s%s", u->name, when,
                                 known || w->plan->once ? "" : "; whether it had failed before is not known");
}

static int look_failed(UnitsWatch *w, const HealthUnit *u, uint64_t now, HealthReport *report)
{
        OddUnit *odd;
        int r = odd_get(w, u->name, &odd);

        if (r < 0)
                return r;
        if (odd->failed_in_a_row++ == 0)
                odd->failed_at = now;
        if (odd->told || (odd->failed_in_a_row < 2 && !w->plan->once))
                return 0;
        return tell_failed(w, u, odd, report);
}

static int look_healed(OddUnit *odd, uint64_t now, HealthReport *report)
{
        char after[DURATION_TEXT_SIZE], when[DURATION_TEXT_SIZE];
        bool told = odd->told;

        odd->failed_in_a_row = 0;
        if (told)
                return 0;
        odd->told = true; /* once is enough for the story */
        format_duration(odd->failed_at, when);
        format_duration(now - odd->failed_at, after);
        return health_report_add(report, HEALTH_HEALED, odd->name,
                                 "%s: failed %s after boot and was well again within %s", odd->name, when,
                                 after);
}

/* --- restarts --- */

/* How often it may be restarted in that time: the limit, and twice of what it did before the update. */
static uint64_t allowed(const UnitsWatch *w, const HealthRestarts *old, uint64_t seconds)
{
        uint64_t limit = w->plan->config->restart_limit, per_uptime;

        if (!old || w->plan->baseline->uptime_sec == 0 ||
            __builtin_mul_overflow(old->count, 2 * seconds, &per_uptime))
                return limit;
        return limit + per_uptime / w->plan->baseline->uptime_sec;
}

static const HealthRestarts *restarts_before(const UnitsWatch *w, const char *name)
{
        const HealthBaseline *b = w->plan->baseline;

        for (size_t i = 0; b && i < b->n_restarts; i++)
                if (streq(b->restarts[i].name, name))
                        return &b->restarts[i];
        return NULL;
}

static int look_restarts(UnitsWatch *w, const HealthUnit *u, uint64_t more, uint64_t now,
                         HealthReport *report)
{
        const HealthBaseline *b = w->plan->baseline;
        const HealthRestarts *old = restarts_before(w, u->name);
        uint64_t seconds = now - w->soak_since;
        char took[DURATION_TEXT_SIZE];
        OddUnit *odd;
        int r = odd_get(w, u->name, &odd);

        if (r < 0)
                return r;
        odd->restarts += more;
        odd->last_restart_at = now;
        if (odd->told_restarts || odd->restarts <= allowed(w, old, seconds))
                return 0;
        odd->told_restarts = true;
        format_duration(seconds, took);
        if (!b || !b->has_units)
                return health_report_add(
                        report, HEALTH_UNKNOWN, u->name,
                        "%s: restarted %llu times in %s; whether it was so before is not known", u->name,
                        (unsigned long long) odd->restarts, took);
        return health_report_add(report, old && old->looping ? HEALTH_BEFORE : HEALTH_REGRESSION, u->name,
                                 "%s: restarted %llu times in %s%s", u->name,
                                 (unsigned long long) odd->restarts, took,
                                 old && old->looping ? "; it was so before the update, too" : "");
}

/* A counter that went back was set back: then all of it is new. One that was not there before started from zero. */
static uint64_t restarted(const HealthUnits *last, const HealthUnit *u)
{
        const HealthUnit *old = health_unit_find(last, u->name);

        return !old || u->restarts < old->restarts ? u->restarts : u->restarts - old->restarts;
}

/* --- units that must be active --- */

static int must_regressed(MustUnit *m, const char *how, HealthReport *report, const HealthPlan *plan)
{
        const HealthBaseline *b = plan->baseline;
        const HealthSeen *old = b ? health_seen(&b->units, m->name) : NULL;

        m->told = true;
        return health_report_add(report, HEALTH_REGRESSION, m->name, "%s: %s%s", m->name, how,
                                 old && old->passed ? "; it was active before the update" : "");
}

static int must_down(UnitsWatch *w, MustUnit *m, const HealthUnit *u, uint64_t now, HealthReport *report)
{
        bool dead = !u || !u->active_state || health_unit_failed(u) || streq(u->active_state, "inactive");
        uint64_t limit = w->plan->config->timeout_sec;
        char state[160], how[320], span[DURATION_TEXT_SIZE];

        m->down_in_a_row = dead ? m->down_in_a_row + 1 : 0;
        health_unit_state(u, state, sizeof(state));
        if (u && health_unit_failed(u) && m->down_in_a_row >= 2) {
                since(u, m->down_since, state, sizeof(state));
                (void) snprintf(how, sizeof(how), "failed since %s", state);
        } else if (m->seen_active && m->down_in_a_row >= 2) {
                (void) snprintf(how, sizeof(how), "did not stay active (%s)", state);
        } else if (now - m->down_since >= limit) {
                format_duration(limit, span);
                (void) snprintf(how, sizeof(how), "not active %s %s (%s)", m->seen_active ? "for" : "within",
                                span, state);
        } else
                return 0;
        return must_regressed(m, how, report, w->plan);
}

static int must_look(UnitsWatch *w, MustUnit *m, const HealthUnits *units, uint64_t now, HealthReport *report)
{
        const HealthUnit *u = health_unit_find(units, m->name);
        char state[160];

        if (health_unit_active(u) ||
            (m->if_started && (!u || !u->active_state || streq(u->active_state, "inactive")))) {
                m->seen_active = m->seen_active || health_unit_active(u);
                m->down = false;
                m->down_in_a_row = 0;
                return 0;
        }
        if (m->before && !m->if_started && !m->told) {
                m->told = true;
                health_unit_state(u, state, sizeof(state));
                return health_report_add(report, HEALTH_BEFORE, m->name,
                                         "%s: %s; it was not active before the update either", m->name,
                                         state);
        }
        if (m->before || m->told)
                return 0;
        if (!m->down && w->has_last)
                m->down_since = now;
        m->down = true;
        return must_down(w, m, u, now, report);
}

/* --- all of them --- */

static int look_one(UnitsWatch *w, const HealthUnit *u, uint64_t now, HealthReport *report)
{
        bool must = is_must(w, u->name);
        uint64_t more;
        int r = 0;

        if (!must && (!w->plan->config->failed_units || !health_unit_counts(u, w->plan->config)))
                return 0;
        if (!must && health_unit_failed(u))
                r = look_failed(w, u, now, report);
        more = w->has_last && w->soaking ? restarted(&w->last, u) : 0;
        if (r >= 0 && more > 0)
                r = look_restarts(w, u, more, now, report);
        return r;
}

int units_watch_look(UnitsWatch *w, HealthUnits *units, uint64_t now, HealthReport *report)
{
        int r = 0;

        health_units_sort(units);
        for (size_t i = 0; r >= 0 && i < units->n_units; i++)
                r = look_one(w, &units->units[i], now, report);
        for (size_t i = 0; r >= 0 && i < w->n_odd; i++) {
                const HealthUnit *u = health_unit_find(units, w->odd[i].name);

                if (w->odd[i].failed_in_a_row > 0 && (!u || !health_unit_failed(u)))
                        r = look_healed(&w->odd[i], now, report);
        }
        for (size_t i = 0; r >= 0 && i < w->n_must; i++)
                r = must_look(w, &w->must[i], units, now, report);
        health_units_done(&w->last);
        w->last = *units;
        *units = (HealthUnits){ 0 };
        w->has_last = true;
        return r;
}

void units_watch_soak(UnitsWatch *w, uint64_t now)
{
        w->soaking = true;
        w->soak_since = now;
}

bool units_watch_waits(const UnitsWatch *w)
{
        for (size_t i = 0; i < w->n_must; i++)
                if (w->must[i].down)
                        return true;
        for (size_t i = 0; i < w->n_odd; i++)
                if (w->odd[i].failed_in_a_row > 0 && !w->odd[i].told)
                        return true;
        return false;
}

static int end_must(UnitsWatch *w, MustUnit *m, HealthReport *report)
{
        const HealthUnit *u = health_unit_find(&w->last, m->name);
        char state[160], how[320];

        health_unit_state(u, state, sizeof(state));
        (void) snprintf(how, sizeof(how), "not active%s (%s)",
                        w->plan->once ? "" : " when the deadline was near", state);
        return must_regressed(m, how, report, w->plan);
}

int units_watch_end(UnitsWatch *w, bool cut, uint64_t now, HealthReport *report)
{
        int r = 0;

        for (size_t i = 0; cut && r >= 0 && i < w->n_must; i++)
                if (w->must[i].down && !w->must[i].told)
                        r = end_must(w, &w->must[i], report);
        for (size_t i = 0; r >= 0 && i < w->n_odd; i++) {
                OddUnit *odd = &w->odd[i];
                char when[DURATION_TEXT_SIZE];

                if (odd->restarts == 0 || odd->told_restarts)
                        continue;
                odd->told_restarts = true;
                format_duration(now - w->soak_since, when);
                r = health_report_add(report, HEALTH_HEALED, odd->name, "%s: restarted %llu time%s in %s",
                                      odd->name, (unsigned long long) odd->restarts,
                                      odd->restarts == 1 ? "" : "s", when);
        }
        return r;
}
