/* SPDX-License-Identifier: MIT */
#pragma once

/* The inside of the agent, shared by its files: agent.c (the step), agent-jobs.c (what runs, what ended, what is started),
 * agent-view.c (what others may ask), agent-tell.c (what the journal hears). */

#include "control/agent.h"
#include "control/schedule.h"

/* A file is read again when any of this is different. */
typedef struct FileId {
        uint64_t dev, ino, size;
        int64_t mtime_sec, mtime_nsec;
        bool exists;
} FileId;

/* A result that was taken in and is yet to be told. */
typedef struct AgentEnded {
        char id[JOB_ID_SIZE];
        char *verb;
        int exit_code;
        Json *result;
} AgentEnded;

typedef struct AgentRunning {
        char id[JOB_ID_SIZE]; /* "": none */
        char *verb;
        JobProgress progress;  /* pid 0: it has not said a word yet */
        uint64_t pid;          /* of one that has not said a word; 0 not known */
        uint64_t silent_since; /* when it was started, or found without a word */
} AgentRunning;

struct Agent {
        AgentOptions o;
        const Env *env;
        uint64_t now, started_at, seed;
        char *machine_id;

        AgentSettings settings;
        Policy policy;
        Why policy_why;

        Memory memory;
        bool memory_changed;

        Journal journal;
        FileId journal_id, status_id;
        FileId seen_journal; /* as it was when the last job had written status.json */
        Json *status;        /* gybe.status/1; NULL: none yet */

        AgentRunning running;
        uint64_t lock_pid;         /* somebody else holds the lock; 0 not known who */
        bool locked;               /* by somebody who is no job of ours */
        uint64_t dead_pid;         /* its end was seen ... */
        char dead_id[JOB_ID_SIZE]; /* ... as this job; "": as a holder of the lock */
        uint64_t
                recheck; /* something that cannot be waited for has to be looked at again; UINT64_MAX: nothing */

        AgentEnded *ended;
        size_t n_ended;
        char last_error[MEMORY_TEXT];

        Schedule plan;
        AgentProperties view;
        unsigned changes;
        char told[128]; /* what the journal was told last about waiting */
};

/* Takes in every result, finds what runs, declares dead what was killed. */
int agent_collect(Agent *a, Why *why);
/* Starts what waits, else what the plan says is due. */
int agent_start_due(Agent *a, Why *why);
/* Tells what agent_collect() took in. */
void agent_tell_ended(Agent *a);
bool agent_busy(const Agent *a);
/* agent-tell.c */
void agent_tell_waiting(Agent *a);

FileId agent_file_id(const Env *env, const char *path);
bool agent_file_same(const FileId *a, const FileId *b);
void agent_read_status(Agent *a);
/* Plan and properties anew; remembers what of them changed. */
void agent_replan(Agent *a);
void agent_refresh_view(Agent *a);
