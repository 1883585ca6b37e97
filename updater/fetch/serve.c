/* SPDX-License-Identifier: MIT */

/* One process, one job, one COSI at a time. The first request must be SETUP: it ends with the sandbox closed, and only
 * then anything is read that comes from outside. Every handler answers with parts (serve_part) and returns; serve() then
 * ends the answer with DONE or FAIL. */

#include "fetch/serve.h"
#include "fetch/container.h"
#include "fetch/esp-image.h"
#include "fetch/exchange.h"
#include "fetch/ostree.h"
#include "fetch/pieces.h"
#include "fetch/download.h"
#include "fetch/oci.h"
#include "fetch/sandbox.h"
#include "fetch/omaha-xml.h"
#include "fetch/signature.h"
#include "base/url.h"
#include "fetch/values.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define ALIVE_MS   400             /* the job hears something twice a second */
#define SECRET_MAX (1024u * 1024u) /* a CA bundle has some 200 kB */

typedef struct Server {
        int sock;
        uint64_t bytes, last_sent_ms;
        bool is_set_up;
        Http *http;
        Registry *registry;
        Oci *oci;
        Container *container;
        Pieces *pieces; /* of container */
        EspImage *esp;
        OstreePull *pull;
} Server;

static void server_done(Server *s)
{
        esp_image_free(s->esp);
        pieces_free(s->pieces);
        container_free(s->container);
        oci_free(s->oci);
        registry_free(s->registry);
        http_free(s->http);
}

static uint64_t now_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/* --- parts of an answer --- */

static int part(Server *s, WireType type, const void *data, size_t size)
{
        s->last_sent_ms = now_ms();
        return wire_send(s->sock, type, s->bytes, data, size, NULL, 0);
}

static int alive(void *ctx)
{
        Server *s = ctx;

        return now_ms() - s->last_sent_ms < ALIVE_MS ? 0 : part(s, WIRE_PROGRESS, NULL, 0);
}

static int send_data(void *ctx, const void *data, size_t size, Why *why)
{
        const uint8_t *p = data;

        while (size > 0) {
                size_t n = MIN(size, (size_t) WIRE_RECORD_MAX);
                int r = part(ctx, WIRE_DATA, p, n);

                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "gybe-fetch");
                p += n;
                size -= n;
        }
        return 0;
}

static int send_zero(void *ctx, uint64_t size, Why *why)
{
        int r = part(ctx, WIRE_ZERO, &size, sizeof(size));

        return r < 0 ? fail_errno(why, r, WHY_HOST, "gybe-fetch") : 0;
}

static int send_pack(Server *s, const WirePack *p, Why *why)
{
        if (p->failed)
                return fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
        return send_data(s, p->bytes.data, p->bytes.size, why);
}

/* --- what requests have in common --- */

typedef struct Request {
        WireUnpack in;
        WireRecord *record;
        WirePack *done; /* values of the DONE record */
} Request;

static int malformed(Why *why)
{
        return fail(why, -EPROTO, WHY_HOST, "fetch-request",
                    "gybe-fetch: a request that it does not understand");
}

static OriginWatch watch(Server *s)
{
        return (OriginWatch){ .bytes = &s->bytes, .alive = alive, .ctx = s };
}

/* A path with its open file, or a URL. */
typedef struct Location {
        char *name;
        int fd; /* -1: a URL */
} Location;

static void location_done(Location *l)
{
        free(l->name);
        close_fdp(&l->fd);
}

static int get_location(Request *q, Location *ret, Why *why)
{
        wire_get_raw(&q->in, WIRE_STRING_MAX, &ret->name);
        ret->fd = wire_record_take_fd(q->record, 0);
        return ret->name ? 0 : malformed(why);
}

typedef struct Member {
        CosiImage image;
        unsigned window_log_max;
        WhyKind kind;
} Member;

static int get_member(Server *s, Request *q, Member *ret, Why *why)
{
        Member m = { 0 };

        if (value_get_image(&q->in, &m.image) < 0)
                return malformed(why);
        m.window_log_max = wire_get_u32(&q->in);
        m.kind = (WhyKind) wire_get_u32(&q->in);
        if (q->in.failed || m.kind >= _WHY_MAX)
                return malformed(why);
        if (!s->container)
                return fail(why, -EBADF, WHY_HOST, "fetch-request", "%s: no COSI is open", m.image.path);
        *ret = m;
        return 0;
}

/* --- setup --- */

static int read_secret(Request *q, uint32_t mask, unsigned bit, size_t *at, Bytes *ret, Why *why)
{
        static const char *const names[] = { "http.ca", "http.certificate", "http.key", "http.bearerFile",
                                             "oci.authFile" };
        _cleanup_(close_fdp) int fd = -1;
        int r;

        if (!(mask & 1u << bit))
                return 0;
        fd = wire_record_take_fd(q->record, (*at)++);
        r = fd < 0 ? -EBADF : fd_read_all(fd, SECRET_MAX, ret);
        if (r >= 0 && ret->size == 0)
                r = -ENODATA;
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", names[bit]) : 0;
}

/* One line; a byte that could begin another header is refused. */
static int make_token(const Bytes *secret, char **ret, Why *why)
{
        const char *text = (const char *) secret->data;
        size_t n = secret->size;

        if (n == 0)
                return 0;
        while (n > 0 && strchr(" \t\r\n", text[n - 1]))
                n--;
        for (size_t i = 0; i < n; i++)
                if (text[i] <= 0x20 || text[i] > 0x7e)
                        n = 0;
        if (n == 0 || n > HTTP_TOKEN_MAX)
                return fail(why, -EINVAL, WHY_HOST, "http", "http.bearerFile: not one line with a token");
        *ret = strndup(text, n);
        return *ret ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
}

/* What only registries ask for. */
typedef struct RegistryOptions {
        Bytes auth_file;
        char *configured, *arch;
} RegistryOptions;

static void registry_options_done(RegistryOptions *o)
{
        bytes_done(&o->auth_file);
        free(o->configured);
        free(o->arch);
}

static int settle_repository(HttpOptions *o, Why *why)
{
        _cleanup_(ostree_url_done) OstreeUrl u = { 0 };
        int r = ostree_url_parse(o->bearer_origin, &u, why);

        if (r < 0)
                return r;
        free(o->bearer_origin);
        o->bearer_origin = TAKE(u.base);
        return 0;
}

/* A source in a registry is an address for people: the token goes to where it leads. */
static int settle_origin(HttpOptions *o, RegistryOptions *registry, Why *why)
{
        _cleanup_(oci_ref_done) OciRef ref = { 0 };
        int r;

        if (o->bearer_origin && url_is_ostree(o->bearer_origin))
                return settle_repository(o, why);
        if (!o->bearer_origin || !url_is_oci(o->bearer_origin))
                return 0;
        registry->configured = TAKE(o->bearer_origin);
        r = oci_ref_parse(registry->configured, &ref, why);
        if (r >= 0 && registry_origin(&ref, &o->bearer_origin) < 0)
                r = fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
        return r;
}

static int get_options(Request *q, HttpOptions *o, RegistryOptions *registry, Why *why)
{
        _cleanup_(bytes_done) Bytes token = BYTES_NULL;
        uint32_t version = wire_get_u32(&q->in), mask = wire_get_u32(&q->in);
        Bytes *secrets[] = { &o->ca, &o->certificate, &o->key, &token, &registry->auth_file };
        size_t at = 0;
        int r;

        o->connect_timeout_sec = wire_get_u64(&q->in);
        o->stall_timeout_sec = wire_get_u64(&q->in);
        o->retries = wire_get_u32(&q->in);
        o->bandwidth = wire_get_u64(&q->in);
        wire_get_raw(&q->in, WIRE_STRING_MAX, &o->proxy);
        wire_get_raw(&q->in, WIRE_STRING_MAX, &o->bearer_origin);
        wire_get_raw(&q->in, WIRE_STRING_MAX, &registry->arch);
        if (version != WIRE_VERSION || !wire_get_end(&q->in))
                return malformed(why);
        for (unsigned i = 0; i < ELEMENTSOF(secrets); i++) {
                r = read_secret(q, mask, i, &at, secrets[i], why);
                if (r < 0)
                        return r;
        }
        r = make_token(&token, &o->bearer, why);
        return r < 0 ? r : settle_origin(o, registry, why);
}

static int on_setup(Server *s, Request *q, Why *why)
{
        _cleanup_(registry_options_done) RegistryOptions registry = { 0 };
        _cleanup_(http_options_done) HttpOptions options = { 0 };
        const OriginWatch w = watch(s);
        int r;

        r = http_init(why);
        if (r >= 0)
                r = sandbox_enter(why);
        if (r >= 0)
                r = get_options(q, &options, &registry, why);
        if (r >= 0)
                r = http_new(&options, &w, &s->http, why);
        if (r >= 0)
                r = registry_new(s->http, &registry.auth_file, registry.configured, &s->registry, why);
        if (r >= 0)
                r = oci_new(s->http, s->registry, registry.arch, &s->oci, why);
        if (r < 0)
                return r;
        s->is_set_up = true;
        wire_put_u32(q->done, WIRE_VERSION);
        return 0;
}

/* --- envelopes --- */

static int read_small_file(Server *s, const Location *l, size_t max, Bytes *ret, Why *why)
{
        int r = fd_read_all(l->fd, max, ret);

        if (r == -EFBIG)
                return fail(why, r, WHY_TRUST, "too-large", "%.300s: more than %zu bytes", l->name, max);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%.300s", l->name);
        s->bytes += ret->size;
        return 0;
}

static int read_from_ostree(Server *s, const char *url, Bytes *ret, Why *why)
{
        _cleanup_(ostree_url_done) OstreeUrl u = { 0 };
        int r = ostree_url_parse(url, &u, why);

        return r < 0 ? r : ostree_release(s->http, &u, ret, why);
}

static int read_signed(Server *s, const Location *l, Bytes *ret, Why *why)
{
        if (l->fd >= 0)
                return read_small_file(s, l, ENVELOPE_MAX, ret, why);
        if (url_is_ostree(l->name))
                return read_from_ostree(s, l->name, ret, why);
        return url_is_oci(l->name) ? oci_read_envelope(s->oci, l->name, ret, why)
                                   : download_get(s->http, l->name, ENVELOPE_MAX, WHY_TRUST, ret, why);
}

static int on_envelope(Server *s, Request *q, Why *why)
{
        _cleanup_(location_done) Location l = { .fd = -1 };
        _cleanup_(bytes_done) Bytes body = BYTES_NULL;
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        char name[200], digest[SHA384_HEX];
        int r;

        r = get_location(q, &l, why);
        if (r < 0)
                return r;
        r = read_signed(s, &l, &body, why);
        if (r < 0)
                return r;
        url_redact(l.name, name, sizeof(name));
        r = envelope_parse(body.data, body.size, name, &e, why);
        if (r < 0)
                return r;
        r = sha384_hex(body.data, body.size, digest);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "sha384");
        value_put_envelope(&p, &e);
        wire_put_str(q->done, digest);
        return send_pack(s, &p, why);
}

/* --- exchanges --- */

static int on_http(Server *s, Request *q, Why *why)
{
        _cleanup_(value_http_done) ValueHttp h = { 0 };
        _cleanup_(fetch_http_reply_done) FetchHttpReply reply = { 0 };
        int r;

        if (value_get_http(&q->in, &h) < 0)
                return malformed(why);
        r = exchange(s->http, &h.request, &reply, why);
        if (r < 0)
                return r;
        wire_put_u32(q->done, reply.status);
        wire_put_u64(q->done, reply.retry_after_sec);
        return send_data(s, reply.body.data, reply.body.size, why);
}

static int on_omaha(Server *s, Request *q, Why *why)
{
        _cleanup_(value_http_done) ValueHttp h = { 0 };
        _cleanup_(fetch_http_reply_done) FetchHttpReply reply = { 0 };
        _cleanup_(omaha_reply_done) OmahaReply omaha = { 0 };
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        char name[200];
        int r;

        if (value_get_http(&q->in, &h) < 0)
                return malformed(why);
        omaha_url_redact(h.url, name, sizeof(name));
        h.request.max = OMAHA_REPLY_MAX + 1; /* one more tells that there is more */
        r = exchange_named(s->http, &h.request, name, &reply, why);
        if (r < 0)
                return r;
        wire_put_u32(q->done, reply.status);
        wire_put_u64(q->done, reply.retry_after_sec);
        if (reply.status != 200)
                return 0;
        r = omaha_parse(reply.body.data ? (const void *) reply.body.data : "", reply.body.size, &omaha, why);
        if (r < 0)
                return r;
        value_put_omaha(&p, &omaha);
        return send_pack(s, &p, why);
}

/* --- the COSI --- */

static int open_origin(Server *s, Location *l, uint64_t expect_size, Origin *ret, Why *why)
{
        const OriginWatch w = watch(s);
        int r;

        if (l->fd < 0 && url_is_oci(l->name))
                return oci_open_cosi(s->oci, l->name, expect_size, ret, why);
        if (l->fd < 0)
                return download_open_parts(s->http, l->name, expect_size, ret, why);
        r = origin_open_file(l->fd, l->name, &w, ret, why);
        if (r < 0)
                return r;
        l->fd = -1;
        if (expect_size != UINT64_MAX && ret->size != expect_size)
                return fail(why, -EBADMSG, WHY_TRUST, "cosi-size",
                            "%s: has %llu bytes, the signed release says %llu", ret->name,
                            (unsigned long long) ret->size, (unsigned long long) expect_size);
        return 0;
}

static int on_cosi_open(Server *s, Request *q, Why *why)
{
        _cleanup_(location_done) Location l = { .fd = -1 };
        _cleanup_(origin_done) Origin origin = ORIGIN_NULL;
        uint64_t expect_size;
        int r;

        r = get_location(q, &l, why);
        expect_size = wire_get_u64(&q->in);
        if (r < 0 || !wire_get_end(&q->in))
                return malformed(why);
        s->esp = esp_image_free(s->esp);
        s->pieces = pieces_free(s->pieces);
        s->container = container_free(s->container);
        r = open_origin(s, &l, expect_size, &origin, why);
        /* what is signed (size, digest of metadata.json) does not cover the tar structure: a fault there is the image's */
        if (r >= 0)
                r = container_open(&origin, WHY_IMAGE, &s->container, why);
        if (r < 0)
                return r;
        wire_put_u64(q->done, container_size(s->container));
        wire_put_u32(q->done, container_has_ranges(s->container));
        return send_data(s, container_metadata(s->container)->data, container_metadata(s->container)->size,
                         why);
}

static int on_cosi_finish(Server *s, Request *q, Why *why)
{
        if (!wire_get_end(&q->in))
                return malformed(why);
        return s->container ? container_finish(s->container, why)
                            : fail(why, -EBADF, WHY_HOST, "fetch-request", "gybe-fetch: no COSI is open");
}

static int on_member(Server *s, Request *q, Why *why)
{
        const FetchSink sink = { send_data, send_zero, s };
        Member m = { 0 };
        int r = get_member(s, q, &m, why);

        if (r < 0 || !wire_get_end(&q->in))
                return malformed(why);
        return container_stream(s->container, &m.image, m.window_log_max, m.kind, &sink, why);
}

/* --- parts of an image --- */

static int open_pieces(Server *s, Why *why)
{
        if (!s->container)
                return fail(why, -EBADF, WHY_HOST, "fetch-request", "gybe-fetch: no COSI is open");
        return s->pieces ? 0 : pieces_new(s->container, &s->pieces, why);
}

static int on_index(Server *s, Request *q, Why *why)
{
        _cleanup_(bytes_done) Bytes groups = BYTES_NULL;
        IndexHead head;
        uint64_t size = 0;
        int r;

        if (!wire_get_end(&q->in))
                return malformed(why);
        r = open_pieces(s, why);
        if (r >= 0)
                r = pieces_index(s->pieces, &head, &size, &groups, why);
        if (r < 0)
                return r;
        wire_put_u32(q->done, (uint32_t) r);
        if (r == 0)
                return 0;
        value_put_index(q->done, &head, size);
        return send_data(s, groups.data, groups.size, why);
}

typedef struct PiecesRequest {
        CosiImage image;
        BlockRange *ranges;
        size_t n;
} PiecesRequest;

static void pieces_request_done(PiecesRequest *r)
{
        free(r->ranges);
}

static int get_pieces(Server *s, Request *q, bool with_image, PiecesRequest *ret, Why *why)
{
        if ((with_image && value_get_image(&q->in, &ret->image) < 0) ||
            value_get_ranges(&q->in, &ret->ranges, &ret->n) < 0 || !wire_get_end(&q->in))
                return malformed(why);
        return open_pieces(s, why);
}

static int on_leaves(Server *s, Request *q, Why *why)
{
        _cleanup_(pieces_request_done) PiecesRequest p = { 0 };
        const FetchSink sink = { send_data, NULL, s };
        int r = get_pieces(s, q, false, &p, why);

        return r < 0 ? r : pieces_leaves(s->pieces, p.ranges, p.n, &sink, why);
}

static int on_blocks(Server *s, Request *q, Why *why)
{
        _cleanup_(pieces_request_done) PiecesRequest p = { 0 };
        const FetchSink sink = { send_data, NULL, s };
        int r = get_pieces(s, q, true, &p, why);

        return r < 0 ? r : pieces_blocks(s->pieces, &p.image, p.ranges, p.n, &sink, why);
}

static int on_extents(Server *s, Request *q, Why *why)
{
        _cleanup_(pieces_request_done) PiecesRequest p = { 0 };
        _cleanup_(bytes_done) Bytes extents = BYTES_NULL;
        int r = get_pieces(s, q, true, &p, why);

        if (r >= 0)
                r = pieces_extents(s->pieces, &p.image, p.ranges, p.n, &extents, why);
        return r < 0 ? r : send_data(s, extents.data, extents.size, why);
}

static int keep_data(void *ctx, const void *data, size_t size, Why *why)
{
        int r = bytes_append(ctx, data, size);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "gybe-fetch") : 0;
}

static int keep_zero(void *ctx, uint64_t size, Why *why)
{
        static const uint8_t zeroes[4096];
        int r = 0;

        for (; r >= 0 && size > 0; size -= MIN(size, (uint64_t) sizeof(zeroes)))
                r = keep_data(ctx, zeroes, MIN(size, (uint64_t) sizeof(zeroes)), why);
        return r;
}

static int on_signature(Server *s, Request *q, Why *why)
{
        _cleanup_(free_charp) char *roothash = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const FetchSink sink = { keep_data, keep_zero, &b };
        Member m = { 0 };
        int r;

        r = get_member(s, q, &m, why);
        wire_get_raw(&q->in, 2 * SHA256_SIZE, &roothash);
        if (r < 0 || !roothash || !wire_get_end(&q->in))
                return malformed(why);
        if (m.image.uncompressed_size > FETCH_SIGNATURE_MAX)
                return malformed(why);
        r = container_stream(s->container, &m.image, m.window_log_max, m.kind, &sink, why);
        if (r >= 0)
                r = signature_check(b.data, b.size, roothash, m.image.path, m.kind, why);
        if (r < 0)
                return r;
        wire_put_u32(q->done, (uint32_t) r);
        return send_data(s, b.data, b.size, why);
}

/* --- the ESP image --- */

static int on_esp_open(Server *s, Request *q, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(close_fdp) int fd = wire_record_take_fd(q->record, 0);
        const OriginWatch w = watch(s);
        Member m = { 0 };
        EspFrom from = { 0 };
        uint32_t parts;
        int r;

        r = get_member(s, q, &m, why);
        parts = wire_get_u32(&q->in);
        if (r < 0 || fd < 0 || !wire_get_end(&q->in))
                return malformed(why);
        s->esp = esp_image_free(s->esp);
        from = (EspFrom){ s->container, &m.image, m.window_log_max, m.kind, &w };
        r = parts ? open_pieces(s, why) : 0;
        if (r >= 0)
                r = parts ? esp_image_open_parts(&from, s->pieces, take_fd(&fd), &s->esp, why)
                          : esp_image_open(&from, take_fd(&fd), &s->esp, why);
        if (r < 0)
                return r;
        for (size_t i = 0; i < esp_image_n_files(s->esp); i++)
                value_put_esp_file(&p, esp_image_file(s->esp, i)->path, esp_image_file(s->esp, i)->size);
        return send_pack(s, &p, why);
}

static int get_esp_index(const Server *s, Request *q, size_t *ret, Why *why)
{
        size_t i = wire_get_u32(&q->in);

        if (!wire_get_end(&q->in) || !s->esp || i >= esp_image_n_files(s->esp))
                return malformed(why);
        *ret = i;
        return 0;
}

static int on_esp_like(Server *s, Request *q, Why *why)
{
        _cleanup_(close_fdp) int fd = wire_record_take_fd(q->record, 0);
        size_t i = 0;
        int r = get_esp_index(s, q, &i, why);

        return r < 0 || fd < 0 ? malformed(why) : esp_image_like(s->esp, i, fd, why);
}

static int on_esp_cost(Server *s, Request *q, Why *why)
{
        uint64_t cost = 0;
        size_t i = 0;
        int r = get_esp_index(s, q, &i, why);

        if (r >= 0)
                r = esp_image_cost(s->esp, i, &cost, why);
        if (r >= 0)
                wire_put_u64(q->done, cost);
        return r;
}

static int on_esp_read(Server *s, Request *q, Why *why)
{
        const FetchSink sink = { send_data, NULL, s };
        size_t i = 0;
        int r = get_esp_index(s, q, &i, why);

        return r < 0 ? r : esp_image_read(s->esp, i, &sink, why);
}

static int on_esp_pe(Server *s, Request *q, Why *why)
{
        _cleanup_(pe_summary_done) PeSummary summary = { 0 };
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        size_t i = 0;
        int r;

        r = get_esp_index(s, q, &i, why);
        if (r >= 0)
                r = esp_image_pe(s->esp, i, &summary, why);
        if (r < 0)
                return r;
        value_put_pe(&p, &summary);
        return send_pack(s, &p, why);
}

/* --- an OSTree repository --- */

static int on_rebuild(Server *s, Request *q, Why *why)
{
        _cleanup_(free_charp) char *url = NULL, *to = NULL, *from = NULL;
        _cleanup_(ostree_url_done) OstreeUrl u = { 0 };
        OstreePullOptions o = { 0 };
        int r;

        wire_get_raw(&q->in, WIRE_STRING_MAX, &url);
        wire_get_raw(&q->in, 2 * SHA256_SIZE, &to);
        wire_get_raw(&q->in, 2 * SHA256_SIZE, &from);
        o.limit = wire_get_u64(&q->in);
        if (!url || !to || !from || !wire_get_end(&q->in))
                return malformed(why);
        s->pull = ostree_pull_free(s->pull);
        r = ostree_url_parse(url, &u, why);
        if (r < 0)
                return r;
        (void) snprintf(o.to, sizeof(o.to), "%s", to);
        (void) snprintf(o.from, sizeof(o.from), "%s", from);
        o.rebuilt_fd = wire_record_take_fd(q->record, 0);
        o.part_fd = wire_record_take_fd(q->record, 1);
        r = ostree_pull_new(s->http, &u, &o, &s->pull, why);
        if (r < 0)
                return r;
        wire_put_u32(q->done, ostree_pull_is_delta(s->pull));
        return 0;
}

static int on_rebuild_list(Server *s, Request *q, Why *why)
{
        _cleanup_(bytes_done) Bytes ids = BYTES_NULL;

        wire_get_bytes(&q->in, WIRE_RECORD_MAX, &ids);
        if (!s->pull || !wire_get_end(&q->in))
                return malformed(why);
        return ostree_pull_list(s->pull, ids.data, ids.size, why);
}

static int on_rebuild_next(Server *s, Request *q, Why *why)
{
        OstreeNeed need = { 0 };
        int r;

        if (!s->pull || !wire_get_end(&q->in))
                return malformed(why);
        ostree_pull_give(s->pull, wire_record_take_fd(q->record, 0));
        r = ostree_pull_next(s->pull, &need, why);
        if (r >= 0) {
                wire_put_u32(q->done, (uint32_t) need.want);
                wire_put_bytes(q->done, need.id, need.want == OSTREE_WANT_OBJECT ? OSTREE_ID : 0);
        }
        if (r >= 0 && need.want == OSTREE_WANT_BLOCKS) {
                wire_put_u32(q->done, (uint32_t) need.n_ranges);
                for (size_t i = 0; i < need.n_ranges; i++) {
                        wire_put_u32(q->done, need.ranges[i].first);
                        wire_put_u32(q->done, need.ranges[i].count);
                }
        }
        if (r < 0 || need.want == OSTREE_WANT_NOTHING)
                s->pull = ostree_pull_free(s->pull);
        return r;
}

/* --- requests --- */

static int (*const handlers[_WIRE_TYPE_MAX])(Server *, Request *, Why *) = {
        [WIRE_SETUP] = on_setup,
        [WIRE_ENVELOPE] = on_envelope,
        [WIRE_COSI_OPEN] = on_cosi_open,
        [WIRE_COSI_FINISH] = on_cosi_finish,
        [WIRE_MEMBER] = on_member,
        [WIRE_SIGNATURE] = on_signature,
        [WIRE_ESP_OPEN] = on_esp_open,
        [WIRE_ESP_READ] = on_esp_read,
        [WIRE_ESP_PE] = on_esp_pe,
        [WIRE_HTTP] = on_http,
        [WIRE_INDEX] = on_index,
        [WIRE_LEAVES] = on_leaves,
        [WIRE_BLOCKS] = on_blocks,
        [WIRE_EXTENTS] = on_extents,
        [WIRE_OMAHA] = on_omaha,
        [WIRE_REBUILD] = on_rebuild,
        [WIRE_REBUILD_LIST] = on_rebuild_list,
        [WIRE_REBUILD_NEXT] = on_rebuild_next,
        [WIRE_ESP_LIKE] = on_esp_like,
        [WIRE_ESP_COST] = on_esp_cost,
};

static int end_with_failure(Server *s, int r, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;

        if (why->kind == WHY_NONE)
                fail_errno(why, r, WHY_HOST, "gybe-fetch");
        value_put_why(&p, r, why);
        return p.failed ? -ENOMEM : part(s, WIRE_FAIL, p.bytes.data, p.bytes.size);
}

static int answer(Server *s, WireRecord *record)
{
        _cleanup_(wire_pack_done) WirePack done = WIRE_PACK_NULL;
        Request q = { wire_unpack(record->data, record->size), record, &done };
        Why why = { 0 };
        int r;

        s->last_sent_ms = now_ms();
        /* SETUP once, and first: nothing is handled outside the sandbox */
        if (!handlers[record->type] || s->is_set_up == (record->type == WIRE_SETUP))
                r = malformed(&why);
        else
                r = handlers[record->type](s, &q, &why);
        if (r >= 0 && done.failed)
                r = -ENOMEM;
        if (r < 0)
                return end_with_failure(s, r, &why);
        return part(s, WIRE_DONE, done.bytes.data, done.bytes.size);
}

int serve(int sock)
{
        _cleanup_(wire_record_done) WireRecord record = WIRE_RECORD_NULL;
        _cleanup_(server_done) Server s = { .sock = sock };
        int r;

        while ((r = wire_receive(sock, true, NULL, &record)) == 1) {
                r = answer(&s, &record);
                if (r < 0)
                        break;
        }
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
