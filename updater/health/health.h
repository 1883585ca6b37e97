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
        bool too_late; /* not run: no time was left for it */
        int exit_code, signal;
        uint64_t seconds;
        char *output;
} HealthCheck;

typedef struct HealthChecks {
        HealthCheck *list;
        size_t n;
} HealthChecks;

/* Runs all of them, required ones first; never stops at the first failure, but starts none once budget_sec has passed. The
 * programs get GYBE_ROOT (only with a root folder), GYBE_SLOT, GYBE_VERSION, GYBE_UPDATE_ID from env_extra (NULL-terminated
 * "K=V" list). */
int health_run(const Env *env, char *const *env_extra, uint64_t timeout_sec, uint64_t budget_sec,
               HealthChecks *ret, Why *why);
void health_checks_done(HealthChecks *checks);

/* --- what this room may ask --- */

typedef struct HealthSource {
        /* Every loaded unit; -ENOSYS: nobody can say. */
        int (*units)(void *ctx, HealthUnits *ret, Why *why);
        /* One try: 0 and the status; negative, with the sentence, when there was no answer. */
        int (*http)(void *ctx, const HealthHttp *endpoint, uint64_t timeout_sec, unsigned *ret_status,
                    Why *why);
        int (*checks)(void *ctx, uint64_t timeout_sec, uint64_t budget_sec, HealthChecks *ret, Why *why);
        uint64_t (*now)(void *ctx); /* seconds after the boot; never goes back */
        void (*sleep)(void *ctx, uint64_t sec);
        void (*progress)(void *ctx, uint64_t done_sec, uint64_t total_sec); /* may be NULL */
        void *ctx;
} HealthSource;

/* --- the baseline: how things were before --- */

#define HEALTH_SAID_MAX 400u /* a sentence or a program's last line */
#define HEALTH_LIST_MAX                                                                                      \
        4096u /* units of one host that failed or were restarted; beyond it nothing is compared */
#define HEALTH_AGENT "gybed.service"

/* One thing that was asked for: a unit, a url, an executable. */
typedef struct HealthSeen {
        char *name;
        bool passed;
        char *said; /* "answered 200"; may be NULL */
} HealthSeen;

typedef struct HealthSeenList {
        HealthSeen *list;
        size_t n;
} HealthSeenList;

typedef struct HealthRestarts {
        char *name;
        uint64_t count;
        bool looping; /* restarted while we looked, or about to be */
} HealthRestarts;

typedef struct HealthBaseline {
        char *update_id;
        uint64_t taken_at;   /* on the clock */
        uint64_t uptime_sec; /* what the restart counters are counts of */
        bool has_units;      /* the service manager could be asked */
        char **failed;
        HealthRestarts *restarts;
        size_t n_restarts;
        HealthSeenList units, http, checks; /* units: the configured ones and the agent's own */
        uint64_t checks_sec;                /* what the executables took together */
} HealthBaseline;

void health_baseline_done(HealthBaseline *b);
/* Takes some seconds, and as long as the executables need. */
int health_baseline_take(const HealthSource *source, const HealthConfig *config, uint64_t budget_sec,
                         HealthBaseline *ret, Why *why);
/* Without a schema: that is the keeper's. */
Json *health_baseline_json(const HealthBaseline *b);
int health_baseline_parse(const Json *document, HealthBaseline *ret, Why *why);
const HealthSeen *health_seen(const HealthSeenList *list, const char *name);

/* --- the verdict --- */

typedef enum HealthWeight {
        HEALTH_REGRESSION, /* required, and new: decides */
        HEALTH_BEFORE,     /* was so before the update */
        HEALTH_HEALED,     /* went away by itself while we looked */
        HEALTH_WANTED,     /* asked for, but never decisive */
        HEALTH_UNKNOWN,    /* nobody can say whether it is new */
        _HEALTH_WEIGHT_MAX,
} HealthWeight;

const char *health_weight_name(HealthWeight weight);

#define HEALTH_FINDINGS_MAX 64u /* a line of history holds them all; a host with more has told its story */

typedef struct HealthFinding {
        HealthWeight weight;
        char *what; /* a unit, a url, an executable */
        char *text; /* one line, begins with it */
} HealthFinding;

typedef struct HealthReport {
        HealthChecks checks; /* of the last round */
        HealthFinding *findings;
        size_t n_findings, n_more; /* beyond the limit, counted only */
        bool passed;
        char *first_failure;            /* one line for history, NULL when passed */
        bool compared;                  /* there was a baseline of this update */
        size_t n_units, n_endpoints;    /* watched ... */
        uint64_t soak_sec, watched_sec; /* ... for so long of what was asked for */
        unsigned samples;
        bool cut; /* by the deadline */
} HealthReport;

typedef struct HealthPlan {
        const HealthConfig *config;
        const HealthBaseline *baseline; /* NULL: nothing is known about before */
        uint64_t soak_sec;
        uint64_t until;   /* in seconds after the boot, nothing is waited for beyond; UINT64_MAX: no limit */
        bool has_manager; /* a real host: its units can be asked for, or that is a finding */
        bool once;        /* one look at everything, no soak */
} HealthPlan;

/* Looks until the soak is over or a regression is found. The verdict is report->passed. Negative: it could not be asked. */
int health_watch(const HealthSource *source, const HealthPlan *plan, HealthReport *ret, Why *why);
/* What a watch may take at the most, when nothing is wrong in the end; the boot before it not counted. */
uint64_t health_needs_sec(const HealthConfig *config, const HealthBaseline *baseline, uint64_t soak_sec);

void health_report_done(HealthReport *r);
int health_report_add(HealthReport *r, HealthWeight weight, const char *what, const char *fmt, ...)
        _printf_(4, 5);
Json *health_report_json(const HealthReport *r);
/* "watched 143 units and 1 endpoint for 5m" */
char *health_report_watched(const HealthReport *r);
