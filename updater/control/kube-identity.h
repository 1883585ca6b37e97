/* SPDX-License-Identifier: MIT */
#pragma once

/* Who we are to the API server, from the files as they are now: the kubeconfig, what it names, and what its exec plugin said. */

#include "base/env.h"
#include "control/kube-config.h"
#include "control/kube-http.h"

typedef struct KubeSession {
        KubeConfig config;
        KubeIdentity identity;
        char *folder; /* of the kubeconfig */
} KubeSession;

void kube_session_done(KubeSession *s);
/* credential: of the exec plugin, may be NULL. */
int kube_session_load(const Env *env, const char *path, const char *server, bool allow_http,
                      const KubeCredential *credential, KubeSession *ret, Why *why);
