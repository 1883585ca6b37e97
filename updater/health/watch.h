/* SPDX-License-Identifier: MIT */
#pragma once

/* The judges of a watch, one for units and one for endpoints: each takes what was seen and when, and adds findings to the
 * report. Pure but for memory. Used inside this room only. */

#include "health/health.h"

#define HEALTH_SAMPLE_SEC 5u  /* between two looks at the units */
#define HEALTH_ASK_SEC    10u /* between two questions to an endpoint that answers well */

/* --- units.c --- */

void health_unit_done(HealthUnit *u);
void health_units_sort(HealthUnits *units);
const HealthUnit *health_unit_find(const HealthUnits *sorted, const char *name);
bool health_unit_counts(const HealthUnit *u, const HealthConfig *config);
bool health_unit_failed(const HealthUnit *u);
bool health_unit_active(const HealthUnit *u);
void health_unit_state(const HealthUnit *u, char *out, size_t size);

/* --- watch-units.c --- */

/* A unit that must be active. */
typedef struct MustUnit {
        const char *name;
        bool if_started;  /* the agent where it is not known to have run before: may as well be off */
        bool before;      /* was not active before the update either */
        bool seen_active; /* in this watch */
        bool down;        /* at the last sample, and it matters */
        unsigned down_in_a_row;
        uint64_t down_since;
        bool told;
} MustUnit;

/* A unit that did something worth remembering. */
typedef struct OddUnit {
        char *name;
        unsigned failed_in_a_row;
        uint64_t failed_at;
        uint64_t restarts; /* since the soak began */
        uint64_t last_restart_at;
        bool told, told_restarts;
} OddUnit;

typedef struct UnitsWatch {
        const HealthPlan *plan;
        HealthUnits last; /* sorted */
        bool has_last, soaking;
        uint64_t started, soak_since;
        OddUnit *odd;
        size_t n_odd;
        MustUnit must[HEALTH_UNITS_MAX + 1];
        size_t n_must;
} UnitsWatch;

void units_watch_init(UnitsWatch *w, const HealthPlan *plan, uint64_t now);
void units_watch_done(UnitsWatch *w);
/* Takes *units. */
int units_watch_look(UnitsWatch *w, HealthUnits *units, uint64_t now, HealthReport *report);
/* Restarts count from here on. */
void units_watch_soak(UnitsWatch *w, uint64_t now);
/* Something is neither well nor a regression yet. */
bool units_watch_waits(const UnitsWatch *w);
/* What should be told of the rest. cut: no time is left, what is not well now is a regression. */
int units_watch_end(UnitsWatch *w, bool cut, uint64_t now, HealthReport *report);

/* --- watch-http.c --- */

typedef struct EndpointWatch {
        const HealthHttp *endpoint;
        bool before, asked, seen_good, failing;
        bool told, told_healed;
        uint64_t next, failing_since;
        char shown[160]; /* its address, without what may be secret */
        char said[160];  /* "answered 500" */
} EndpointWatch;

typedef struct HttpWatch {
        const HealthPlan *plan;
        EndpointWatch list[HEALTH_HTTP_MAX];
        size_t n;
} HttpWatch;

void http_watch_init(HttpWatch *w, const HealthPlan *plan, uint64_t now);
/* The one whose turn it is, NULL none; *ret_next (may be NULL): when the next one's comes. */
EndpointWatch *http_watch_due(HttpWatch *w, uint64_t now, uint64_t *ret_next);
/* asked_at: when the try began. status 0: no answer, because of that. */
int http_watch_answer(HttpWatch *w, EndpointWatch *e, unsigned status, const char *because, uint64_t asked_at,
                      uint64_t now, HealthReport *report);
bool http_watch_waits(const HttpWatch *w);
int http_watch_end(HttpWatch *w, bool cut, uint64_t now, HealthReport *report);

/* What an endpoint did in this try, as a sentence says it: "answered 500", "did not answer (connection refused)".
 * shown: its address as sentences name it. */
void http_said(const char *shown, unsigned status, const char *because, char *out, size_t size);
bool http_good(const HealthHttp *endpoint, unsigned status);

/* --- report.c --- */

/* "exit code 3: no route to host" */
char *health_check_said(const HealthCheck *c);
/* What the executables of this round mean. */
int health_judge_checks(const HealthPlan *plan, HealthReport *report);
