/* SPDX-License-Identifier: MIT */
#pragma once

/* The agent, asked over the system bus: gybe's side of org.gybe.Update1. Errors of the bus come back as the Why that the agent
 * filled, so that whoever asks need not know who answered. */

#include "base/json.h"
#include "control/explain.h"
#include "control/job.h"
#include "control/progress.h"

typedef struct Remote Remote;

/* 1: an agent runs, or the bus can start one. 0: there is no bus, or nobody on it: do it yourself. */
int remote_open(Remote **ret, Why *why);
Remote *remote_free(Remote *remote);
void remote_freep(Remote **remote);

/* A method whose answer is a document: Describe, ListQuarantine, Audit. */
int remote_read(Remote *remote, const char *member, Json **ret, Why *why);
int remote_explain(Remote *remote, const ExplainQuestion *question, Json **ret, Why *why);
/* A method that answers nothing: Pin, Unpin, Unhold, Skip, Unskip, Reload. text NULL: it takes none. */
int remote_tell(Remote *remote, const char *member, const char *text, Why *why);
int remote_hold(Remote *remote, uint64_t until /* seconds; UINT64_MAX for ever */, const char *reason,
                Why *why);
int remote_clear_quarantine(Remote *remote, const char *id /* NULL: all */, unsigned *ret_cleared, Why *why);

typedef struct RemoteWatch {
        void (*progress)(void *ctx, const ProgressValues *values);
        void (*state)(void *ctx, const char *line); /* a sentence about what goes on now; may be NULL */
        void *ctx;
} RemoteWatch;

/* Orders a job and follows it to its end. 0: *ret_result (without what only the files need) and *ret_exit say how it ended.
 * -EINTR with an empty Why: a signal ended the watching, the job goes on. ret_id is filled as soon as it is known. */
int remote_job(Remote *remote, const JobOrder *order, const RemoteWatch *watch, char ret_id[JOB_ID_SIZE],
               Json **ret_result, int *ret_exit, Why *why);
/* Follows whatever runs until nothing does; at once when nothing runs. */
int remote_watch(Remote *remote, const RemoteWatch *watch, Why *why);
