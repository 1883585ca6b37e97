/* SPDX-License-Identifier: MIT */

/* The job's half: one function per request, each of them "send a record, read the answer". */

#include "fetch/fetch.h"
#include "fetch/client.h"
#include "fetch/local.h"
#include "fetch/values.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>

#define STATE_DIR "/var/lib/gybe"

void fetch_cosi_done(FetchCosi *c)
{
        bytes_done(&c->metadata);
        *c = (FetchCosi){ 0 };
}

void fetch_esp_done(FetchEsp *esp)
{
        for (size_t i = 0; i < esp->n_files; i++)
                free(esp->files[i].path);
        free(esp->files);
        *esp = (FetchEsp){ 0 };
}

static int collect_data(void *ctx, const void *data, size_t size, Why *why)
{
        int r = bytes_append(ctx, data, size);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "gybe-fetch") : 0;
}

static int collect_zero(void *ctx, uint64_t size, Why *why)
{
        static const uint8_t zeroes[4096];

        for (int r; size > 0; size -= MIN(size, (uint64_t) sizeof(zeroes))) {
                r = collect_data(ctx, zeroes, MIN(size, (uint64_t) sizeof(zeroes)), why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* An answer whose DATA is one value of at most max bytes. */
static int ask_blob(Fetch *f, WireType type, WirePack *p, const int *fds, size_t n_fds, size_t max,
                    Bytes *ret, WireUnpack *ret_done, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const FetchSink sink = { collect_data, NULL, &b };
        Answer a = { .sink = &sink, .max = max };
        int r = client_ask(f, type, p, fds, n_fds, &a, ret_done, why);

        if (r < 0)
                return r;
        bytes_move(ret, &b);
        return 0;
}

/* Puts the location; *ret_fd is the opened file when it is a local one: the child may not have the right to.
 */
static int put_location(WirePack *p, const char *url, int *ret_fd, Why *why)
{
        _cleanup_(free_charp) char *path = NULL;
        int r;

        if (strlen(url) > WIRE_STRING_MAX)
                return fail(why, -ENAMETOOLONG, WHY_USAGE, "too-long", "%.100s...: more than %u bytes", url,
                            WIRE_STRING_MAX);
        r = local_path(url, &path, why);
        if (r < 0)
                return r;
        if (r > 0) {
                r = local_open(path, why);
                if (r < 0)
                        return r;
                *ret_fd = r;
        }
        wire_put_str(p, path ? path : url);
        return 0;
}

/* --- life cycle --- */

static void close_fds(int (*fds)[WIRE_FDS_MAX])
{
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                close_fdp(&(*fds)[i]);
}

/* The files of http.* and oci.*: opened here, because the child's user may not read them. */
static int open_secrets(const Env *env, const FetchOptions *o, int fds[WIRE_FDS_MAX], uint32_t *ret_mask,
                        size_t *ret_n, Why *why)
{
        const char *paths[WIRE_FDS_MAX] = { o->ca, o->certificate, o->key, o->bearer_file, o->oci_auth_file };
        static const char *const names[WIRE_FDS_MAX] = { "http.ca", "http.certificate", "http.key",
                                                         "http.bearerFile", "oci.authFile" };

        for (size_t i = 0; i < WIRE_FDS_MAX; i++) {
                if (!paths[i] || !*paths[i])
                        continue;
                fds[*ret_n] = env_open_path(env, paths[i], O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
                if (fds[*ret_n] < 0)
                        return fail_errno(why, fds[*ret_n], WHY_HOST, "%s: %.300s", names[i], paths[i]);
                *ret_mask |= 1u << i;
                (*ret_n)++;
        }
        return 0;
}

static int send_setup(Fetch *f, const FetchOptions *o, Why *why)
{
        _cleanup_(close_fds) int fds[WIRE_FDS_MAX] = { -1, -1, -1, -1, -1 };
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        Answer none = { 0 };
        WireUnpack done;
        uint32_t mask = 0, version;
        size_t n_fds = 0;
        int r;

        r = open_secrets(f->env, o, fds, &mask, &n_fds, why);
        if (r < 0)
                return r;
        wire_put_u32(&p, WIRE_VERSION);
        wire_put_u32(&p, mask);
        wire_put_u64(&p, o->connect_timeout_sec);
        wire_put_u64(&p, o->stall_timeout_sec);
        wire_put_u32(&p, o->retries);
        wire_put_u64(&p, o->bandwidth);
        wire_put_str(&p, o->proxy);
        wire_put_str(&p, o->bearer_origin);
        wire_put_str(&p, o->arch);
        r = client_ask(f, WIRE_SETUP, &p, fds, n_fds, &none, &done, why);
        if (r < 0)
                return r;
        version = wire_get_u32(&done);
        if (version != WIRE_VERSION)
                return fail(why, -EPROTO, WHY_HOST, "fetch-version",
                            "gybe-fetch: speaks version %u of the wire, this program %u", version,
                            WIRE_VERSION);
        return client_expect_end(f, &done, why);
}

int fetch_start(const Env *env, const FetchOptions *options, Fetch **ret, Why *why)
{
        static const FetchOptions defaults;
        _cleanup_(fetch_stopp) Fetch *f = NULL;
        Spawn spawn = SPAWN_NULL;
        int r;

        r = spawn_start(env, &spawn, why);
        if (r < 0)
                return r;
        r = fetch_adopt(env, spawn.sock, &f);
        if (r < 0) {
                spawn_stop(&spawn);
                return fail_errno(why, r, WHY_HOST, "gybe-fetch");
        }
        f->spawn = spawn;
        r = send_setup(f, options ? options : &defaults, why);
        if (r < 0)
                return r;
        *ret = TAKE(f);
        return 0;
}

/* --- requests --- */

int fetch_envelope(Fetch *f, const char *url, Envelope *ret, char sha384[97], Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(bytes_done) Bytes blob = BYTES_NULL;
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(close_fdp) int fd = -1;
        char text[97], digest[97];
        WireUnpack done, u;
        int r;

        r = put_location(&p, url, &fd, why);
        if (r < 0)
                return r;
        r = ask_blob(f, WIRE_ENVELOPE, &p, &fd, fd >= 0, VALUE_ENVELOPE_MAX, &blob, &done, why);
        if (r < 0)
                return r;
        wire_get_text(&done, text, sizeof(text));
        u = wire_unpack(blob.data, blob.size);
        if (!wire_get_end(&done) || hex_normalize(text, 96, digest) < 0 || value_get_envelope(&u, &e) < 0)
                return client_misbehaved(f, why, "answered something else than an envelope");
        if (sha384)
                memcpy(sha384, digest, sizeof(digest));
        envelope_move(ret, &e);
        return 0;
}

#define STATUS_MIN 200u /* less is no final answer */
#define STATUS_MAX 999u

void fetch_http_reply_done(FetchHttpReply *r)
{
        bytes_done(&r->body);
        *r = (FetchHttpReply){ 0 };
}

int fetch_http(Fetch *f, const FetchHttp *request, FetchHttpReply *ret, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(fetch_http_reply_done) FetchHttpReply reply = { 0 };
        WireUnpack done;
        int r;

        r = value_check_http(request, why);
        if (r < 0)
                return r;
        value_put_http(&p, request);
        r = ask_blob(f, WIRE_HTTP, &p, NULL, 0, request->max, &reply.body, &done, why);
        if (r < 0)
                return r;
        reply.status = wire_get_u32(&done);
        reply.retry_after_sec = wire_get_u64(&done);
        if (!wire_get_end(&done) || reply.status < STATUS_MIN || reply.status > STATUS_MAX ||
            reply.retry_after_sec > FETCH_RETRY_AFTER_MAX)
                return client_misbehaved(f, why, "answered something else than an answer");
        if (!reply.body.data && bytes_copy(&reply.body, "", 0) < 0) /* "" is text too */
                return fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
        *ret = reply;
        reply = (FetchHttpReply){ 0 };
        return 0;
}

int fetch_omaha(Fetch *f, const char *url, const char *body, uint64_t timeout_sec, OmahaReply *ret, Why *why)
{
        char *headers[] = { (char *) "Content-Type: application/xml", NULL };
        const FetchHttp request = {
                .url = url, .method = "POST", .headers = headers, .body = body, .timeout_sec = timeout_sec
        };
        _cleanup_(omaha_reply_done) OmahaReply reply = { 0 };
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(bytes_done) Bytes blob = BYTES_NULL;
        uint64_t pause;
        WireUnpack done, u;
        unsigned status;
        int r;

        r = value_check_http(&request, why);
        if (r < 0)
                return r;
        value_put_http(&p, &request);
        r = ask_blob(f, WIRE_OMAHA, &p, NULL, 0, VALUE_OMAHA_MAX, &blob, &done, why);
        if (r < 0)
                return r;
        status = wire_get_u32(&done);
        pause = wire_get_u64(&done);
        u = wire_unpack(blob.data, blob.size);
        if (!wire_get_end(&done) || status < STATUS_MIN || status > STATUS_MAX ||
            pause > FETCH_RETRY_AFTER_MAX ||
            (status == 200 ? value_get_omaha(&u, &reply) < 0 : blob.size > 0))
                return client_misbehaved(f, why, "answered something else than an update server's answer");
        reply.status = status;
        reply.retry_after_sec = pause;
        *ret = reply;
        reply = (OmahaReply){ 0 };
        return 0;
}

int fetch_cosi_open(Fetch *f, const char *url, uint64_t expect_size, FetchCosi *ret, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(fetch_cosi_done) FetchCosi cosi = { 0 };
        _cleanup_(close_fdp) int fd = -1;
        WireUnpack done;
        int r;

        r = put_location(&p, url, &fd, why);
        if (r < 0)
                return r;
        wire_put_u64(&p, expect_size);
        r = ask_blob(f, WIRE_COSI_OPEN, &p, &fd, fd >= 0, COSI_METADATA_MAX, &cosi.metadata, &done, why);
        if (r < 0)
                return r;
        cosi.size = wire_get_u64(&done);
        cosi.has_ranges = wire_get_u32(&done) != 0;
        r = client_expect_end(f, &done, why);
        if (r < 0)
                return r;
        if (expect_size != UINT64_MAX && cosi.size != expect_size)
                return client_misbehaved(f, why, "opened a COSI of another size than asked for");
        *ret = cosi;
        cosi = (FetchCosi){ 0 };
        return 0;
}

int fetch_cosi_finish(Fetch *f, Why *why)
{
        WirePack p = WIRE_PACK_NULL;
        Answer none = { 0 };
        WireUnpack done;
        int r = client_ask(f, WIRE_COSI_FINISH, &p, NULL, 0, &none, &done, why);

        return r < 0 ? r : client_expect_end(f, &done, why);
}

static void put_member(WirePack *p, const CosiImage *image, unsigned window_log_max, WhyKind kind)
{
        value_put_image(p, image);
        wire_put_u32(p, window_log_max);
        wire_put_u32(p, (uint32_t) kind);
}

static int member(Fetch *f, WireType type, WirePack *p, const CosiImage *image, const FetchSink *sink,
                  WireUnpack *ret_done, Why *why)
{
        Answer a = { .sink = sink, .max = image->uncompressed_size, .blocks = true };
        int r = client_ask(f, type, p, NULL, 0, &a, ret_done, why);

        if (r < 0)
                return r;
        return a.got == a.max ? 0 : client_misbehaved(f, why, "sent less than was asked for");
}

int fetch_member(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                 const FetchSink *sink, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        WireUnpack done;
        int r;

        put_member(&p, image, window_log_max, kind);
        r = member(f, WIRE_MEMBER, &p, image, sink, &done, why);
        return r < 0 ? r : client_expect_end(f, &done, why);
}

static int check_small(const CosiImage *image, size_t max, WhyKind kind, Why *why)
{
        if (image->uncompressed_size <= max)
                return 0;
        return fail(why, -EFBIG, kind, "member-too-large", "%s: %llu bytes, at most %zu are allowed",
                    image->path, (unsigned long long) image->uncompressed_size, max);
}

int fetch_member_bytes(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind, size_t max,
                       Bytes *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const FetchSink sink = { collect_data, collect_zero, &b };
        int r = check_small(image, max, kind, why);

        if (r < 0)
                return r;
        r = fetch_member(f, image, window_log_max, kind, &sink, why);
        if (r < 0)
                return r;
        bytes_move(ret, &b);
        return 0;
}

int fetch_member_signature(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                           const char *roothash, Bytes *ret, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const FetchSink sink = { collect_data, collect_zero, &b };
        uint32_t present;
        WireUnpack done;
        int r;

        r = check_small(image, FETCH_SIGNATURE_MAX, kind, why);
        if (r < 0)
                return r;
        put_member(&p, image, window_log_max, kind);
        wire_put_str(&p, roothash);
        r = member(f, WIRE_SIGNATURE, &p, image, &sink, &done, why);
        if (r < 0)
                return r;
        present = wire_get_u32(&done);
        r = client_expect_end(f, &done, why);
        if (r < 0 || present == 0)
                return r;
        bytes_move(ret, &b);
        return 1;
}

/* --- the ESP image --- */

static int scratch_in(int dir_fd)
{
        static const char name[] = ".fetch-scratch~";
        int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);

        if (fd >= 0)
                return fd;
        /* a file system without O_TMPFILE; what a crash between the two calls leaves is taken over the next
         * time */
        (void) unlinkat(dir_fd, name, 0);
        fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        (void) unlinkat(dir_fd, name, 0);
        return fd;
}

/* An unlinked file on the disk, not in memory: an ESP has hundreds of megabytes. Release tools run as anybody
 * and have no state folder; they get one in /var/tmp. */
int client_scratch(const Env *env, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = env_make_dir(env, STATE_DIR, 0700);
        int fd = dir_fd < 0 ? dir_fd : scratch_in(dir_fd);

        if (fd < 0 && geteuid() != 0 && env_is_real(env)) {
                close_fdp(&dir_fd);
                dir_fd = env_open_dir(env, "/var/tmp");
                fd = dir_fd < 0 ? dir_fd : scratch_in(dir_fd);
        }
        return fd < 0 ? fail_errno(why, fd, WHY_HOST, "%s: scratch file", STATE_DIR) : fd;
}

static int esp_open(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind, bool parts,
                    FetchEsp *ret, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(fetch_esp_done) FetchEsp esp = { 0 };
        _cleanup_(bytes_done) Bytes blob = BYTES_NULL;
        _cleanup_(close_fdp) int fd = -1;
        WireUnpack done, u;
        int r;

        fd = client_scratch(f->env, why);
        if (fd < 0)
                return fd;
        put_member(&p, image, window_log_max, kind);
        wire_put_u32(&p, parts);
        r = ask_blob(f, WIRE_ESP_OPEN, &p, &fd, 1, VALUE_ESP_MAX, &blob, &done, why);
        if (r < 0)
                return r;
        u = wire_unpack(blob.data, blob.size);
        if (!wire_get_end(&done) || value_get_esp(&u, &esp) < 0)
                return client_misbehaved(f, why, "answered something else than a list of files");
        *ret = esp;
        esp = (FetchEsp){ 0 };
        return 0;
}

int fetch_esp_open(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind, FetchEsp *ret,
                   Why *why)
{
        return esp_open(f, image, window_log_max, kind, false, ret, why);
}

int fetch_esp_open_parts(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                         FetchEsp *ret, Why *why)
{
        return esp_open(f, image, window_log_max, kind, true, ret, why);
}

int fetch_esp_like(Fetch *f, const FetchEsp *esp _unused_, size_t i, int fd, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        Answer none = { 0 };
        WireUnpack done;
        int r;

        wire_put_u32(&p, (uint32_t) i);
        r = client_ask(f, WIRE_ESP_LIKE, &p, &fd, 1, &none, &done, why);
        return r < 0 ? r : client_expect_end(f, &done, why);
}

int fetch_esp_cost(Fetch *f, const FetchEsp *esp _unused_, size_t i, uint64_t *ret, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        Answer none = { 0 };
        WireUnpack done;
        int r;

        wire_put_u32(&p, (uint32_t) i);
        r = client_ask(f, WIRE_ESP_COST, &p, NULL, 0, &none, &done, why);
        if (r < 0)
                return r;
        *ret = wire_get_u64(&done);
        return client_expect_end(f, &done, why);
}

int fetch_esp_read(Fetch *f, const FetchEsp *esp, size_t i, const FetchSink *sink, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        const FetchSink data_only = { sink->data, NULL, sink->ctx };
        Answer a = { .sink = &data_only, .max = esp->files[i].size };
        WireUnpack done;
        int r;

        wire_put_u32(&p, (uint32_t) i);
        r = client_ask(f, WIRE_ESP_READ, &p, NULL, 0, &a, &done, why);
        if (r < 0)
                return r;
        return a.got == a.max ? client_expect_end(f, &done, why)
                              : client_misbehaved(f, why, "sent less than was asked for");
}

int fetch_esp_pe(Fetch *f, const FetchEsp *esp _unused_, size_t i, PeSummary *ret, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(pe_summary_done) PeSummary s = { 0 };
        _cleanup_(bytes_done) Bytes blob = BYTES_NULL;
        WireUnpack done, u;
        int r;

        wire_put_u32(&p, (uint32_t) i);
        r = ask_blob(f, WIRE_ESP_PE, &p, NULL, 0, VALUE_PE_MAX, &blob, &done, why);
        if (r < 0)
                return r;
        u = wire_unpack(blob.data, blob.size);
        if (!wire_get_end(&done) || value_get_pe(&u, &s) < 0)
                return client_misbehaved(f, why, "answered something else than a PE summary");
        pe_summary_move(ret, &s);
        return 0;
}
