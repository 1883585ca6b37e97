/* SPDX-License-Identifier: MIT */

/* The operation that runs: looks what gybe says, decides, gives one order, follows it, looks again, and answers. Whatever it was
 * at when it was killed, the look says how far things are; the order is given again only where it left no trace. */

#include "control/node-parts.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

/* --- answers --- */

static int finish_with(Node *n, NodeStatus *s)
{
        int r = node_state_add(&n->state, s);

        if (r < 0) {
                node_status_free(s);
                return r;
        }
        log_notice("%s (operationId %s): %s: %s", node_operation_name(s->operation), s->operation_id,
                   node_code_name(s->code), s->message);
        node_current_done(&n->state.current);
        n->progress = node_status_free(n->progress);
        return node_save(n);
}

static NodeStatus *answer_new(Node *n, NodeCode code, const char *text)
{
        const NodeCurrent *c = &n->state.current;
        NodeStatus *s = NULL;

        if (node_status_new(n, c->request.node_update_id, c->request.operation_id, c->request.operation, code,
                            c->started, c->from_version,
                            c->request.operation == NODE_ROLLBACK ? NULL : c->request.target_version, text,
                            &s) < 0)
                n->save_again_at = n->now_ms + SAVE_AGAIN_MS;
        return s;
}

static void finish(Node *n, NodeCode code, const char *fmt, ...) _printf_(3, 4);
static void finish(Node *n, NodeCode code, const char *fmt, ...)
{
        char text[TEXT_SIZE];
        NodeStatus *s;
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        s = answer_new(n, code, text);
        if (s)
                (void) finish_with(n, s);
}

static void finish_blaming(Node *n, NodeCode code, WhyKind kind, const char *error_code, const char *text)
{
        NodeStatus *s = answer_new(n, code, text);

        if (!s)
                return;
        node_status_blame(s, kind, error_code);
        (void) finish_with(n, s);
}

void node_refuse(Node *n, const NodeRequest *q, const char *text)
{
        bool to = q->operation != NODE_ROLLBACK && q->target_version && *q->target_version;
        NodeStatus *s = NULL;

        if (node_status_new(n, q->node_update_id, q->operation_id, q->operation, NODE_INVALID_REQUEST,
                            node_time(n), NULL, to ? q->target_version : NULL, text, &s) < 0 ||
            node_state_add(&n->state, s) < 0) {
                node_status_free(s);
                n->save_again_at = n->now_ms + SAVE_AGAIN_MS;
                return;
        }
        log_notice("%s (operationId %s) is refused: %s", node_operation_name(q->operation), q->operation_id,
                   text);
        (void) node_save(n);
}

/* --- beginning --- */

static uint64_t patience(const Node *n)
{
        return n->state.current.request.operation == NODE_STAGE ? n->stage_timeout_ms
                                                                : n->finalize_timeout_ms;
}

void node_begin(Node *n)
{
        NodeCurrent *c = &n->state.current;

        if (node_request_copy(&n->request, &c->request) < 0) {
                n->save_again_at = n->now_ms + SAVE_AGAIN_MS;
                return;
        }
        c->set = true;
        c->started = node_time(n);
        (void) snprintf(c->boot_id, sizeof(c->boot_id), "%s", n->boot_id);
        log_notice("%s (operationId %s, nodeUpdateId %s)%s%s", node_operation_name(c->request.operation),
                   c->request.operation_id, c->request.node_update_id,
                   c->request.target_version ? " of " : "",
                   c->request.target_version ? c->request.target_version : "");
        n->step = NODE_LOOK;
        n->deadline = 0;
        node_forget_engine(n);
        (void) node_save(n);
}

/* --- what gybe says --- */

static bool phase_is(const Node *n, const char *phase)
{
        return streq0(node_engine_text(n, NULL, "phase"), phase);
}

static bool is_rollback(const Node *n)
{
        bool rollback = false;

        (void) json_get_bool(json_get(n->engine, "update"), "rollback", &rollback);
        return rollback;
}

/* gybe's update is the one this operation is about. */
static bool is_ours(const Node *n)
{
        const NodeCurrent *c = &n->state.current;
        const char *id = node_engine_text(n, "update", "id");

        if (!id)
                return false;
        if (c->request.operation == NODE_ROLLBACK)
                return is_rollback(n) && !streq(id, c->before);
        return !is_rollback(n) && streq0(node_engine_text(n, "update", "version"), c->request.target_version);
}

static bool is_armed(const Node *n)
{
        return is_ours(n) && phase_is(n, "finalized");
}

/* It was armed, and the machine booted before we could write that down; or another gybe-node lost its memory. */
static bool was_booted(const Node *n)
{
        return is_ours(n) &&
               (phase_is(n, "probation") || (phase_is(n, "idle") && node_engine_text(n, NULL, "outcome")));
}

/* An earlier life of ours told the world that it armed, and nothing is left of its memory. */
static bool is_lost_memory(const Node *n)
{
        const NodeStatus *seen = n->seen[NODE_KEY_STATUS];

        return seen && streq(seen->operation_id, n->state.current.request.operation_id) &&
               seen->code == NODE_SUCCESS;
}

/* --- deciding --- */

static void decide_stage(Node *n)
{
        const char *target = n->state.current.request.target_version;

        if (streq0(n->version, target))
                finish(n, NODE_ALREADY_AT_TARGET, "this node runs %s", target);
        else
                n->step = NODE_ORDER;
}

/* The stage that this finalize belongs to. */
static const NodeStatus *find_stage(const Node *n)
{
        const NodeState *s = &n->state;

        for (size_t i = s->n_answers; i > 0; i--) {
                const NodeStatus *a = s->answers[i - 1].operation;

                if (a->operation == NODE_STAGE &&
                    streq(a->node_update_id, s->current.request.node_update_id) &&
                    (a->code == NODE_SUCCESS || a->code == NODE_ALREADY_AT_TARGET))
                        return a;
        }
        return NULL;
}

static void decide_finalize(Node *n, bool other_boot)
{
        const NodeCurrent *c = &n->state.current;
        const char *target = c->request.target_version, *staged = node_engine_text(n, "update", "version");
        const NodeStatus *stage = find_stage(n);

        if (was_booted(n) && (other_boot || is_lost_memory(n))) {
                (void) node_pend(n, false);
                return;
        }
        if (streq0(n->version, target)) {
                finish(n, NODE_ALREADY_AT_TARGET, "this node runs %s", target);
                return;
        }
        if (!stage && !(is_armed(n) && is_lost_memory(n))) {
                finish(n, NODE_NOT_STAGED, "no stage with nodeUpdateId %s succeeded on this node",
                       c->request.node_update_id);
                return;
        }
        if (stage && !streq0(stage->to_version, target)) {
                finish(n, NODE_INVALID_REQUEST, "targetVersion is %s, but %s was staged for this update",
                       target, stage->to_version ? stage->to_version : "something else");
                return;
        }
        if (is_armed(n)) {
                (void) node_pend(n, true);
                return;
        }
        if (phase_is(n, "staged") && !is_ours(n)) {
                finish(n, NODE_NOT_STAGED, "%s is not staged any more, %s is", target,
                       staged ? staged : "something else");
                return;
        }
        if (!phase_is(n, "staged") && !phase_is(n, "probation")) {
                finish(n, NODE_NOT_STAGED, "%s is not staged any more", target);
                return;
        }
        n->step = NODE_ORDER; /* in probation gybe itself says what stands against it */
}

static void decide_rollback(Node *n, bool other_boot)
{
        const char *version = node_engine_text(n, "update", "version");

        if (was_booted(n) && (other_boot || is_lost_memory(n)))
                (void) node_pend(n, false);
        else if (is_armed(n))
                (void) node_pend(n, true);
        else if (phase_is(n, "finalized"))
                finish(n, NODE_OPERATION_FAILED,
                       "%s is armed for the next boot by somebody else; `gybe rollback` on the node takes "
                       "that back",
                       version ? version : "an update");
        else if (phase_is(n, "probation"))
                finish(n, NODE_OPERATION_FAILED, "%s is on trial; its verdict comes first",
                       version ? version : "the running slot");
        else
                n->step = NODE_ORDER;
}

static void decide(Node *n)
{
        NodeCurrent *c = &n->state.current;
        bool other_boot = !streq(c->boot_id, n->boot_id), first = !c->before[0];
        const char *id = node_engine_text(n, "update", "id");

        if (first) {
                if (is_lost_memory(n)) {
                        c->started = n->seen[NODE_KEY_STATUS]->started;
                        c->from_version = n->seen[NODE_KEY_STATUS]->from_version
                                                  ? strdup(n->seen[NODE_KEY_STATUS]->from_version)
                                                  : NULL;
                } else
                        c->from_version = n->version ? strdup(n->version) : NULL;
                (void) snprintf(c->before, sizeof(c->before), "%s", id && !is_lost_memory(n) ? id : "-");
                if (node_save(n) < 0)
                        return;
        }
        if (c->request.operation == NODE_STAGE)
                decide_stage(n);
        else if (c->request.operation == NODE_FINALIZE)
                decide_finalize(n, other_boot);
        else
                decide_rollback(n, other_boot);
        if (c->set)
                n->step_at = n->now_ms;
}

/* --- the order --- */

/* A host that takes releases from a source of its own takes the version from there; one without (or with Omaha) asks the server
 * that the request names. */
static bool has_own_source(const Node *n)
{
        const char *type = node_engine_text(n, "source", "type");

        return type && !streq(type, "none") && !streq(type, "omaha");
}

static void give_order(Node *n)
{
        const NodeRequest *q = &n->state.current.request;
        NodeOrder order = { .verb = q->operation, .no_reboot = q->operation != NODE_STAGE };

        if (q->operation == NODE_STAGE) {
                order.version = q->target_version;
                if (!has_own_source(n)) {
                        order.server = q->server;
                        order.app_id = q->app_id;
                        order.track = q->track;
                }
        }
        n->ordering = true;
        n->ops.order(n->ops.ctx, &order);
}

static void order_again(Node *n)
{
        n->step = NODE_LOOK;
        n->step_at = n->now_ms + BUSY_MS;
        n->state.current.job[0] = 0;
        node_forget_engine(n);
        n->ask_at = n->step_at;
}

void node_ordered(Node *n, const char *id, const Why *why)
{
        if (id) {
                (void) snprintf(n->state.current.job, sizeof(n->state.current.job), "%s", id);
                n->step = NODE_ASK;
                n->step_at = n->now_ms + POLL_MS;
                (void) node_save(n); /* without it the look says how far things are */
        } else if (why->kind == WHY_BUSY || streq(why->code, "agent"))
                order_again(n);
        else if (streq(why->code, "not-authorized"))
                finish_blaming(n, NODE_AGENT_INTERNAL_ERROR, why->kind, why->code, why->text);
        else
                finish_blaming(n, NODE_OPERATION_FAILED, why->kind, why->code, why->text);
}

void node_job(Node *n, NodeJob is, int exit_code, const Json *result)
{
        n->step_at = n->now_ms + POLL_MS;
        if (is == NODE_JOB_UNKNOWN) {
                n->state.current.job[0] = 0;
                n->step = NODE_LOOK;
                node_forget_engine(n);
        }
        if (is != NODE_JOB_ENDED)
                return;
        n->job_exit = exit_code;
        json_unref(n->job_result);
        n->job_result = result ? json_ref(result) : NULL;
        n->step = NODE_AFTER;
        node_forget_engine(n);
}

/* --- concluding --- */

static void conclude_failure(Node *n)
{
        const Json *e = json_get(n->job_result, "error");
        const char *code = json_get_str(e, "code"), *text = json_get_str(e, "message"),
                   *hint = json_get_str(e, "hint");
        char line[TEXT_SIZE];

        (void) snprintf(line, sizeof(line), "%s%s%s", text ? text : "the job ended without saying why",
                        hint ? "; " : "", hint ? hint : "");
        if (n->job_exit == 5) { /* another job held the lock */
                order_again(n);
                return;
        }
        if (streq0(code, "other-version")) { /* a floor: whoever asks has to ask for that first */
                finish(n, NODE_INVALID_REQUEST, "%s", line);
                return;
        }
        finish_blaming(n, streq0(code, "nothing-staged") ? NODE_NOT_STAGED : NODE_OPERATION_FAILED,
                       why_kind_from_name(json_get_str(e, "kind")), code, line);
}

static void conclude(Node *n)
{
        NodeOperation o = n->state.current.request.operation;
        const char *target = n->state.current.request.target_version;

        if (o == NODE_STAGE && is_ours(n) && phase_is(n, "staged") && (n->job_exit == 0 || n->job_exit == 10))
                finish(n, NODE_SUCCESS, "staged update to %s", target);
        else if (o == NODE_STAGE && streq0(n->version, target))
                finish(n, NODE_ALREADY_AT_TARGET, "this node runs %s", target);
        else if (o == NODE_STAGE && n->job_exit == 0)
                finish(n, NODE_OPERATION_FAILED, "%s was asked for and %s is staged", target,
                       node_engine_text(n, "update", "version") ? node_engine_text(n, "update", "version")
                                                                : "nothing");
        else if (o != NODE_STAGE && is_armed(n))
                (void) node_pend(n, true);
        else if (n->job_exit == 0)
                finish(n, NODE_OPERATION_FAILED, "%s was done, but nothing is armed for the next boot",
                       node_operation_name(o));
        else
                conclude_failure(n);
}

/* --- what is told meanwhile --- */

static void tell_progress(Node *n)
{
        const NodeCurrent *c = &n->state.current;
        bool beat = n->beat[NODE_KEY_STATUS] <= n->now_ms;
        char text[160];

        if (n->progress && !beat && streq0(n->progress->from_version, c->from_version))
                return;
        if (c->request.operation == NODE_STAGE)
                (void) snprintf(text, sizeof(text), "staging %s", c->request.target_version);
        else
                (void) snprintf(text, sizeof(text), "%s",
                                c->request.operation == NODE_FINALIZE ? "finalizing" : "staging rollback");
        if (n->engine_why.kind != WHY_NONE && !n->engine)
                (void) snprintf(text, sizeof(text), "waiting for the update agent: %.100s",
                                n->engine_why.text);
        node_status_free(n->progress);
        n->progress = answer_new(n, NODE_IN_PROGRESS, text);
}

static bool is_late(Node *n)
{
        if (n->deadline == 0)
                n->deadline = n->now_ms + patience(n);
        node_wake(n, n->deadline);
        if (n->now_ms < n->deadline || n->ordering)
                return false;
        if (n->engine_why.kind != WHY_NONE && !n->engine)
                finish_blaming(n, NODE_AGENT_INTERNAL_ERROR, WHY_HOST, "agent", n->engine_why.text);
        else
                finish(n, NODE_OPERATION_FAILED, "%s did not end within %llu s",
                       node_operation_name(n->state.current.request.operation),
                       (unsigned long long) (patience(n) / SEC));
        return true;
}

/* Nothing is told of an operation that turns out to be none. */
static bool is_visible(const Node *n)
{
        return n->step >= NODE_ORDER || n->engine_why.kind != WHY_NONE;
}

bool node_operate(Node *n)
{
        NodeCurrent *c = &n->state.current;

        if (is_late(n))
                return true;
        if (n->step == NODE_LOOK && c->job[0]) /* an earlier life gave this order */
                n->step = NODE_ASK;
        switch (n->step) {
        case NODE_LOOK:
        case NODE_AFTER:
                if (node_wants_engine(n)) {
                        n->step = n->step == NODE_LOOK ? NODE_DECIDE : NODE_CONCLUDE;
                        return true;
                }
                break;
        case NODE_DECIDE:
                decide(n);
                return true;
        case NODE_CONCLUDE:
                conclude(n);
                return true;
        case NODE_ORDER:
                if (!n->ordering)
                        give_order(n);
                break;
        case NODE_ASK:
                if (!n->asking && (n->step_at <= n->now_ms || n->poke))
                        node_ask_job(n, c->job);
                else if (!n->asking)
                        node_wake(n, n->step_at);
                break;
        }
        if (is_visible(n))
                tell_progress(n);
        return false;
}
