/* SPDX-License-Identifier: MIT */

#include "control/kube.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "control/kube-exec.h"
#include "control/kube-http.h"
#include "control/kube-identity.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#define PAUSE_MIN_MS 2000u /* doubled up to the next; the pause itself is anything up to twice that */
#define PAUSE_MAX_MS 30000u
#define FORBIDDEN_MS 60000u /* somebody has to change a role */
#define CALL_SEC     30u
#define WATCH_SEC    290u
#define WATCH_GRACE  30u
#define EXEC_EARLY   60u /* seconds before it expires */
#define LIST_EVERY                                                                                           \
        12u /* watches: an etcd that was restored counts from an earlier version, and says nothing of it */

struct Kube {
        KubeOptions o;
        KubeHttp *http;
        KubeCall *call; /* list or watch */
        KubeCall *patch;
        sd_event_source *timer;
        KubeStream stream;
        char *version;    /* where the watch goes on; NULL: list first */
        unsigned watches; /* that ended as they should, since the last list */
        char *seen;       /* of the newest object that was told */
        char *seen_uid;
        unsigned pause_ms;
        uint64_t not_before_ms;
        bool again;                     /* the stream said something that ends it */
        char *patch_name, *patch_value; /* waits to be sent */
        KubeExecRun *exec;
        bool has_credential;
        KubeCredential credential;
        Why trouble;
};

static uint64_t now_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

static unsigned random_up_to(unsigned max)
{
        unsigned v = 0;

        (void) !getrandom(&v, sizeof(v), GRND_NONBLOCK);
        return v % (max + 1);
}

const char *kube_trouble(const Kube *k)
{
        return k->trouble.text;
}

static void complain(Kube *k, const Why *why)
{
        if (!streq(k->trouble.text, why->text))
                log_warning("%s%s%s", why->text, why->hint[0] ? "; " : "", why->hint);
        k->trouble = *why;
}

/* --- when --- */

static void wake_at(Kube *k, uint64_t at)
{
        (void) sd_event_source_set_time(k->timer, at * 1000);
        (void) sd_event_source_set_enabled(k->timer, SD_EVENT_ONESHOT);
}

static void wake_now(Kube *k)
{
        wake_at(k, 0);
}

static void pause_for(Kube *k, uint64_t ms)
{
        k->not_before_ms = now_ms() + ms;
        wake_at(k, k->not_before_ms);
}

static void pause_longer(Kube *k, uint64_t retry_after_sec)
{
        k->pause_ms = k->pause_ms ? MIN(k->pause_ms * 2, PAUSE_MAX_MS) : PAUSE_MIN_MS;
        pause_for(k, retry_after_sec > 0 ? MIN(retry_after_sec, UINT64_C(300)) * 1000
                                         : random_up_to(2 * k->pause_ms));
}

static void all_is_well(Kube *k)
{
        if (k->trouble.kind != WHY_NONE)
                log_notice("the API server answers again");
        k->trouble = (Why){ 0 };
        k->pause_ms = 0;
}

/* --- who we are --- */

static void on_exec_end(void *ctx, KubeCredential *credential, const Why *why)
{
        Kube *k = ctx;

        k->exec = NULL;
        if (!credential) {
                complain(k, why);
                pause_longer(k, 0);
                return;
        }
        kube_credential_done(&k->credential);
        k->credential = *credential;
        *credential = (KubeCredential){ 0 };
        k->has_credential = true;
        k->not_before_ms = 0;
        wake_now(k);
}

static bool credential_is_fresh(const Kube *k)
{
        return k->has_credential &&
               (k->credential.expires == 0 || env_now(k->o.env) + EXEC_EARLY < k->credential.expires);
}

/* 1 and *ret, 0 the plugin has to say first who we are */
static int identify(Kube *k, KubeSession *ret, Why *why)
{
        KubeSession s = { 0 };
        int r;

        if (k->exec)
                return 0;
        r = kube_session_load(k->o.env, k->o.kubeconfig, k->o.server, k->o.allow_http,
                              k->has_credential ? &k->credential : NULL, &s, why);
        if (r < 0)
                return r;
        if (s.config.exec.command && !credential_is_fresh(k)) {
                k->has_credential = false;
                r = kube_exec_begin(k->o.event, &s.config, &s.identity.ca, s.folder, on_exec_end, k, &k->exec,
                                    why);
                kube_session_done(&s);
                return r < 0 ? r : 0;
        }
        *ret = s;
        return 1;
}

/* What counts for every answer that is not the one hoped for. */
static void on_refusal(Kube *k, const char *doing, unsigned status, const Bytes *body,
                       uint64_t retry_after_sec, const Why *why)
{
        Why mine = *why;
        char said[200];

        if (status > 0) {
                mine = (Why){ 0 };
                kube_say_status(body->data ? body->data : (const uint8_t *) "", body->size, said,
                                sizeof(said));
                (void) fail(&mine, -EIO, WHY_NETWORK, "api-server", "API server: %s: %u%s%s", doing, status,
                            said[0] ? " " : "", said);
        }
        complain(k, &mine);
        if (status == 401)
                k->has_credential = false; /* the files are read anew anyway */
        if (status == 403)
                pause_for(k, FORBIDDEN_MS);
        else
                pause_longer(k, retry_after_sec);
}

/* --- the object --- */

static bool replace_text(char **to, const char *from)
{
        char *copy = from ? strdup(from) : NULL;

        free(*to);
        *to = copy;
        return !from || copy;
}

/* A watch may be behind what a patch answered with. */
static void tell_node(Kube *k, const KubeNode *n, bool always)
{
        if (!streq0(n->name, k->o.node))
                return;
        if (!always && streq0(n->uid, k->seen_uid) && !kube_version_not_before(n->version, k->seen))
                return;
        (void) replace_text(&k->seen, n->version);
        (void) replace_text(&k->seen_uid, n->uid);
        k->o.on_node(k->o.ctx, n);
}

static void tell_gone(Kube *k)
{
        (void) replace_text(&k->seen, NULL);
        (void) replace_text(&k->seen_uid, NULL);
        k->o.on_gone(k->o.ctx);
}

static int on_event(void *ctx, KubeEvent *e)
{
        Kube *k = ctx;

        switch (e->type) {
        case KUBE_ADDED:
        case KUBE_MODIFIED:
                tell_node(k, &e->node, false);
                break;
        case KUBE_DELETED:
                if (streq0(e->node.name, k->o.node))
                        tell_gone(k);
                break;
        case KUBE_BOOKMARK:
                break;
        default:
                if (e->code != 410)
                        log_notice("the watch ended: %u %s", e->code, e->message);
                (void) replace_text(&k->version, NULL);
                k->again = true;
                return 0;
        }
        if (e->node.version)
                (void) replace_text(&k->version, e->node.version);
        return 0;
}

static int on_watch_data(void *ctx, const void *data, size_t size)
{
        Kube *k = ctx;
        Why why = { 0 };
        int r = kube_stream_feed(&k->stream, data, size, on_event, k, &why);

        if (r < 0) {
                complain(k, &why);
                (void) replace_text(&k->version, NULL);
        } else
                all_is_well(k);
        return r;
}

static void on_watch_end(void *ctx, unsigned status, const Bytes *body, uint64_t retry_after_sec,
                         const Why *why)
{
        Kube *k = ctx;

        k->call = NULL;
        kube_stream_done(&k->stream);
        if (status == 200 && why->kind == WHY_NONE && !k->again) {
                if (++k->watches >= LIST_EVERY)
                        (void) replace_text(&k->version, NULL);
                pause_for(k, random_up_to(1000)); /* its time was over: the usual end */
                return;
        }
        if (status == 410 || (status == 200 && k->again)) {
                k->again = false;
                (void) replace_text(&k->version, NULL);
                pause_for(k, random_up_to(PAUSE_MIN_MS));
                return;
        }
        k->again = false;
        if (status != 200 && status != 429) /* whatever answers after that may be another one */
                (void) replace_text(&k->version, NULL);
        on_refusal(k, "watching this Node", status == 200 ? 0 : status, body, retry_after_sec, why);
}

static void on_list_end(void *ctx, unsigned status, const Bytes *body, uint64_t retry_after_sec,
                        const Why *why)
{
        _cleanup_(kube_node_done) KubeNode n = { 0 };
        _cleanup_(free_charp) char *version = NULL;
        Why mine = *why;
        Kube *k = ctx;
        int r;

        k->call = NULL;
        if (status != 200) {
                on_refusal(k, "reading this Node", status, body, retry_after_sec, why);
                return;
        }
        r = kube_list_parse(body->data ? body->data : (const uint8_t *) "", body->size, k->o.prefix,
                            k->o.node, &n, &version, &mine);
        if (r < 0) {
                on_refusal(k, "reading this Node", 0, body, 0, &mine);
                return;
        }
        all_is_well(k);
        free(k->version);
        k->version = TAKE(version);
        k->watches = 0;
        if (r > 0)
                tell_node(k, &n, true);
        else
                tell_gone(k);
        wake_now(k);
}

static void on_patch_end(void *ctx, unsigned status, const Bytes *body, uint64_t retry_after_sec,
                         const Why *why)
{
        _cleanup_(kube_node_done) KubeNode n = { 0 };
        Why mine = { 0 };
        Kube *k = ctx;
        char said[200];

        k->patch = NULL;
        if (status == 200) {
                if (kube_node_parse(body->data ? body->data : (const uint8_t *) "", body->size, k->o.prefix,
                                    &n, &mine) >= 0)
                        tell_node(k, &n, false);
                k->o.on_patched(k->o.ctx, true, 0);
                return;
        }
        kube_say_status(body->data ? body->data : (const uint8_t *) "", body->size, said, sizeof(said));
        if (status > 0)
                log_warning("API server: patching this Node: %u %s", status, said);
        else
                log_warning("%s", why->text);
        if (status == 401)
                k->has_credential = false;
        k->o.on_patched(k->o.ctx, false,
                        status == 403 || status == 422 ? FORBIDDEN_MS / 1000 : retry_after_sec);
}

/* --- asking --- */

static char *nodes_url(const Kube *k, const KubeSession *s)
{
        size_t n = strlen(s->config.server);
        const char *version = k->version;

        while (n > 0 && s->config.server[n - 1] == '/')
                n--;
        if (version)
                return str_printf(
                        "%.*s/api/v1/"
                        "nodes?fieldSelector=metadata.name%%3D%s&watch=true&allowWatchBookmarks=true"
                        "&resourceVersion=%s&timeoutSeconds=%u",
                        (int) n, s->config.server, k->o.node, version, WATCH_SEC);
        return str_printf("%.*s/api/v1/nodes?fieldSelector=metadata.name%%3D%s&limit=2", (int) n,
                          s->config.server, k->o.node);
}

static int ask_nodes(Kube *k, const KubeSession *s, Why *why)
{
        _cleanup_(free_charp) char *url = nodes_url(k, s);
        KubeAsk ask = { .method = "GET", .url = url, .ctx = k };

        if (!url)
                return -ENOMEM;
        ask.timeout_sec = k->version ? WATCH_SEC + WATCH_GRACE : CALL_SEC;
        ask.on_data = k->version ? on_watch_data : NULL;
        ask.on_end = k->version ? on_watch_end : on_list_end;
        k->again = false;
        return kube_http_begin(k->http, &s->identity, &ask, &k->call, why);
}

static char *patch_body(const Kube *k)
{
        _cleanup_(free_charp) char *key = str_printf("%s/%s", k->o.prefix, k->patch_name);
        _cleanup_(json_unrefp) Json *j = json_new_object();

        if (!key)
                return NULL;
        json_set_str(json_sub(json_sub(j, "metadata"), "annotations"), key, k->patch_value);
        return json_format(j, false);
}

static int ask_patch(Kube *k, const KubeSession *s, Why *why)
{
        _cleanup_(free_charp) char *url = NULL, *body = patch_body(k);
        size_t n = strlen(s->config.server);
        KubeAsk ask = { .method = "PATCH",
                        .content_type = "application/merge-patch+json",
                        .timeout_sec = CALL_SEC,
                        .on_end = on_patch_end,
                        .ctx = k };

        while (n > 0 && s->config.server[n - 1] == '/')
                n--;
        url = str_printf("%.*s/api/v1/nodes/%s", (int) n, s->config.server, k->o.node);
        if (!url || !body)
                return -ENOMEM;
        ask.url = url;
        ask.body = body;
        return kube_http_begin(k->http, &s->identity, &ask, &k->patch, why);
}

static void drop_patch(Kube *k)
{
        free(k->patch_name);
        free(k->patch_value);
        k->patch_name = k->patch_value = NULL;
}

/* Everything that may begin now begins. */
static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        _cleanup_(kube_session_done) KubeSession s = { 0 };
        bool want_nodes, want_patch;
        Kube *k = userdata;
        Why why = { 0 };
        int r;

        want_nodes = !k->call && k->not_before_ms <= now_ms();
        want_patch = k->patch_value && !k->patch;
        if (!want_nodes && !want_patch) {
                if (!k->call)
                        wake_at(k, k->not_before_ms);
                return 0;
        }
        r = identify(k, &s, &why);
        if (r == 0)
                return 0; /* on_exec_end() comes back here */
        if (r > 0 && want_patch) {
                r = ask_patch(k, &s, &why);
                drop_patch(k);
                if (r < 0)
                        k->o.on_patched(k->o.ctx, false, 0);
        } else if (want_patch) {
                drop_patch(k);
                k->o.on_patched(k->o.ctx, false, 0);
        }
        if (r >= 0 && want_nodes)
                r = ask_nodes(k, &s, &why);
        if (r < 0) {
                if (why.kind == WHY_NONE)
                        (void) fail_errno(&why, r, WHY_HOST, "API server");
                complain(k, &why);
                if (want_nodes)
                        pause_longer(k, 0);
        }
        if (!k->call)
                wake_at(k, k->not_before_ms);
        return 0;
}

void kube_annotate(Kube *k, const char *name, const char *value)
{
        drop_patch(k);
        k->patch_name = strdup(name);
        k->patch_value = strdup(value);
        wake_now(k);
}

/* --- life cycle --- */

Kube *kube_free(Kube *k)
{
        if (!k)
                return NULL;
        (void) kube_exec_free(k->exec);
        (void) kube_http_free(k->http);
        (void) sd_event_source_disable_unref(k->timer);
        kube_stream_done(&k->stream);
        kube_credential_done(&k->credential);
        drop_patch(k);
        free(k->version);
        free(k->seen);
        free(k->seen_uid);
        free(k);
        return NULL;
}

void kube_freep(Kube **k)
{
        *k = kube_free(*k);
}

int kube_new(const KubeOptions *options, Kube **ret, Why *why)
{
        _cleanup_(kube_freep) Kube *k = calloc(1, sizeof(*k));
        int r;

        if (!k)
                return -ENOMEM;
        k->o = *options;
        k->stream.prefix = k->o.prefix;
        r = kube_http_new(k->o.event, &k->http, why);
        if (r >= 0)
                r = sd_event_add_time(k->o.event, &k->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, k);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "event loop");
        *ret = TAKE(k);
        return 0;
}
