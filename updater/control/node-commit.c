/* SPDX-License-Identifier: MIT */

/* The boot that is waited for. gybe-commit.service judges it, with or without us; here it is only asked for, watched, and told.
 * Between having armed and asking for the reboot the answer gets a few seconds to reach the API server: an orchestrator that saw
 * it knows why the node goes away. */

#include "control/node-parts.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

static bool is_same_boot(const Node *n)
{
        return streq(n->state.pending.boot_id, n->boot_id);
}

static bool phase_is(const Node *n, const char *phase)
{
        return streq0(node_engine_text(n, NULL, "phase"), phase);
}

static bool is_ours(const Node *n)
{
        return n->state.pending.update_id[0] &&
               streq0(node_engine_text(n, "update", "id"), n->state.pending.update_id);
}

/* --- arming becomes waiting --- */

void node_await_begin(Node *n)
{
        n->wait = is_same_boot(n) ? WAIT_GOODBYE : WAIT_VERDICT;
        n->wait_at = 0;
        n->goodbye_tries = 0;
        n->goodbye_until = n->now_ms + GOODBYE_MS;
        n->refused_since = n->undecided_since = 0;
        n->wait_job[0] = 0;
        n->publish_at = 0;
        node_forget_engine(n);
}

/* One write says both: it is answered, and a boot is waited for. */
int node_pend(Node *n, bool armed_now)
{
        NodeCurrent *c = &n->state.current;
        NodePending *p = &n->state.pending;
        const char *id = node_engine_text(n, "update", "id");
        bool rollback = c->request.operation == NODE_ROLLBACK;
        const NodeStatus *seen = n->seen[NODE_KEY_STATUS];
        NodeStatus *s = NULL;
        int r;

        /* An earlier life of ours said so already, and its memory is lost: its words. */
        if (seen && seen->code == NODE_SUCCESS && streq(seen->operation_id, c->request.operation_id))
                r = node_status_copy(seen, &s);
        else
                r = node_status_new(n, c->request.node_update_id, c->request.operation_id,
                                    c->request.operation, NODE_SUCCESS, c->started, c->from_version,
                                    rollback ? NULL : c->request.target_version,
                                    rollback ? "rollback finalized; rebooting for commit"
                                             : "finalize completed; rebooting for commit",
                                    &s);
        if (r >= 0)
                r = node_state_add(&n->state, s);
        if (r < 0) {
                node_status_free(s);
                n->save_again_at = n->now_ms + SAVE_AGAIN_MS;
                return r;
        }
        node_pending_done(p);
        p->set = true;
        p->operation = c->request.operation;
        p->started = c->started;
        memcpy(p->node_update_id, c->request.node_update_id, sizeof(p->node_update_id));
        memcpy(p->operation_id, c->request.operation_id, sizeof(p->operation_id));
        p->from_version = TAKE(c->from_version);
        p->to_version = TAKE(c->request.target_version);
        (void) snprintf(p->update_id, sizeof(p->update_id), "%s", id ? id : "");
        (void) snprintf(p->boot_id, sizeof(p->boot_id), "%s", armed_now ? n->boot_id : "");
        log_notice("%s (operationId %s) is armed; %s", node_operation_name(p->operation), p->operation_id,
                   armed_now ? "a reboot follows" : "it was booted already");
        node_current_done(c);
        n->progress = node_status_free(n->progress);
        node_await_begin(n);
        return node_save(n);
}

/* --- the reboot --- */

/* The answer was that it reboots. It does not: the contract takes the answer back. */
static void give_up(Node *n, const char *text)
{
        NodePending *p = &n->state.pending;
        NodeAnswer *a = node_state_find(&n->state, p->operation_id);
        NodeStatus *s = NULL;

        if (a && node_status_new(n, p->node_update_id, p->operation_id, p->operation,
                                 NODE_AGENT_INTERNAL_ERROR, p->started, p->from_version,
                                 p->operation == NODE_ROLLBACK ? NULL : p->to_version, text, &s) < 0) {
                n->save_again_at = n->now_ms + SAVE_AGAIN_MS;
                return;
        }
        log_warning("%s (operationId %s): %s", node_operation_name(p->operation), p->operation_id, text);
        if (a) {
                node_status_free(a->operation);
                a->operation = s;
                a->told = false;
        }
        node_pending_done(p);
        n->commit_progress = node_status_free(n->commit_progress);
        (void) node_save(n);
}

static void order(Node *n, NodeOperation verb)
{
        NodeOrder o = { .verb = verb, .no_reboot = verb == NODE_ROLLBACK };

        n->ordering = true;
        n->ops.order(n->ops.ctx, &o);
}

/* Asked for in vain: again in a while, for as long as a finalize may take; then the arming is taken back, so that nobody's
 * reboot tries a slot that was reported as failed. */
static void reboot_refused(Node *n, const char *text)
{
        log_warning("the reboot is refused: %s", text);
        if (n->refused_since == 0)
                n->refused_since = n->now_ms;
        n->wait = n->now_ms - n->refused_since >= n->finalize_timeout_ms ? WAIT_DISARM : WAIT_LOOK;
        n->wait_at = n->now_ms + REFUSED_MS;
        if (n->wait == WAIT_DISARM)
                n->wait_at = 0;
}

void node_await_ordered(Node *n, const char *id, const Why *why)
{
        if (n->wait == WAIT_DISARM && !id && (why->kind == WHY_BUSY || streq(why->code, "agent"))) {
                n->wait_at = n->now_ms + BUSY_MS; /* it is armed still */
                return;
        }
        if (n->wait == WAIT_DISARM) {
                give_up(n, "the reboot was refused for too long; the update is not tried at the next boot");
                return;
        }
        if (id) {
                (void) snprintf(n->wait_job, sizeof(n->wait_job), "%s", id);
                n->wait = WAIT_ASKED;
                n->wait_at = n->now_ms + BUSY_MS;
        } else
                reboot_refused(n, why->text);
}

void node_await_job(Node *n, NodeJob is, int exit_code, const Json *result)
{
        const char *blocked = json_get_str(result, "rebootBlockedBy"),
                   *waits = json_get_str(result, "rebootWaitsFor");
        const char *code = json_get_str(json_get(result, "error"), "code");

        n->wait_at = n->now_ms + BUSY_MS;
        if (is == NODE_JOB_RUNS || is == NODE_JOB_NO_ANSWER)
                return;
        if (is == NODE_JOB_ENDED && (blocked || waits))
                reboot_refused(n, blocked ? blocked : waits);
        else if (is == NODE_JOB_ENDED && exit_code != 0 && !streq0(code, "already-finalized"))
                reboot_refused(n, json_get_str(json_get(result, "error"), "message")
                                          ? json_get_str(json_get(result, "error"), "message")
                                          : "no reason was given");
        else {
                n->wait = WAIT_DOWN;
                n->wait_at = n->now_ms + n->finalize_timeout_ms;
        }
}

/* An operator may have taken it back meanwhile; asking for the reboot would arm it again. */
static void look_before_reboot(Node *n)
{
        if (is_ours(n) && phase_is(n, "finalized"))
                n->wait = WAIT_REBOOT;
        else if (is_ours(n) && phase_is(n, "probation"))
                n->wait =
                        WAIT_VERDICT; /* kexec: another kernel, the same boot id cannot be; but a verdict is a verdict */
        else
                give_up(n, "somebody took it back on the node before it was rebooted");
}

static bool await_reboot(Node *n)
{
        if (n->ordering || n->asking)
                return false;
        switch (n->wait) {
        case WAIT_GOODBYE:
                if (!node_told(n, n->state.pending.operation_id) && n->goodbye_tries < GOODBYE_TRIES &&
                    n->now_ms < n->goodbye_until &&
                    (n->present || n->now_ms + GOODBYE_MS < n->goodbye_until + 3 * PUBLISH_MIN_MS)) {
                        node_wake(n, n->present ? n->goodbye_until
                                                : n->goodbye_until - GOODBYE_MS + 3 * PUBLISH_MIN_MS);
                        return false;
                }
                n->wait = WAIT_LOOK;
                return true;
        case WAIT_LOOK:
                if (n->wait_at > n->now_ms) {
                        node_wake(n, n->wait_at);
                        node_forget_engine(n);
                        return false;
                }
                if (!node_wants_engine(n))
                        return false;
                look_before_reboot(n);
                return true;
        case WAIT_REBOOT:
                order(n, NODE_FINALIZE);
                return false;
        case WAIT_DISARM:
                if (n->wait_at > n->now_ms) {
                        node_wake(n, n->wait_at);
                        return false;
                }
                order(n, NODE_ROLLBACK);
                return false;
        case WAIT_ASKED:
                if (n->wait_at <= n->now_ms || n->poke)
                        node_ask_job(n, n->wait_job);
                else
                        node_wake(n, n->wait_at);
                return false;
        case WAIT_DOWN:
                if (n->wait_at > n->now_ms) {
                        node_wake(n, n->wait_at);
                        return false;
                }
                n->wait = WAIT_LOOK;
                node_forget_engine(n);
                return true;
        case WAIT_VERDICT:
                break;
        }
        return false;
}

/* --- the verdict --- */

static int commit_status(Node *n, NodeCode code, const char *text, NodeStatus **ret)
{
        const NodePending *p = &n->state.pending;

        return node_status_new(n, p->node_update_id, p->operation_id, NODE_COMMIT, code, p->commit_started,
                               p->from_version, p->operation == NODE_ROLLBACK ? NULL : p->to_version, text,
                               ret);
}

static void settle(Node *n, NodeCode code, const char *text, const char *kind_subkind)
{
        NodePending *p = &n->state.pending;
        NodeAnswer *a = node_state_find(&n->state, p->operation_id);
        NodeStatus *s = NULL;

        if (commit_status(n, code, text, &s) < 0) {
                n->save_again_at = n->now_ms + SAVE_AGAIN_MS;
                return;
        }
        if (kind_subkind && code == NODE_TARGET_BOOT_FAILED) {
                node_status_blame(s, WHY_HOST, kind_subkind);
                if (streq(kind_subkind, "ab-update-health-check-commit-check"))
                        s->error_kind = "HEALTH_CHECKS_ERROR";
        }
        log_notice("commit (operationId %s): %s: %s", p->operation_id, node_code_name(code), s->message);
        if (a) {
                node_status_free(a->commit);
                a->commit = s;
                a->commit_told = false;
        } else
                node_status_free(s);
        node_pending_done(p);
        n->commit_progress = node_status_free(n->commit_progress);
        (void) node_save(n);
}

static bool runs_the_target(const Node *n)
{
        const char *running = node_engine_text(n, NULL, "running"),
                   *slot = node_engine_text(n, "update", "slot");

        return running && slot && streq(running, slot);
}

static void judge_ours(Node *n, const char *outcome)
{
        const NodePending *p = &n->state.pending;
        const char *reason = node_engine_text(n, NULL, "reason"),
                   *message = node_engine_text(n, NULL, "message");
        bool kept = streq(outcome, p->operation == NODE_ROLLBACK ? "rolled-back" : "committed");
        char text[TEXT_SIZE];

        if (kept && runs_the_target(n)) {
                (void) snprintf(text, sizeof(text), "committed; this node runs %s in slot %s",
                                n->version ? n->version : "the target", node_engine_text(n, NULL, "running"));
                settle(n, NODE_SUCCESS, text, NULL);
                return;
        }
        (void) snprintf(text, sizeof(text), "the boot failed (%s): %.1800s; this node runs %s",
                        reason ? reason : outcome, message ? message : "no cause was found",
                        n->version ? n->version : "the slot it ran before");
        settle(n, NODE_TARGET_BOOT_FAILED, text,
               p->operation == NODE_ROLLBACK       ? "manual-rollback-reboot-check"
               : streq0(reason, "health-fallback") ? "ab-update-health-check-commit-check"
                                                   : "ab-update-reboot-check");
}

/* gybe knows nothing (any more) of what was armed: what runs has to say it. */
static void judge_by_version(Node *n)
{
        const NodePending *p = &n->state.pending;
        char text[300];

        (void) snprintf(text, sizeof(text), "this node runs %s; gybe's own record of this update is gone",
                        n->version ? n->version : "an unknown version");
        if (p->operation == NODE_ROLLBACK)
                settle(n,
                       n->version && p->from_version && !streq(n->version, p->from_version)
                               ? NODE_SUCCESS
                               : NODE_TARGET_BOOT_FAILED,
                       text, "manual-rollback-reboot-check");
        else if (streq0(n->version, p->to_version))
                settle(n, NODE_SUCCESS, text, NULL);
        else
                settle(n, NODE_TARGET_BOOT_FAILED, text, "ab-update-reboot-check");
}

/* True: it has been like this for so long. */
static bool has_lasted(Node *n, uint64_t ms)
{
        if (n->undecided_since == 0)
                n->undecided_since = n->now_ms;
        return n->now_ms - n->undecided_since >= ms;
}

/* Another attempt is armed (a power cut during the last one), or the loader was passed over: it wants one more boot. */
static void boot_again(Node *n)
{
        (void) snprintf(n->state.pending.boot_id, sizeof(n->state.pending.boot_id), "%s", n->boot_id);
        log_notice("it is armed for another attempt; the reboot is asked for");
        if (node_save(n) >= 0) {
                node_await_begin(n);
                n->wait = WAIT_LOOK;
        }
}

static void judge(Node *n)
{
        const char *outcome = node_engine_text(n, NULL, "outcome"),
                   *phase = node_engine_text(n, NULL, "phase");
        const char *id = node_engine_text(n, "update", "id"), *job = node_engine_text(n, "job", "id");

        log_debug("verdict: phase %s, update %s, outcome %s, job %s", phase ? phase : "-", id ? id : "-",
                  outcome ? outcome : "-", job ? job : "-");
        if (phase_is(n, "probation") || job)
                n->undecided_since = 0;
        else if (is_ours(n) && phase_is(n, "finalized")) {
                if (has_lasted(n, UNDECIDED_MS))
                        boot_again(n);
        } else if (is_ours(n) && !outcome && phase_is(n, "staged")) {
                if (has_lasted(n, AGAIN_MS))
                        judge_ours(n, "not-proved-bad");
        } else if (is_ours(n) && outcome)
                judge_ours(n, outcome);
        else if (node_engine_text(n, NULL, "running") && has_lasted(n, UNDECIDED_MS))
                judge_by_version(n);
}

static void tell_waiting(Node *n)
{
        if (n->commit_progress && n->beat[NODE_KEY_COMMIT] > n->now_ms)
                return;
        node_status_free(n->commit_progress);
        n->commit_progress = NULL;
        (void) commit_status(n, NODE_IN_PROGRESS, "committing post-reboot state", &n->commit_progress);
}

static bool await_verdict(Node *n)
{
        NodePending *p = &n->state.pending;

        if (p->commit_started == 0) {
                p->commit_started = node_time(n);
                if (node_save(n) < 0) {
                        p->commit_started = 0;
                        return false;
                }
        }
        tell_waiting(n);
        if (n->wait_at > n->now_ms && !n->poke && !n->engine) { /* engine: the answer to a poke */
                node_wake(n, n->wait_at);
                return false;
        }
        if (!node_wants_engine(n))
                return false;
        judge(n);
        node_forget_engine(n);
        n->wait_at = n->now_ms + POLL_MS;
        node_wake(n, n->wait_at);
        return !p->set || n->wait != WAIT_VERDICT;
}

bool node_await(Node *n)
{
        return n->wait == WAIT_VERDICT ? await_verdict(n) : await_reboot(n);
}
