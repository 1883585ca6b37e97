/* SPDX-License-Identifier: MIT */

#include "control/kube-identity.h"
#include "base/str.h"
#include "control/kube-yaml.h"
#include "control/kube.h"

#include <errno.h>
#include <stdio.h>

#define PEM_MAX         (1024u * 1024u) /* a bundle of many authorities */
#define TOKEN_MAX       (64u * 1024u)
#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

void kube_session_done(KubeSession *s)
{
        kube_config_done(&s->config);
        kube_identity_done(&s->identity);
        free(s->folder);
        *s = (KubeSession){ 0 };
}

static int read_file(const Env *env, const KubeSession *s, const char *name, size_t max, Bytes *ret, Why *why)
{
        _cleanup_(free_charp) char *path =
                name[0] == '/' ? strdup(name) : str_printf("%s/%s", s->folder, name);
        int r = path ? env_read(env, path, max, ret) : -ENOMEM;

        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", path ? path : name) : 0;
}

static int read_token(const Env *env, const KubeSession *s, const char *name, char **ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = read_file(env, s, name, TOKEN_MAX, &b, why);
        size_t n;

        if (r < 0)
                return r;
        for (n = b.size; n > 0 && strchr(" \t\r\n", b.data[n - 1]); n--)
                ;
        for (size_t i = 0; i < n; i++)
                if (b.data[i] <= 0x20 || b.data[i] >= 0x7f)
                        return fail(why, -EBADMSG, WHY_HOST, "token", "%s: this is no token", name);
        *ret = n > 0 ? strndup((const char *) b.data, n) : NULL;
        return *ret ? 0 : fail(why, -EBADMSG, WHY_HOST, "token", "%s: it is empty", name);
}

/* What stands in the kubeconfig itself counts before a file. */
static int take_pem(const Env *env, const KubeSession *s, const Bytes *data, const char *file, Bytes *ret,
                    Why *why)
{
        if (data->size > 0)
                return bytes_copy(ret, data->data, data->size);
        return file ? read_file(env, s, file, PEM_MAX, ret, why) : 0;
}

static int copy_text(char **to, const char *from)
{
        if (!from)
                return 0;
        *to = strdup(from);
        return *to ? 0 : -ENOMEM;
}

static int fill_identity(const Env *env, KubeSession *s, const KubeCredential *credential, Why *why)
{
        const KubeConfig *c = &s->config;
        KubeIdentity *i = &s->identity;
        int r;

        if ((r = take_pem(env, s, &c->ca, c->ca_file, &i->ca, why)) < 0 ||
            (r = take_pem(env, s, &c->certificate, c->certificate_file, &i->certificate, why)) < 0 ||
            (r = take_pem(env, s, &c->key, c->key_file, &i->key, why)) < 0 ||
            (r = copy_text(&i->proxy, c->proxy)) < 0 ||
            (r = copy_text(&i->tls_server_name, c->tls_server_name)) < 0 ||
            (r = copy_text(&i->user, c->user)) < 0 || (r = copy_text(&i->password, c->password)) < 0)
                return r;
        r = c->token_file ? read_token(env, s, c->token_file, &i->token, why)
                          : copy_text(&i->token, c->token);
        if (r < 0 || !credential)
                return r;
        if (credential->token && !i->token && (r = copy_text(&i->token, credential->token)) < 0)
                return r;
        if (credential->certificate.size == 0 || i->certificate.size > 0)
                return 0;
        r = bytes_copy(&i->certificate, credential->certificate.data, credential->certificate.size);
        return r < 0 ? r : bytes_copy(&i->key, credential->key.data, credential->key.size);
}

/* As every pod has it. */
static int in_cluster(KubeConfig *c, Why *why)
{
        const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
        bool v6 = host && strchr(host, ':');

        if (!host || !*host || !port || !*port)
                return fail(why, -ENOENT, WHY_USAGE, "in-cluster",
                            "in-cluster: KUBERNETES_SERVICE_HOST and _PORT are not set; this is no pod");
        c->server = str_printf("https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
        c->ca_file = strdup(SERVICE_ACCOUNT "/ca.crt");
        c->token_file = strdup(SERVICE_ACCOUNT "/token");
        return c->server && c->ca_file && c->token_file ? 0 : -ENOMEM;
}

static int load_config(const Env *env, const char *path, bool allow_http, KubeSession *s, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const char *slash = strrchr(path, '/');
        int r;

        if (streq(path, KUBE_IN_CLUSTER)) {
                s->folder = strdup("/");
                return s->folder ? in_cluster(&s->config, why) : -ENOMEM;
        }
        s->folder = strndup(path, slash ? (size_t) (slash - path) : 0);
        if (!s->folder)
                return -ENOMEM;
        r = env_read(env, path, YAML_SIZE_MAX, &b);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "kubeconfig %s", path);
        return kube_config_parse(b.data ? b.data : (const uint8_t *) "", b.size, allow_http, &s->config, why);
}

int kube_session_load(const Env *env, const char *path, const char *server, bool allow_http,
                      const KubeCredential *credential, KubeSession *ret, Why *why)
{
        _cleanup_(kube_session_done) KubeSession s = { 0 };
        int r = load_config(env, path, allow_http, &s, why);

        if (r >= 0 && server) {
                free(s.config.server);
                s.config.server = strdup(server);
                r = s.config.server ? kube_config_check_server(server, allow_http, why) : -ENOMEM;
        }
        if (r >= 0)
                r = fill_identity(env, &s, credential, why);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "kubeconfig");
        *ret = s;
        s = (KubeSession){ 0 };
        return 0;
}
