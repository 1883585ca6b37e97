/* SPDX-License-Identifier: MIT */
#pragma once

/* What gybe-node must remember: the operation it is at, the boot it waits for, and every answer it gave. Written before it acts
 * and before it tells, in /var/lib/gybe-node/state.json (gybe.node/1), which both slots share. Never read by the rest of gybe:
 * what moved and what was kept is in gybe's own journal. */

#include "base/env.h"
#include "control/node-status.h"

#define NODE_STATE_DIR     "/var/lib/gybe-node"
#define NODE_STATE_FILE    "state.json"
#define NODE_ANSWERS_MAX   64u             /* of the past; an update makes three */
#define NODE_STATE_MAX     (1024u * 1024u) /* 64 answers with two messages of 2 KiB each */
#define NODE_JOB_ID_SIZE   37u
#define NODE_BOOT_ID_SIZE  40u
#define NODE_UPDATE_ID_MAX 40u

/* The operation that runs. */
typedef struct NodeCurrent {
        bool set;
        NodeRequest request;
        uint64_t started;
        char *from_version;
        char boot_id[NODE_BOOT_ID_SIZE]; /* in which it was begun */
        char before[NODE_UPDATE_ID_MAX]; /* gybe's update then; "-" none, "" nobody looked yet */
        char job[NODE_JOB_ID_SIZE];      /* the order that was given; "" none yet */
} NodeCurrent;

/* A finalize or rollback that was armed: after the next boot somebody has to say how it went. */
typedef struct NodePending {
        bool set;
        char node_update_id[NODE_UUID_SIZE], operation_id[NODE_UUID_SIZE];
        NodeOperation operation;
        char *from_version, *to_version;
        uint64_t started;                   /* of the operation */
        uint64_t commit_started;            /* 0: not yet */
        char boot_id[NODE_BOOT_ID_SIZE];    /* in which it was armed; "": an earlier one */
        char update_id[NODE_UPDATE_ID_MAX]; /* gybe's */
} NodePending;

/* An answer that was given, or is to be. */
typedef struct NodeAnswer {
        NodeStatus *operation, *commit; /* commit NULL: none (yet) */
        bool told, commit_told;         /* the API server has had it */
} NodeAnswer;

typedef struct NodeState {
        char node_uid[64];
        NodeCurrent current;
        NodePending pending;
        NodeAnswer *answers; /* oldest first */
        size_t n_answers;
        Json *unknown; /* the document as read: fields of later versions survive */
} NodeState;

void node_state_done(NodeState *s);
void node_current_done(NodeCurrent *c);
void node_pending_done(NodePending *p);

NodeAnswer *node_state_find(const NodeState *s, const char *operation_id);
/* Adds one, takes operation on success. The oldest that nobody needs any more goes. */
int node_state_add(NodeState *s, NodeStatus *operation);

int node_state_parse(const void *data, size_t size, NodeState *ret, Why *why); /* pure; fuzzed */
int node_state_format(const NodeState *s, char **ret);
/* A file that cannot be read is lost, kept as state.json.lost, and said in *lost. */
int node_state_load(const Env *env, NodeState *ret, Why *lost, Why *why);
int node_state_save(const Env *env, const NodeState *s, Why *why);
