/* SPDX-License-Identifier: MIT */

#include "control/node-parts.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define STEPS_MAX 32u /* in one go; more would be a circle */

/* --- life cycle --- */

int node_new(const NodeOps *ops, const NodeOptions *options, NodeState *state, Node **ret)
{
        Node *n = calloc(1, sizeof(*n));

        if (!n)
                return -ENOMEM;
        n->ops = *ops;
        n->stage_timeout_ms = options->stage_timeout_sec * SEC;
        n->finalize_timeout_ms = options->finalize_timeout_sec * SEC;
        n->heartbeat_ms = options->heartbeat_sec * SEC;
        (void) snprintf(n->boot_id, sizeof(n->boot_id), "%s", options->boot_id);
        n->state = *state;
        *state = (NodeState){ 0 };
        n->now_ms = ops->monotonic(ops->ctx);
        if (n->state.pending.set)
                node_await_begin(n);
        *ret = n;
        return 0;
}

Node *node_free(Node *n)
{
        if (!n)
                return NULL;
        node_state_done(&n->state);
        node_request_done(&n->request);
        free(n->request_text);
        free(n->noise);
        for (NodeKey k = 0; k < _NODE_KEY_MAX; k++) {
                node_status_free(n->seen[k]);
        }
        json_unref(n->engine);
        json_unref(n->job_result);
        free(n->version);
        node_status_free(n->progress);
        node_status_free(n->commit_progress);
        node_status_free(n->sent);
        free(n);
        return NULL;
}

void node_freep(Node **n)
{
        *n = node_free(*n);
}

const NodeState *node_state(const Node *n)
{
        return &n->state;
}

/* --- parts --- */

/* A machine without a battery wakes up years ago. What was stamped once is not undercut. */
uint64_t node_time(const Node *n)
{
        uint64_t t = n->ops.now(n->ops.ctx);

        for (size_t i = 0; i < n->state.n_answers; i++) {
                const NodeAnswer *a = &n->state.answers[i];

                t = MAX(t, a->operation->finished);
                if (a->commit)
                        t = MAX(t, a->commit->finished);
        }
        if (n->state.current.set)
                t = MAX(t, n->state.current.started);
        if (n->state.pending.set)
                t = MAX(t, MAX(n->state.pending.started, n->state.pending.commit_started));
        return t;
}

int node_save(Node *n)
{
        Why why = { 0 };
        int r = n->ops.save(n->ops.ctx, &n->state, &why);

        n->dirty = r < 0;
        if (r >= 0)
                return 0;
        log_warning("%s; nothing is done or told before that is written down", why.text);
        n->save_again_at = n->now_ms + SAVE_AGAIN_MS;
        return r;
}

void node_wake(Node *n, uint64_t at)
{
        n->wake = MIN(n->wake, at);
}

void node_forget_engine(Node *n)
{
        n->engine = json_unref(n->engine);
        n->engine_why = (Why){ 0 };
        n->ask_at = 0;
}

bool node_wants_engine(Node *n)
{
        if (n->engine)
                return true;
        if (n->describing)
                return false;
        if (n->ask_at > n->now_ms) {
                node_wake(n, n->ask_at);
                return false;
        }
        n->describing = true;
        n->ask_at = n->now_ms + BUSY_MS;
        n->ops.describe(n->ops.ctx);
        return false;
}

void node_ask_job(Node *n, const char *id)
{
        (void) snprintf(n->asked, sizeof(n->asked), "%s", id);
        n->asking = true;
        n->ops.ask_job(n->ops.ctx, id);
}

const char *node_engine_text(const Node *n, const char *object, const char *key)
{
        return json_get_str(object ? json_get(n->engine, object) : n->engine, key);
}

int node_status_new(const Node *n, const char *node_update_id, const char *operation_id, NodeOperation o,
                    NodeCode code, uint64_t started, const char *from, const char *to, const char *text,
                    NodeStatus **ret)
{
        NodeStatus s = { .operation = o, .code = code, .started = started };
        int r;

        (void) snprintf(s.node_update_id, sizeof(s.node_update_id), "%s", node_update_id);
        (void) snprintf(s.operation_id, sizeof(s.operation_id), "%s", operation_id);
        s.updated = MAX(node_time(n), started);
        s.finished = code == NODE_IN_PROGRESS ? 0 : s.updated;
        s.from_version = from ? strdup(from) : NULL;
        s.to_version = to ? strdup(to) : NULL;
        r = (from && !s.from_version) || (to && !s.to_version) ? -ENOMEM : node_status_say(&s, text);
        if (r >= 0)
                r = node_status_copy(&s, ret);
        node_status_done(&s);
        return r;
}

/* --- the request --- */

static void complain_once(Node *n)
{
        if (n->noise && streq(n->noise, n->request_text))
                return;
        free(n->noise);
        n->noise = strdup(n->request_text);
        log_warning("%s; it has no ids to answer to, so nobody is told", n->request_why.text);
}

static void reconcile(Node *n)
{
        if (!n->present || !n->request_text || n->state.current.set)
                return;
        if (n->request_is == NODE_REQUEST_NOISE) {
                complain_once(n);
                return;
        }
        if (node_state_find(&n->state, n->request.operation_id))
                return; /* answered, once and for all */
        if (n->state.pending.set && streq(n->state.pending.operation_id, n->request.operation_id))
                return;
        if (n->request_is == NODE_REQUEST_INVALID)
                node_refuse(n, &n->request, n->request_why.text);
        else if (n->state.pending.set) {
                char text[160];

                (void) snprintf(text, sizeof(text), "another %s (operationId %s) is waiting for its commit",
                                node_operation_name(n->state.pending.operation),
                                n->state.pending.operation_id);
                node_refuse(n, &n->request, text);
        } else
                node_begin(n);
}

/* --- one step --- */

uint64_t node_step(Node *n)
{
        n->now_ms = n->ops.monotonic(n->ops.ctx);
        n->wake = NEVER;
        if (n->save_again_at > n->now_ms)
                return n->save_again_at;
        n->save_again_at = 0;
        if (n->dirty && node_save(n) < 0)
                return n->save_again_at;
        for (unsigned i = 0; i < STEPS_MAX; i++) {
                bool again;

                if (n->save_again_at > 0)
                        return n->save_again_at;
                reconcile(n);
                again = n->state.current.set ? node_operate(n) : n->state.pending.set && node_await(n);
                if (!again)
                        break;
        }
        if (n->save_again_at > 0)
                return n->save_again_at;
        (void) node_publish(n);
        n->poke = false;
        return n->wake;
}

const char *node_tell(const Node *n)
{
        Node *m = (Node *) n; /* the buffer only */
        const NodePending *p = &n->state.pending;
        const char *what = !n->present ? "no Node to look at" : "waiting for a request";

        if (n->state.current.set)
                (void) snprintf(m->line, sizeof(m->line), "%s %s",
                                node_operation_name(n->state.current.request.operation),
                                n->state.current.request.target_version
                                        ? n->state.current.request.target_version
                                        : "");
        else if (p->set)
                (void) snprintf(m->line, sizeof(m->line), "%s of %s: %s", node_operation_name(p->operation),
                                p->to_version ? p->to_version : "the other slot",
                                n->wait == WAIT_VERDICT ? "waiting for the verdict"
                                                        : "waiting for the reboot");
        else
                (void) snprintf(m->line, sizeof(m->line), "%s", what);
        return n->line;
}

/* --- what happens --- */

static void replace_text(char **to, const char *from)
{
        char *copy = from ? strdup(from) : NULL;

        free(*to);
        *to = copy;
}

void node_on_object(Node *n, const char *uid, const char *request, const char *const statuses[_NODE_KEY_MAX])
{
        if (uid && n->state.node_uid[0] && !streq(uid, n->state.node_uid))
                log_notice("the Node is a new one (uid %s, was %s); what was answered before still counts",
                           uid, n->state.node_uid);
        if (uid && !streq(uid, n->state.node_uid)) {
                (void) snprintf(n->state.node_uid, sizeof(n->state.node_uid), "%s", uid);
                (void) node_save(n);
        }
        n->present = true;
        if (!streq0(request, n->request_text)) {
                replace_text(&n->request_text, request);
                node_request_done(&n->request);
                n->request_why = (Why){ 0 };
                n->request_is = NODE_REQUEST_NOISE;
                if (n->request_text)
                        n->request_is = node_request_parse(n->request_text, strlen(n->request_text),
                                                           &n->request, &n->request_why);
                if (n->request_is < 0) /* no memory: with the next event */
                        replace_text(&n->request_text, NULL);
        }
        for (NodeKey k = 0; k < _NODE_KEY_MAX; k++) {
                n->seen[k] = node_status_free(n->seen[k]);
                if (statuses[k])
                        (void) node_status_parse(statuses[k], strlen(statuses[k]), &n->seen[k]);
        }
}

void node_on_gone(Node *n)
{
        if (n->present)
                log_notice("this node's Node is gone; waiting for it to come back");
        n->present = false;
        for (NodeKey k = 0; k < _NODE_KEY_MAX; k++)
                n->seen[k] = node_status_free(n->seen[k]);
}

void node_on_engine(Node *n)
{
        n->poke = true;
        n->ask_at = 0;
}

void node_on_describe(Node *n, const Json *status, const char *version, const Why *why)
{
        n->describing = false;
        n->engine = json_unref(n->engine);
        n->engine_why = (Why){ 0 };
        if (!status)
                n->engine_why = *why;
        else if (!json_get(status, "slots")) /* of this boot: what is missing there is not known, not none */
                (void) fail(&n->engine_why, -EAGAIN, WHY_HOST, "agent",
                            "the update agent has not looked at this host yet");
        else
                n->engine = json_ref(status);
        replace_text(&n->version, version);
}

void node_on_order(Node *n, const char *id, const Why *why)
{
        n->ordering = false;
        if (n->state.current.set)
                node_ordered(n, id, why);
        else if (n->state.pending.set)
                node_await_ordered(n, id, why);
}

void node_on_job(Node *n, NodeJob is, int exit_code, const Json *result)
{
        n->asking = false;
        if (n->state.current.set && n->step == NODE_ASK && streq(n->asked, n->state.current.job))
                node_job(n, is, exit_code, result);
        else if (!n->state.current.set && n->state.pending.set && n->wait == WAIT_ASKED &&
                 streq(n->asked, n->wait_job))
                node_await_job(n, is, exit_code, result);
}
