/* SPDX-License-Identifier: MIT */
#pragma once

/* The fence around libyaml: a kubeconfig's YAML (or JSON, which is YAML) as a Json tree. Plain true and false are booleans, null
 * and ~ nothing, everything else is text. Anchors and aliases are refused: a few hundred bytes of them can mean gigabytes. */

#include "base/json.h"

#define YAML_SIZE_MAX  (1024u * 1024u) /* a kubeconfig of many clusters with their certificates */
#define YAML_DEPTH_MAX 16u
#define YAML_NODES_MAX 20000u

int kube_yaml_parse(const void *data, size_t size, const char *what, Json **ret, Why *why);
