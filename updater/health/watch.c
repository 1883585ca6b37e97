/* SPDX-License-Identifier: MIT */

/* The watch over a trial boot, from its start to the verdict:
 *
 *   start     until everything that must work does; then the executables run
 *   soak      it has to stay so; then the executables run once more
 *
 * A regression ends it at once: the sooner the verdict, the sooner the old slot is back. What might still get well is waited
 * for, never beyond plan->until; who is not well then has not passed. Being killed costs nothing but the time that was
 * watched: nothing is remembered here. */

#include "health/watch.h"
#include "base/str.h"

#include <errno.h>

#define SILENCE_SEC 60u /* so long PID 1 or the bus may be busy with something else, a reload for one */
#define RESERVE_SEC 5u  /* on top of what the executables took the first time */

typedef struct Watch {
        const HealthSource *source;
        const HealthPlan *plan;
        HealthReport *report;
        UnitsWatch units;
        HttpWatch http;
        bool no_units; /* nobody will ever say */
        bool silent, soaking;
        uint64_t started, next_look, silent_since, soak_since, soak_until;
} Watch;

static uint64_t now(const Watch *w)
{
        return w->source->now(w->source->ctx);
}

static uint64_t left(const Watch *w, uint64_t at)
{
        return w->plan->until > at ? w->plan->until - at : 0;
}

/* Where nothing can be seen in the meantime, waiting proves nothing. */
static uint64_t soak_sec(const Watch *w)
{
        return w->plan->once || (w->no_units && w->http.n == 0) ? 0 : w->plan->soak_sec;
}

/* --- asking --- */

/* A service manager that could be asked before the update and cannot now is the image's fault, too. */
static int look_at_silence(Watch *w, uint64_t at, const Why *why)
{
        const HealthBaseline *b = w->plan->baseline;
        bool could = b ? b->has_units : w->plan->config->units != NULL;
        char span[DURATION_TEXT_SIZE];

        if (!w->plan->has_manager) {
                w->no_units = true;
                return w->plan->config->units
                               ? health_report_add(
                                         w->report, HEALTH_UNKNOWN, "units",
                                         "units: there is no service manager here that could be asked")
                               : 0;
        }
        if (!w->silent)
                w->silent_since = at;
        w->silent = true;
        if (at - w->silent_since < SILENCE_SEC && !w->plan->once && left(w, at) > 0)
                return 0;
        w->silent = false;
        w->no_units = true;
        format_duration(at - w->silent_since, span);
        return health_report_add(w->report, could ? HEALTH_REGRESSION : HEALTH_UNKNOWN, "systemd",
                                 "systemd: the units could not be asked for %s%s (%.120s)", span,
                                 b && b->has_units ? "; they could before the update" : "", why->text);
}

static int look_at_units(Watch *w)
{
        _cleanup_(health_units_done) HealthUnits units = { 0 };
        uint64_t at = now(w);
        Why why = { 0 };
        int r;

        if (w->no_units || at < w->next_look)
                return 0;
        w->next_look = at + HEALTH_SAMPLE_SEC;
        r = w->source->units(w->source->ctx, &units, &why);
        if (r < 0)
                return r == -ENOMEM ? r : look_at_silence(w, at, &why);
        w->silent = false;
        w->report->samples++;
        w->report->n_units = 0;
        for (size_t i = 0; i < units.n_units; i++)
                w->report->n_units +=
                        units.units[i].name && health_unit_counts(&units.units[i], w->plan->config);
        return units_watch_look(&w->units, &units, now(w), w->report);
}

static int ask_endpoint(Watch *w)
{
        uint64_t at = now(w), timeout;
        EndpointWatch *e = http_watch_due(&w->http, at, NULL);
        unsigned status = 0;
        Why why = { 0 };
        int r;

        if (!e)
                return 0;
        timeout = MIN(e->endpoint->timeout_sec, MAX(left(w, at), (uint64_t) 1));
        r = w->source->http(w->source->ctx, e->endpoint, timeout, &status, &why);
        if (r == -ENOMEM)
                return r;
        return http_watch_answer(&w->http, e, r < 0 ? 0 : status, why.text, at, now(w), w->report);
}

/* --- the course of it --- */

static int run_checks(Watch *w, Why *why)
{
        int r;

        health_checks_done(&w->report->checks);
        r = w->source->checks(w->source->ctx, w->plan->config->timeout_sec, left(w, now(w)),
                              &w->report->checks, why);
        return r < 0 ? r : health_judge_checks(w->plan, w->report);
}

static bool waits(const Watch *w)
{
        return w->silent || (!w->no_units && units_watch_waits(&w->units)) || http_watch_waits(&w->http);
}

static int begin_soak(Watch *w, Why *why)
{
        uint64_t start = now(w), reserve;
        int r = run_checks(w, why);

        /* what happened meanwhile is seen now and not counted as the soak's */
        w->next_look = 0;
        if (r >= 0)
                r = look_at_units(w);
        w->soaking = true;
        w->soak_since = now(w);
        /* the second round needs its time before the deadline, too */
        reserve = 2 * (w->soak_since - start) + RESERVE_SEC;
        w->soak_until = w->plan->until > reserve ? w->plan->until - reserve : 0;
        units_watch_soak(&w->units, w->soak_since);
        return r;
}

/* Everything is well at this moment. 1: and that was it. */
static int advance(Watch *w, Why *why)
{
        uint64_t at, soak;
        int r;

        if (!w->soaking) {
                r = begin_soak(w, why);
                if (r < 0 || !w->report->passed)
                        return r < 0 ? r : 1;
        }
        at = now(w);
        soak = soak_sec(w);
        if (at - w->soak_since < soak && at < w->soak_until)
                return 0;
        w->report->cut = at - w->soak_since < soak;
        w->report->watched_sec = at - w->soak_since;
        if (w->report->watched_sec == 0)
                return 1; /* they have just run */
        r = run_checks(w, why);
        return r < 0 ? r : 1;
}

/* No time is left. A unit that was seen failing once gets its second look: that much is kept free. */
static int cut_off(Watch *w, Why *why)
{
        uint64_t at = now(w);
        int r = 0;

        w->report->cut = !w->plan->once;
        w->report->watched_sec = at - (w->soaking ? w->soak_since : w->started);
        if (!w->no_units && (w->silent || units_watch_waits(&w->units)) && !w->plan->once) {
                w->source->sleep(w->source->ctx, HEALTH_SAMPLE_SEC);
                w->next_look = 0;
                r = look_at_units(w);
        }
        if (r >= 0)
                r = units_watch_end(&w->units, true, at, w->report);
        if (r >= 0)
                r = http_watch_end(&w->http, true, at, w->report);
        /* nobody is kept who was not asked */
        return r >= 0 && !w->soaking && (w->report->passed || w->plan->once) ? run_checks(w, why) : r;
}

static void rest(Watch *w)
{
        uint64_t at = now(w), wake, next_http;

        (void) http_watch_due(&w->http, at, &next_http);
        wake = MIN(MIN(w->no_units ? UINT64_MAX : w->next_look, next_http), w->plan->until);
        if (w->soaking && MIN(w->soak_since + soak_sec(w), w->soak_until) > at)
                wake = MIN(wake, MIN(w->soak_since + soak_sec(w), w->soak_until));
        wake = MIN(wake, at + HEALTH_ASK_SEC);
        if (w->source->progress)
                w->source->progress(w->source->ctx, w->soaking ? MIN(at - w->soak_since, soak_sec(w)) : 0,
                                    soak_sec(w));
        if (wake > at)
                w->source->sleep(w->source->ctx, wake - at);
}

static int watch(Watch *w, Why *why)
{
        int r;

        for (;;) {
                if ((r = look_at_units(w)) < 0 || (r = ask_endpoint(w)) < 0)
                        return r;
                if (!w->report->passed && !w->plan->once)
                        break;
                if (!waits(w)) {
                        r = advance(w, why);
                        if (r != 0)
                                return r;
                } else if (left(w, now(w)) == 0 || (w->plan->once && !http_watch_due(&w->http, now(w), NULL)))
                        return cut_off(w, why);
                rest(w);
        }
        w->report->watched_sec = now(w) - (w->soaking ? w->soak_since : w->started);
        return 0;
}

int health_watch(const HealthSource *source, const HealthPlan *plan, HealthReport *ret, Why *why)
{
        _cleanup_(health_report_done) HealthReport report = { .passed = true,
                                                              .compared = plan->baseline != NULL,
                                                              .soak_sec = plan->soak_sec };
        Watch w = { .source = source, .plan = plan, .report = &report };
        int r;

        w.started = now(&w);
        units_watch_init(&w.units, plan, w.started);
        http_watch_init(&w.http, plan, w.started);
        r = watch(&w, why);
        report.n_endpoints = w.http.n;
        report.soak_sec = soak_sec(&w);
        if (r >= 0)
                r = units_watch_end(&w.units, false, now(&w), &report);
        if (r >= 0)
                r = http_watch_end(&w.http, false, now(&w), &report);
        units_watch_done(&w.units);
        if (r < 0)
                return r;
        *ret = report;
        report = (HealthReport){ 0 };
        return 0;
}

uint64_t health_needs_sec(const HealthConfig *config, const HealthBaseline *baseline, uint64_t soak)
{
        uint64_t start = baseline->has_units ? config->timeout_sec : 0, rounds = 1;

        for (size_t i = 0; i < config->n_http; i++)
                if (config->http[i].required)
                        start = MAX(start, config->http[i].retry_for_sec + config->http[i].timeout_sec);
        if (!baseline->has_units && config->n_http == 0)
                soak = 0;
        else if (soak > 0)
                rounds = 2;
        return start + soak + rounds * baseline->checks_sec;
}
