/* SPDX-License-Identifier: MIT */

/* A Resource is a URL with its redirects, its identity (size, ETag) and its retries. A failure that may go away by itself
 * is -EAGAIN with its sentence in Resource.last, and only resource_retry() decides what becomes of it. */

#include "fetch/download.h"
#include "base/url.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#define RETRIES_UNREACHED   3u /* of a server that never answered: more likely a wrong name than a hiccup */
#define RECONNECTS_MAX      10000u /* of one file, however much each of them brought */
#define RESTARTS_MAX        100u   /* ... from a server that begins anew each time */
#define BACKOFF_MS          200u
#define BACKOFF_MAX_MS      15000u
#define RETRY_AFTER_MAX_SEC 60u           /* a server may ask for patience, not for a denial of updates */
#define SLICE_MS            400           /* the job is told twice a second that we live */
#define SKIP_MAX            (64u * 1024u) /* cheaper to read and drop than a new request */
#define FIRST_RUN           (64u * 1024u) /* first request: most files of a repository end before */
#define FIRST_PART          (16u * 1024u) /* of a container: marker and metadata.json of most */
#define NAME_SIZE           200u

typedef struct Resource {
        Http *http;
        char name[NAME_SIZE];
        char *url, *effective; /* behind redirects; NULL: unknown */
        char *home;            /* where the right file was last; NULL: unknown */
        bool go_home;
        const char *accept;
        bool is_known;         /* we said who we are */
        uint64_t expect, size; /* UINT64_MAX: unknown */
        bool opened, ranges, size_is_assumed;
        Reply identity; /* of the first answer */
        Transfer *transfer;
        uint64_t at, end; /* the transfer's next byte, and the one behind its last */
        unsigned failures, reconnects;
        unsigned asked_to_wait; /* how often Retry-After made a pause */
        uint64_t retry_after_sec;
        bool reached;        /* some server has answered something */
        TransferFault fault; /* the last one */
        Why last;
} Resource;

static void resource_close(Resource *s)
{
        s->transfer = transfer_free(s->transfer);
}

static void resource_done(Resource *s)
{
        resource_close(s);
        free(s->url);
        free(s->effective);
        free(s->home);
}

static int resource_init(Resource *s, Http *h, const char *url, Why *why)
{
        *s = (Resource){ .http = h, .expect = UINT64_MAX, .size = UINT64_MAX, .ranges = true };
        url_redact(url, s->name, sizeof(s->name));
        s->url = strdup(url);
        return s->url ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "%s", s->name);
}

/* --- failures --- */

/* Keeps the sentence of what another attempt may cure, passes on the rest. */
static int transfer_failed(Resource *s, const Transfer *t, Why *why)
{
        Why this = { 0 };
        int r = transfer_failure(t, s->name, &s->fault, &this);

        if (r == -EAGAIN)
                s->last = this;
        else if (why->kind == WHY_NONE)
                *why = this;
        return r;
}

static int status_failed(Resource *s, const Transfer *t, Why *why)
{
        unsigned status = transfer_reply(t)->status;

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
                                 s->is_known ? "see oci.authFile"
                                             : "see http.bearerFile and http.certificate");
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
                s->retry_after_sec = transfer_retry_after_sec(t, RETRY_AFTER_MAX_SEC);
                s->last = (Why){ 0 };
                return fail(&s->last, -EAGAIN, WHY_NETWORK, "server", "%s: the server answers %u", s->name,
                            status);
        default:
                return fail(why, -EIO, WHY_NETWORK, "server", "%s: the server answers %u", s->name, status);
        }
}

static uint64_t now_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

static int wait_ms(const Resource *s, uint64_t ms, Why *why)
{
        const OriginWatch *watch = http_watch(s->http);
        uint64_t until = now_ms() + ms;

        for (uint64_t now = now_ms(); now < until; now = now_ms()) {
                struct timespec slice = { 0, (long) MIN(until - now, (uint64_t) SLICE_MS) * 1000000 };
                int r;

                (void) nanosleep(&slice, NULL);
                r = watch->alive(watch->ctx);
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "http");
        }
        return 0;
}

/* Doubles with every failure; with jitter, since a thousand nodes lost the same server at the same time. */
static uint64_t pause_ms(const Resource *s, bool progressed)
{
        uint64_t ms = MIN((uint64_t) BACKOFF_MS << MIN(s->failures - 1, 16u), (uint64_t) BACKOFF_MAX_MS);
        uint8_t dice = 0;

        if (getrandom(&dice, sizeof(dice), GRND_NONBLOCK) < 0)
                dice = 128; /* early boot: without jitter, in the middle */
        ms = progressed ? dice / 4u : ms / 2 + ms * dice / 512;
        return MAX(ms, s->retry_after_sec * 1000);
}

/* Where redirects led may be one of many servers, and the one that is out of order. Who began knows others. */
static void forget_place(Resource *s)
{
        free(s->effective);
        s->effective = NULL;
}

static bool is_home(const Resource *s, const char *url)
{
        return s->home && streq(s->home, url);
}

/* A place that is not remembered (no memory) is one more way from the start. */
static void set_home(Resource *s, const char *url)
{
        if (url && is_home(s, url))
                return;
        free(s->home);
        s->home = url ? strdup(url) : NULL;
}

/* Waits before the next attempt, or gives up with what the last one said. */
static int resource_retry(Resource *s, bool progressed, Why *why)
{
        unsigned limit = http_retries(s->http), reconnects = s->ranges ? RECONNECTS_MAX : RESTARTS_MAX;
        uint64_t ms;
        int r = http_check_patience(s->http, s->name, why);

        resource_close(s);
        if (r < 0)
                return r;
        if (progressed && s->fault != TRANSFER_STALLED)
                s->failures = 0;
        if (s->fault == TRANSFER_UNREACHED && !s->reached)
                limit = MIN(limit, RETRIES_UNREACHED);
        if (++s->failures > limit || ++s->reconnects > reconnects)
                return fail(why, -EIO, s->last.kind, s->last.code, "%.480s (%u attempts)", s->last.text,
                            s->failures);
        if (s->failures > 1 || s->go_home)
                forget_place(s);
        if (s->go_home && s->home)
                s->effective = strdup(s->home);
        s->go_home = false;
        ms = pause_ms(s, progressed);
        /* a server that says when is not slow, unless it goes on saying so */
        if (s->retry_after_sec == 0 || ++s->asked_to_wait > http_retries(s->http))
                http_waited(s->http, ms);
        s->retry_after_sec = 0;
        s->fault = TRANSFER_BROKEN;
        return wait_ms(s, ms, why);
}

/* --- requests --- */

static bool is_redirect(unsigned status)
{
        return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* A signed URL that has expired: 403, of some stores 400. */
static bool is_lost(unsigned status)
{
        return status == 400 || status == 401 || status == 403 || status == 404 || status == 410;
}

/* 401: who knows the server may have something to say. 1 ask this URL again, 0 no. */
static int answer_challenge(Resource *s, const char *url, const Reply *reply, Why *why)
{
        uint64_t after_sec;
        Why this = { 0 };
        int r = http_challenged(s->http, url, reply, &after_sec, &this);

        s->retry_after_sec = MIN(after_sec, (uint64_t) RETRY_AFTER_MAX_SEC);
        s->is_known = s->is_known || http_has_auth(s->http, url);
        if (r == -EAGAIN)
                s->last = this;
        else if (r < 0 && why->kind == WHY_NONE)
                *why = this;
        return r;
}

/* One request up to the head of its final answer, which may have any status but a redirect's. Starts where the last one
 * ended; when that is lost (a signed URL that has expired), once more from where everything began. */
static int resource_ask(Resource *s, const HttpAsk *ask, Why *why)
{
        _cleanup_(free_charp) char *url = strdup(s->effective ? s->effective : s->url);
        bool from_start = !s->effective, challenged = false;

        resource_close(s);
        for (unsigned hops = 0; url;) {
                _cleanup_(transfer_freep) Transfer *t = NULL;
                _cleanup_(free_charp) char *next = NULL;
                HttpAsk this = *ask;
                const Reply *reply;
                int r;

                this.redirected = hops > 0 || !from_start;
                r = transfer_start(s->http, url, &this, &t, why);
                if (r < 0)
                        return r;
                reply = transfer_reply(t);
                if (!reply->complete)
                        return transfer_failed(s, t, why);
                s->reached = true;
                if (reply->status == 401 && !challenged) {
                        challenged =
                                true; /* once a request: who refuses what he gave a moment ago means it */
                        r = answer_challenge(s, url, reply, why);
                        if (r < 0)
                                return r;
                        next = r > 0 ? strdup(url) : NULL;
                        if (r > 0 && !next)
                                break;
                }
                if (next) {
                        /* the same once more */
                } else if (!from_start && is_lost(reply->status)) {
                        if (is_home(s, url))
                                set_home(s, NULL);
                        from_start = true;
                        challenged = false;
                        hops = 0;
                        next = strdup(s->url);
                } else if (is_redirect(reply->status)) {
                        if (++hops > DOWNLOAD_REDIRECTS_MAX)
                                return fail(why, -ELOOP, WHY_NETWORK, "redirect",
                                            "%s: more than %u redirects", s->name, DOWNLOAD_REDIRECTS_MAX);
                        r = http_redirect(url, reply->location, s->name, &next, why);
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

/* Reads n bytes of the transfer at hand. -EAGAIN with fewer in *ret_got. */
static int resource_read(Resource *s, uint8_t *buf, size_t n, size_t *ret_got, Why *why)
{
        int r = transfer_read(s->transfer, buf, n, ret_got, why);

        s->at += *ret_got;
        if (r < 0 || *ret_got == n)
                return r;
        return transfer_failed(s, s->transfer, why);
}

static int refuse_encoding(const Resource *s, Why *why)
{
        return fail(why, -EBADMSG, WHY_NETWORK, "encoding",
                    "%s: the server compresses what was not asked for", s->name);
}

/* --- a small body --- */

static int read_whole(Resource *s, size_t max, WhyKind kind, Bytes *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const HttpAsk whole = { .accept = s->accept };
        uint8_t buf[8192];
        int r;

        r = resource_ask(s, &whole, why);
        if (r < 0)
                return r;
        if (transfer_reply(s->transfer)->status != 200)
                return status_failed(s, s->transfer, why);
        if (transfer_reply(s->transfer)->is_encoded)
                return refuse_encoding(s, why);
        do {
                size_t got = 0;

                r = resource_read(s, buf, sizeof(buf), &got, why);
                if (r < 0 && r != -EAGAIN)
                        return r;
                if (got > max - b.size)
                        return fail(why, -EFBIG, kind, "too-large", "%s: more than %zu bytes", s->name, max);
                if (bytes_append(&b, buf, got) < 0)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "%s", s->name);
        } while (r >= 0);
        if (!transfer_is_complete(s->transfer))
                return r;
        bytes_move(ret, &b);
        return 0;
}

int download_document(Http *h, const DownloadAsk *ask, Bytes *ret, Reply *ret_reply, Why *why)
{
        _cleanup_(resource_done) Resource s = { 0 };
        int r = resource_init(&s, h, ask->url, why);

        s.accept = ask->accept;
        while (r >= 0) {
                r = read_whole(&s, ask->max, ask->kind, ret, why);
                if (s.transfer && ret_reply)
                        *ret_reply = *transfer_reply(s.transfer);
                if (r != -EAGAIN)
                        break;
                if (ask->once && s.transfer && transfer_reply(s.transfer)->status >= 500)
                        return fail(why, -EIO, s.last.kind, s.last.code, "%s", s.last.text);
                r = resource_retry(&s, false, why);
        }
        return r;
}

int download_get(Http *h, const char *url, size_t max, WhyKind kind, Bytes *ret, Why *why)
{
        return download_document(h, &(DownloadAsk){ .url = url, .max = max, .kind = kind }, ret, NULL, why);
}

/* --- the identity of a file --- */

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

static int learn_identity(Resource *s, const Reply *reply, uint64_t size, Why *why)
{
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

/* The first answer says what the file is; every later one must be of the same file. size: UINT64_MAX when it is not said. */
static int check_identity(Resource *s, const Reply *reply, uint64_t size, Why *why)
{
        if (!s->opened)
                return learn_identity(s, reply, size, why);
        if (!reply_same(&s->identity, reply) || (size != UINT64_MAX && size != s->size))
                return fail_hint(why,
                                 fail(why, -ESTALE, WHY_NETWORK, "changed",
                                      "%s: changed on the server while it was being read", s->name),
                                 "nothing was mixed; it is read anew the next time");
        return 0;
}

static int take_partial(Resource *s, const HttpAsk *ask, Why *why)
{
        const Reply *reply = transfer_reply(s->transfer);

        if (!ask->ranged || !reply->has_range || reply->first != ask->first || reply->last > ask->last ||
            (reply->has_length && reply->length != reply->last - reply->first + 1))
                return fail(why, -EBADMSG, WHY_NETWORK, "range",
                            "%s: the server answers with other bytes than asked for", s->name);
        /* less than asked for is legal, a request for every byte is not */
        if (reply->last < ask->last && ++s->reconnects > RECONNECTS_MAX)
                return fail(why, -EIO, WHY_NETWORK, "range", "%s: the server gives too little at a time",
                            s->name);
        s->at = reply->first;
        s->end = reply->last + 1;
        return check_identity(s, reply, reply->has_total ? reply->total : UINT64_MAX, why);
}

static int take_whole(Resource *s, const HttpAsk *ask, Why *why)
{
        const Reply *reply = transfer_reply(s->transfer);
        int r = check_identity(s, reply, reply->has_length ? reply->length : UINT64_MAX, why);

        if (r < 0) /* another file, and no word about the ranges of ours */
                return r;
        /* From the start although the middle was asked for: a server without ranges. Of the first request, which asks from
         * the start, only the header can tell. */
        if (ask->first > 0 || !reply->accepts_ranges)
                s->ranges = false;
        s->at = 0;
        s->end = s->size;
        return r;
}

static int take_head(Resource *s, const HttpAsk *ask, Why *why)
{
        const Reply *reply = transfer_reply(s->transfer);

        if ((reply->status == 200 || reply->status == 206) && reply->is_encoded)
                return refuse_encoding(s, why);
        if (reply->status == 206)
                return take_partial(s, ask, why);
        if (reply->status == 200)
                return take_whole(s, ask, why);
        /* no first byte to give: the file is empty */
        if (reply->status == 416 && !s->opened) {
                s->at = s->end = 0;
                return check_identity(s, reply, 0, why);
        }
        return status_failed(s, s->transfer, why);
}

/* --- reading at any offset --- */

/* Behind a redirect there may be many servers, and not all of them have the same version: what was begun goes on from the one
 * that has it. Who finds something else in that very place, or has lost it, is told. */
static int head_failed(Resource *s, int r, const Why *this, Why *why)
{
        resource_close(s);
        if (r == -EAGAIN)
                return r;
        if (s->home && !is_home(s, s->effective)) {
                if (s->last.kind == WHY_NONE) /* what is wrong at home is what is wrong */
                        s->last = *this;
                s->go_home = true;
                return -EAGAIN;
        }
        if (why->kind == WHY_NONE)
                *why = *this;
        return r;
}

static int resource_open_at(Resource *s, uint64_t offset, uint64_t until, Why *why)
{
        HttpAsk ask = { 0 };
        Why this = { 0 };
        int r;

        if (s->ranges)
                ask = (HttpAsk){
                        .ranged = true, .first = offset, .last = until - 1, .if_range = validator(s)
                };
        r = resource_ask(s, &ask, why);
        if (r < 0)
                return r;
        r = take_head(s, &ask, &this);
        if (r < 0)
                return head_failed(s, r, &this, why);
        set_home(s, s->effective);
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

static int resource_origin_read(void *self, uint64_t offset, uint64_t until, void *buf, size_t n, Why *why)
{
        Resource *s = self;
        uint8_t *p = buf;

        while (n > 0) {
                size_t got = 0;
                int r = resource_seek(s, offset, until, why);

                if (r >= 0)
                        r = resource_read(s, p, (size_t) MIN((uint64_t) n, s->end - s->at), &got, why);
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
static int resource_check_end(void *self, Why *why)
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
        if (r == -EAGAIN && s->transfer && s->at == s->end && transfer_is_complete(s->transfer))
                return 0;
        return r == -EAGAIN ? fail(why, -EIO, WHY_NETWORK, s->last.code, "%s", s->last.text) : r;
}

static bool resource_has_ranges(const void *self)
{
        const Resource *s = self;

        return s->ranges;
}

static void resource_free(void *self)
{
        Resource *s = self;

        resource_done(s);
        free(s);
}

static const OriginOps resource_ops = {
        .read = resource_origin_read,
        .check_end = resource_check_end,
        .has_ranges = resource_has_ranges,
        .free = resource_free,
};

static void resource_freep(Resource **s)
{
        if (*s)
                resource_free(*s);
}

static int open_at_start(Http *h, const char *url, uint64_t expect_size, uint64_t first, Origin *ret,
                         Why *why)
{
        _cleanup_(resource_freep) Resource *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return fail_errno(why, -ENOMEM, WHY_HOST, "http");
        r = resource_init(s, h, url, why);
        s->expect = expect_size;
        while (r >= 0) {
                r = resource_open_at(s, 0, first, why);
                if (r != -EAGAIN)
                        break;
                r = resource_retry(s, false, why);
        }
        if (r < 0)
                return r;
        *ret = (Origin){ .ops = &resource_ops, .size = s->size };
        (void) snprintf(ret->name, sizeof(ret->name), "%s", s->name);
        ret->self = TAKE(s);
        return 0;
}

int download_open(Http *h, const char *url, uint64_t expect_size, Origin *ret, Why *why)
{
        return open_at_start(h, url, expect_size, FIRST_RUN, ret, why);
}

int download_open_parts(Http *h, const char *url, uint64_t expect_size, Origin *ret, Why *why)
{
        return open_at_start(h, url, expect_size, FIRST_PART, ret, why);
}
