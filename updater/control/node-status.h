/* SPDX-License-Identifier: MIT */
#pragma once

/* What the annotations PREFIX/update-status and PREFIX/update-commit-status say, by the contract of trident-acl-agent (schema
 * 1.0). Pure. */

#include "base/json.h"
#include "control/node-request.h"

#define NODE_MESSAGE_MAX 2048u /* bytes, the mark of a cut included */

typedef enum NodeCode {
        NODE_IN_PROGRESS,
        NODE_SUCCESS,
        NODE_ALREADY_AT_TARGET,
        NODE_NOT_STAGED,
        NODE_OPERATION_FAILED,
        NODE_TARGET_BOOT_FAILED, /* of a commit only */
        NODE_AGENT_INTERNAL_ERROR,
        NODE_INVALID_REQUEST,
        _NODE_CODE_MAX,
        _NODE_CODE_INVALID = -22,
} NodeCode;

const char *node_code_name(NodeCode c);
NodeCode node_code_from_name(const char *name);

typedef struct NodeStatus {
        char node_update_id[NODE_UUID_SIZE], operation_id[NODE_UUID_SIZE];
        NodeOperation operation;
        NodeCode code;
        char *message;
        char *from_version, *to_version; /* NULL: not said */
        const char *error_kind;          /* NULL: no tridentError; one of a fixed list */
        char error_subkind[48];
        uint64_t started, updated, finished; /* seconds; finished 0 while in progress */
} NodeStatus;

void node_status_done(NodeStatus *s);
void node_status_freep(NodeStatus **s);
NodeStatus *node_status_free(NodeStatus *s);
int node_status_copy(const NodeStatus *from, NodeStatus **ret);

/* Takes a sentence: made valid UTF-8 and cut to NODE_MESSAGE_MAX at the end of a character. */
int node_status_say(NodeStatus *s, const char *text);
/* What went wrong inside gybe, in the contract's words. */
void node_status_blame(NodeStatus *s, WhyKind kind, const char *code);

/* The annotation's value. */
int node_status_format(const NodeStatus *s, char **ret);
Json *node_status_json(const NodeStatus *s);
/* -EBADMSG for what no agent of this contract wrote. A time may have any offset and a fraction. */
int node_status_parse(const char *text, size_t size, NodeStatus **ret);
int node_status_from_json(const Json *j, NodeStatus **ret);

/* All but when it was last written and by which version: those differ between two writers of the same news, and comparing
 * them would answer every answer. */
bool node_status_same(const NodeStatus *a, const NodeStatus *b);
