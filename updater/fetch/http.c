/* SPDX-License-Identifier: MIT */

/* libcurl's multi interface, used as a pull: it runs only while somebody waits for bytes, and is paused when it has more
 * than they asked for, so that a slow disk slows the server down and memory stays at one buffer. Redirects are not
 * libcurl's business: who follows them decides where the token goes. */

#include "fetch/http.h"
#include "base/str.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#define CONNECT_TIMEOUT_SEC 20u /* name, TCP, TLS */
#define STALL_TIMEOUT_SEC   60u
#define RETRIES             8u /* in a row without a new byte: some 40 s of pauses */
#define RATE_MIN            1024u /* bytes a second over the stall time: slower is an attack or as good as broken */
#define PATIENCE_STALLS     10u /* stall times, over all connections and the pauses between: no slower either */
#define ANSWER_WORTH        (2u * RATE_MIN) /* a complete answer, however small: a long way takes its time, too */
#define EXCHANGE_SEC        30u
#define EXCHANGE_SEC_MAX    3600u         /* nobody waits longer for one answer */
#define RECEIVE             131072L       /* bytes a system call */
#define POLL_MS             400           /* the job is told twice a second that we live */
#define SWALLOW_MAX         (64u * 1024u) /* of an error page, to keep the connection */

void http_options_done(HttpOptions *o)
{
        bytes_done(&o->ca);
        bytes_done(&o->certificate);
        bytes_done(&o->key);
        free(o->bearer);
        free(o->bearer_origin);
        free(o->proxy);
        *o = (HttpOptions){ 0 };
}

struct Http {
        HttpOptions options;
        OriginWatch watch;
        CURLM *multi;
        char *token_header;
        HttpAuth auth;
        Bandwidth bandwidth;
        uint64_t waited_ms,
                arrived; /* in the current time of patience; arrived: and what answers are worth */
        bool patience_lost;
};

int http_init(Why *why)
{
        return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
                       ? 0
                       : fail(why, -ENOMEM, WHY_HOST, "curl", "libcurl does not start");
}

Http *http_free(Http *h)
{
        if (!h)
                return NULL;
        (void) curl_multi_cleanup(h->multi);
        free(h->token_header);
        http_options_done(&h->options);
        free(h);
        return NULL;
}

void http_freep(Http **h)
{
        http_free(*h);
}

int http_new(HttpOptions *options, const OriginWatch *watch, Http **ret, Why *why)
{
        _cleanup_(http_freep) Http *h = calloc(1, sizeof(*h));

        if (!h) {
                http_options_done(options);
                return fail_errno(why, -ENOMEM, WHY_HOST, "http");
        }
        h->options = *options;
        *options = (HttpOptions){ 0 };
        h->watch = *watch;
        h->bandwidth.per_sec = h->options.bandwidth;
        h->multi = curl_multi_init();
        if (h->options.bearer)
                h->token_header = str_printf("Authorization: Bearer %s", h->options.bearer);
        if (!h->multi || (h->options.bearer && !h->token_header))
                return fail_errno(why, -ENOMEM, WHY_HOST, "http");
        if (h->options.connect_timeout_sec == 0)
                h->options.connect_timeout_sec = CONNECT_TIMEOUT_SEC;
        if (h->options.stall_timeout_sec == 0)
                h->options.stall_timeout_sec = STALL_TIMEOUT_SEC;
        if (h->options.retries == 0)
                h->options.retries = RETRIES;
        *ret = TAKE(h);
        return 0;
}

const OriginWatch *http_watch(const Http *h)
{
        return &h->watch;
}

unsigned http_retries(const Http *h)
{
        return h->options.retries;
}

void http_set_auth(Http *h, const HttpAuth *auth)
{
        h->auth = *auth;
}

int http_challenged(Http *h, const char *url, const Reply *reply, uint64_t *ret_after_sec, Why *why)
{
        *ret_after_sec = 0;
        return h->auth.challenged ? h->auth.challenged(h->auth.ctx, url, reply, ret_after_sec, why) : 0;
}

static const char *auth_header(const Http *h, const char *url)
{
        return h->auth.header ? h->auth.header(h->auth.ctx, url) : NULL;
}

bool http_has_auth(const Http *h, const char *url)
{
        return auth_header(h, url) != NULL;
}

static uint64_t now_us(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static uint64_t now_ms(void)
{
        return now_us() / 1000;
}

/* Who may not read now does not let libcurl run, so that the server is slowed down by TCP. */
static int keep_to_bandwidth(Http *h, Why *why)
{
        uint64_t us;

        while ((us = bandwidth_wait_us(&h->bandwidth, now_us())) > 0) {
                struct timespec slice = { 0, (long) MIN(us, (uint64_t) POLL_MS * 1000) * 1000 };
                int r;

                (void) nanosleep(&slice, NULL);
                r = h->watch.alive(h->watch.ctx);
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "http");
        }
        return 0;
}

/* --- URLs --- */

static void url_freep(CURLU **u)
{
        curl_url_cleanup(*u);
}

static void curl_strp(char **s)
{
        curl_free(*s);
}

/* "https://host:443", lower case; NULL when it is no URL */
static char *url_origin(const char *url)
{
        _cleanup_(url_freep) CURLU *u = curl_url();
        _cleanup_(curl_strp) char *scheme = NULL, *host = NULL, *port = NULL;
        char *origin;

        if (!u || curl_url_set(u, CURLUPART_URL, url, 0) || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
            curl_url_get(u, CURLUPART_HOST, &host, 0) ||
            curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
                return NULL;
        origin = str_printf("%s://%s:%s", scheme, host, port);
        for (char *p = origin; p && *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char) (*p + ('a' - 'A'));
        return origin;
}

static bool url_is(const char *url, const char *scheme)
{
        return strncasecmp(url, scheme, strlen(scheme)) == 0;
}

int http_redirect(const char *from, const char *location, const char *name, char **ret, Why *why)
{
        _cleanup_(url_freep) CURLU *u = curl_url();
        _cleanup_(curl_strp) char *to = NULL;
        bool secure = url_is(from, "https://");

        if (!u || curl_url_set(u, CURLUPART_URL, from, 0) || !*location ||
            curl_url_set(u, CURLUPART_URL, location, CURLU_NON_SUPPORT_SCHEME) ||
            curl_url_get(u, CURLUPART_URL, &to, 0))
                return fail(why, -EBADMSG, WHY_NETWORK, "redirect", "%s: redirects to nowhere", name);
        if (!url_is(to, "https://") && (secure || !url_is(to, "http://")))
                return fail(why, -EPERM, WHY_NETWORK, "redirect", "%s: redirects from %s to %s", name,
                            secure ? "https" : "http",
                            url_is(to, "http://") ? "http" : "something else than http");
        *ret = strdup(to);
        return *ret ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "%s", name);
}

/* This machine itself: never behind a proxy. */
static bool url_is_loopback(const char *url)
{
        _cleanup_(url_freep) CURLU *u = curl_url();
        _cleanup_(curl_strp) char *host = NULL;

        if (!u || curl_url_set(u, CURLUPART_URL, url, 0) || curl_url_get(u, CURLUPART_HOST, &host, 0))
                return false;
        return strcasecmp(host, "localhost") == 0 || str_starts(host, "127.") || streq(host, "[::1]");
}

static bool has_header(const FetchHttp *exchange, const char *name)
{
        for (char *const *h = exchange->headers; h && *h; h++)
                if (strncasecmp(*h, name, strlen(name)) == 0 && (*h)[strlen(name)] == ':')
                        return true;
        return false;
}

/* The token goes to one origin. Where the configuration names none, it is that of the first URL asked for bytes: a redirect,
 * a second server or a lock server never gets it. Who brings an authorization along needs no other. */
static bool wants_token(Http *h, const char *url, const FetchHttp *exchange)
{
        _cleanup_(free_charp) char *here = NULL, *there = NULL;

        if (!h->token_header)
                return false;
        if (!h->options.bearer_origin && !exchange)
                h->options.bearer_origin = strdup(url);
        if (exchange && has_header(exchange, "Authorization"))
                return false;
        here = url_origin(url);
        there = h->options.bearer_origin ? url_origin(h->options.bearer_origin) : NULL;
        return here && there && streq(here, there);
}

/* --- one request --- */

struct Transfer {
        Http *http;
        CURL *easy;
        struct curl_slist *headers;
        char error[CURL_ERROR_SIZE];
        Reply reply;
        int fault; /* of the head */
        bool done, paused, stalled, is_exchange, keeps_body;
        const HttpSend *send;
        uint64_t sent, last_asked;
        CURLcode result;
        uint8_t *want; /* the reader's buffer: bytes go there first ... */
        size_t n_want, got;
        size_t spill_at, n_spill; /* ... and what is left of a callback's bytes waits here */
        size_t swallowed;
        uint64_t body;               /* bytes read by the reader */
        uint64_t waited_ms, arrived; /* in the current stall window */
        uint8_t spill[CURL_MAX_WRITE_SIZE];
};

void transfer_freep(Transfer **t)
{
        transfer_free(*t);
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
        Transfer *t = ctx;

        t->fault = reply_line(&t->reply, p, size * n);
        t->arrived += size * n; /* but a head is nothing to be patient for */
        return t->fault < 0 ? 0 : size * n;
}

static bool has_content(const Reply *r)
{
        return r->status == 200 || r->status == 206;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
        Transfer *t = ctx;
        size_t direct;

        n *= size;
        if (!t->keeps_body && !has_content(&t->reply)) {
                t->swallowed += n;
                return t->swallowed > SWALLOW_MAX ? 0 : n;
        }
        if (t->n_spill > 0 || n > sizeof(t->spill)) {
                t->paused = true;
                return CURL_WRITEFUNC_PAUSE;
        }
        direct = MIN(n, t->n_want - t->got);
        if (direct > 0)
                memcpy(t->want + t->got, p, direct);
        t->got += direct;
        memcpy(t->spill, p + direct, n - direct);
        t->spill_at = 0;
        t->n_spill = n - direct;
        t->arrived += n;
        t->http->arrived += n;
        return n;
}

static bool add_header(Transfer *t, const char *line)
{
        struct curl_slist *l = line ? curl_slist_append(t->headers, line) : NULL;

        if (l)
                t->headers = l;
        return l;
}

static size_t on_read(char *p, size_t size, size_t n, void *ctx)
{
        Transfer *t = ctx;

        n = (size_t) MIN((uint64_t) (size * n), t->send->size - t->sent);
        if (n > 0 && t->send->read(t->send->ctx, t->sent, p, n) < 0)
                return CURL_READFUNC_ABORT;
        t->sent += n;
        t->arrived += n; /* a slow way up is as slow as a slow way down */
        t->http->arrived += n;
        return n;
}

/* libcurl begins anew over another connection. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
        Transfer *t = ctx;

        if (origin != SEEK_SET || offset < 0 || (uint64_t) offset > t->send->size)
                return CURL_SEEKFUNC_FAIL;
        t->sent = (uint64_t) offset;
        return CURL_SEEKFUNC_OK;
}

static bool set_send(Transfer *t, const HttpSend *s)
{
        _cleanup_(free_charp) char *type = s->type ? str_printf("Content-Type: %s", s->type) : NULL;
        CURL *e = t->easy;

        t->send = s;
        t->keeps_body = true;
        if (streq(s->method, "HEAD"))
                return !curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
        return (!s->type || add_header(t, type)) && add_header(t, "Expect:") &&
               !curl_easy_setopt(e, CURLOPT_UPLOAD, 1L) &&
               !curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, s->method) &&
               !curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t) s->size) &&
               !curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read) &&
               !curl_easy_setopt(e, CURLOPT_READDATA, t) &&
               !curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek) &&
               !curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
}

/* Who is known to a registry says it there and nowhere else; everywhere else the one token may be wanted. An exchange brings
 * along what it has to say. */
static bool set_authorization(Transfer *t, const char *url, const HttpAsk *ask)
{
        const char *line = ask->exchange ? NULL : auth_header(t->http, url);

        if (line)
                return add_header(t, line);
        return !wants_token(t->http, url, ask->exchange) || add_header(t, t->http->token_header);
}

static bool set_headers(Transfer *t, const char *url, const HttpAsk *ask)
{
        _cleanup_(free_charp) char *accept = ask->accept ? str_printf("Accept: %s", ask->accept) : NULL;
        char range[64], if_range[300];

        (void) snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, ask->first, ask->last);
        (void) snprintf(if_range, sizeof(if_range), "If-Range: %s", ask->if_range ? ask->if_range : "");
        return (!ask->ranged || add_header(t, range)) &&
               (!ask->ranged || !ask->if_range || add_header(t, if_range)) &&
               (!ask->accept || add_header(t, accept)) && set_authorization(t, url, ask);
}

static bool set_exchange_headers(Transfer *t, const FetchHttp *x)
{
        bool good =
                !x->body || has_header(x, "Content-Type") || add_header(t, "Content-Type: application/json");

        for (char *const *h = x->headers; good && h && *h; h++)
                good = add_header(t, *h);
        return good && add_header(t, "Expect:"); /* libcurl would wait for a 100 before a large body */
}

static bool set_exchange(Transfer *t, const char *url, const FetchHttp *x)
{
        uint64_t sec = x->timeout_sec > 0 ? MIN(x->timeout_sec, (uint64_t) EXCHANGE_SEC_MAX) : EXCHANGE_SEC;
        bool post = streq(x->method, "POST");
        CURL *e = t->easy;

        t->is_exchange = t->keeps_body = true;
        return set_exchange_headers(t, x) && !curl_easy_setopt(e, CURLOPT_TIMEOUT, (long) sec) &&
               !curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L) &&
               !curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L) &&
               (!url_is_loopback(url) || !curl_easy_setopt(e, CURLOPT_PROXY, "")) &&
               (!post ||
                (!curl_easy_setopt(e, CURLOPT_POST, 1L) &&
                 !curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, x->body ? (long) strlen(x->body) : 0L) &&
                 !curl_easy_setopt(e, CURLOPT_POSTFIELDS, x->body ? x->body : "")));
}

static bool set_blob(CURL *easy, CURLoption option, const Bytes *b)
{
        struct curl_blob blob = { b->data, b->size, CURL_BLOB_NOCOPY };

        return b->size == 0 || curl_easy_setopt(easy, option, &blob) == CURLE_OK;
}

static bool set_tls(Transfer *t)
{
        const HttpOptions *o = &t->http->options;
        const Bytes *key = o->key.size > 0 ? &o->key : &o->certificate;
        CURL *e = t->easy;

        return set_blob(e, CURLOPT_CAINFO_BLOB, &o->ca) &&
               set_blob(e, CURLOPT_SSLCERT_BLOB, &o->certificate) && set_blob(e, CURLOPT_SSLKEY_BLOB, key) &&
               !curl_easy_setopt(e, CURLOPT_SSLCERTTYPE, "PEM") &&
               !curl_easy_setopt(e, CURLOPT_SSLKEYTYPE, "PEM") &&
               !curl_easy_setopt(e, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) &&
               !curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L) &&
               !curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
}

static bool set_callbacks(Transfer *t)
{
        CURL *e = t->easy;

        return !curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error) &&
               !curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) &&
               !curl_easy_setopt(e, CURLOPT_HEADERDATA, t) &&
               !curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) &&
               !curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
}

/* One request at a time: HTTP/2 would add a parser and bring nothing. No Accept-Encoding: bytes come as they are. */
static bool set_request(Transfer *t, const char *url, bool redirected)
{
        const HttpOptions *o = &t->http->options;
        CURL *e = t->easy;

        return !curl_easy_setopt(e, CURLOPT_URL, url) &&
               !curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") &&
               !curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1) &&
               !curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) &&
               !curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE) &&
               !curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) &&
               !curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, redirected ? 1L : 0L) &&
               !curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
               !curl_easy_setopt(e, CURLOPT_USERAGENT, "gybe/" GYBE_VERSION) &&
               !curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT,
                                 (long) MIN(o->connect_timeout_sec, UINT64_C(3600))) &&
               (!o->proxy || !curl_easy_setopt(e, CURLOPT_PROXY, o->proxy));
}

static void look_for_end(Transfer *t)
{
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(t->http->multi, &left)))
                if (m->msg == CURLMSG_DONE && m->easy_handle == t->easy) {
                        t->done = true;
                        t->result = m->data.result;
                }
}

static uint64_t patience_sec(const Http *h)
{
        return PATIENCE_STALLS * h->options.stall_timeout_sec;
}

/* A stall is seen within one connection only. Who gives little on each of many is as slow, and each of them is a success. */
void http_waited(Http *h, uint64_t ms)
{
        h->waited_ms += ms;
        if (h->waited_ms < patience_sec(h) * 1000)
                return;
        h->patience_lost = h->patience_lost || h->arrived < RATE_MIN * patience_sec(h);
        h->waited_ms = 0;
        h->arrived = 0;
}

int http_check_patience(Http *h, const char *name, Why *why)
{
        if (!h->patience_lost)
                return 0;
        h->patience_lost = false; /* the next file may come from another server */
        return fail_hint(why,
                         fail(why, -EIO, WHY_NETWORK, "too-slow",
                              "%s: less than %u bytes a second for %" PRIu64 " s, over all connections", name,
                              RATE_MIN, patience_sec(h)),
                         "the next attempt goes on from what is here; see http.stallTimeout");
}

/* Counts only the time somebody waits for the network, never that of a slow disk. */
static void watch_rate(Transfer *t, uint64_t waited_ms)
{
        uint64_t window_sec = t->http->options.stall_timeout_sec;

        if (!t->is_exchange)
                http_waited(t->http, waited_ms);
        t->waited_ms += waited_ms;
        if (t->is_exchange || t->waited_ms < window_sec * 1000) /* an exchange has a time limit as a whole */
                return;
        t->stalled = t->arrived < RATE_MIN * window_sec;
        t->waited_ms = 0;
        t->arrived = 0;
}

/* Lets libcurl work once; waits for the network when nothing came. Negative: the job wants no more, or a bug. */
static int transfer_step(Transfer *t, bool (*enough)(const Transfer *t), Why *why)
{
        CURLM *multi = t->http->multi;
        uint64_t before;
        int running, r;

        if (t->paused && t->n_spill == 0) {
                t->paused = false;
                (void) curl_easy_pause(t->easy,
                                       CURLPAUSE_CONT); /* a failure shows as the transfer's result */
        }
        if (curl_multi_perform(multi, &running) != CURLM_OK)
                return fail(why, -EIO, WHY_HOST, "curl", "http: libcurl failed");
        look_for_end(t);
        if (t->done || enough(t))
                return 0;
        before = now_ms();
        if (curl_multi_poll(multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
                return fail(why, -EIO, WHY_HOST, "curl", "http: libcurl failed");
        watch_rate(t, now_ms() - before);
        r = t->http->watch.alive(t->http->watch.ctx);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "http") : 0;
}

static bool is_given_up(const Transfer *t)
{
        return t->stalled || (!t->is_exchange && t->http->patience_lost);
}

static int transfer_run(Transfer *t, bool (*enough)(const Transfer *t), Why *why)
{
        int r = 0;

        while (r >= 0 && !enough(t) && !t->done && !is_given_up(t))
                r = transfer_step(t, enough, why);
        return r;
}

static bool head_is_complete(const Transfer *t)
{
        return t->reply.complete;
}

static bool has_all_wanted(const Transfer *t)
{
        return t->got == t->n_want;
}

int transfer_start(Http *h, const char *url, const HttpAsk *ask, Transfer **ret, Why *why)
{
        _cleanup_(transfer_freep) Transfer *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return fail_errno(why, -ENOMEM, WHY_HOST, "http");
        t->http = h;
        t->last_asked = ask->ranged ? ask->last : UINT64_MAX;
        t->easy = curl_easy_init();
        if (!t->easy || !set_headers(t, url, ask) || !set_request(t, url, ask->redirected) ||
            (ask->exchange && !set_exchange(t, url, ask->exchange)) ||
            (ask->send && !set_send(t, ask->send)) ||
            curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) != CURLE_OK || !set_callbacks(t) ||
            !set_tls(t) || curl_multi_add_handle(h->multi, t->easy) != CURLM_OK)
                return fail(why, -EINVAL, WHY_HOST, "curl", "http: libcurl does not take its options");
        r = transfer_run(t, head_is_complete, why);
        if (r < 0)
                return r;
        *ret = TAKE(t);
        return 0;
}

/* All that was asked for has come. Who gives a byte of it, and then the next one, has not answered. */
static bool is_answered(const Transfer *t)
{
        const Reply *r = &t->reply;

        if (t->is_exchange || !r->complete)
                return false;
        if (t->send)
                return r->status / 100 == 2;
        if (!has_content(r) ||
            (r->status == 206 && r->last < t->last_asked && (!r->has_total || r->last + 1 < r->total)))
                return false;
        return r->has_length ? t->body == r->length : transfer_is_complete(t);
}

/* The body was read to its end: lets libcurl notice, so that the connection can be used again. */
static void transfer_settle(Transfer *t)
{
        const Reply *r = &t->reply;

        bool no_body = t->send && streq(t->send->method, "HEAD");

        if (!no_body && ((!t->keeps_body && !has_content(r)) || !r->has_length || t->body != r->length))
                return;
        for (int i = 0, running; i < 4 && !t->done; i++) {
                (void) curl_multi_perform(t->http->multi, &running);
                look_for_end(t);
        }
}

Transfer *transfer_free(Transfer *t)
{
        if (!t)
                return NULL;
        if (t->easy) {
                transfer_settle(t);
                if (is_answered(t))
                        t->http->arrived += ANSWER_WORTH;
                (void) curl_multi_remove_handle(t->http->multi, t->easy);
                curl_easy_cleanup(t->easy);
        }
        curl_slist_free_all(t->headers);
        free(t);
        return NULL;
}

const Reply *transfer_reply(const Transfer *t)
{
        return &t->reply;
}

int transfer_read(Transfer *t, uint8_t *buf, size_t n, size_t *ret_got, Why *why)
{
        size_t from_spill = MIN(n, t->n_spill);
        int r = keep_to_bandwidth(t->http, why);

        *ret_got = 0;
        if (r < 0)
                return r;
        memcpy(buf, t->spill + t->spill_at, from_spill);
        t->spill_at += from_spill;
        t->n_spill -= from_spill;
        t->want = buf;
        t->n_want = n;
        t->got = from_spill;
        r = transfer_run(t, has_all_wanted, why);
        *ret_got = t->got;
        t->body += t->got;
        *t->http->watch.bytes += t->got;
        bandwidth_took(&t->http->bandwidth, t->got, now_us());
        t->want = NULL;
        t->n_want = t->got = 0;
        return r;
}

bool transfer_is_complete(const Transfer *t)
{
        return t->reply.complete && t->done && t->result == CURLE_OK && t->n_spill == 0;
}

uint64_t transfer_retry_after_sec(const Transfer *t, uint64_t max)
{
        curl_off_t wait = 0;

        (void) curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &wait);
        return wait > 0 ? MIN((uint64_t) wait, max) : 0;
}

/* --- failures --- */

static int tls_failure(const char *name, const char *text, Why *why)
{
        return fail_hint(why, fail(why, -ECONNABORTED, WHY_NETWORK, "tls", "%s: %s", name, text),
                         "see http.ca, http.certificate and http.key");
}

static long proxy_status(const Transfer *t)
{
        long status = 0;

        (void) curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &status);
        return status;
}

static int result_failure(const Transfer *t, const char *name, TransferFault *ret_fault, Why *why)
{
        const char *text = t->error[0] ? t->error : curl_easy_strerror(t->result);

        if (t->is_exchange && t->result == CURLE_OPERATION_TIMEDOUT)
                return fail(why, -EAGAIN, WHY_NETWORK, "timeout", "%s: %s", name, text);
        switch (t->result) {
        case CURLE_OK:
                return fail(why, -EAGAIN, WHY_NETWORK, "short-body",
                            "%s: the connection ended before the last byte", name);
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_CONNECT:
                *ret_fault = TRANSFER_UNREACHED;
                return fail(why, -EAGAIN, WHY_NETWORK, "unreachable", "%s: %s", name, text);
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS:
                return tls_failure(name, text, why);
        case CURLE_URL_MALFORMAT:
        case CURLE_UNSUPPORTED_PROTOCOL:
                return fail(why, -EINVAL, WHY_USAGE, "url", "%s: %s", name, text);
        case CURLE_OUT_OF_MEMORY:
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", name);
        default:
                /* A server that wants a client certificate may say so only after the handshake, and whether that is read
                 * before its connection breaks is chance. */
                if (strstr(text, "alert"))
                        return tls_failure(name, text, why);
                if (t->reply.header_bytes == 0)
                        *ret_fault = TRANSFER_UNREACHED;
                return fail(why, -EAGAIN, WHY_NETWORK, "connection", "%s: %s", name, text);
        }
}

int transfer_failure(const Transfer *t, const char *name, TransferFault *ret_fault, Why *why)
{
        long proxy = proxy_status(t);

        *ret_fault = t->stalled ? TRANSFER_STALLED : TRANSFER_BROKEN;
        if (!t->is_exchange && t->http->patience_lost) /* no other attempt cures that */
                return http_check_patience(t->http, name, why);
        if (t->stalled)
                return fail(why, -EAGAIN, WHY_NETWORK, "stalled",
                            "%s: less than %u bytes a second for %" PRIu64 " s", name, RATE_MIN,
                            t->http->options.stall_timeout_sec);
        if (t->fault < 0)
                return fail(why, -EBADMSG, WHY_NETWORK, "http-head",
                            "%s: the server's headers are malformed or too long", name);
        if (proxy >= 400 && proxy < 500)
                return fail_hint(why,
                                 fail(why, -EACCES, WHY_NETWORK, "proxy", "%s: the proxy answers %ld", name,
                                      proxy),
                                 "see http.proxy");
        return result_failure(t, name, ret_fault, why);
}
