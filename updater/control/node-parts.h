/* SPDX-License-Identifier: MIT */
#pragma once

/* Between the files of the node: events and the one step (node.c), the operation that runs (node-operate.c), the boot that is
 * waited for (node-commit.c), what is told (node-publish.c). */

#include "control/node.h"

#define NEVER          UINT64_MAX
#define SEC            UINT64_C(1000)
#define POLL_MS        (10 * SEC) /* a signal comes sooner; this is for those that were missed */
#define BUSY_MS        (5 * SEC)
#define SAVE_AGAIN_MS  (10 * SEC)
#define PUBLISH_MIN_MS (2 * SEC)
#define PUBLISH_MAX_MS (30 * SEC)
#define GOODBYE_TRIES  3u         /* of the last word before a reboot, PUBLISH_MIN_MS apart ... */
#define GOODBYE_MS     (15 * SEC) /* ... and however long each takes */
#define REFUSED_MS     (60 * SEC) /* a reboot that was refused is asked for again */
#define AGAIN_MS                                                                                             \
        (20 * SEC) /* gybed itself tries a slot once more that may have met a power cut, or it does not */
#define TEXT_SIZE    (2 * NODE_MESSAGE_MAX) /* a longer one is cut by who knows how */
#define UNDECIDED_MS (120 * SEC)            /* gybe says nothing about this update, and nothing is at work */

/* Of the operation, in memory: after a restart it begins with a look. */
typedef enum NodeStep {
        NODE_LOOK,   /* what does gybe say? */
        NODE_DECIDE, /* it said */
        NODE_ORDER,  /* to be given at `at` */
        NODE_ASK,    /* how is the job? at `at` */
        NODE_AFTER,  /* the job ended; what does gybe say now? */
        NODE_CONCLUDE,
} NodeStep;

/* Of the boot that is waited for. */
typedef enum NodeWait {
        WAIT_GOODBYE, /* armed; the answer is told first */
        WAIT_LOOK,    /* is it still armed? */
        WAIT_REBOOT,  /* the reboot is asked for at `at` */
        WAIT_ASKED,   /* how did the job that asks for it end? */
        WAIT_DOWN,    /* the machine goes down; asked again at `at` */
        WAIT_DISARM,  /* it was refused too long: taken back */
        WAIT_VERDICT, /* after the boot */
} NodeWait;

struct Node {
        NodeOps ops;
        uint64_t stage_timeout_ms, finalize_timeout_ms, heartbeat_ms;
        char boot_id[NODE_BOOT_ID_SIZE];
        NodeState state;
        uint64_t now_ms, wake, save_again_at;
        bool dirty; /* the state is ahead of the disk */
        char line[160];

        /* the Node object */
        bool present;
        char *request_text, *noise; /* noise: what was complained about already */
        int request_is;             /* NodeRequestIs of request_text */
        NodeRequest request;
        Why request_why;
        NodeStatus *seen[_NODE_KEY_MAX]; /* of status_text; NULL: none, or none of ours */

        /* gybe */
        Json *engine; /* its last word; NULL: none since somebody asked for a new one */
        char *version;
        Why engine_why;
        bool describing, ordering, asking, publishing, poke;
        uint64_t ask_at;
        char asked[NODE_JOB_ID_SIZE]; /* the job that was asked about */

        /* the operation */
        NodeStep step;
        uint64_t step_at, deadline;
        int job_exit;
        Json *job_result;
        NodeStatus *progress; /* what is told while it runs */

        /* the boot */
        NodeWait wait;
        char wait_job[NODE_JOB_ID_SIZE];
        uint64_t wait_at, goodbye_until, refused_since, undecided_since;
        unsigned goodbye_tries;
        NodeStatus *commit_progress;

        /* telling */
        NodeStatus *sent; /* on its way */
        NodeKey sent_key;
        uint64_t publish_at, publish_pause, beat[_NODE_KEY_MAX];
};

/* node.c */
uint64_t node_time(const Node *n); /* never before what was stamped already */
int node_save(Node *n);
void node_wake(Node *n, uint64_t at);
bool node_wants_engine(Node *n); /* true when there is a fresh word of gybe's; asks for one otherwise */
void node_forget_engine(Node *n);
void node_ask_job(Node *n, const char *id);
const char *node_engine_text(const Node *n, const char *object, const char *key);
int node_status_new(const Node *n, const char *node_update_id, const char *operation_id, NodeOperation o,
                    NodeCode code, uint64_t started, const char *from, const char *to, const char *text,
                    NodeStatus **ret);

/* node-operate.c */
void node_begin(Node *n);
bool node_operate(Node *n); /* true: something changed, step again */
void node_ordered(Node *n, const char *id, const Why *why);
void node_job(Node *n, NodeJob is, int exit_code, const Json *result);
void node_refuse(Node *n, const NodeRequest *request, const char *text);

/* node-commit.c */
int node_pend(Node *n, bool armed_now); /* the operation becomes a boot that is waited for */
bool node_await(Node *n);
void node_await_ordered(Node *n, const char *id, const Why *why);
void node_await_job(Node *n, NodeJob is, int exit_code, const Json *result);
void node_await_begin(Node *n);

/* node-publish.c */
bool node_publish(Node *n);
bool node_told(const Node *n, const char *operation_id);
