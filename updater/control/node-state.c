/* SPDX-License-Identifier: MIT */

#include "control/node-state.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define SCHEMA "gybe.node/1"

void node_current_done(NodeCurrent *c)
{
        node_request_done(&c->request);
        free(c->from_version);
        *c = (NodeCurrent){ 0 };
}

void node_pending_done(NodePending *p)
{
        free(p->from_version);
        free(p->to_version);
        *p = (NodePending){ 0 };
}

static void answer_done(NodeAnswer *a)
{
        a->operation = node_status_free(a->operation);
        a->commit = node_status_free(a->commit);
}

void node_state_done(NodeState *s)
{
        node_current_done(&s->current);
        node_pending_done(&s->pending);
        for (size_t i = 0; i < s->n_answers; i++)
                answer_done(&s->answers[i]);
        free(s->answers);
        json_unref(s->unknown);
        *s = (NodeState){ 0 };
}

NodeAnswer *node_state_find(const NodeState *s, const char *operation_id)
{
        for (size_t i = s->n_answers; i > 0; i--)
                if (streq(s->answers[i - 1].operation->operation_id, operation_id))
                        return &s->answers[i - 1];
        return NULL;
}

/* Of another update than the newest, told, and not waiting for a boot: nobody asks for it again. */
static size_t find_dispensable(const NodeState *s)
{
        const NodeAnswer *newest = &s->answers[s->n_answers - 1];

        for (size_t i = 0; i < s->n_answers; i++) {
                const NodeAnswer *a = &s->answers[i];

                if (a->told && (!a->commit || a->commit_told) &&
                    !streq(a->operation->node_update_id, newest->operation->node_update_id) &&
                    !(s->pending.set && streq(a->operation->operation_id, s->pending.operation_id)))
                        return i;
        }
        return s->pending.set && streq(s->answers[0].operation->operation_id, s->pending.operation_id);
}

int node_state_add(NodeState *s, NodeStatus *operation)
{
        NodeAnswer *grown = reallocarray(s->answers, s->n_answers + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        s->answers = grown;
        s->answers[s->n_answers++] = (NodeAnswer){ .operation = operation };
        while (s->n_answers > NODE_ANSWERS_MAX) {
                size_t i = find_dispensable(s);

                answer_done(&s->answers[i]);
                memmove(s->answers + i, s->answers + i + 1, (s->n_answers - i - 1) * sizeof(*s->answers));
                s->n_answers--;
        }
        return 0;
}

/* --- writing --- */

static Json *request_json(const NodeRequest *r)
{
        Json *j = json_new_object();

        json_set_str(j, "nodeUpdateId", r->node_update_id);
        json_set_str(j, "operationId", r->operation_id);
        json_set_str(j, "operation", node_operation_name(r->operation));
        json_set_str(j, "targetVersion", r->target_version);
        json_set_str(j, "server", r->server);
        json_set_str(j, "appId", r->app_id);
        json_set_str(j, "track", r->track);
        return j;
}

static Json *current_json(const NodeCurrent *c)
{
        Json *j = json_new_object();

        json_set(j, "request", request_json(&c->request));
        json_set_time(j, "startedUtc", c->started);
        json_set_str(j, "fromVersion", c->from_version);
        json_set_str(j, "bootId", c->boot_id);
        json_set_str(j, "updateBefore", c->before[0] ? c->before : NULL);
        json_set_str(j, "job", c->job[0] ? c->job : NULL);
        return j;
}

static Json *pending_json(const NodePending *p)
{
        Json *j = json_new_object();

        json_set_str(j, "nodeUpdateId", p->node_update_id);
        json_set_str(j, "operationId", p->operation_id);
        json_set_str(j, "operation", node_operation_name(p->operation));
        json_set_str(j, "fromVersion", p->from_version);
        json_set_str(j, "toVersion", p->to_version);
        json_set_time(j, "startedUtc", p->started);
        if (p->commit_started > 0)
                json_set_time(j, "commitStartedUtc", p->commit_started);
        json_set_str(j, "bootId", p->boot_id[0] ? p->boot_id : NULL);
        json_set_str(j, "updateId", p->update_id[0] ? p->update_id : NULL);
        return j;
}

static Json *answer_json(const NodeAnswer *a)
{
        Json *j = json_new_object();

        json_set(j, "operation", node_status_json(a->operation));
        json_set_bool(j, "told", a->told);
        if (a->commit) {
                json_set(j, "commit", node_status_json(a->commit));
                json_set_bool(j, "commitTold", a->commit_told);
        }
        return j;
}

int node_state_format(const NodeState *s, char **ret)
{
        _cleanup_(json_unrefp) Json *doc = json_new_object();
        Json *answers = json_new_array();
        char *text;

        if (s->unknown)
                json_merge(doc, s->unknown);
        for (size_t i = 0; i < s->n_answers; i++)
                json_add(answers, answer_json(&s->answers[i]));
        for (const char *const *k = (const char *const[]){ "nodeUid", "current", "pending", NULL }; *k; k++)
                json_remove(doc, *k);
        json_set_str(doc, "schema", SCHEMA);
        json_set_str(doc, "nodeUid", s->node_uid[0] ? s->node_uid : NULL);
        if (s->current.set)
                json_set(doc, "current", current_json(&s->current));
        if (s->pending.set)
                json_set(doc, "pending", pending_json(&s->pending));
        json_set(doc, "answers", answers);
        text = json_format(doc, true);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

/* --- reading --- */

static bool read_text(const Json *j, const char *key, char **ret)
{
        const char *text = json_get_str(j, key);

        if (json_has(j, key) && (!text || strlen(text) > NODE_TEXT_MAX))
                return false;
        *ret = text ? strdup(text) : NULL;
        return !text || *ret;
}

static bool read_name(const Json *j, const char *key, char *ret, size_t size)
{
        const char *text = json_get_str(j, key);

        if (json_has(j, key) && (!text || strlen(text) >= size))
                return false;
        (void) snprintf(ret, size, "%s", text ? text : "");
        return true;
}

static bool read_ids(const Json *j, char *node_update_id, char *operation_id, NodeOperation *operation)
{
        *operation = node_operation_from_name(json_get_str(j, "operation"));
        return *operation >= 0 && *operation != NODE_COMMIT &&
               read_name(j, "nodeUpdateId", node_update_id, NODE_UUID_SIZE) && node_update_id[0] &&
               read_name(j, "operationId", operation_id, NODE_UUID_SIZE) && operation_id[0];
}

static bool read_current(const Json *j, NodeCurrent *c)
{
        const Json *q = json_get(j, "request");
        NodeRequest *r = &c->request;

        c->set = true;
        return read_ids(q, r->node_update_id, r->operation_id, &r->operation) &&
               read_text(q, "targetVersion", &r->target_version) && read_text(q, "server", &r->server) &&
               read_text(q, "appId", &r->app_id) && read_text(q, "track", &r->track) &&
               (r->operation == NODE_ROLLBACK || r->target_version) &&
               json_get_time(j, "startedUtc", &c->started) > 0 &&
               read_text(j, "fromVersion", &c->from_version) &&
               read_name(j, "bootId", c->boot_id, sizeof(c->boot_id)) &&
               read_name(j, "updateBefore", c->before, sizeof(c->before)) &&
               read_name(j, "job", c->job, sizeof(c->job));
}

static bool read_pending(const Json *j, NodePending *p)
{
        p->set = true;
        return read_ids(j, p->node_update_id, p->operation_id, &p->operation) &&
               read_text(j, "fromVersion", &p->from_version) && read_text(j, "toVersion", &p->to_version) &&
               json_get_time(j, "startedUtc", &p->started) > 0 &&
               json_get_time(j, "commitStartedUtc", &p->commit_started) >= 0 &&
               read_name(j, "bootId", p->boot_id, sizeof(p->boot_id)) &&
               read_name(j, "updateId", p->update_id, sizeof(p->update_id));
}

static int read_answer(const Json *j, NodeState *s)
{
        _cleanup_(node_status_freep) NodeStatus *operation = NULL;
        NodeAnswer *a;
        int r = node_status_from_json(json_get(j, "operation"), &operation);

        if (r >= 0)
                r = node_state_add(s, operation);
        if (r < 0)
                return r;
        operation = NULL;
        a = &s->answers[s->n_answers - 1];
        if (json_get_bool(j, "told", &a->told) < 0 || json_get_bool(j, "commitTold", &a->commit_told) < 0)
                return -EBADMSG;
        return json_has(j, "commit") ? node_status_from_json(json_get(j, "commit"), &a->commit) : 0;
}

static int read_state(const Json *doc, NodeState *s)
{
        const Json *answers = json_get(doc, "answers");
        int r;

        if (!streq0(json_get_str(doc, "schema"), SCHEMA) || !json_is_array(answers) ||
            json_len(answers) > NODE_ANSWERS_MAX ||
            !read_name(doc, "nodeUid", s->node_uid, sizeof(s->node_uid)) ||
            (json_has(doc, "current") && !read_current(json_get(doc, "current"), &s->current)) ||
            (json_has(doc, "pending") && !read_pending(json_get(doc, "pending"), &s->pending)))
                return -EBADMSG;
        for (size_t i = 0; i < json_len(answers); i++)
                if ((r = read_answer(json_at(answers, i), s)) < 0)
                        return r;
        return 0;
}

int node_state_parse(const void *data, size_t size, NodeState *ret, Why *why)
{
        _cleanup_(node_state_done) NodeState s = { 0 };
        int r;

        r = json_parse(data, size, 0, JSON_DEPTH_MAX, NODE_STATE_DIR "/" NODE_STATE_FILE, WHY_HOST,
                       &s.unknown, why);
        if (r >= 0)
                r = json_is_object(s.unknown) ? read_state(s.unknown, &s) : -EBADMSG;
        if (r < 0)
                return fail(why, r, WHY_HOST, "state-lost",
                            NODE_STATE_DIR "/" NODE_STATE_FILE ": it is none of ours");
        *ret = s;
        s = (NodeState){ 0 };
        return 0;
}

int node_state_load(const Env *env, NodeState *ret, Why *lost, Why *why)
{
        _cleanup_(close_fdp) int dir = env_open_dir(env, NODE_STATE_DIR);
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = dir < 0 ? dir : file_read(dir, NODE_STATE_FILE, NODE_STATE_MAX, &b);

        *ret = (NodeState){ 0 };
        if (r == -ENOENT)
                return 0;
        if (r < 0 && r != -EFBIG)
                return fail_errno(why, r, WHY_HOST, NODE_STATE_DIR "/" NODE_STATE_FILE);
        if (r >= 0)
                r = node_state_parse(b.data, b.size, ret, lost);
        else
                (void) fail(lost, r, WHY_HOST, "state-lost",
                            NODE_STATE_DIR "/" NODE_STATE_FILE ": it is too long");
        if (r == -ENOMEM)
                return r;
        if (r < 0 && renameat(dir, NODE_STATE_FILE, dir, NODE_STATE_FILE ".lost") < 0)
                return fail_errno(why, -errno, WHY_HOST, NODE_STATE_DIR);
        return 0;
}

int node_state_save(const Env *env, const NodeState *s, Why *why)
{
        _cleanup_(close_fdp) int dir = env_make_dir(env, NODE_STATE_DIR, 0700);
        _cleanup_(free_charp) char *text = NULL;
        int r = dir < 0 ? dir : node_state_format(s, &text);

        if (r >= 0)
                r = file_replace(dir, NODE_STATE_FILE, text, strlen(text), 0600);
        return r < 0 ? fail_errno(why, r, WHY_HOST, NODE_STATE_DIR "/" NODE_STATE_FILE) : 0;
}
