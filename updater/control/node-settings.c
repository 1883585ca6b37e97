/* SPDX-License-Identifier: MIT */

#include "control/node-settings.h"
#include "base/log.h"
#include "base/str.h"
#include "control/kube-cert.h"
#include "control/kube-config.h"
#include "control/kube.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define PREFIX      "acl.microsoft.com"
#define KUBECONFIG  "/var/lib/kubelet/kubeconfig"
#define CERTIFICATE "/var/lib/kubelet/pki/kubelet-client-current.pem"
#define NAME_MAX_   253u /* a DNS subdomain */

void node_settings_done(NodeSettings *s)
{
        free(s->prefix);
        free(s->server);
        free(s->kubeconfig);
        free(s->node);
        free(s->version_path);
        free(s->version_key);
        free(s->version_fallback);
        *s = (NodeSettings){ 0 };
}

/* --- parsers --- */

static uint64_t unit_ms(const char *unit, size_t n)
{
        static const struct {
                const char *name;
                uint64_t ms;
        } units[] = {
                { "ms", 1 },          { "millis", 1 },      { "msec", 1 },         { "s", 1000 },
                { "sec", 1000 },      { "secs", 1000 },     { "second", 1000 },    { "seconds", 1000 },
                { "m", 60000 },       { "min", 60000 },     { "mins", 60000 },     { "minute", 60000 },
                { "minutes", 60000 }, { "h", 3600000 },     { "hr", 3600000 },     { "hrs", 3600000 },
                { "hour", 3600000 },  { "hours", 3600000 }, { "d", 86400000 },     { "day", 86400000 },
                { "days", 86400000 }, { "w", 604800000 },   { "week", 604800000 }, { "weeks", 604800000 },
                { "wk", 604800000 },  { "wks", 604800000 },
        };

        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strlen(units[i].name) == n && memcmp(units[i].name, unit, n) == 0)
                        return units[i].ms;
        return 0;
}

int node_parse_humantime(const char *text, uint64_t *ret_sec)
{
        uint64_t total = 0;
        bool any = false;

        while (*text) {
                uint64_t value = 0, unit;
                const char *word;

                if (*text == ' ') {
                        text++;
                        continue;
                }
                if (!isdigit((unsigned char) *text))
                        return -EINVAL;
                for (; isdigit((unsigned char) *text); text++) {
                        if (value > 100000000)
                                return -ERANGE;
                        value = value * 10 + (uint64_t) (*text - '0');
                }
                text += strspn(text, " ");
                for (word = text; islower((unsigned char) *text); text++)
                        ;
                unit = unit_ms(word, (size_t) (text - word));
                if (unit == 0)
                        return -EINVAL;
                total += value * unit;
                any = true;
        }
        if (!any || total == 0 || total > 365 * UINT64_C(86400000))
                return -ERANGE;
        *ret_sec = (total + 999) / 1000;
        return 0;
}

int node_version_find(const char *text, const char *key, char **ret)
{
        size_t n = strlen(key);

        while (*text) {
                const char *end = strchrnul(text, '\n'), *from = text, *to = end;

                while (from < to && isspace((unsigned char) *from))
                        from++;
                while (to > from && isspace((unsigned char) to[-1]))
                        to--;
                if ((size_t) (to - from) > n && *from != '#' && memcmp(from, key, n) == 0 && from[n] == '=') {
                        from += n + 1;
                        if (to - from >= 2 && (*from == '"' || *from == '\'') && to[-1] == *from) {
                                from++;
                                to--;
                        }
                        if (to == from)
                                return -ENOENT;
                        *ret = strndup(from, (size_t) (to - from));
                        return *ret ? 0 : -ENOMEM;
                }
                text = *end ? end + 1 : end;
        }
        return -ENOENT;
}

int node_version_read(const Env *env, const NodeSettings *s, char **ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = env_read(env, s->version_path, 64 * 1024, &b);

        if (r >= 0)
                r = node_version_find((const char *) b.data, s->version_key, ret);
        if (r >= 0 || r == -ENOMEM)
                return r;
        *ret = NULL;
        if (streq(s->version_fallback, "error"))
                return 0;
        *ret = strdup(streq(s->version_fallback, "always") ? "0.0.0" : s->version_fallback);
        return *ret ? 0 : -ENOMEM;
}

/* Lower-case letters, digits, dashes and dots: nothing that an URL or a key could stumble over. */
static bool is_subdomain(const char *s)
{
        size_t n = strlen(s);

        return n > 0 && n <= NAME_MAX_ && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == n &&
               isalnum((unsigned char) s[0]) && isalnum((unsigned char) s[n - 1]) && !strstr(s, "..");
}

/* --- the variables --- */

typedef struct Reader {
        const char *(*get)(const char *name);
        Why *why;
        int r;
} Reader;

static int wrong(Reader *r, const char *name, const char *problem)
{
        if (r->r >= 0)
                r->r = fail(r->why, -EINVAL, WHY_USAGE, "bad-setting", "%s: %s", name, problem);
        return r->r;
}

/* Empty is not set. */
static const char *get(Reader *r, const char *name)
{
        const char *v = r->get(name);

        return v && *v ? v : NULL;
}

static void take(Reader *r, const char *name, const char *fallback, char **ret)
{
        const char *v = get(r, name);

        v = v ? v : fallback;
        *ret = v ? strdup(v) : NULL;
        if (v && !*ret && r->r >= 0)
                r->r = -ENOMEM;
}

static void take_time(Reader *r, const char *name, uint64_t fallback, uint64_t *ret)
{
        const char *v = get(r, name);

        *ret = fallback;
        if (v && node_parse_humantime(v, ret) < 0)
                (void) wrong(r, name, "it is no duration like \"20m\" or \"1h 30m\"");
}

static int host_name(const Env *env, char **ret)
{
        int r = env_read_line(env, "/proc/sys/kernel/hostname", ret);

        for (char *p = r >= 0 ? *ret : NULL; p && *p; p++)
                *p = (char) tolower((unsigned char) *p);
        return r;
}

bool node_settings_renamed(const Env *env, const NodeSettings *s)
{
        _cleanup_(free_charp) char *name = NULL;
        Why why = { 0 };

        if (!s->from_host)
                return false;
        if (!s->from_certificate || kube_cert_node(env, CERTIFICATE, &name, &why) < 0)
                (void) host_name(env, &name);
        return name && is_subdomain(name) && !streq(name, s->node);
}

static void take_node(Reader *r, const Env *env, NodeSettings *s)
{
        const char *source = get(r, NODE_SETTING("KUBERNETES_NODE_NAME_SOURCE"));
        char **ret = &s->node;
        Why why = { 0 };
        int error;

        s->from_certificate = streq0(source, "kubelet-cert");
        take(r, NODE_SETTING("KUBERNETES_NODE_NAME"), NULL, ret);
        if (*ret && !is_subdomain(*ret))
                (void) wrong(r, NODE_SETTING("KUBERNETES_NODE_NAME"), "it is no name that a Node can have");
        if (source && !streq(source, "hostname") && !streq(source, "kubelet-cert"))
                (void) wrong(r, NODE_SETTING("KUBERNETES_NODE_NAME_SOURCE"),
                             "it is neither hostname nor kubelet-cert");
        if (r->r < 0)
                return;
        if (!*ret && s->from_certificate && kube_cert_node(env, CERTIFICATE, ret, &why) < 0)
                log_warning("%s; taking the host's name for the Node's", why.text);
        if (!*ret) {
                s->from_host = true;
                error = host_name(env, ret);
                if (error < 0)
                        r->r = fail_errno(r->why, error, WHY_HOST, "the host's name");
        }
        /* no setting is wrong: a host may get its name later than us, and we are started again */
        if (*ret && r->r >= 0 && !is_subdomain(*ret))
                r->r = fail(r->why, -EINVAL, WHY_HOST, "node-name",
                            "\"%.64s\" is no name that a Node can have", *ret);
}

static void take_version(Reader *r, NodeSettings *s)
{
        bool any =
                get(r, NODE_SETTING("CURRENT_VERSION_PATH")) || get(r, NODE_SETTING("CURRENT_VERSION_KEY"));

        if (!any)
                return; /* gybed knows where its product keeps it */
        take(r, NODE_SETTING("CURRENT_VERSION_PATH"), "/etc/os-release", &s->version_path);
        take(r, NODE_SETTING("CURRENT_VERSION_KEY"), "VERSION_ID", &s->version_key);
        take(r, NODE_SETTING("CURRENT_VERSION_FALLBACK"), "always", &s->version_fallback);
        if (s->version_path && s->version_path[0] != '/')
                (void) wrong(r, NODE_SETTING("CURRENT_VERSION_PATH"), "it is no absolute path");
}

static void take_cluster(Reader *r, NodeSettings *s)
{
        Why why = { 0 };

        take(r, NODE_SETTING("KUBERNETES_ANNOTATION_PREFIX"), PREFIX, &s->prefix);
        take(r, NODE_SETTING("KUBERNETES_API_SERVER"), NULL, &s->server);
        take(r, NODE_SETTING("KUBERNETES_KUBECONFIG"), KUBECONFIG, &s->kubeconfig);
        if (s->prefix && !is_subdomain(s->prefix))
                (void) wrong(r, NODE_SETTING("KUBERNETES_ANNOTATION_PREFIX"),
                             "it is no DNS name in lower case");
        if (s->server && kube_config_check_server(s->server, s->allow_http, &why) < 0)
                (void) wrong(r, NODE_SETTING("KUBERNETES_API_SERVER"), why.text);
        if (s->kubeconfig && s->kubeconfig[0] != '/' && !streq(s->kubeconfig, KUBE_IN_CLUSTER))
                (void) wrong(r, NODE_SETTING("KUBERNETES_KUBECONFIG"),
                             "it is no absolute path, and not \"" KUBE_IN_CLUSTER "\"");
}

int node_settings_load(const Env *env, const char *(*getter)(const char *name), NodeSettings *ret, Why *why)
{
        _cleanup_(node_settings_done) NodeSettings s = { 0 };
        Reader r = { .get = getter, .why = why };
        const char *mode;

        s.allow_http = get(&r, "GYBE_NODE_ALLOW_HTTP") != NULL;
        s.validate_uuid = get(&r, NODE_SETTING("VALIDATE_NODE_UUID")) != NULL;
        take_cluster(&r, &s);
        take_node(&r, env, &s);
        take_version(&r, &s);
        take_time(&r, NODE_SETTING("ORCHESTRATION_STAGE_TIMEOUT"), 20 * 60, &s.stage_timeout_sec);
        take_time(&r, NODE_SETTING("ORCHESTRATION_FINALIZE_TIMEOUT"), 10 * 60, &s.finalize_timeout_sec);
        take_time(&r, NODE_SETTING("ORCHESTRATION_HEARTBEAT_INTERVAL"), 60, &s.heartbeat_sec);
        take_time(&r, NODE_SETTING("ORCHESTRATION_NODE_GONE_MAX_WAIT"), 0, &s.gone_max_wait_sec);
        mode = get(&r, NODE_SETTING("ORCHESTRATION_MODE"));
        if (mode && !streq(mode, "annotations"))
                (void) wrong(&r, NODE_SETTING("ORCHESTRATION_MODE"),
                             "gybe-node knows annotations only; gybed itself polls Omaha");
        if (r.r < 0)
                return r.r;
        *ret = s;
        s = (NodeSettings){ 0 };
        return 0;
}
