/* SPDX-License-Identifier: MIT */
#pragma once

/* Did it work? Three kinds of witnesses: executables in health.d/required.d and wanted.d of /usr/lib/gybe and /etc/gybe, units
 * of the service manager, and endpoints that answer HTTP. What failed before the update is written down (the baseline), and
 * afterwards only what is new counts, for as long as the soak lasts.
 *
 * This room judges; it asks nobody itself. Units, answers, the clock and sleep come in through HealthSource, so that a test
 * can tell the story of a boot in no time. It knows nothing of slots, and opens no file but the executables. */

#include "base/env.h"
#include "base/json.h"

#define HEALTH_OUTPUT_MAX  (8u * 1024u) /* per check, its end: what it says last explains it */
#define HEALTH_CHECKS_MAX  128u
#define HEALTH_TIMEOUT_SEC 120u

/* --- health.* of gybe.json --- */

#define HEALTH_NAME_MAX      255u  /* systemd's own limit of a unit's name */
#define HEALTH_URL_MAX       2048u /* an address that somebody typed */
#define HEALTH_UNITS_MAX     64u   /* what a node must have running, named one by one */
#define HEALTH_HTTP_MAX      16u   /* asked one after the other every few seconds */
#define HEALTH_MASKS_MAX     64u
#define HEALTH_TRY_MAX_SEC   60u        /* an endpoint that needs longer is not the health of anything */
#define HEALTH_LIMIT_MAX_SEC (60u * 60) /* a trial boot is to end the same night */
#define HEALTH_RESTARTS_MAX  1000u

typedef struct HealthHttp {
        char *url;
        bool required;
        unsigned status;        /* the one it must answer; 0: any from 200 to 299 */
        uint64_t timeout_sec;   /* of one try */
        uint64_t retry_for_sec; /* so long it may fail in a row */
} HealthHttp;

typedef struct HealthConfig {
        char **units; /* must become active, and stay so */
        HealthHttp *http;
        size_t n_http;
        bool failed_units;      /* a unit that failed and had not before counts */
        unsigned restart_limit; /* so often a service may be restarted during the soak */
        uint64_t timeout_sec;   /* for a unit to become active, and for an executable to end */
        char **masks;           /* units that never count; shell patterns */
} HealthConfig;

#define HEALTH_CONFIG_DEFAULT                                                                                \
        (HealthConfig)                                                                                       \
        {                                                                                                    \
                .failed_units = true, .restart_limit = 3, .timeout_sec = HEALTH_TIMEOUT_SEC                  \
        }

/* The member "health", NULL when there is none. Pure. Wrong: -EINVAL with WHY_USAGE, and *ret has the defaults. */
int health_config_parse(const Json *health, HealthConfig *ret, Why *why);
void health_config_done(HealthConfig *config);

/* --- units --- */

/* One unit as the service manager knows it. */
typedef struct HealthUnit {
        char *name;
        char *load_state, *active_state, *sub_state; /* as systemd names them */
        char *result;       /* of a failed unit: "exit-code", "oom-kill"; NULL unknown */
        uint64_t since_sec; /* of its state, after the boot; 0 unknown */
        uint64_t restarts;  /* NRestarts; 0 for units that are not services */
} HealthUnit;

typedef struct HealthUnits {
        HealthUnit *units;
        size_t n_units;
} HealthUnits;

void health_units_done(HealthUnits *units);

/* --- executables --- */

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
