/* SPDX-License-Identifier: MIT */
#pragma once

/* gybe-node without its loop, its bus and its API server: what an orchestrator wants of this node, how far that is, and what it
 * is told. Knows the contract (aks-annotations: one request, two statuses) and what gybe's status document says; knows nothing of
 * HTTP, D-Bus or slots, decides nothing about them, and waits for the API server in one place only: a few seconds, between
 * having armed and asking for the reboot.
 *
 * The order that makes it survive its own death: remembered (NodeState, on disk) before it is done, remembered before it is told.
 *
 *   request -> current -> order to gybed -> answer                            (stage)
 *   request -> current -> order to gybed -> pending + answer -> reboot -> commit  (finalize, rollback)
 */

#include "base/json.h"
#include "control/node-state.h"

typedef struct Node Node;

/* The annotations it writes. */
typedef enum NodeKey {
        NODE_KEY_STATUS,
        NODE_KEY_COMMIT,
        _NODE_KEY_MAX,
} NodeKey;

typedef struct NodeOrder {
        NodeOperation verb;
        bool no_reboot;
        const char *version;                 /* stage */
        const char *server, *app_id, *track; /* stage; NULL: from the source this host has */
} NodeOrder;

/* Each begins something and returns; its answer comes through the node_on_ function of that name, always, once. */
typedef struct NodeOps {
        void (*describe)(void *ctx);
        void (*order)(void *ctx, const NodeOrder *order);
        void (*ask_job)(void *ctx, const char *id);
        void (*publish)(void *ctx, NodeKey key, const char *text);
        /* durable when it returns */
        int (*save)(void *ctx, const NodeState *state, Why *why);
        uint64_t (*now)(void *ctx);       /* seconds since the epoch */
        uint64_t (*monotonic)(void *ctx); /* milliseconds */
        unsigned (*random)(void *ctx);
        void *ctx;
} NodeOps;

typedef struct NodeOptions {
        const char *boot_id;
        uint64_t stage_timeout_sec, finalize_timeout_sec, heartbeat_sec;
} NodeOptions;

/* takes state on success; ops and options are copied, boot_id too */
int node_new(const NodeOps *ops, const NodeOptions *options, NodeState *state, Node **ret);
Node *node_free(Node *node);
void node_freep(Node **node);

/* Does what can be done now. When to call it again at the latest, in monotonic milliseconds; UINT64_MAX: when something happens. */
uint64_t node_step(Node *node);
const NodeState *node_state(const Node *node);
/* One line for people: what goes on. */
const char *node_tell(const Node *node);

/* --- what happens --- */

/* The Node object as the API server has it; an annotation that is not there is NULL. */
void node_on_object(Node *node, const char *uid, const char *request,
                    const char *const statuses[_NODE_KEY_MAX]);
/* There is no such Node (any more). */
void node_on_gone(Node *node);
/* Something happened to gybed or to a job of its: worth a look. */
void node_on_engine(Node *node);

/* status: gybe.status/1, or NULL and why; version: what runs, NULL unknown */
void node_on_describe(Node *node, const Json *status, const char *version, const Why *why);
/* id of the job, or NULL and why */
void node_on_order(Node *node, const char *id, const Why *why);
typedef enum NodeJob {
        NODE_JOB_RUNS,
        NODE_JOB_ENDED,
        NODE_JOB_UNKNOWN,   /* of another boot */
        NODE_JOB_NO_ANSWER, /* nobody could be asked */
} NodeJob;
void node_on_job(Node *node, NodeJob is, int exit_code, const Json *result);
/* retry_sec 0: the usual pause */
void node_on_publish(Node *node, bool done, uint64_t retry_sec);
