/* SPDX-License-Identifier: MIT */
#pragma once

/* Jobs as files, in /run/gybe/jobs: ID.json says what to do, ID.progress.json how far it is, ID.result.json how it ended.
 * Whoever asks writes the first, the job the other two; a job that has the first only was never started, one that has no
 * result and does not run was killed. Knows how the files look, not what a verb does. */

#include "base/env.h"
#include "base/json.h"

#define JOB_DIR     "/run/gybe/jobs"
#define JOB_STATUS  "/run/gybe/status.json"
#define JOB_BOOT_ID "boot" /* of the job that gybe-commit.service runs; it has no request file */
#define JOB_ID_SIZE 37u

/* check, stage, finalize, update, commit, rollback: the walk.
 * reboot: asks for the reboot that is due, when its door is open. The only way in which a reboot is asked for after the job
 *         that made it due: the agent itself has no right to.
 * deliver: what waits in the outbox. unlock: gives a reboot lock back.
 * look: recovers what can be recovered and writes status.json anew. */
bool job_verb_known(const char *verb);

/* Who wants it. Strings are borrowed where they come in and owned by a Job. */
typedef struct JobRequester {
        uint64_t uid;
        const char *name; /* NULL unknown */
        const char *how;  /* "dbus", "agent", "boot", "cli" */
} JobRequester;

typedef struct JobOrder {
        const char *verb;
        const char *release;                             /* path or URL; NULL: the source's offer */
        const char *version;                             /* NULL: what the source offers */
        const char *omaha_url, *omaha_app, *omaha_track; /* an update server to ask instead; NULL none */
        bool allow_downgrade, no_reboot;
        bool override;   /* windows, waves, age and holds do not count; recorded */
        bool unattended; /* the agent's own decision: the automation level counts */
        JobRequester by;
} JobOrder;

typedef struct Job {
        char id[JOB_ID_SIZE];
        JobOrder order; /* all strings belong to text */
        uint64_t at;
        char **text;
} Job;

typedef struct JobProgress {
        char what[32]; /* "" none yet */
        uint64_t done, total, fetched, skipped, written, copied, rebuilt;
        char pace[64]; /* "paused: io pressure 23 %", "" while nothing is held back */
        uint64_t at;
        uint64_t pid; /* of the job; 0 unknown */
} JobProgress;

void job_done(Job *job);
/* -EINVAL with WHY_USAGE: no known verb, or options that do not go together. */
int job_order_check(const JobOrder *order, Why *why);
/* Writes ID.json under a fresh id. */
int job_submit(const Env *env, const JobOrder *order, char ret_id[JOB_ID_SIZE], Why *why);
int job_load(const Env *env, const char *id, Job *ret, Why *why);
int job_parse(const void *data, size_t size, Job *ret, Why *why); /* pure; fuzzed */

/* 1 and *ret, 0 there is none (or none that can be read). */
int job_progress_load(const Env *env, const char *id, JobProgress *ret);
int job_progress_save(const Env *env, const char *id, const JobProgress *p);
/* The first progress of a job, and its claim to it: -EEXIST when some process has begun it already. */
int job_claim(const Env *env, const char *id, const JobProgress *p);
/* 1 and the document, 0 none yet. ret_exit may be NULL. */
int job_result_load(const Env *env, const char *id, Json **ret, int *ret_exit);
/* Adds "exit" to the document (borrowed) and writes it; the last thing a job does. */
int job_result_save(const Env *env, const char *id, Json *document, int exit_code);

/* Ids in JOB_DIR that have a request or are the boot's, oldest first. */
int job_list(const Env *env, char ***ret);
/* All of it, or all but the result. */
int job_remove(const Env *env, const char *id);
int job_remove_request(const Env *env, const char *id);
