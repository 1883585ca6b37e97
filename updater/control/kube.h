/* SPDX-License-Identifier: MIT */
#pragma once

/* One Node of a Kubernetes cluster, watched and patched: list, watch, and from the beginning again when the stream breaks, in
 * whatever way, with pauses that grow. Who we are is read anew for every request, because certificates and tokens rotate. Knows
 * nothing of updates. */

#include "base/env.h"
#include "control/kube-watch.h"

#include <systemd/sd-event.h>

#define KUBE_IN_CLUSTER "in-cluster" /* instead of a kubeconfig: the service account of a pod */

typedef struct Kube Kube;

typedef struct KubeOptions {
        const Env *env;
        sd_event *event;
        const char *kubeconfig, *server /* NULL: the kubeconfig's */, *node, *prefix;
        bool allow_http; /* tests only */
        void (*on_node)(void *ctx, const KubeNode *node);
        void (*on_gone)(void *ctx);
        void (*on_patched)(void *ctx, bool done, uint64_t retry_sec);
        void *ctx;
} KubeOptions;

/* options are copied, their texts borrowed */
int kube_new(const KubeOptions *options, Kube **ret, Why *why);
Kube *kube_free(Kube *k);
void kube_freep(Kube **k);

/* One at a time; on_patched is always called, later. value: a text */
void kube_annotate(Kube *k, const char *name /* "update-status" */, const char *value);
/* In a sentence, for people; "" when all is well. */
const char *kube_trouble(const Kube *k);
