/* SPDX-License-Identifier: MIT */

/* What is told, and when. News that the API server has not had yet goes first, in the order in which it happened; after that the
 * Node is held to what was said about its present request. Nothing is written that is there already: each write comes back as an
 * event, and answering those would never end. */

#include "control/node-parts.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>

bool node_told(const Node *n, const char *operation_id)
{
        const NodeAnswer *a = node_state_find(&n->state, operation_id);

        return !a || a->told;
}

static bool is_seen(const Node *n, NodeKey key, const NodeStatus *s)
{
        return n->seen[key] && node_status_same(n->seen[key], s);
}

/* Somebody may have written what we were to write: an earlier life of ours. */
static bool note_told(Node *n)
{
        bool any = false;

        for (size_t i = 0; i < n->state.n_answers; i++) {
                NodeAnswer *a = &n->state.answers[i];

                if (!a->told && is_seen(n, NODE_KEY_STATUS, a->operation))
                        any = a->told = true;
                if (a->commit && !a->commit_told && is_seen(n, NODE_KEY_COMMIT, a->commit))
                        any = a->commit_told = true;
        }
        return any;
}

static NodeStatus *first_news(const Node *n, NodeKey *ret_key)
{
        for (size_t i = 0; i < n->state.n_answers; i++)
                if (!n->state.answers[i].told) {
                        *ret_key = NODE_KEY_STATUS;
                        return n->state.answers[i].operation;
                }
        for (size_t i = 0; i < n->state.n_answers; i++)
                if (n->state.answers[i].commit && !n->state.answers[i].commit_told) {
                        *ret_key = NODE_KEY_COMMIT;
                        return n->state.answers[i].commit;
                }
        return NULL;
}

/* What the key ought to say about the present request; NULL: whatever it says. */
static NodeStatus *wanted(const Node *n, NodeKey key)
{
        const NodeAnswer *a = n->request_text && n->request_is != NODE_REQUEST_NOISE
                                      ? node_state_find(&n->state, n->request.operation_id)
                                      : NULL;

        if (key == NODE_KEY_STATUS)
                return n->state.current.set ? n->progress : a ? a->operation : NULL;
        if (a && a->commit)
                return a->commit;
        return n->state.pending.set ? n->commit_progress : NULL;
}

static bool is_due(Node *n, NodeKey key, const NodeStatus *s)
{
        if (!is_seen(n, key, s))
                return true;
        if (s->code != NODE_IN_PROGRESS)
                return false;
        if (n->beat[key] == 0) { /* an earlier life of ours said it; not again because we were killed */
                uint64_t ago = (node_time(n) - MIN(n->seen[key]->updated, node_time(n))) * SEC;

                n->beat[key] = n->now_ms + n->heartbeat_ms - MIN(ago, n->heartbeat_ms);
        }
        if (n->beat[key] > n->now_ms)
                node_wake(n, n->beat[key]);
        return n->beat[key] <= n->now_ms;
}

static void send(Node *n, NodeKey key, NodeStatus *s)
{
        _cleanup_(free_charp) char *text = NULL;

        if (s->code == NODE_IN_PROGRESS)
                s->updated = node_time(n);
        n->sent = node_status_free(n->sent);
        if (node_status_format(s, &text) < 0 || node_status_copy(s, &n->sent) < 0) {
                n->publish_at = n->now_ms + PUBLISH_MAX_MS;
                return;
        }
        n->sent_key = key;
        n->publishing = true;
        log_debug("publish %s", text);
        n->ops.publish(n->ops.ctx, key, text);
}

bool node_publish(Node *n)
{
        NodeKey key = NODE_KEY_STATUS;
        NodeStatus *s;

        if (!n->present || n->publishing)
                return false;
        if (note_told(n))
                (void) node_save(n); /* forgotten, it is told again with the same words */
        s = first_news(n, &key);
        for (NodeKey k = 0; !s && k < _NODE_KEY_MAX; k++) {
                NodeStatus *w = wanted(n, k);

                if (w && is_due(n, k, w)) {
                        s = w;
                        key = k;
                }
        }
        if (!s)
                return false;
        if (n->publish_at > n->now_ms) {
                node_wake(n, n->publish_at);
                return false;
        }
        send(n, key, s);
        return false;
}

void node_on_publish(Node *n, bool done, uint64_t retry_sec)
{
        bool any = false;

        n->publishing = false;
        n->goodbye_tries++;
        if (!done) {
                n->publish_pause =
                        n->publish_pause ? MIN(n->publish_pause * 2, PUBLISH_MAX_MS) : PUBLISH_MIN_MS;
                /* the last words before a reboot are not kept waiting: WAIT_GOODBYE */
                n->publish_at = n->ops.monotonic(n->ops.ctx) +
                                (retry_sec > 0 ? MIN(retry_sec, UINT64_C(300)) * SEC
                                 : n->wait == WAIT_GOODBYE && n->state.pending.set
                                         ? PUBLISH_MIN_MS
                                         : n->ops.random(n->ops.ctx) % (2 * n->publish_pause + 1));
                return;
        }
        n->publish_pause = 0;
        n->publish_at = 0;
        n->beat[n->sent_key] = n->ops.monotonic(n->ops.ctx) + n->heartbeat_ms;
        for (size_t i = 0; i < n->state.n_answers; i++) {
                NodeAnswer *a = &n->state.answers[i];

                if (n->sent_key == NODE_KEY_STATUS && !a->told && node_status_same(a->operation, n->sent))
                        any = a->told = true;
                if (n->sent_key == NODE_KEY_COMMIT && a->commit && !a->commit_told &&
                    node_status_same(a->commit, n->sent))
                        any = a->commit_told = true;
        }
        node_status_free(n->seen[n->sent_key]);
        n->seen[n->sent_key] = TAKE(n->sent);
        if (any)
                (void) node_save(n);
}
