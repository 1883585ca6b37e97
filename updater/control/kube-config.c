/* SPDX-License-Identifier: MIT */

#include "control/kube-config.h"
#include "base/json.h"
#include "base/str.h"
#include "control/kube-yaml.h"

#include <errno.h>
#include <stdio.h>

#define ARGS_MAX  64u
#define TEXT_MAX  4096u         /* names, paths, URLs */
#define TOKEN_MAX (64u * 1024u) /* a token with many groups */

void kube_config_done(KubeConfig *c)
{
        free(c->server);
        free(c->proxy);
        free(c->tls_server_name);
        bytes_done(&c->ca);
        bytes_done(&c->certificate);
        bytes_done(&c->key);
        free(c->ca_file);
        free(c->certificate_file);
        free(c->key_file);
        free(c->token);
        free(c->token_file);
        free(c->user);
        free(c->password);
        free(c->exec.command);
        free(c->exec.api_version);
        free(c->exec.install_hint);
        strv_free(c->exec.args);
        strv_free(c->exec.env);
        *c = (KubeConfig){ 0 };
}

void kube_credential_done(KubeCredential *c)
{
        free(c->token);
        bytes_done(&c->certificate);
        bytes_done(&c->key);
        *c = (KubeCredential){ 0 };
}

static int wrong(Why *why, const char *fmt, ...) _printf_(2, 3);
static int wrong(Why *why, const char *fmt, ...)
{
        char text[400];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        return fail(why, -EINVAL, WHY_USAGE, "kubeconfig", "kubeconfig: %s", text);
}

/* --- parts --- */

static bool has_control(const char *text)
{
        for (; *text; text++)
                if ((unsigned char) *text < 0x20 || *text == 0x7f)
                        return true;
        return false;
}

static int take_text(const Json *j, const char *key, size_t max, char **ret, Why *why)
{
        const char *text = json_get_str(j, key);

        if (!json_get(j, key) || (text && !*text)) /* client-go writes empty ones */
                return 0;
        if (!text)
                return wrong(why, "%s is no text", key);
        if (strlen(text) > max || has_control(text))
                return wrong(why, "%s is too long or has a control character", key);
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

static int take_data(const Json *j, const char *key, Bytes *ret, Why *why)
{
        const char *text = json_get_str(j, key);
        int r;

        if (!json_get(j, key) || (text && !*text))
                return 0;
        r = text ? base64_decode(text, strlen(text), ret) : -EINVAL;
        return r == -ENOMEM ? r : r < 0 ? wrong(why, "%s is no base64", key) : 0;
}

/* An entry of "clusters", "users", "contexts". */
static const Json *find_entry(const Json *doc, const char *list, const char *name, const char *member)
{
        json_foreach (e, json_get(doc, list))
                if (streq0(json_get_str(e, "name"), name))
                        return json_is_object(json_get(e, member)) ? json_get(e, member) : NULL;
        return NULL;
}

int kube_config_check_server(const char *server, bool allow_http, Why *why)
{
        bool http = str_starts(server, "http://");
        const char *host = server + strlen(http ? "http://" : "https://");

        if (!http && !str_starts(server, "https://"))
                return wrong(why, "server \"%.100s\" is no https URL", server);
        if (http && !allow_http)
                return wrong(why,
                             "server \"%.100s\" is not https: whoever sits in between would say what this "
                             "node runs",
                             server);
        if (!*host || *host == '/' || strlen(server) > TEXT_MAX)
                return wrong(why, "server has no host");
        for (const char *p = host; *p; p++)
                if ((unsigned char) *p <= 0x20 || (unsigned char) *p >= 0x7f || strchr("@?#\"<>\\^`{|}", *p))
                        return wrong(why, "server \"%.100s\" is no plain https URL", server);
        return 0;
}

/* --- the cluster --- */

static int take_cluster(const Json *j, bool allow_http, KubeConfig *c, Why *why)
{
        bool insecure = false;
        int r;

        if (json_get_bool(j, "insecure-skip-tls-verify", &insecure) < 0)
                return wrong(why, "insecure-skip-tls-verify is neither true nor false");
        if (insecure) {
                (void) wrong(
                        why,
                        "insecure-skip-tls-verify is set: anybody in between could say what this node runs");
                return fail_hint(why, -EINVAL,
                                 "name the certificate authority instead (certificate-authority)");
        }
        if ((r = take_text(j, "server", TEXT_MAX, &c->server, why)) < 0 ||
            (r = take_text(j, "proxy-url", TEXT_MAX, &c->proxy, why)) < 0 ||
            (r = take_text(j, "tls-server-name", 255, &c->tls_server_name, why)) < 0 ||
            (r = take_data(j, "certificate-authority-data", &c->ca, why)) < 0 ||
            (r = take_text(j, "certificate-authority", TEXT_MAX, &c->ca_file, why)) < 0)
                return r;
        if (!c->server)
                return wrong(why, "the cluster has no server");
        return kube_config_check_server(c->server, allow_http, why);
}

/* --- the user --- */

static int take_args(const Json *list, char ***ret, Why *why)
{
        if (list && (!json_is_array(list) || json_len(list) > ARGS_MAX))
                return wrong(why, "exec.args is no list, or too long");
        json_foreach (a, list) {
                const char *text = json_str(a);

                if (!text || strlen(text) > TEXT_MAX)
                        return wrong(why, "exec.args has something that is no text");
                if (strv_add(ret, text) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int take_env(const Json *list, char ***ret, Why *why)
{
        if (list && (!json_is_array(list) || json_len(list) > ARGS_MAX))
                return wrong(why, "exec.env is no list, or too long");
        json_foreach (e, list) {
                const char *name = json_get_str(e, "name"), *value = json_get_str(e, "value");
                _cleanup_(free_charp) char *line = NULL;

                if (!name || !*name || strchr(name, '=') || strlen(name) > 255 ||
                    (value && strlen(value) > TEXT_MAX))
                        return wrong(why, "exec.env has something that is no variable");
                line = str_printf("%s=%s", name, value ? value : "");
                if (!line || strv_add(ret, line) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int take_exec(const Json *j, KubeExec *e, Why *why)
{
        const char *mode = json_get_str(j, "interactiveMode");
        int r;

        if (!j)
                return 0;
        if ((r = take_text(j, "command", TEXT_MAX, &e->command, why)) < 0 ||
            (r = take_text(j, "apiVersion", 255, &e->api_version, why)) < 0 ||
            (r = take_args(json_get(j, "args"), &e->args, why)) < 0 ||
            (r = take_env(json_get(j, "env"), &e->env, why)) < 0)
                return r;
        if (!e->command)
                return wrong(why, "exec has no command");
        if (!streq0(e->api_version, "client.authentication.k8s.io/v1") &&
            !streq0(e->api_version, "client.authentication.k8s.io/v1beta1"))
                return wrong(why, "exec.apiVersion \"%.80s\" is not known",
                             e->api_version ? e->api_version : "");
        if (streq(e->api_version, "client.authentication.k8s.io/v1") && !mode)
                return wrong(why, "exec.interactiveMode is missing");
        if (mode && !streq(mode, "Never") && !streq(mode, "IfAvailable"))
                return wrong(why, "exec.interactiveMode \"%.20s\" wants somebody to sit here", mode);
        return json_get_bool(j, "provideClusterInfo", &e->cluster_info) < 0
                       ? wrong(why, "exec.provideClusterInfo is neither true nor false")
                       : 0;
}

static int take_user(const Json *j, KubeConfig *c, Why *why)
{
        int r;

        if (json_get(j, "auth-provider"))
                return wrong(why, "auth-provider is a login of the past; exec replaces it");
        if (json_get(j, "as") || json_get(j, "as-uid") || json_get(j, "as-groups"))
                return wrong(why, "this agent acts as nobody else (as, as-uid, as-groups)");
        if ((r = take_data(j, "client-certificate-data", &c->certificate, why)) < 0 ||
            (r = take_text(j, "client-certificate", TEXT_MAX, &c->certificate_file, why)) < 0 ||
            (r = take_data(j, "client-key-data", &c->key, why)) < 0 ||
            (r = take_text(j, "client-key", TEXT_MAX, &c->key_file, why)) < 0 ||
            (r = take_text(j, "token", TOKEN_MAX, &c->token, why)) < 0 ||
            (r = take_text(j, "tokenFile", TEXT_MAX, &c->token_file, why)) < 0 ||
            (r = take_text(j, "username", TEXT_MAX, &c->user, why)) < 0 ||
            (r = take_text(j, "password", TEXT_MAX, &c->password, why)) < 0)
                return r;
        return take_exec(json_get(j, "exec"), &c->exec, why);
}

int kube_config_parse(const void *data, size_t size, bool allow_http, KubeConfig *ret, Why *why)
{
        _cleanup_(kube_config_done) KubeConfig c = { 0 };
        _cleanup_(json_unrefp) Json *doc = NULL;
        const Json *context, *cluster, *user;
        const char *name;
        int r;

        r = kube_yaml_parse(data, size, "kubeconfig", &doc, why);
        if (r < 0)
                return r;
        name = json_get_str(doc, "current-context");
        if (!name || !*name)
                return wrong(why, "current-context is missing");
        context = find_entry(doc, "contexts", name, "context");
        if (!context)
                return wrong(why, "there is no context \"%.100s\"", name);
        cluster = find_entry(doc, "clusters", json_get_str(context, "cluster"), "cluster");
        user = find_entry(doc, "users", json_get_str(context, "user"), "user");
        if (!cluster || !user)
                return wrong(why, "context \"%.100s\" names a cluster or a user that is not there", name);
        if ((r = take_cluster(cluster, allow_http, &c, why)) < 0 || (r = take_user(user, &c, why)) < 0)
                return r;
        *ret = c;
        c = (KubeConfig){ 0 };
        return 0;
}

/* --- exec plugins --- */

static int bad_credential(Why *why, const char *problem)
{
        return fail(why, -EBADMSG, WHY_USAGE, "exec-plugin", "exec plugin: %s", problem);
}

int kube_credential_parse(const void *data, size_t size, const char *api_version, KubeCredential *ret,
                          Why *why)
{
        _cleanup_(kube_credential_done) KubeCredential c = { 0 };
        _cleanup_(json_unrefp) Json *j = NULL;
        const char *certificate, *key, *token;
        const Json *status;
        int r;

        r = json_parse(data, size, JSON_FRACTIONS, JSON_DEPTH_MAX, "exec plugin", WHY_USAGE, &j, why);
        if (r < 0)
                return r;
        if (!streq0(json_get_str(j, "kind"), "ExecCredential") ||
            !streq0(json_get_str(j, "apiVersion"), api_version))
                return bad_credential(why, "it printed no ExecCredential of the version that was asked for");
        status = json_get(j, "status");
        token = json_get_str(status, "token");
        certificate = json_get_str(status, "clientCertificateData");
        key = json_get_str(status, "clientKeyData");
        if ((!token || !*token) && !certificate)
                return bad_credential(why, "it printed neither token nor certificate");
        if (!certificate != !key)
                return bad_credential(why, "it printed a certificate without its key, or a key alone");
        if (json_get_time(status, "expirationTimestamp", &c.expires) < 0)
                return bad_credential(why, "expirationTimestamp is no time");
        if (token && (has_control(token) || strlen(token) > TOKEN_MAX))
                return bad_credential(why, "its token is too long or has a control character");
        c.token = token && *token ? strdup(token) : NULL;
        r = token && *token && !c.token ? -ENOMEM : 0;
        if (r >= 0 && certificate)
                r = bytes_copy(&c.certificate, certificate, strlen(certificate));
        if (r >= 0 && key)
                r = bytes_copy(&c.key, key, strlen(key));
        if (r < 0)
                return r;
        *ret = c;
        c = (KubeCredential){ 0 };
        return 0;
}

int kube_exec_info(const KubeConfig *c, const Bytes *ca, char **ret)
{
        _cleanup_(json_unrefp) Json *j = json_new_object();
        _cleanup_(free_charp) char *ca64 = NULL;
        Json *spec = json_new_object();
        char *text;

        json_set_str(j, "apiVersion", c->exec.api_version);
        json_set_str(j, "kind", "ExecCredential");
        json_set_bool(spec, "interactive", false);
        if (c->exec.cluster_info) {
                Json *cluster = json_new_object();

                json_set_str(cluster, "server", c->server);
                json_set_str(cluster, "tls-server-name", c->tls_server_name);
                json_set_str(cluster, "proxy-url", c->proxy);
                if (ca->size > 0 && base64_encode(ca->data, ca->size, &ca64) >= 0)
                        json_set_str(cluster, "certificate-authority-data", ca64);
                json_set(spec, "cluster", cluster);
        }
        json_set(j, "spec", spec);
        text = json_format(j, false);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}
