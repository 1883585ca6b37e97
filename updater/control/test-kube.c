/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "control/kube-config.h"
#include "control/kube-watch.h"
#include "control/kube-yaml.h"
#include "control/node-settings.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define HEAD                                                                                                 \
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {cluster: k, "   \
        "user: u}\n"
#define CLUSTER "clusters:\n- name: k\n  cluster:\n    server: https://10.0.0.1:6443\n"
#define USER    "users:\n- name: u\n  user:\n"
#define EXEC    USER "    exec:\n      command: get-token\n      apiVersion: client.authentication.k8s.io/v1\n"

static void test_configs(void)
{
        static const struct {
                const char *text;
                const char *says; /* NULL: taken */
        } cases[] = {
                { HEAD CLUSTER USER "    token: abc\n", NULL },
                { HEAD CLUSTER USER
                  "    tokenFile: /run/token\n    client-certificate: a.pem\n    client-key: a.pem\n",
                  NULL },
                { HEAD CLUSTER "    certificate-authority-data: QUJD\n" USER
                               "    client-certificate-data: \"\"\n",
                  NULL },
                { HEAD CLUSTER EXEC "      interactiveMode: Never\n", NULL },
                { HEAD CLUSTER EXEC "      interactiveMode: Never\n      args: [a, \"1\", 2]\n      env:\n   "
                                    "   - {name: A, value: b}\n      provideClusterInfo: true\n",
                  NULL },
                { HEAD CLUSTER EXEC, "interactiveMode" },
                { HEAD CLUSTER EXEC "      interactiveMode: Always\n", "sit here" },
                { HEAD CLUSTER USER "    auth-provider: {name: gcp}\n", "of the past" },
                { HEAD CLUSTER USER "    as: admin\n", "nobody else" },
                { HEAD CLUSTER "    insecure-skip-tls-verify: true\n" USER "    token: abc\n", "insecure" },
                { HEAD CLUSTER "    certificate-authority-data: '*'\n" USER "    token: abc\n", "base64" },
                { HEAD "clusters:\n- name: k\n  cluster: {server: 'http://10.0.0.1'}\n" USER
                       "    token: abc\n",
                  "not https" },
                { HEAD "clusters:\n- name: k\n  cluster: {server: 'https://a@b'}\n" USER "    token: abc\n",
                  "plain https" },
                { HEAD CLUSTER "users: []\n", "not there" },
                { "current-context: x\n", "no context" },
                { "{\"a\": 1}", "current-context" },
                { "- a\n", "no mapping" },
                { "a: &x [1]\nb: *x\n", "anchors" },
                { "a: 1\na: 2\n", "twice" },
                { "a: 1\n---\nb: 2\n", "one document" },
                { "a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]", "deeply" },
                { "a: \"unfinished", "line" },
                { "", "one document" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(kube_config_done) KubeConfig c = { 0 };
                Why why = { 0 };
                int r = kube_config_parse(cases[i].text, strlen(cases[i].text), false, &c, &why);

                if ((r < 0) != !!cases[i].says || (cases[i].says && !strstr(why.text, cases[i].says)))
                        (void) fprintf(stderr, "%zu: %d %s\n", i, r, why.text);
                assert((r < 0) == !!cases[i].says && (!cases[i].says || strstr(why.text, cases[i].says)));
                assert(r < 0 || streq(c.server, "https://10.0.0.1:6443"));
                if (r >= 0 && i == 4)
                        assert(strv_len(c.exec.args) == 3 && streq(c.exec.env[0], "A=b") &&
                               c.exec.cluster_info);
        }
}

static void test_credentials(void)
{
#define CRED "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":"
        static const struct {
                const char *text;
                bool good;
        } cases[] = {
                { CRED "{\"token\":\"t\",\"expirationTimestamp\":\"2026-11-21T12:00:00Z\"}}", true },
                { CRED "{\"clientCertificateData\":\"c\",\"clientKeyData\":\"k\"}}", true },
                { CRED "{\"clientCertificateData\":\"c\"}}", false },
                { CRED "{\"token\":\"a\\nb\"}}", false }, /* a header of its own */
                { CRED "{\"token\":\"t\",\"expirationTimestamp\":\"soon\"}}", false },
                { CRED "{}}", false },
                { "{\"apiVersion\":\"client.authentication.k8s.io/"
                  "v1beta1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t\"}}",
                  false },
                { "token", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(kube_credential_done) KubeCredential c = { 0 };
                Why why = { 0 };

                assert((kube_credential_parse(cases[i].text, strlen(cases[i].text),
                                              "client.authentication.k8s.io/v1", &c, &why) >= 0) ==
                       cases[i].good);
        }
}

static int collect(void *ctx, KubeEvent *e)
{
        Str *s = ctx;

        str_addf(s, "%u:%s:%u ", (unsigned) e->type, e->node.request ? e->node.request : "-", e->code);
        return 0;
}

static void test_stream(void)
{
        static const char text[] = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"n\","
                                   "\"annotations\":{\"p/update-request\":\"x\"}}}}\n"
                                   "\n"
                                   "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Node\",\"metadata\":{"
                                   "\"resourceVersion\":\"12\"}}}\n"
                                   "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,"
                                   "\"message\":\"too old\"}}\n";

        for (size_t piece = 1; piece <= sizeof(text); piece++) {
                _cleanup_(kube_stream_done) KubeStream s = { .prefix = "p" };
                _cleanup_(str_done) Str seen = STR_NULL;
                Why why = { 0 };

                for (size_t i = 0; i < sizeof(text) - 1; i += piece)
                        assert(kube_stream_feed(&s, text + i, MIN(piece, sizeof(text) - 1 - i), collect,
                                                &seen, &why) == 0);
                assert(streq(seen.text, "0:x:0 3:-:0 4:-:410 "));
        }
        assert(kube_version_not_before("10", "9") && !kube_version_not_before("9", "10") &&
               kube_version_not_before("x", "10"));
}

static const char *const *variables;

static const char *variable(const char *name)
{
        size_t n = strlen(name);

        for (const char *const *v = variables; *v; v++)
                if (strncmp(*v, name, n) == 0 && (*v)[n] == '=')
                        return *v + n + 1;
        return NULL;
}

static int settings(const char *const *v, NodeSettings *ret, Why *why)
{
        Env env = ENV_NULL;
        int r;

        variables = v;
        *why = (Why){ 0 };
        assert(env_open(NULL, &env, why) == 0);
        r = node_settings_load(&env, variable, ret, why);
        env_done(&env);
        return r;
}

static void test_settings(void)
{
        static const char *const bad[] = {
                NODE_SETTING("KUBERNETES_ANNOTATION_PREFIX=Acl/x"),
                NODE_SETTING("KUBERNETES_API_SERVER=http://x"),
                NODE_SETTING("KUBERNETES_KUBECONFIG=kubeconfig"),
                NODE_SETTING("KUBERNETES_NODE_NAME=a/b"),
                NODE_SETTING("KUBERNETES_NODE_NAME_SOURCE=dns"),
                NODE_SETTING("ORCHESTRATION_STAGE_TIMEOUT=20"),
                NODE_SETTING("ORCHESTRATION_HEARTBEAT_INTERVAL=0s"),
                NODE_SETTING("ORCHESTRATION_MODE=omaha-only"),
                NODE_SETTING("CURRENT_VERSION_PATH=os-release"),
        };
        _cleanup_(node_settings_done) NodeSettings s = { 0 }, t = { 0 };
        Why why;

        assert(settings((const char *const[]){ NODE_SETTING("KUBERNETES_NODE_NAME="), NULL }, &s, &why) == 0);
        assert(streq(s.prefix, "acl.microsoft.com") && streq(s.kubeconfig, "/var/lib/kubelet/kubeconfig") &&
               !s.server);
        assert(s.stage_timeout_sec == 1200 && s.finalize_timeout_sec == 600 && s.heartbeat_sec == 60 &&
               !s.version_path);
        /* AKS's drop-in: the agent's defaults, and another prefix */
        assert(settings((const char *const[]){ NODE_SETTING("KUBERNETES_ANNOTATION_PREFIX=acl.azure.com"),
                                               NODE_SETTING("CURRENT_VERSION_PATH=/etc/os-release"),
                                               NODE_SETTING("CURRENT_VERSION_KEY=VERSION_ID"),
                                               NODE_SETTING(
                                                       "TRIDENT_SOCKET=unix:///run/trident/trident.sock"),
                                               NODE_SETTING("ORCHESTRATION_STAGE_TIMEOUT=1h 30m"),
                                               NODE_SETTING("KUBERNETES_NODE_NAME=aks-np-1"), NULL },
                        &t, &why) == 0);
        assert(streq(t.prefix, "acl.azure.com") && t.stage_timeout_sec == 5400 &&
               streq(t.version_path, "/etc/os-release") && streq(t.node, "aks-np-1"));
        /* its drop-in pins every setting, those of its own engine, too; nobody else's name is a mistake of the setting's */
        {
                _cleanup_(node_settings_done) NodeSettings all = { 0 };

                assert(settings((const char *const[]){ NODE_SETTING("KUBERNETES_NODE_NAME=n"),
                                                       NODE_SETTING("KUBERNETES_NODE_NAME_SOURCE=hostname"),
                                                       NODE_SETTING("KUBERNETES_API_SERVER="),
                                                       NODE_SETTING("CURRENT_VERSION_FALLBACK=always"),
                                                       NODE_SETTING("ORCHESTRATION_STATE_PATH=/x/state.json"),
                                                       NODE_SETTING("ORCHESTRATION_FINALIZE_TIMEOUT=10m"),
                                                       NODE_SETTING("ORCHESTRATION_HEARTBEAT_INTERVAL=60s"),
                                                       NODE_SETTING("ORCHESTRATION_NODE_GONE_MAX_WAIT="),
                                                       NODE_SETTING("ORCHESTRATION_MODE=annotations"),
                                                       NODE_SETTING("VALIDATE_NODE_UUID="),
                                                       NODE_SETTING("NEBRASKA_ENDPOINT=<endpoint>"),
                                                       NODE_SETTING("NEBRASKA_APP_ID=<app>"),
                                                       NODE_SETTING("NEBRASKA_TRACK=<track>"), NULL },
                                &all, &why) == 0);
                assert(all.gone_max_wait_sec == 0 && !all.validate_uuid && !all.server && !all.version_path);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                NodeSettings none = { 0 };
                char name[80];

                (void) snprintf(name, sizeof(name), "%.*s", (int) strcspn(bad[i], "="), bad[i]);
                assert(settings((const char *const[]){ bad[i], NULL }, &none, &why) < 0 &&
                       strstr(why.text, name));
        }
}

static void test_humantime(void)
{
        static const struct {
                const char *text;
                int r;
                uint64_t sec;
        } cases[] = {
                { "20m", 0, 1200 },     { "1h 30m", 0, 5400 },
                { "1h30m", 0, 5400 },   { "500ms", 0, 1 },
                { "90 s", 0, 90 },      { "90", -EINVAL, 0 },
                { "", -ERANGE, 0 },     { "1y", -EINVAL, 0 },
                { "-1s", -EINVAL, 0 },  { "99999999999s", -ERANGE, 0 },
                { "2days", 0, 172800 }, { "1wk", 0, 604800 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t sec = 0;

                assert(node_parse_humantime(cases[i].text, &sec) == cases[i].r && sec == cases[i].sec);
        }
}

static void test_versions(void)
{
        static const struct {
                const char *text, *expect;
        } cases[] = {
                { "ID=x\nVERSION_ID=3.0.1\n", "3.0.1" },
                { "  VERSION_ID=\"3.0.1\"  \r\n", "3.0.1" },
                { "#VERSION_ID=1\nVERSION_ID='a=b'", "a=b" },
                { "VERSION_ID=\"\"\n", NULL },
                { "VERSION_IDX=1\n", NULL },
                { "", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *v = NULL;

                (void) node_version_find(cases[i].text, "VERSION_ID", &v);
                assert(streq0(v, cases[i].expect));
        }
}

int main(void)
{
        test_configs();
        test_credentials();
        test_stream();
        test_settings();
        test_humantime();
        test_versions();
        return 0;
}
