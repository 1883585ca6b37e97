/* SPDX-License-Identifier: MIT */
#pragma once

/* The agent: what gybed knows and decides, without its event loop and without its bus. It reads status.json, journal.json,
 * policy and configuration, keeps one job running at a time, and says when it wants to be woken next. It never opens a
 * block device, never speaks HTTP and never asks for a reboot itself: that is a job too (verb "reboot", job.h; an unattended
 * finalize asks for its own when the door is open).
 *
 * Nothing here needs to survive gybed: a running job goes on and is found again by its files and the lock, and what is kept in
 * /var/lib/gybe/agent.json (last check, back-off) can be lost without harm. */

#include "base/env.h"
#include "base/json.h"
#include "control/job.h"
#include "policy/policy.h"

typedef struct Agent Agent;

/* What of gybe.json concerns the agent; main-gybed.c fills it. */
typedef struct AgentSettings {
        bool has_source;
        uint64_t interval; /* seconds between two checks */
        Why problem;       /* the first thing that is wrong in the configuration */
} AgentSettings;

/* What changed since the last time, for signals: bits. */
typedef enum AgentChange {
        AGENT_CHANGED_STATUS =
                1 << 0, /* phase, slots, versions, last outcome: a new status.json or journal */
        AGENT_CHANGED_PROGRESS = 1 << 1, /* of the running job; at most about two a second */
        AGENT_CHANGED_NEXT = 1 << 2,     /* next action, its time or its reason */
        AGENT_CHANGED_JOB = 1 << 3,      /* a job began or ended */
        AGENT_CHANGED_POLICY = 1 << 4,   /* rules were read anew (agent_reload()) */
} AgentChange;

/* How jobs are run: as units, as detached children, or by a test. */
typedef struct AgentRunner {
        /* *ret_pid: its process where that is known already, else 0 */
        int (*start)(void *ctx, const char *id, uint64_t *ret_pid, Why *why);
        /* 1 it runs or will, 0 it does not, negative: not known */
        int (*runs)(void *ctx, const char *id);
        void *ctx;
} AgentRunner;

typedef struct AgentOptions {
        const Env *env;
        AgentRunner runner;
        int (*load_settings)(void *ctx, AgentSettings *ret);
        /* Both are called from within the functions below, when their work is done; they may ask, not change. */
        void (*changed)(void *ctx, unsigned change_bits);
        /* Once for every job, whoever asked for it. result is borrowed. */
        void (*job_ended)(void *ctx, const char *id, const char *verb, int exit_code, const Json *result);
        void *ctx;
} AgentOptions;

/* life cycle */
int agent_open(const AgentOptions *options, Agent **ret, Why *why);
Agent *agent_free(Agent *agent);
void agent_freep(Agent **agent);

/* Looks at everything, takes in what ended, starts what is due. *ret_wake: when to come again at the latest (seconds since the
 * epoch; UINT64_MAX: not before something happens). To be called at that time, after a change in the folders that
 * main-gybed.c watches, when the process of agent_watched_pid() ends, and when the clock was set. */
int agent_step(Agent *agent, uint64_t now, uint64_t *ret_wake, Why *why);
/* The process whose end is of interest (the running job, or a gybe that holds the lock); 0 none. */
uint64_t agent_watched_pid(const Agent *agent);
/* It ended: until another process is watched, nobody of that number is taken for it. Step afterwards. */
void agent_process_ended(Agent *agent, uint64_t pid);
/* Configuration and policy anew; back-offs are forgotten, so that what an operator has put right is tried at once. Step
 * afterwards. What is wrong in the files is said in *why and left out, as everywhere. */
int agent_reload(Agent *agent, Why *why);

/* Somebody wants a job. Written at once, so that it survives gybed; started now, or when the running one has ended.
 * -EINVAL WHY_USAGE, -EBUSY WHY_BUSY when too many wait. Step afterwards. */
int agent_request(Agent *agent, const JobOrder *order, char ret_id[JOB_ID_SIZE], Why *why);

/* --- questions: borrowed, valid until the next call above --- */

typedef struct AgentSlot {
        const char *state;    /* as `gybe status` says it; NULL unknown */
        const char *version;  /* NULL unknown */
        const char *roothash; /* NULL unknown */
        uint64_t serial;      /* 0 unknown */
        bool running;
} AgentSlot;

typedef struct AgentProperties {
        const char *phase; /* "idle" ... "probation" */
        const char *product, *channel;
        const char *running; /* "a", "b"; NULL unknown */
        AgentSlot slots[2];
        const char *version;        /* of what runs; NULL unknown */
        const char *target_version; /* of the update in progress; NULL none */
        /* Armed, and the slot that runs is not the target: the next boot is the one that counts. Known only in the boot that this
         * is (a journal alone may be from before it). */
        bool reboot_awaited;
        const char *offered_version; /* by the last check; NULL nothing newer */
        uint64_t offered_serial, offered_issued;
        const char *outcome, *reason, *message; /* of the last update; NULL none */

        const char *next_action;  /* check, stage, finalize, reboot, commit, deliver, unlock, look, none */
        uint64_t next_at;         /* 0 now, UINT64_MAX when something changes */
        const char *next_rule;    /* the rule that decided; NULL none */
        const char *next_because; /* one sentence */

        const char *job_id, *job_verb; /* NULL: no job runs */
        JobProgress progress;
        uint64_t last_check;    /* 0 never */
        const char *last_error; /* of the last job that failed; NULL since one succeeded */
} AgentProperties;

const AgentProperties *agent_properties(Agent *agent);
/* The rules that count now. */
const Policy *agent_policy(const Agent *agent);
/* gybe.status/1 as the last job left it, with the agent's "next", "job" and "progress". The caller unrefs. */
Json *agent_status_json(Agent *agent);
