/* SPDX-License-Identifier: MIT */
#pragma once

/* HTTP to the API server, in the loop of sd-event: many requests at once, none of them waited for. Knows connections, TLS and
 * proxies; knows nothing of Nodes, of files or of when to try again. */

#include "base/why.h"

#include <systemd/sd-event.h>

typedef struct KubeHttp KubeHttp;
typedef struct KubeCall KubeCall;

/* Who we are, as bytes; borrowed while a call begins. */
typedef struct KubeIdentity {
        Bytes ca, certificate, key; /* PEM; ca empty: the system's */
        char *token, *user, *password, *proxy, *tls_server_name;
} KubeIdentity;

void kube_identity_done(KubeIdentity *i);

typedef struct KubeAsk {
        const char *method, *url;
        const char *content_type, *body; /* NULL: none */
        uint64_t timeout_sec;            /* from the first byte to the last */
        /* A stream: every piece as it comes; negative ends it. NULL: on_end has all of it. */
        int (*on_data)(void *ctx, const void *data, size_t size);
        /* The call is over and gone. status 0: there was no answer, and why says what happened. */
        void (*on_end)(void *ctx, unsigned status, const Bytes *body, uint64_t retry_after_sec,
                       const Why *why);
        void *ctx;
} KubeAsk;

int kube_http_new(sd_event *event, KubeHttp **ret, Why *why);
KubeHttp *kube_http_free(KubeHttp *h);
/* Identity is copied. on_end is not called from in here. */
int kube_http_begin(KubeHttp *h, const KubeIdentity *identity, const KubeAsk *ask, KubeCall **ret, Why *why);
/* Without on_end; not from on_data. NULL is taken. */
KubeCall *kube_call_free(KubeCall *c);
