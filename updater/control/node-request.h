/* SPDX-License-Identifier: MIT */
#pragma once

/* What an orchestrator writes into the annotation PREFIX/update-request of a Node, by the contract of trident-acl-agent
 * (schema 1.0). Pure: knows the rules of one request, not what came before it. Anybody who may patch the Node can write
 * anything here. */

#include "base/why.h"

#define NODE_ANNOTATION_MAX                                                                                  \
        (16u * 1024u)        /* a request is half a KiB; an object's annotations are 256 KiB together */
#define NODE_TEXT_MAX  1024u /* of one field */
#define NODE_UUID_SIZE 37u

typedef enum NodeOperation {
        NODE_STAGE,
        NODE_FINALIZE,
        NODE_ROLLBACK,
        NODE_COMMIT, /* nobody asks for it: it follows from a finalize or rollback, after the boot */
        _NODE_OPERATION_MAX,
        _NODE_OPERATION_INVALID = -22,
} NodeOperation;

const char *node_operation_name(NodeOperation o);
NodeOperation node_operation_from_name(const char *name);

typedef struct NodeRequest {
        char node_update_id[NODE_UUID_SIZE]; /* of the whole update, constant from stage to commit */
        char operation_id[NODE_UUID_SIZE];   /* of this step; as it was written: compared as text */
        NodeOperation operation;
        char *target_version, *server, *app_id, *track; /* NULL: not given */
} NodeRequest;

void node_request_done(NodeRequest *request);
int node_request_copy(const NodeRequest *from, NodeRequest *ret);

typedef enum NodeRequestIs {
        NODE_REQUEST_NOISE,   /* nobody to answer: no ids in it that could be repeated */
        NODE_REQUEST_INVALID, /* ids are filled, the operation where it was one; *why says what is wrong */
        NODE_REQUEST_VALID,
} NodeRequestIs;

/* A NodeRequestIs, or -ENOMEM. *ret is to be emptied in either case. */
int node_request_parse(const char *text, size_t size, NodeRequest *ret, Why *why);
