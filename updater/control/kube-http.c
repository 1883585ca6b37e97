/* SPDX-License-Identifier: MIT */

/* libcurl's multi interface on sd-event: it says which sockets and which timer it wants, the loop says what happened. Whoever's
 * call has ended is told after libcurl has been left, never from inside it. */

#include "control/kube-http.h"
#include "base/str.h"
#include "base/utf8.h"
#include "control/kube-watch.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <sys/epoll.h>

#define CONNECT_TIMEOUT_SEC 15L
#define KEEPALIVE_SEC       30L /* a watch may be silent for minutes; a dead peer is not to look like that */
#define REASON_MAX          (64u * 1024u) /* of the body of a refusal */

struct KubeHttp {
        sd_event *event;
        CURLM *multi;
        sd_event_source *timer, *after;
        KubeCall *calls;
};

struct KubeCall {
        KubeHttp *http;
        KubeCall *next;
        KubeAsk ask;
        CURL *easy;
        struct curl_slist *headers;
        char error[CURL_ERROR_SIZE];
        Bytes body;
        int fault;
};

void kube_identity_done(KubeIdentity *i)
{
        bytes_done(&i->ca);
        bytes_done(&i->certificate);
        if (i->key.data)
                explicit_bzero(i->key.data, i->key.size);
        bytes_done(&i->key);
        if (i->token)
                explicit_bzero(i->token, strlen(i->token));
        free(i->token);
        free(i->user);
        free(i->password);
        free(i->proxy);
        free(i->tls_server_name);
        *i = (KubeIdentity){ 0 };
}

/* --- between libcurl and the loop --- */

static int drive(KubeHttp *h, curl_socket_t fd, int what)
{
        int running;

        if (curl_multi_socket_action(h->multi, fd, what, &running) != CURLM_OK)
                return -EIO;
        return sd_event_source_set_enabled(h->after, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *s _unused_, int fd, uint32_t events, void *userdata)
{
        int what = (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

        return drive(userdata, fd, what);
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
        return drive(userdata, CURL_SOCKET_TIMEOUT, 0);
}

static int want_socket(CURL *easy _unused_, curl_socket_t fd, int what, void *userdata, void *per_socket)
{
        KubeHttp *h = userdata;
        sd_event_source *source = per_socket;
        uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);

        if (what == CURL_POLL_REMOVE) {
                (void) curl_multi_assign(h->multi, fd, NULL);
                (void) sd_event_source_disable_unref(source);
                return 0;
        }
        if (source)
                return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
        if (sd_event_add_io(h->event, &source, fd, events, on_io, h) < 0)
                return -1;
        return curl_multi_assign(h->multi, fd, source) == CURLM_OK ? 0 : -1;
}

static int want_timer(CURLM *multi _unused_, long ms, void *userdata)
{
        KubeHttp *h = userdata;
        int r;

        if (ms < 0)
                return sd_event_source_set_enabled(h->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
        r = sd_event_source_set_time_relative(h->timer, (uint64_t) ms * 1000);
        return r < 0 || sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

/* --- a call --- */

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
        KubeCall *c = ctx;
        long status = 0;

        n *= size;
        (void) curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
        if (c->ask.on_data && status == 200)
                c->fault = c->ask.on_data(c->ask.ctx, p, n);
        else if (c->body.size + n > (status < 300 ? KUBE_OBJECT_MAX : REASON_MAX))
                c->fault = status < 300 ? -EFBIG : 0; /* of a refusal the beginning is enough */
        else
                c->fault = bytes_append(&c->body, p, n);
        return c->fault < 0 ? 0 : n;
}

static bool set_blob(CURL *easy, CURLoption option, const Bytes *b)
{
        struct curl_blob blob = { b->data, b->size, CURL_BLOB_COPY };

        return b->size == 0 || curl_easy_setopt(easy, option, &blob) == CURLE_OK;
}

static bool set_identity(CURL *e, const KubeIdentity *i)
{
        const Bytes *key = i->key.size > 0 ? &i->key : &i->certificate; /* kubelet keeps both in one file */

        return set_blob(e, CURLOPT_CAINFO_BLOB, &i->ca) &&
               set_blob(e, CURLOPT_SSLCERT_BLOB, &i->certificate) && set_blob(e, CURLOPT_SSLKEY_BLOB, key) &&
               !curl_easy_setopt(e, CURLOPT_SSLCERTTYPE, "PEM") &&
               !curl_easy_setopt(e, CURLOPT_SSLKEYTYPE, "PEM") &&
               !curl_easy_setopt(e, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) &&
               !curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L) &&
               !curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L) &&
               /* a proxy that the kubeconfig names counts before NO_PROXY */
               (!i->proxy || (!curl_easy_setopt(e, CURLOPT_PROXY, i->proxy) &&
                              !curl_easy_setopt(e, CURLOPT_NOPROXY, ""))) &&
               (!i->user || (!curl_easy_setopt(e, CURLOPT_USERNAME, i->user) &&
                             !curl_easy_setopt(e, CURLOPT_PASSWORD, i->password ? i->password : "")));
}

static bool add_header(KubeCall *c, const char *name, const char *value)
{
        _cleanup_(free_charp) char *line =
                value ? str_printf("%s: %s", name, value) : str_printf("%s:", name);
        struct curl_slist *l = line ? curl_slist_append(c->headers, line) : NULL;

        if (l)
                c->headers = l;
        if (line)
                explicit_bzero(line, strlen(line));
        return l;
}

static bool set_headers(KubeCall *c, const KubeIdentity *i)
{
        _cleanup_(free_charp) char *bearer = i->token ? str_printf("Bearer %s", i->token) : NULL;
        bool good = add_header(c, "Accept", "application/json") &&
                    (!i->token || (bearer && add_header(c, "Authorization", bearer)));

        if (bearer)
                explicit_bzero(bearer, strlen(bearer));
        return good && (!c->ask.content_type || add_header(c, "Content-Type", c->ask.content_type)) &&
               add_header(c, "Expect", NULL) && !curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->headers);
}

/* The name in the certificate is another one than that of the address: the address is looked up, the name is spoken to. */
static bool set_url(KubeCall *c, const KubeIdentity *i)
{
        _cleanup_(free_charp) char *to = NULL;
        char *host = NULL, *port = NULL, *full = NULL;
        CURLU *u = i->tls_server_name ? curl_url() : NULL;
        bool good;

        if (!i->tls_server_name)
                return !curl_easy_setopt(c->easy, CURLOPT_URL, c->ask.url);
        good = u && !curl_url_set(u, CURLUPART_URL, c->ask.url, 0) &&
               !curl_url_get(u, CURLUPART_HOST, &host, 0) &&
               !curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) &&
               !curl_url_set(u, CURLUPART_HOST, i->tls_server_name, 0) &&
               !curl_url_get(u, CURLUPART_URL, &full, 0);
        if (good) {
                struct curl_slist *list;

                to = str_printf("%s:%s:%s:%s", i->tls_server_name, port, host, port);
                list = to ? curl_slist_append(NULL, to) : NULL;
                good = list && !curl_easy_setopt(c->easy, CURLOPT_CONNECT_TO, list) &&
                       !curl_easy_setopt(c->easy, CURLOPT_PRIVATE, list) &&
                       !curl_easy_setopt(c->easy, CURLOPT_URL, full);
        }
        curl_free(host);
        curl_free(port);
        curl_free(full);
        curl_url_cleanup(u);
        return good;
}

static bool set_request(KubeCall *c)
{
        CURL *e = c->easy;

        return !curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->error) &&
               !curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) &&
               !curl_easy_setopt(e, CURLOPT_WRITEDATA, c) &&
               !curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->ask.method) &&
               (!c->ask.body || !curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, c->ask.body)) &&
               !curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") &&
               !curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1) &&
               !curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) &&
               !curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) &&
               !curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_SEC) &&
               !curl_easy_setopt(e, CURLOPT_TIMEOUT, (long) c->ask.timeout_sec) &&
               !curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L) &&
               !curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_SEC) &&
               !curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_SEC) &&
               !curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
               !curl_easy_setopt(e, CURLOPT_USERAGENT, "gybe-node/" GYBE_VERSION);
}

KubeCall *kube_call_free(KubeCall *c)
{
        struct curl_slist *to = NULL;

        if (!c)
                return NULL;
        for (KubeCall **p = &c->http->calls; *p; p = &(*p)->next)
                if (*p == c) {
                        *p = c->next;
                        break;
                }
        if (c->easy) {
                (void) curl_easy_getinfo(c->easy, CURLINFO_PRIVATE, &to);
                (void) curl_multi_remove_handle(c->http->multi, c->easy);
                curl_easy_cleanup(c->easy);
        }
        curl_slist_free_all(to);
        for (struct curl_slist *l = c->headers; l; l = l->next)
                explicit_bzero(l->data, strlen(l->data));
        curl_slist_free_all(c->headers);
        bytes_done(&c->body);
        free(c);
        return NULL;
}

int kube_http_begin(KubeHttp *h, const KubeIdentity *identity, const KubeAsk *ask, KubeCall **ret, Why *why)
{
        KubeCall *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->http = h;
        c->ask = *ask;
        c->next = h->calls;
        h->calls = c;
        c->easy = curl_easy_init();
        if (!c->easy || !set_url(c, identity) || !set_request(c) || !set_identity(c->easy, identity) ||
            !set_headers(c, identity) || curl_multi_add_handle(h->multi, c->easy) != CURLM_OK) {
                (void) kube_call_free(c);
                return fail(why, -EINVAL, WHY_USAGE, "kube-http", "%s: libcurl does not take this request",
                            ask->url);
        }
        *ret = c;
        return 0;
}

/* --- the end --- */

static void say_failure(const KubeCall *c, CURLcode code, Why *why)
{
        const char *text = c->error[0] ? c->error : curl_easy_strerror(code);

        (void) fail(why, -EIO, WHY_NETWORK, "api-server", "API server: %s", text);
        utf8_repair(why->text);
}

static void tell_end(KubeCall *c, CURLcode code)
{
        _cleanup_(bytes_done) Bytes body = c->body;
        KubeAsk ask = c->ask;
        curl_off_t retry = 0;
        long status = 0;
        Why why = { 0 };

        c->body = BYTES_NULL;
        (void) curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
        (void) curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &retry);
        if (code != CURLE_OK)
                say_failure(c, code, &why);
        (void) kube_call_free(c);
        ask.on_end(ask.ctx, code == CURLE_OK || ask.on_data ? (unsigned) status : 0, &body,
                   retry > 0 ? (uint64_t) retry : 0, &why);
}

static int on_after(sd_event_source *s _unused_, void *userdata)
{
        KubeHttp *h = userdata;
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(h->multi, &left))) {
                CURLcode code = m->data.result;
                KubeCall *c = h->calls;

                while (c && c->easy != m->easy_handle)
                        c = c->next;
                if (m->msg == CURLMSG_DONE && c)
                        tell_end(c, code);
        }
        return 0;
}

int kube_http_new(sd_event *event, KubeHttp **ret, Why *why)
{
        KubeHttp *h = calloc(1, sizeof(*h));
        int r = h ? 0 : -ENOMEM;

        if (r >= 0 && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
                h->multi = curl_multi_init();
        if (r >= 0 && !h->multi)
                r = -ENOMEM;
        if (r >= 0) {
                h->event = sd_event_ref(event);
                r = sd_event_add_time(event, &h->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, h);
        }
        if (r >= 0)
                r = sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_defer(event, &h->after, on_after, h);
        if (r >= 0)
                r = sd_event_source_set_enabled(h->after, SD_EVENT_OFF);
        if (r < 0 || curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, want_socket) ||
            curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) ||
            curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, want_timer) ||
            curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h)) {
                (void) kube_http_free(h);
                return fail_errno(why, r < 0 ? r : -EIO, WHY_HOST, "libcurl");
        }
        *ret = h;
        return 0;
}

KubeHttp *kube_http_free(KubeHttp *h)
{
        if (!h)
                return NULL;
        while (h->calls)
                (void) kube_call_free(h->calls);
        (void) curl_multi_cleanup(h->multi);
        (void) sd_event_source_disable_unref(h->timer);
        (void) sd_event_source_disable_unref(h->after);
        (void) sd_event_unref(h->event);
        free(h);
        return NULL;
}
