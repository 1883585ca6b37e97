/* SPDX-License-Identifier: MIT */
#pragma once

/* What the agent remembers from one job to the next and across its own restarts: when it asked, what was offered, what failed
 * how often. /var/lib/gybe/agent.json; losing it costs an early check and a back-off that starts over, never a decision about a
 * slot. What the update waits for is in its journal, and nowhere else. Used inside this room only. */

#include "base/env.h"
#include "base/json.h"
#include "control/job.h"

/* What the agent may do next. In the order in which they go when several are due. */
typedef enum Action {
        ACTION_NONE,
        ACTION_LOOK, /* nobody has told how things are since the boot, or since somebody else changed them */
        ACTION_UNLOCK, /* others wait for the reboot lock */
        ACTION_REBOOT,
        ACTION_FINALIZE,
        ACTION_DELIVER,
        ACTION_CHECK, /* before stage: a newer release is taken at once instead of second */
        ACTION_STAGE,
        ACTION_COMMIT, /* only told: gybe-commit.service does it */
        _ACTION_MAX,
        _ACTION_INVALID = -22,
} Action;

const char *action_name(Action action); /* also the verb of its job */
Action action_from_name(const char *name);

typedef enum RetryKind {
        RETRY_NONE,
        RETRY_VANISHED, /* killed: no result */
        RETRY_NETWORK,
        RETRY_HOST,  /* an admin must look: disk full, unknown layout */
        RETRY_IMAGE, /* a broken container that nothing signed contradicts: somebody may upload it again */
        RETRY_BUSY,
        RETRY_RULE, /* the job was refused by a rule that the agent did not see coming */
        RETRY_TRUST,
        _RETRY_MAX,
        _RETRY_INVALID = -22,
} RetryKind;

#define MEMORY_TEXT 240u

typedef struct Retry {
        RetryKind kind;
        unsigned failures; /* in a row */
        uint64_t last;     /* when the last one was noticed */
        char text[MEMORY_TEXT];
} Retry;

/* The newest release that a check of the source found, while it is newer than what runs. */
typedef struct MemoryOffer {
        char *version; /* NULL: none */
        uint64_t serial, issued;
        char roothash[65], uki_sha256[65];
} MemoryOffer;

typedef struct Memory {
        uint64_t last_check;
        MemoryOffer offer;
        Retry retry[_ACTION_MAX];

        /* This content is not taken again before something else is offered. */
        char refused[65]; /* root hash; "" none */
        char refused_code[48], refused_text[MEMORY_TEXT];
        char spoiled[65];   /* root hash of what was staged well and then found changed ... */
        unsigned n_spoiled; /* ... so often in a row */

        uint64_t ended_at[_ACTION_MAX]; /* the agent's own last job; not written down */

        char **ended; /* jobs whose results were taken in, oldest first */
} Memory;

#define MEMORY_ENDED_MAX 32u /* results that stay readable for whoever comes late */

void memory_done(Memory *m);
/* A missing or unusable file is an empty memory. */
int memory_load(const Env *env, Memory *ret);
int memory_save(const Env *env, const Memory *m, Why *why);

/* pure */

typedef struct MemoryEvent {
        const char *verb;
        bool unattended; /* the agent's own: failures count against its retries */
        bool of_source;  /* nobody named another release: the answer is what the source offers */
        bool vanished;   /* no result */
        int exit_code;
        const Json *result;    /* NULL when vanished */
        const char *update_id; /* of the journal, afterwards; NULL none */
        const char *roothash;  /* of the update at hand before the job; NULL none */
} MemoryEvent;

/* Takes in how a job ended. -ENOMEM. */
int memory_note(Memory *m, const MemoryEvent *e, uint64_t now);
/* Back-offs are forgotten; refusals stay. */
void memory_forget_retries(Memory *m);
/* When the next try is due; 0 when nothing failed. seed spreads a fleet. */
uint64_t memory_retry_at(const Retry *r, uint64_t now, uint64_t seed);
/* *ret_evicted: the one that made room, to be freed; NULL none. */
int memory_add_ended(Memory *m, const char *key, char **ret_evicted);
/* The sentence of an error object or of a result that did not do all; NULL: it was a success. Borrowed. */
const char *memory_complaint(const Json *result);
