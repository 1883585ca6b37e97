/* SPDX-License-Identifier: MIT */
#pragma once

/* What the API server says of Nodes: one object, a list, a stream of events cut anywhere. Pure. */

#include "base/json.h"

#define KUBE_OBJECT_MAX                                                                                      \
        (4u * 1024u * 1024u) /* etcd takes 1.5 MiB; images and conditions of a big Node are some 100 KiB */

typedef struct KubeNode {
        char *name, *uid, *version /* resourceVersion */, *system_uuid;
        char *request, *status, *commit_status; /* the three annotations; NULL: not there */
} KubeNode;

void kube_node_done(KubeNode *n);
/* prefix: of the annotations' names */
int kube_node_read(const Json *j, const char *prefix, KubeNode *ret);
int kube_node_parse(const void *data, size_t size, const char *prefix, KubeNode *ret, Why *why);
/* 1: the Node is in the list, 0: it is not. ret_version: where a watch begins; to be freed */
int kube_list_parse(const void *data, size_t size, const char *prefix, const char *name, KubeNode *ret,
                    char **ret_version, Why *why);
/* Of a Status object: what the server says against it, in one line. */
void kube_say_status(const void *data, size_t size, char *ret, size_t ret_size);

/* a >= b, where both are numbers; true where that cannot be said. */
bool kube_version_not_before(const char *a, const char *b);

typedef enum KubeEventType {
        KUBE_ADDED,
        KUBE_MODIFIED,
        KUBE_DELETED,
        KUBE_BOOKMARK,
        KUBE_ERROR,
        _KUBE_EVENT_MAX,
} KubeEventType;

typedef struct KubeEvent {
        KubeEventType type;
        KubeNode node; /* of a BOOKMARK only the resourceVersion */
        unsigned code; /* of an ERROR, as HTTP */
        char message[200];
} KubeEvent;

void kube_event_done(KubeEvent *e);

typedef struct KubeStream {
        Bytes rest; /* of a line whose end has not come yet */
        const char *prefix;
} KubeStream;

void kube_stream_done(KubeStream *s);
/* Takes bytes, calls f for every event in them, until it returns non-zero; returns that. -EBADMSG: this is no such stream. */
int kube_stream_feed(KubeStream *s, const void *data, size_t size, int (*f)(void *ctx, KubeEvent *e),
                     void *ctx, Why *why);
