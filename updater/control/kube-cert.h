/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/env.h"

/* The Node that a kubelet's client certificate is for: its subject's common name without "system:node:". */
int kube_cert_node(const Env *env, const char *path, char **ret, Why *why);
