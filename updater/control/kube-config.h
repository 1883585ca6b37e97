/* SPDX-License-Identifier: MIT */
#pragma once

/* A kubeconfig: where the API server is and who we are to it. Pure; files that it names are read by whoever connects
 * (kube-identity.h), each time, because they rotate. */

#include "base/why.h"

typedef struct KubeExec {
        char *command, *api_version, *install_hint; /* command NULL: none */
        char **args, **env;                         /* env: "NAME=value" */
        bool cluster_info;
} KubeExec;

typedef struct KubeConfig {
        char *server, *proxy, *tls_server_name;
        Bytes ca, certificate, key; /* PEM that stands in the file itself; it counts before the file's name */
        char *ca_file, *certificate_file, *key_file;
        char *token, *token_file; /* token_file counts before token */
        char *user, *password;
        KubeExec exec;
} KubeConfig;

void kube_config_done(KubeConfig *c);

/* What stands in no kubeconfig's way here is refused with a sentence: certificates that nobody checks, plain http
 * (allow_http: but not in a test), logins of the past. */
int kube_config_parse(const void *data, size_t size, bool allow_http, KubeConfig *ret, Why *why);
/* https://HOST[:PORT][/PATH], without blanks, user names, queries. */
int kube_config_check_server(const char *server, bool allow_http, Why *why);

/* What an exec plugin printed: an ExecCredential. Pure. */
typedef struct KubeCredential {
        char *token;
        Bytes certificate, key;
        uint64_t expires; /* 0: when the API server says so */
} KubeCredential;

void kube_credential_done(KubeCredential *c);
int kube_credential_parse(const void *data, size_t size, const char *api_version, KubeCredential *ret,
                          Why *why);
/* The variable KUBERNETES_EXEC_INFO. */
int kube_exec_info(const KubeConfig *c, const Bytes *ca, char **ret);
