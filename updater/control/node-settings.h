/* SPDX-License-Identifier: MIT */
#pragma once

/* The environment of gybe-node: the variables of trident-acl-agent, with its names and defaults, so that a drop-in written for it
 * works for our unit. What is malformed stops us at the start, by name; what concerns only that agent's own engine is taken and
 * ignored. */

#include "base/env.h"

#define NODE_SETTING(name) "TRIDENT_ACL_AGENT_" name

typedef struct NodeSettings {
        char *prefix, *server, *kubeconfig, *node;           /* server NULL: the kubeconfig's */
        char *version_path, *version_key, *version_fallback; /* path NULL: gybed knows */
        uint64_t stage_timeout_sec, finalize_timeout_sec, heartbeat_sec, gone_max_wait_sec; /* 0: for ever */
        bool validate_uuid, allow_http;
        bool from_certificate, from_host; /* where the Node's name is from: wanted, and taken */
} NodeSettings;

void node_settings_done(NodeSettings *s);
/* get: getenv(), or a test's. */
int node_settings_load(const Env *env, const char *(*get)(const char *name), NodeSettings *ret, Why *why);

/* The Node would be called otherwise now: kubelet has got its certificate, or the host its name, after we began. */
bool node_settings_renamed(const Env *env, const NodeSettings *s);

/* "1h 30m", "90s", "500ms" as the crate humantime takes them; rounded up to seconds. */
int node_parse_humantime(const char *text, uint64_t *ret_sec);
/* KEY of an os-release file; -ENOENT when it is missing or empty. */
int node_version_find(const char *text, const char *key, char **ret);
/* What runs, by CURRENT_VERSION_*; "0.0.0" or a literal where that is wanted. NULL and 0: unknown. */
int node_version_read(const Env *env, const NodeSettings *s, char **ret);
