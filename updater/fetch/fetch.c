/* SPDX-License-Identifier: MIT */

/* The job's half: one function per request, all of them "send a record, read the answer". Between a request
 * and its DONE every record of the other side is checked for type and length here, and once more against what
 * was asked for: no answer can be larger than the request allows. */

#include "fetch/fetch.h"
#include "fetch/client.h"
#include "fetch/spawn.h"
#include "fetch/values.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define IDLE_MS     250 /* how late a tick may come while nothing arrives */
#define TICK_MS     100 /* ... and how often it comes while something does */
#define SILENCE_SEC 60  /* the child says something twice a second, whatever it waits for */

#define STATE_DIR "/var/lib/gybe"

struct Fetch {
        const Env *env;
        Spawn spawn;
        WireRecord record;
        uint64_t bytes;
        FetchTick tick;
        void *tick_ctx;
        uint64_t last_tick_ms, last_record_ms;
        bool broken;
};

static uint64_t now_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

void fetch_options_done(FetchOptions *o)
{
        free(o->ca);
        free(o->certificate);
        free(o->key);
        free(o->bearer_file);
        free(o->proxy);
        free(o->bearer_origin);
        *o = (FetchOptions){ 0 };
}

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

uint64_t fetch_bytes(const Fetch *f)
{
        return f->bytes;
}

void fetch_set_tick(Fetch *f, FetchTick tick, void *ctx)
{
        f->tick = tick;
        f->tick_ctx = ctx;
}

/* --- an answer --- */

/* What one answer may hold: at most max bytes of DATA and ZERO, to this sink. */
typedef struct Answer {
        const FetchSink *sink; /* NULL: none at all */
        uint64_t max, got;
        bool blocks; /* multiples of 4096 bytes, but for the end at max */
} Answer;

static int misbehaved(Fetch *f, Why *why, const char *how)
{
        f->broken = true;
        return fail_hint(why, fail(why, -EPROTO, WHY_HOST, "fetch-misbehaved", "gybe-fetch: %s", how),
                         "it may have been taken over by what it downloaded: please report it");
}

static int do_tick(Fetch *f)
{
        uint64_t now = now_ms();

        if (!f->tick || now - f->last_tick_ms < TICK_MS)
                return 0;
        f->last_tick_ms = now;
        return f->tick(f->tick_ctx);
}

static int on_idle(void *ctx)
{
        Fetch *f = ctx;
        int r = do_tick(f);

        if (r != 0)
                return r;
        return now_ms() - f->last_record_ms > SILENCE_SEC * 1000 ? -ETIMEDOUT : 0;
}

/* The next record, whatever its type. */
static int next_record(Fetch *f, Why *why)
{
        const WireWait wait = { on_idle, f, IDLE_MS };
        int r = wire_receive(f->spawn.sock, false, &wait, &f->record);

        if (r == 1) {
                f->last_record_ms = now_ms();
                f->bytes = MAX(f->bytes, f->record.bytes); /* progress never goes back */
                r = do_tick(f);
                if (r == 0)
                        return 0;
        } else if (r == 0 || r == -ECONNRESET) {
                f->broken = true;
                return spawn_explain(&f->spawn, why);
        } else if (r == -EBADMSG) {
                return misbehaved(f, why, "what it sent is not a record");
        }
        f->broken = true;
        if (r == -ETIMEDOUT)
                return misbehaved(f, why, "has been silent for a minute");
        return fail_errno(why, r < 0 ? r : -ECANCELED, WHY_HOST, "stopped while bytes were coming in");
}

static int take_data(Fetch *f, Answer *a, Why *why)
{
        const WireRecord *rec = &f->record;
        int r;

        if (!a->sink || rec->size == 0 || rec->size > a->max - a->got ||
            (a->blocks && rec->size % WIRE_ALIGN != 0 && rec->size != a->max - a->got))
                return misbehaved(f, why, "sent more than was asked for");
        a->got += rec->size;
        r = a->sink->data(a->sink->ctx, rec->data, rec->size, why);
        f->broken = f->broken || r != 0;
        return r;
}

static int take_zero(Fetch *f, Answer *a, Why *why)
{
        WireUnpack u = wire_unpack(f->record.data, f->record.size);
        uint64_t size = wire_get_u64(&u);
        int r;

        if (!a->sink || !a->sink->zero || !wire_get_end(&u) || size == 0 || size > a->max - a->got ||
            (a->blocks && size % WIRE_ALIGN != 0 && size != a->max - a->got))
                return misbehaved(f, why, "sent more than was asked for");
        a->got += size;
        r = a->sink->zero(a->sink->ctx, size, why);
        f->broken = f->broken || r != 0;
        return r;
}

/* Until DONE, whose values *ret_done then points to. */
static int read_answer(Fetch *f, Answer *a, WireUnpack *ret_done, Why *why)
{
        for (;;) {
                WireUnpack u;
                int r = next_record(f, why);

                if (r < 0)
                        return r;
                u = wire_unpack(f->record.data, f->record.size);
                switch (f->record.type) {
                case WIRE_DATA:
                        r = take_data(f, a, why);
                        break;
                case WIRE_ZERO:
                        r = take_zero(f, a, why);
                        break;
                case WIRE_PROGRESS:
                        break;
                case WIRE_DONE:
                        *ret_done = u;
                        return 0;
                case WIRE_FAIL:
                        if (value_get_why(&u, &r, why) < 0)
                                return misbehaved(f, why, "failed without saying why");
                        return r;
                default:
                        return misbehaved(f, why, "answered with a request");
                }
                if (r != 0)
                        return r;
        }
}

/* --- a request --- */

/* One request and its whole answer. p is emptied. */
static int ask_with_fds(Fetch *f, WireType type, WirePack *p, const int *fds, size_t n_fds, Answer *a,
                        WireUnpack *ret_done, Why *why)
{
        int r;

        if (f->broken)
                return fail(why, -EPIPE, WHY_HOST, "fetch-stopped", "gybe-fetch: was stopped before");
        if (p->failed || p->bytes.size > WIRE_RECORD_MAX) {
                wire_pack_done(p);
                return fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
        }
        f->last_record_ms = now_ms();
        r = wire_send(f->spawn.sock, type, 0, p->bytes.data, p->bytes.size, fds, n_fds);
        wire_pack_done(p);
        /* a child that ended early may have said why before it did */
        if (r < 0 && r != -EPIPE && r != -ECONNRESET) {
                f->broken = true;
                return fail_errno(why, r, WHY_HOST, "gybe-fetch");
        }
        return read_answer(f, a, ret_done, why);
}

static int ask(Fetch *f, WireType type, WirePack *p, Answer *a, WireUnpack *ret_done, Why *why)
{
        return ask_with_fds(f, type, p, NULL, 0, a, ret_done, why);
}

static int expect_end(Fetch *f, WireUnpack *done, Why *why)
{
        return wire_get_end(done) ? 0 : misbehaved(f, why, "answered something else than was asked");
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
        int r = ask_with_fds(f, type, p, fds, n_fds, &a, ret_done, why);

        if (r < 0)
                return r;
        bytes_move(ret, &b);
        return 0;
}

/* --- where bytes are --- */

static int hex_digit(char c)
{
        return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static int percent_decode(const char *s, char **ret)
{
        _cleanup_(free_charp) char *out = malloc(strlen(s) + 1);
        size_t n = 0;

        if (!out)
                return -ENOMEM;
        while (*s) {
                if (*s != '%') {
                        out[n++] = *s++;
                        continue;
                }
                if (hex_digit(s[1]) < 0 || hex_digit(s[2]) < 0 || (s[1] == '0' && s[2] == '0'))
                        return -EINVAL;
                out[n++] = (char) (hex_digit(s[1]) << 4 | hex_digit(s[2]));
                s += 3;
        }
        out[n] = 0;
        *ret = TAKE(out);
        return 0;
}

static size_t scheme_length(const char *url)
{
        size_t n = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

        return n > 1 && url[n] == ':' ? n : 0;
}

/* 1 a local path, 0 something for the network */
static int local_path(const char *url, char **ret, Why *why)
{
        size_t scheme = scheme_length(url);
        const char *rest = url + scheme + 1;
        int r = 0;

        if (scheme == 4 && strncasecmp(url, "file", 4) == 0) {
                if (strncmp(rest, "//", 2) == 0)
                        rest += strncasecmp(rest, "//localhost/", 12) == 0 ? 11 : 2;
                r = percent_decode(rest, ret);
        } else if (scheme > 0 && strncmp(rest, "//", 2) == 0) {
                if ((scheme == 4 && strncasecmp(url, "http", 4) == 0) ||
                    (scheme == 5 && strncasecmp(url, "https", 5) == 0))
                        return 0;
                return fail(why, -EPROTONOSUPPORT, WHY_USAGE, "unknown-scheme",
                            "%.*s://: not one of http://, https:// and file://", (int) MIN(scheme, 32u), url);
        } else {
                *ret = strdup(url);
                r = *ret ? 0 : -ENOMEM;
        }
        return r < 0 ? fail_errno(why, r, WHY_USAGE, "%.200s", url) : 1;
}

static int open_local(const char *path, Why *why)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;

        if (fd < 0 && errno == ENOENT)
                return fail(why, -ENOENT, WHY_HOST, "not-found", "%.300s: no such file", path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%.300s", path);
        if (!S_ISREG(st.st_mode))
                return fail(why, -EINVAL, WHY_HOST, "not-a-file", "%.300s: not a regular file", path);
        return take_fd(&fd);
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
                r = open_local(path, why);
                if (r < 0)
                        return r;
                *ret_fd = r;
        }
        wire_put_str(p, path ? path : url);
        return 0;
}

/* --- life cycle --- */

int fetch_adopt(const Env *env, int sock, Fetch **ret)
{
        Fetch *f = calloc(1, sizeof(*f));

        if (!f)
                return -ENOMEM;
        f->env = env;
        f->spawn = (Spawn){ .sock = sock };
        f->record = WIRE_RECORD_NULL;
        *ret = f;
        return 0;
}

Fetch *fetch_stop(Fetch *f)
{
        if (!f)
                return NULL;
        spawn_stop(&f->spawn);
        wire_record_done(&f->record);
        free(f);
        return NULL;
}

void fetch_stopp(Fetch **f)
{
        fetch_stop(*f);
}

static void close_fds(int (*fds)[WIRE_FDS_MAX])
{
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                close_fdp(&(*fds)[i]);
}

/* The files of http.*: opened here, because the child's user may not read them. */
static int open_secrets(const Env *env, const FetchOptions *o, int fds[WIRE_FDS_MAX], uint32_t *ret_mask,
                        size_t *ret_n, Why *why)
{
        const char *paths[WIRE_FDS_MAX] = { o->ca, o->certificate, o->key, o->bearer_file };
        static const char *const names[WIRE_FDS_MAX] = { "ca", "certificate", "key", "bearerFile" };

        for (size_t i = 0; i < WIRE_FDS_MAX; i++) {
                if (!paths[i] || !*paths[i])
                        continue;
                fds[*ret_n] = env_open_path(env, paths[i], O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
                if (fds[*ret_n] < 0)
                        return fail_errno(why, fds[*ret_n], WHY_HOST, "http.%s: %.300s", names[i], paths[i]);
                *ret_mask |= 1u << i;
                (*ret_n)++;
        }
        return 0;
}

static int send_setup(Fetch *f, const FetchOptions *o, Why *why)
{
        _cleanup_(close_fds) int fds[WIRE_FDS_MAX] = { -1, -1, -1, -1 };
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
        wire_put_str(&p, o->proxy);
        wire_put_str(&p, o->bearer_origin);
        r = ask_with_fds(f, WIRE_SETUP, &p, fds, n_fds, &none, &done, why);
        if (r < 0)
                return r;
        version = wire_get_u32(&done);
        if (version != WIRE_VERSION)
                return fail(why, -EPROTO, WHY_HOST, "fetch-version",
                            "gybe-fetch: speaks version %u of the wire, this program %u", version,
                            WIRE_VERSION);
        return expect_end(f, &done, why);
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
                return misbehaved(f, why, "answered something else than an envelope");
        if (sha384)
                memcpy(sha384, digest, sizeof(digest));
        envelope_move(ret, &e);
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
        r = expect_end(f, &done, why);
        if (r < 0)
                return r;
        if (expect_size != UINT64_MAX && cosi.size != expect_size)
                return misbehaved(f, why, "opened a COSI of another size than asked for");
        *ret = cosi;
        cosi = (FetchCosi){ 0 };
        return 0;
}

int fetch_cosi_finish(Fetch *f, Why *why)
{
        WirePack p = WIRE_PACK_NULL;
        Answer none = { 0 };
        WireUnpack done;
        int r = ask(f, WIRE_COSI_FINISH, &p, &none, &done, why);

        return r < 0 ? r : expect_end(f, &done, why);
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
        int r = ask(f, type, p, &a, ret_done, why);

        if (r < 0)
                return r;
        return a.got == a.max ? 0 : misbehaved(f, why, "sent less than was asked for");
}

int fetch_member(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                 const FetchSink *sink, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        WireUnpack done;
        int r;

        put_member(&p, image, window_log_max, kind);
        r = member(f, WIRE_MEMBER, &p, image, sink, &done, why);
        return r < 0 ? r : expect_end(f, &done, why);
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
        r = expect_end(f, &done, why);
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
static int open_scratch(const Env *env, Why *why)
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

int fetch_esp_open(Fetch *f, const CosiImage *image, unsigned window_log_max, WhyKind kind, FetchEsp *ret,
                   Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(fetch_esp_done) FetchEsp esp = { 0 };
        _cleanup_(bytes_done) Bytes blob = BYTES_NULL;
        _cleanup_(close_fdp) int fd = -1;
        WireUnpack done, u;
        int r;

        fd = open_scratch(f->env, why);
        if (fd < 0)
                return fd;
        put_member(&p, image, window_log_max, kind);
        r = ask_blob(f, WIRE_ESP_OPEN, &p, &fd, 1, VALUE_ESP_MAX, &blob, &done, why);
        if (r < 0)
                return r;
        u = wire_unpack(blob.data, blob.size);
        if (!wire_get_end(&done) || value_get_esp(&u, &esp) < 0)
                return misbehaved(f, why, "answered something else than a list of files");
        *ret = esp;
        esp = (FetchEsp){ 0 };
        return 0;
}

int fetch_esp_read(Fetch *f, const FetchEsp *esp, size_t i, const FetchSink *sink, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        const FetchSink data_only = { sink->data, NULL, sink->ctx };
        Answer a = { .sink = &data_only, .max = esp->files[i].size };
        WireUnpack done;
        int r;

        wire_put_u32(&p, (uint32_t) i);
        r = ask(f, WIRE_ESP_READ, &p, &a, &done, why);
        if (r < 0)
                return r;
        return a.got == a.max ? expect_end(f, &done, why)
                              : misbehaved(f, why, "sent less than was asked for");
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
                return misbehaved(f, why, "answered something else than a PE summary");
        pe_summary_move(ret, &s);
        return 0;
}
