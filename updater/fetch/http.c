/* SPDX-License-Identifier: MIT */

/* libcurl's multi interface, used as a pull: it runs only while somebody waits for bytes, and is paused when it has more
 * than they asked for, so that a slow disk slows the server down and memory stays at one buffer.
 *
 * Three layers, each of which knows less than the one above: a Transfer is one request and its response; a Resource is a
 * URL with its redirects, its identity (size, ETag) and its retries; an origin or http_get() is what others see. A failure
 * that may go away by itself is -EAGAIN with its sentence in Resource.last, and only retry() decides what becomes of it.
 *
 * Redirects are followed here and not by libcurl: never from https to http, no user names in them, and the token only
 * where it belongs. */

#include "fetch/http.h"
#include "fetch/reply.h"
#include "fetch/url.h"
#include "base/str.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#define CONNECT_TIMEOUT_SEC 20u /* name, TCP, TLS */
#define STALL_TIMEOUT_SEC   60u
#define RATE_MIN            1024u /* bytes a second over the stall time: slower is an attack or as good as broken */
#define RETRIES             8u /* in a row without a new byte: some 40 s of pauses */
#define RETRIES_UNREACHED   3u /* of a server that never answered: more likely a wrong name than a hiccup */
#define RECONNECTS_MAX      10000u /* of one file, however much each of them brought */
#define BACKOFF_MS          200u
#define BACKOFF_MAX_MS      15000u
#define RETRY_AFTER_MAX_SEC 60u           /* a server may ask for patience, not for a denial of updates */
#define POLL_MS             400           /* the job is told twice a second that we live */
#define SKIP_MAX            (64u * 1024u) /* cheaper to read and drop than a new request */
#define SWALLOW_MAX         (64u * 1024u) /* of an error page, to keep the connection */
#define FIRST_RUN           (64u * 1024u) /* first request: marker and metadata.json of most files */
#define NAME_SIZE           200u

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
        bool reached; /* some server has answered something */
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

static uint64_t now_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
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

static bool url_is_https(const char *url)
{
        return strncasecmp(url, "https://", 8) == 0;
}

static bool url_is_http(const char *url)
{
        return strncasecmp(url, "http://", 7) == 0;
}

/* The token goes to one origin. Where the configuration names none, it is that of the first URL: a redirect or a second
 * server never gets it. */
static bool wants_token(Http *h, const char *url)
{
        _cleanup_(free_charp) char *here = NULL, *there = NULL;

        if (!h->token_header)
                return false;
        if (!h->options.bearer_origin)
                h->options.bearer_origin = strdup(url);
        here = url_origin(url);
        there = h->options.bearer_origin ? url_origin(h->options.bearer_origin) : NULL;
        return here && there && streq(here, there);
}

/* --- one request --- */

typedef struct Transfer {
        CURL *easy;
        CURLM *multi;
        struct curl_slist *headers;
        char error[CURL_ERROR_SIZE];
        Reply reply;
        int fault; /* of the head */
        bool done, paused, stalled;
        CURLcode result;
        uint8_t *want; /* the reader's buffer: bytes go there first ... */
        size_t n_want, got;
        size_t spill_at, n_spill; /* ... and what is left of a callback's bytes waits here */
        size_t swallowed;
        uint64_t waited_ms, arrived; /* in the current stall window */
        uint8_t spill[CURL_MAX_WRITE_SIZE];
} Transfer;

static Transfer *transfer_free(Transfer *t)
{
        if (!t)
                return NULL;
        if (t->easy) {
                (void) curl_multi_remove_handle(t->multi, t->easy);
                curl_easy_cleanup(t->easy);
        }
        curl_slist_free_all(t->headers);
        free(t);
        return NULL;
}

static void transfer_freep(Transfer **t)
{
        transfer_free(*t);
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
        Transfer *t = ctx;

        t->fault = reply_line(&t->reply, p, size * n);
        t->arrived += size * n;
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
        if (!has_content(&t->reply)) {
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
        return n;
}

static bool add_header(Transfer *t, const char *line)
{
        struct curl_slist *l = line ? curl_slist_append(t->headers, line) : NULL;

        if (l)
                t->headers = l;
        return l;
}

static bool set_blob(CURL *easy, CURLoption option, const Bytes *b)
{
        struct curl_blob blob = { b->data, b->size, CURL_BLOB_NOCOPY };

        return b->size == 0 || curl_easy_setopt(easy, option, &blob) == CURLE_OK;
}

static bool set_tls(Http *h, CURL *easy)
{
        const HttpOptions *o = &h->options;
        const Bytes *key = o->key.size > 0 ? &o->key : &o->certificate;

        return set_blob(easy, CURLOPT_CAINFO_BLOB, &o->ca) &&
               set_blob(easy, CURLOPT_SSLCERT_BLOB, &o->certificate) &&
               set_blob(easy, CURLOPT_SSLKEY_BLOB, key) &&
               !curl_easy_setopt(easy, CURLOPT_SSLCERTTYPE, "PEM") &&
               !curl_easy_setopt(easy, CURLOPT_SSLKEYTYPE, "PEM") &&
               !curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) &&
               !curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) &&
               !curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
}

static bool set_options(Http *h, Transfer *t, const char *url, bool redirected)
{
        CURL *e = t->easy;

        /* One request at a time: HTTP/2 would add a parser and bring nothing. No Accept-Encoding: bytes come as they are. */
        return !curl_easy_setopt(e, CURLOPT_URL, url) &&
               !curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") &&
               !curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1) &&
               !curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) &&
               !curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) &&
               !curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, redirected ? 1L : 0L) &&
               !curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
               !curl_easy_setopt(e, CURLOPT_USERAGENT, "gybe/" GYBE_VERSION) &&
               !curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT,
                                 (long) MIN(h->options.connect_timeout_sec, UINT64_C(3600))) &&
               (!h->options.proxy || !curl_easy_setopt(e, CURLOPT_PROXY, h->options.proxy)) &&
               !curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error) &&
               !curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) &&
               !curl_easy_setopt(e, CURLOPT_HEADERDATA, t) &&
               !curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) &&
               !curl_easy_setopt(e, CURLOPT_WRITEDATA, t) &&
               !curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers) && set_tls(h, e);
}

/* What one request asks for. */
typedef struct Ask {
        bool ranged;
        uint64_t first, last;
        const char *if_range; /* NULL: none */
} Ask;

static bool set_headers(Http *h, Transfer *t, const char *url, const Ask *ask)
{
        char range[64], if_range[300];

        (void) snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, ask->first, ask->last);
        (void) snprintf(if_range, sizeof(if_range), "If-Range: %s", ask->if_range ? ask->if_range : "");
        return (!ask->ranged || add_header(t, range)) &&
               (!ask->ranged || !ask->if_range || add_header(t, if_range)) &&
               (!wants_token(h, url) || add_header(t, h->token_header));
}

static int transfer_start(Http *h, const char *url, bool redirected, const Ask *ask, Transfer **ret, Why *why)
{
        _cleanup_(transfer_freep) Transfer *t = calloc(1, sizeof(*t));

        if (!t)
                return fail_errno(why, -ENOMEM, WHY_HOST, "http");
        t->multi = h->multi;
        t->easy = curl_easy_init();
        if (!t->easy || !set_headers(h, t, url, ask) || !set_options(h, t, url, redirected) ||
            curl_multi_add_handle(h->multi, t->easy) != CURLM_OK)
                return fail(why, -EINVAL, WHY_HOST, "curl", "http: libcurl does not take its options");
        *ret = TAKE(t);
        return 0;
}

static void look_for_end(Transfer *t)
{
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(t->multi, &left)))
                if (m->msg == CURLMSG_DONE && m->easy_handle == t->easy) {
                        t->done = true;
                        t->result = m->data.result;
                }
}

/* Counts only the time somebody waits for the network, never that of a slow disk. */
static void watch_rate(Http *h, Transfer *t, uint64_t waited_ms)
{
        t->waited_ms += waited_ms;
        if (t->waited_ms < h->options.stall_timeout_sec * 1000)
                return;
        t->stalled = t->arrived < RATE_MIN * h->options.stall_timeout_sec;
        t->waited_ms = 0;
        t->arrived = 0;
}

/* Lets libcurl work once; waits for the network when nothing came. Negative: the job wants no more, or a bug. */
static int transfer_step(Http *h, Transfer *t, bool (*enough)(const Transfer *t), Why *why)
{
        uint64_t before;
        int running, r;

        if (t->paused && t->n_spill == 0) {
                t->paused = false;
                (void) curl_easy_pause(t->easy,
                                       CURLPAUSE_CONT); /* a failure shows as the transfer's result */
        }
        if (curl_multi_perform(h->multi, &running) != CURLM_OK)
                return fail(why, -EIO, WHY_HOST, "curl", "http: libcurl failed");
        look_for_end(t);
        if (t->done || enough(t))
                return 0;
        before = now_ms();
        if (curl_multi_poll(h->multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
                return fail(why, -EIO, WHY_HOST, "curl", "http: libcurl failed");
        watch_rate(h, t, now_ms() - before);
        r = h->watch.alive(h->watch.ctx);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "http") : 0;
}

static bool head_is_complete(const Transfer *t)
{
        return t->reply.complete;
}

static bool has_all_wanted(const Transfer *t)
{
        return t->got == t->n_want;
}

static int transfer_run(Http *h, Transfer *t, bool (*enough)(const Transfer *t), Why *why)
{
        int r = 0;

        while (r >= 0 && !enough(t) && !t->done && !t->stalled)
                r = transfer_step(h, t, enough, why);
        return r;
}

/* Fewer bytes than wanted mean that the transfer is over, one way or another. */
static int transfer_read(Http *h, Transfer *t, uint8_t *buf, size_t n, size_t *ret_got, Why *why)
{
        size_t from_spill = MIN(n, t->n_spill);
        int r;

        memcpy(buf, t->spill + t->spill_at, from_spill);
        t->spill_at += from_spill;
        t->n_spill -= from_spill;
        t->want = buf;
        t->n_want = n;
        t->got = from_spill;
        r = transfer_run(h, t, has_all_wanted, why);
        *ret_got = t->got;
        t->want = NULL;
        t->n_want = t->got = 0;
        return r;
}

/* The body was read to its end: lets libcurl notice, so that the connection can be used again. */
static void transfer_settle(Transfer *t)
{
        for (int i = 0, running; i < 4 && !t->done; i++) {
                (void) curl_multi_perform(t->multi, &running);
                look_for_end(t);
        }
}

/* --- a URL, its identity and its retries --- */

typedef struct Resource {
        Http *http;
        char name[NAME_SIZE];
        char *url, *effective; /* behind redirects; NULL: unknown */
        uint64_t expect, size; /* UINT64_MAX: unknown */
        bool opened, ranges, size_is_assumed;
        Reply identity; /* of the first answer */
        Transfer *transfer;
        uint64_t at, end; /* the transfer's next byte, and the one behind its last */
        unsigned failures, reconnects;
        uint64_t retry_after_sec;
        bool never_reached; /* the last failure was that of connecting */
        Why last;
} Resource;

static void resource_close(Resource *s)
{
        if (s->transfer && s->at == s->end)
                transfer_settle(s->transfer);
        s->transfer = transfer_free(s->transfer);
}

static void resource_done(Resource *s)
{
        resource_close(s);
        free(s->url);
        free(s->effective);
}

static int resource_init(Resource *s, Http *h, const char *url, Why *why)
{
        *s = (Resource){ .http = h, .expect = UINT64_MAX, .size = UINT64_MAX, .ranges = true };
        url_redact(url, s->name, sizeof(s->name));
        s->url = strdup(url);
        return s->url ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "%s", s->name);
}

/* A failure that another attempt may cure. */
#define transient(s, code, ...)                                                                              \
        ((s)->last = (Why){ 0 }, fail(&(s)->last, -EAGAIN, WHY_NETWORK, (code), __VA_ARGS__))

static int tls_failure(const Resource *s, const char *text, Why *why)
{
        return fail_hint(why, fail(why, -ECONNABORTED, WHY_NETWORK, "tls", "%s: %s", s->name, text),
                         "see http.ca, http.certificate and http.key");
}

static int transport_failure(Resource *s, Transfer *t, Why *why)
{
        const char *text = t->error[0] ? t->error : curl_easy_strerror(t->result);
        long proxy_status = 0;

        if (t->stalled)
                return transient(s, "stalled", "%s: less than %u bytes a second for %" PRIu64 " s", s->name,
                                 RATE_MIN, s->http->options.stall_timeout_sec);
        if (t->fault < 0)
                return fail(why, -EBADMSG, WHY_NETWORK, "http-head",
                            "%s: the server's headers are malformed or too long", s->name);
        (void) curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
        if (proxy_status >= 400 && proxy_status < 500)
                return fail_hint(why,
                                 fail(why, -EACCES, WHY_NETWORK, "proxy", "%s: the proxy answers %ld",
                                      s->name, proxy_status),
                                 "see http.proxy");
        switch (t->result) {
        case CURLE_OK:
                return transient(s, "short-body", "%s: the connection ended before the last byte", s->name);
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_CONNECT:
                s->never_reached = true;
                return transient(s, "unreachable", "%s: %s", s->name, text);
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS:
                return tls_failure(s, text, why);
        case CURLE_URL_MALFORMAT:
        case CURLE_UNSUPPORTED_PROTOCOL:
                return fail(why, -EINVAL, WHY_USAGE, "url", "%s: %s", s->name, text);
        case CURLE_OUT_OF_MEMORY:
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", s->name);
        default:
                /* a server that wants a client certificate may say so only after the handshake */
                if (strstr(text, "alert"))
                        return tls_failure(s, text, why);
                return transient(s, "connection", "%s: %s", s->name, text);
        }
}

static int status_failure(Resource *s, Transfer *t, Why *why)
{
        unsigned status = t->reply.status;
        curl_off_t wait = 0;

        switch (status) {
        case 404:
        case 410:
                return fail(why, -ENOENT, WHY_NETWORK, "not-found", "%s: the server answers %u", s->name,
                            status);
        case 401:
        case 403:
                return fail_hint(why,
                                 fail(why, -EACCES, WHY_NETWORK, "forbidden", "%s: the server answers %u",
                                      s->name, status),
                                 "see http.bearerFile and http.certificate");
        case 416:
                return fail(why, -ESTALE, WHY_NETWORK, "changed",
                            "%s: became shorter while it was being read", s->name);
        case 408:
        case 425:
        case 429:
        case 500:
        case 502:
        case 503:
        case 504:
                (void) curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &wait);
                s->retry_after_sec = wait > 0 ? MIN((uint64_t) wait, (uint64_t) RETRY_AFTER_MAX_SEC) : 0;
                return transient(s, "server", "%s: the server answers %u", s->name, status);
        default:
                return fail(why, -EIO, WHY_NETWORK, "server", "%s: the server answers %u", s->name, status);
        }
}

static bool is_redirect(unsigned status)
{
        return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static int redirect_target(const Resource *s, const char *from, const char *location, char **ret, Why *why)
{
        _cleanup_(url_freep) CURLU *u = curl_url();
        _cleanup_(curl_strp) char *to = NULL;

        if (!u || curl_url_set(u, CURLUPART_URL, from, 0) || !*location ||
            curl_url_set(u, CURLUPART_URL, location, CURLU_NON_SUPPORT_SCHEME) ||
            curl_url_get(u, CURLUPART_URL, &to, 0))
                return fail(why, -EBADMSG, WHY_NETWORK, "redirect", "%s: redirects to nowhere", s->name);
        if (!url_is_https(to) && (url_is_https(from) || !url_is_http(to)))
                return fail(why, -EPERM, WHY_NETWORK, "redirect", "%s: redirects from %s to %s", s->name,
                            url_is_https(from) ? "https" : "http",
                            url_is_http(to) ? "http" : "something else than http");
        *ret = strdup(to);
        return *ret ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "%s", s->name);
}

static bool is_lost(unsigned status)
{
        return status == 401 || status == 403 || status == 404 || status == 410;
}

/* One request up to the head of its final answer, which may have any status but a redirect's. */
static int resource_ask(Resource *s, const Ask *ask, Why *why)
{
        _cleanup_(free_charp) char *url = strdup(s->effective ? s->effective : s->url);
        bool from_start = !s->effective;

        resource_close(s);
        for (unsigned hops = 0; url;) {
                _cleanup_(transfer_freep) Transfer *t = NULL;
                _cleanup_(free_charp) char *next = NULL;
                int r;

                r = transfer_start(s->http, url, hops > 0 || !from_start, ask, &t, why);
                if (r >= 0)
                        r = transfer_run(s->http, t, head_is_complete, why);
                if (r < 0)
                        return r;
                if (!t->reply.complete)
                        return transport_failure(s, t, why);
                s->http->reached = true;
                if (!from_start && is_lost(t->reply.status)) {
                        /* a signed URL that has expired: ask for a new one where it came from */
                        from_start = true;
                        hops = 0;
                        next = strdup(s->url);
                } else if (is_redirect(t->reply.status)) {
                        if (++hops > HTTP_REDIRECTS_MAX)
                                return fail(why, -ELOOP, WHY_NETWORK, "redirect",
                                            "%s: more than %u redirects", s->name, HTTP_REDIRECTS_MAX);
                        r = redirect_target(s, url, t->reply.location, &next, why);
                        if (r < 0)
                                return r;
                } else {
                        s->transfer = TAKE(t);
                        free(s->effective);
                        s->effective = TAKE(url);
                        return 0;
                }
                free(url);
                url = TAKE(next);
        }
        return fail_errno(why, -ENOMEM, WHY_HOST, "%s", s->name);
}

/* Waits before the next attempt, or gives up with what the last one said. */
static int resource_retry(Resource *s, bool progressed, Why *why)
{
        unsigned limit = s->http->options.retries;
        uint64_t pause_ms, until;
        uint8_t dice = 0;

        resource_close(s);
        if (progressed)
                s->failures = 0;
        if (s->never_reached && !s->http->reached)
                limit = MIN(limit, RETRIES_UNREACHED);
        if (++s->failures > limit || ++s->reconnects > RECONNECTS_MAX)
                return fail_hint(why,
                                 fail(why, -EIO, s->last.kind, s->last.code, "%s (%u attempts)", s->last.text,
                                      s->failures),
                                 "it is tried again the next time");
        pause_ms = MIN((uint64_t) BACKOFF_MS << MIN(s->failures - 1, 16u), (uint64_t) BACKOFF_MAX_MS);
        /* jitter: a thousand nodes lost the same server at the same time */
        (void) getrandom(&dice, sizeof(dice), GRND_NONBLOCK);
        pause_ms = progressed ? dice / 4u : pause_ms / 2 + pause_ms * dice / 512;
        pause_ms = MAX(pause_ms, s->retry_after_sec * 1000);
        s->retry_after_sec = 0;
        s->never_reached = false;
        until = now_ms() + pause_ms;
        for (uint64_t now = now_ms(); now < until; now = now_ms()) {
                uint64_t ms = MIN(until - now, (uint64_t) POLL_MS);
                struct timespec ts = { 0, (long) ms * 1000000 };
                int r;

                (void) nanosleep(&ts, NULL);
                r = s->http->watch.alive(s->http->watch.ctx);
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "http");
        }
        return 0;
}

/* Reads n bytes of the transfer at hand. -EAGAIN with fewer in *ret_got. */
static int resource_read(Resource *s, uint8_t *buf, size_t n, size_t *ret_got, Why *why)
{
        int r = transfer_read(s->http, s->transfer, buf, n, ret_got, why);

        s->at += *ret_got;
        *s->http->watch.bytes += *ret_got;
        if (r < 0 || *ret_got == n)
                return r;
        return transport_failure(s, s->transfer, why);
}

/* --- a small body --- */

static int read_whole(Resource *s, size_t max, Bytes *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const Ask whole = { 0 };
        uint8_t buf[8192];
        int r;

        r = resource_ask(s, &whole, why);
        if (r < 0)
                return r;
        if (s->transfer->reply.status != 200)
                return status_failure(s, s->transfer, why);
        if (s->transfer->reply.is_encoded)
                return fail(why, -EBADMSG, WHY_NETWORK, "encoding",
                            "%s: the server compresses what was not asked for", s->name);
        for (;;) {
                size_t got = 0;

                r = resource_read(s, buf, sizeof(buf), &got, why);
                if (r < 0 && r != -EAGAIN)
                        return r;
                if (got > max - b.size)
                        return fail(why, -EFBIG, WHY_NETWORK, "too-large", "%s: more than %zu bytes", s->name,
                                    max);
                if (bytes_append(&b, buf, got) < 0)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "%s", s->name);
                if (r == -EAGAIN && s->transfer->done && s->transfer->result == CURLE_OK)
                        break; /* the end, not a failure: libcurl held it to its Content-Length */
                if (r < 0)
                        return r;
        }
        s->end = s->at;
        bytes_move(ret, &b);
        return 0;
}

int http_get(Http *h, const char *url, size_t max, Bytes *ret, Why *why)
{
        _cleanup_(resource_done) Resource s = { 0 };
        int r = resource_init(&s, h, url, why);

        while (r >= 0) {
                r = read_whole(&s, max, ret, why);
                if (r != -EAGAIN)
                        break;
                r = resource_retry(&s, false, why);
        }
        return r;
}

/* --- an origin --- */

/* What If-Range may name: only what promises the very same bytes. */
static const char *validator(const Resource *s)
{
        if (!s->opened)
                return NULL;
        if (reply_has_strong_etag(&s->identity))
                return s->identity.etag;
        return s->identity.modified[0] ? s->identity.modified : NULL;
}

static int refuse_size(const Resource *s, uint64_t size, Why *why)
{
        return fail(why, -EBADMSG, WHY_TRUST, "cosi-size",
                    "%s: has %" PRIu64 " bytes, the signed release says %" PRIu64, s->name, size, s->expect);
}

/* The first answer says what the file is; every later one must be of the same file. */
static int check_identity(Resource *s, const Reply *reply, uint64_t size, Why *why)
{
        if (!s->opened) {
                s->size_is_assumed = size == UINT64_MAX;
                s->size = s->size_is_assumed ? s->expect : size;
                if (s->size == UINT64_MAX)
                        return fail(why, -EOPNOTSUPP, WHY_NETWORK, "no-size",
                                    "%s: the server does not say how large it is", s->name);
                if (s->expect != UINT64_MAX && s->size != s->expect)
                        return refuse_size(s, s->size, why);
                s->identity = *reply;
                s->opened = true;
                return 0;
        }
        if (!reply_same(&s->identity, reply) || (size != UINT64_MAX && size != s->size))
                return fail_hint(why,
                                 fail(why, -ESTALE, WHY_NETWORK, "changed",
                                      "%s: changed on the server while it was being read", s->name),
                                 "nothing was mixed; it is read anew the next time");
        return 0;
}

static int take_partial(Resource *s, const Ask *ask, Why *why)
{
        const Reply *reply = &s->transfer->reply;

        if (!reply->has_range || reply->first != ask->first || reply->last > ask->last ||
            (reply->has_length && reply->length != reply->last - reply->first + 1))
                return fail(why, -EBADMSG, WHY_NETWORK, "range",
                            "%s: the server answers with other bytes than asked for", s->name);
        s->at = reply->first;
        s->end = reply->last + 1;
        return check_identity(s, reply, reply->has_total ? reply->total : UINT64_MAX, why);
}

static int take_whole(Resource *s, const Ask *ask, Why *why)
{
        const Reply *reply = &s->transfer->reply;
        int r = check_identity(s, reply, reply->has_length ? reply->length : UINT64_MAX, why);

        /* From the start although the middle was asked for: a server without ranges. Of the first request, which asks from
         * the start, only the header can tell. */
        if (ask->first > 0 || !reply->accepts_ranges)
                s->ranges = false;
        s->at = 0;
        s->end = s->size;
        return r;
}

static int take_head(Resource *s, const Ask *ask, Why *why)
{
        const Reply *reply = &s->transfer->reply;

        if (has_content(reply) && reply->is_encoded)
                return fail(why, -EBADMSG, WHY_NETWORK, "encoding",
                            "%s: the server compresses what was not asked for", s->name);
        if (reply->status == 206)
                return take_partial(s, ask, why);
        if (reply->status == 200)
                return take_whole(s, ask, why);
        /* no first byte to give: the file is empty */
        if (reply->status == 416 && !s->opened) {
                s->at = s->end = 0;
                return check_identity(s, reply, 0, why);
        }
        return status_failure(s, s->transfer, why);
}

static int resource_open_at(Resource *s, uint64_t offset, uint64_t until, Why *why)
{
        const Ask ask = {
                .ranged = true,
                .first = s->ranges ? offset : 0,
                .last = MAX(until, offset + 1) - 1,
                .if_range = validator(s),
        };
        int r;

        r = resource_ask(s, s->ranges ? &ask : &(const Ask){ .last = UINT64_MAX }, why);
        if (r < 0)
                return r;
        r = take_head(s, &ask, why);
        if (r < 0)
                s->transfer = transfer_free(s->transfer);
        return r;
}

static int resource_skip(Resource *s, uint64_t to, Why *why)
{
        uint8_t drop[8192];

        while (s->at < to) {
                size_t got = 0;
                int r = resource_read(s, drop, (size_t) MIN(to - s->at, (uint64_t) sizeof(drop)), &got, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Makes offset the next byte of a transfer. */
static int resource_seek(Resource *s, uint64_t offset, uint64_t until, Why *why)
{
        int r;

        if (s->transfer && s->at <= offset && offset < s->end && (offset - s->at <= SKIP_MAX || !s->ranges))
                return resource_skip(s, offset, why);
        /* the rest of a short range is read and dropped, to keep the connection */
        if (s->transfer && s->ranges && s->end - s->at <= SKIP_MAX) {
                r = resource_skip(s, s->end, why);
                if (r < 0 && r != -EAGAIN)
                        return r;
        }
        r = resource_open_at(s, offset, until, why);
        return r < 0 ? r : resource_skip(s, offset, why);
}

static int http_origin_read(void *self, uint64_t offset, uint64_t until, void *buf, size_t n, Why *why)
{
        Resource *s = self;
        uint8_t *p = buf;

        while (n > 0) {
                size_t got = 0, part;
                int r = resource_seek(s, offset, until, why);

                if (r >= 0) {
                        part = (size_t) MIN((uint64_t) n, s->end - s->at);
                        r = resource_read(s, p, part, &got, why);
                }
                p += got;
                offset += got;
                n -= got;
                if (r == -EAGAIN)
                        r = resource_retry(s, got > 0, why); /* what was skipped again is no progress */
                else if (r >= 0)
                        s->failures = 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A server that did not say the size was believed to have the signed one. */
static int http_origin_check_end(void *self, Why *why)
{
        Resource *s = self;
        uint8_t extra;
        size_t got = 0;
        int r;

        if (!s->size_is_assumed)
                return 0;
        r = s->transfer ? 0 : resource_open_at(s, 0, s->size, why);
        if (r >= 0)
                r = resource_skip(s, s->end, why);
        if (r >= 0)
                r = resource_read(s, &extra, 1, &got, why);
        if (got > 0)
                return refuse_size(s, s->size + got, why);
        if (r == -EAGAIN && s->transfer->done && s->transfer->result == CURLE_OK)
                return 0;
        return r == -EAGAIN ? fail(why, -EIO, WHY_NETWORK, s->last.code, "%s", s->last.text) : r;
}

static bool http_origin_has_ranges(const void *self)
{
        const Resource *s = self;

        return s->ranges;
}

static void http_origin_free(void *self)
{
        Resource *s = self;

        resource_done(s);
        free(s);
}

static const OriginOps http_ops = {
        .read = http_origin_read,
        .check_end = http_origin_check_end,
        .has_ranges = http_origin_has_ranges,
        .free = http_origin_free,
};

static void resource_freep(Resource **s)
{
        if (*s)
                http_origin_free(*s);
}

int http_open(Http *h, const char *url, uint64_t expect_size, Origin *ret, Why *why)
{
        _cleanup_(resource_freep) Resource *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return fail_errno(why, -ENOMEM, WHY_HOST, "http");
        r = resource_init(s, h, url, why);
        s->expect = expect_size;
        while (r >= 0) {
                r = resource_open_at(s, 0, FIRST_RUN, why);
                if (r != -EAGAIN)
                        break;
                r = resource_retry(s, false, why);
        }
        if (r < 0)
                return r;
        *ret = (Origin){ .ops = &http_ops, .size = s->size };
        (void) snprintf(ret->name, sizeof(ret->name), "%s", s->name);
        ret->self = TAKE(s);
        return 0;
}
