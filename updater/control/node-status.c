/* SPDX-License-Identifier: MIT */

#include "control/node-status.h"
#include "base/str.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>

#define CUT "... (truncated)"

static const char *const code_names[_NODE_CODE_MAX] = {
        [NODE_IN_PROGRESS] = "InProgress",
        [NODE_SUCCESS] = "Success",
        [NODE_ALREADY_AT_TARGET] = "AlreadyAtTarget",
        [NODE_NOT_STAGED] = "NotStaged",
        [NODE_OPERATION_FAILED] = "OperationFailed",
        [NODE_TARGET_BOOT_FAILED] = "TargetBootFailed",
        [NODE_AGENT_INTERNAL_ERROR] = "AgentInternalError",
        [NODE_INVALID_REQUEST] = "InvalidRequest",
};

/* The contract's list is closed. */
static const char *const kind_names[] = {
        "EXECUTION_ENVIRONMENT_MISCONFIGURATION_ERROR",
        "HEALTH_CHECKS_ERROR",
        "INITIALIZATION_ERROR",
        "INTERNAL_ERROR",
        "INVALID_INPUT_ERROR",
        "SERVICING_ERROR",
        "UNSUPPORTED_CONFIGURATION_ERROR",
        "TRIDENT_ERROR_KIND_UNSPECIFIED",
        "unknown",
};

const char *node_code_name(NodeCode c)
{
        return (unsigned) c < _NODE_CODE_MAX ? code_names[c] : "unknown";
}

NodeCode node_code_from_name(const char *name)
{
        for (NodeCode c = 0; c < _NODE_CODE_MAX; c++)
                if (streq0(name, code_names[c]))
                        return c;
        return _NODE_CODE_INVALID;
}

static const char *kind_from_name(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(kind_names); i++)
                if (streq0(name, kind_names[i]))
                        return kind_names[i];
        return NULL;
}

void node_status_done(NodeStatus *s)
{
        free(s->message);
        free(s->from_version);
        free(s->to_version);
        *s = (NodeStatus){ 0 };
}

NodeStatus *node_status_free(NodeStatus *s)
{
        if (s)
                node_status_done(s);
        free(s);
        return NULL;
}

void node_status_freep(NodeStatus **s)
{
        *s = node_status_free(*s);
}

static bool copy_text(char **to, const char *from)
{
        *to = from ? strdup(from) : NULL;
        return !from || *to;
}

int node_status_copy(const NodeStatus *from, NodeStatus **ret)
{
        _cleanup_(node_status_freep) NodeStatus *s = malloc(sizeof(*s));

        if (!s)
                return -ENOMEM;
        *s = *from;
        s->message = s->from_version = s->to_version = NULL;
        if (!copy_text(&s->message, from->message) || !copy_text(&s->from_version, from->from_version) ||
            !copy_text(&s->to_version, from->to_version))
                return -ENOMEM;
        *ret = TAKE(s);
        return 0;
}

int node_status_say(NodeStatus *s, const char *text)
{
        size_t n = strlen(text), keep = NODE_MESSAGE_MAX - strlen(CUT);
        char *copy = malloc(MIN(n, (size_t) NODE_MESSAGE_MAX) + 1);

        if (!copy)
                return -ENOMEM;
        if (n <= NODE_MESSAGE_MAX)
                memcpy(copy, text, n + 1);
        else {
                /* back to the first byte of the character that would be torn */
                while (keep > 0 && ((unsigned char) text[keep] & 0xc0) == 0x80)
                        keep--;
                memcpy(copy, text, keep);
                memcpy(copy + keep, CUT, sizeof(CUT));
        }
        utf8_repair(copy);
        free(s->message);
        s->message = copy;
        return 0;
}

void node_status_blame(NodeStatus *s, WhyKind kind, const char *code)
{
        static const char *const kinds[_WHY_MAX] = {
                [WHY_NETWORK] = "SERVICING_ERROR",
                [WHY_HOST] = "SERVICING_ERROR",
                [WHY_IMAGE] = "INVALID_INPUT_ERROR",
                [WHY_TRUST] = "INVALID_INPUT_ERROR",
                [WHY_POLICY] = "EXECUTION_ENVIRONMENT_MISCONFIGURATION_ERROR",
                [WHY_BUSY] = "SERVICING_ERROR",
                [WHY_USAGE] = "INVALID_INPUT_ERROR",
                [WHY_NOTHING] = "SERVICING_ERROR",
        };

        s->error_kind = (unsigned) kind < _WHY_MAX && kinds[kind] ? kind_from_name(kinds[kind]) : "unknown";
        (void) snprintf(s->error_subkind, sizeof(s->error_subkind), "%s", code && *code ? code : "unknown");
        utf8_repair(s->error_subkind);
}

/* --- as a document --- */

Json *node_status_json(const NodeStatus *s)
{
        Json *j = json_new_object();

        json_set_str(j, "schemaVersion", "1.0");
        json_set_str(j, "nodeUpdateId", s->node_update_id);
        json_set_str(j, "operationId", s->operation_id);
        json_set_str(j, "operation", node_operation_name(s->operation));
        json_set_str(j, "code", node_code_name(s->code));
        json_set_str(j, "message", s->message ? s->message : "");
        if (s->error_kind) {
                Json *e = json_new_object();

                json_set_str(e, "kind", s->error_kind);
                json_set_str(e, "subkind", s->error_subkind);
                json_set(j, "tridentError", e);
        }
        json_set_str(j, "fromVersion", s->from_version);
        json_set_str(j, "toVersion", s->to_version);
        json_set_str(j, "tridentVersion", "gybe-node " GYBE_VERSION);
        json_set_time(j, "startedUtc", s->started);
        json_set_time(j, "lastUpdatedUtc", s->updated);
        if (s->code != NODE_IN_PROGRESS)
                json_set_time(j, "finishedUtc", s->finished);
        return j;
}

int node_status_format(const NodeStatus *s, char **ret)
{
        _cleanup_(json_unrefp) Json *j = node_status_json(s);
        char *text = json_format(j, false);

        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

static bool read_id(const Json *j, const char *key, char ret[NODE_UUID_SIZE])
{
        const char *text = json_get_str(j, key);

        if (!text || strlen(text) != NODE_UUID_SIZE - 1)
                return false;
        memcpy(ret, text, NODE_UUID_SIZE);
        return true;
}

static int check_member(void *ctx, const char *key, const Json *value)
{
        static const char *const known[] = { "schemaVersion", "nodeUpdateId",   "operationId",
                                             "operation",     "code",           "message",
                                             "tridentError",  "fromVersion",    "toVersion",
                                             "startedUtc",    "tridentVersion", "lastUpdatedUtc",
                                             "finishedUtc" };

        (void) ctx;
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (streq(key, known[i]))
                        return value ? 0 : -EBADMSG;
        return -EBADMSG;
}

static bool read_error(const Json *j, NodeStatus *s)
{
        const Json *e = json_get(j, "tridentError");
        const char *subkind = json_get_str(e, "subkind");

        if (!e)
                return true;
        s->error_kind = kind_from_name(json_get_str(e, "kind"));
        if (!s->error_kind || !subkind || strlen(subkind) >= sizeof(s->error_subkind))
                return false;
        (void) snprintf(s->error_subkind, sizeof(s->error_subkind), "%s", subkind);
        return true;
}

static bool read_times(const Json *j, NodeStatus *s)
{
        bool in_progress = s->code == NODE_IN_PROGRESS;
        int finished = json_get_time(j, "finishedUtc", &s->finished);

        if (json_get_time(j, "startedUtc", &s->started) <= 0 || finished < 0 ||
            (finished == 0) != in_progress)
                return false;
        s->updated = s->started;
        return json_get_time(j, "lastUpdatedUtc", &s->updated) >= 0;
}

int node_status_from_json(const Json *j, NodeStatus **ret)
{
        _cleanup_(node_status_freep) NodeStatus *s = calloc(1, sizeof(*s));
        const char *message = json_get_str(j, "message");

        if (!s)
                return -ENOMEM;
        if (!json_is_object(j) || json_each(j, check_member, NULL) < 0 ||
            !streq0(json_get_str(j, "schemaVersion"), "1.0") ||
            !read_id(j, "nodeUpdateId", s->node_update_id) || !read_id(j, "operationId", s->operation_id))
                return -EBADMSG;
        s->operation = node_operation_from_name(json_get_str(j, "operation"));
        s->code = node_code_from_name(json_get_str(j, "code"));
        if (s->operation < 0 || s->code < 0 || !read_error(j, s) || !read_times(j, s) ||
            (message && strlen(message) > NODE_MESSAGE_MAX))
                return -EBADMSG;
        if (!copy_text(&s->message, message ? message : "") ||
            !copy_text(&s->from_version, json_get_str(j, "fromVersion")) ||
            !copy_text(&s->to_version, json_get_str(j, "toVersion")))
                return -ENOMEM;
        *ret = TAKE(s);
        return 0;
}

int node_status_parse(const char *text, size_t size, NodeStatus **ret)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        Why why = { 0 };
        int r;

        if (size > NODE_ANNOTATION_MAX)
                return -EBADMSG;
        r = json_parse(text, size, 0, JSON_DEPTH_MAX, "update-status", WHY_HOST, &j, &why);
        return r < 0 ? r : node_status_from_json(j, ret);
}

bool node_status_same(const NodeStatus *a, const NodeStatus *b)
{
        return streq(a->node_update_id, b->node_update_id) && streq(a->operation_id, b->operation_id) &&
               a->operation == b->operation && a->code == b->code && streq0(a->message, b->message) &&
               streq0(a->from_version, b->from_version) && streq0(a->to_version, b->to_version) &&
               streq0(a->error_kind, b->error_kind) && streq(a->error_subkind, b->error_subkind) &&
               a->started == b->started && a->finished == b->finished;
}
