/* SPDX-License-Identifier: MIT */
#pragma once

/* Did it work? Executables in health.d/required.d and wanted.d of /usr/lib/gybe and /etc/gybe, in name order; a name in
 * /etc masks the same name in /usr/lib (an empty file or a link to /dev/null switches it off). Each gets a time limit and its
 * output is kept. Knows nothing of slots. */

#include "base/env.h"
#include "base/json.h"

#define HEALTH_OUTPUT_MAX  (8u * 1024u) /* per check, its end: what it says last explains it */
#define HEALTH_CHECKS_MAX  128u
#define HEALTH_TIMEOUT_SEC 120u

/* One unit as the service manager knows it. */
typedef struct HealthUnit {
        char *name;
        char *load_state, *active_state, *sub_state; /* as systemd names them */
        uint64_t restarts;                           /* NRestarts; 0 for units that are not services */
} HealthUnit;

typedef struct HealthUnits {
        HealthUnit *units;
        size_t n_units;
} HealthUnits;

void health_units_done(HealthUnits *units);

typedef struct HealthCheck {
        char *name; /* "required.d/10-network" */
        bool required;
        bool passed, timed_out;
        int exit_code, signal;
        uint64_t seconds;
        char *output;
} HealthCheck;

typedef struct HealthReport {
        HealthCheck *checks;
        size_t n_checks;
        bool passed;         /* every required one */
        char *first_failure; /* one line for history, NULL when passed */
} HealthReport;

/* Runs all of them, required ones first; never stops at the first failure. The programs get GYBE_ROOT (only with a root
 * folder), GYBE_SLOT, GYBE_VERSION, GYBE_UPDATE_ID from env_extra (NULL-terminated "K=V" list). */
int health_run(const Env *env, char *const *env_extra, uint64_t timeout_sec, HealthReport *ret, Why *why);
void health_report_done(HealthReport *r);
Json *health_report_json(const HealthReport *r);
