/* SPDX-License-Identifier: MIT */

#include "fetch/client.h"
#include "fetch/values.h"
#include "base/fd.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void make_pair(int pair[2])
{
        assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
}

static void test_records(void)
{
        _cleanup_(wire_record_done) WireRecord r = WIRE_RECORD_NULL;
        static uint8_t big[WIRE_RECORD_MAX];
        int pair[2], fd = open("/dev/null", O_RDONLY | O_CLOEXEC), passed;

        make_pair(pair);
        assert(wire_send(pair[0], WIRE_DATA, 7, "abc", 3, NULL, 0) == 0);
        assert(wire_send(pair[0], WIRE_PROGRESS, 8, NULL, 0, NULL, 0) == 0);
        assert(wire_receive(pair[1], false, NULL, &r) == 1);
        assert(r.type == WIRE_DATA && r.bytes == 7 && r.size == 3 && memcmp(r.data, "abc", 3) == 0);
        assert((uintptr_t) r.data % WIRE_ALIGN == 0);
        assert(wire_receive(pair[1], false, NULL, &r) == 1 && r.type == WIRE_PROGRESS && r.size == 0);

        /* descriptors travel to who wants them ... */
        assert(wire_send(pair[0], WIRE_ENVELOPE, 0, "x", 1, &fd, 1) == 0);
        assert(wire_receive(pair[1], true, NULL, &r) == 1 && r.n_fds == 1);
        passed = wire_record_take_fd(&r, 0);
        assert(passed >= 0 && fcntl(passed, F_GETFD) == FD_CLOEXEC && wire_record_take_fd(&r, 1) == -1);
        (void) close(passed);
        /* ... and are a fault elsewhere */
        assert(wire_send(pair[0], WIRE_DATA, 0, "x", 1, &fd, 1) == 0);
        assert(wire_receive(pair[1], false, NULL, &r) == -EBADMSG);
        (void) close(pair[0]);
        (void) close(pair[1]);

        /* the largest record, through a socket that holds less */
        make_pair(pair);
        if (fork() == 0)
                _exit(wire_send(pair[0], WIRE_DATA, 0, big, sizeof(big), NULL, 0) < 0 ||
                      wire_send(pair[0], WIRE_DATA, 0, big, sizeof(big), NULL, 0) < 0);
        (void) close(pair[0]);
        assert(wire_receive(pair[1], false, NULL, &r) == 1 && r.size == sizeof(big));
        assert(wire_receive(pair[1], false, NULL, &r) == 1 && r.size == sizeof(big));
        assert(wire_receive(pair[1], false, NULL, &r) == 0);
        assert(wait(NULL) > 0);
        (void) close(pair[1]);
        (void) close(fd);
}

static int count_idle(void *ctx)
{
        return ++*(int *) ctx == 3 ? -ECANCELED : 0;
}

static void test_broken_records(void)
{
        static const struct {
                uint32_t type, size;
                size_t cut; /* bytes of the header that are sent */
                int expect;
                const char *why;
        } table[] = {
                { WIRE_DATA, 0, 16, 1, "an empty record" },
                { _WIRE_TYPE_MAX, 0, 16, -EBADMSG, "unknown type" },
                { UINT32_MAX, 0, 16, -EBADMSG, "negative type" },
                { WIRE_DATA, WIRE_RECORD_MAX + 1, 16, -EBADMSG, "longer than any record" },
                { WIRE_DATA, UINT32_MAX, 16, -EBADMSG, "absurdly long" },
                { WIRE_DATA, 1, 16, -ECONNRESET, "a body that never comes" },
                { WIRE_DATA, 0, 15, -ECONNRESET, "half a header" },
                { WIRE_DATA, 0, 0, 0, "the end" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(wire_record_done) WireRecord r = WIRE_RECORD_NULL;
                struct {
                        uint32_t type, size;
                        uint64_t bytes;
                } h = { table[i].type, table[i].size, 0 };
                int pair[2];

                make_pair(pair);
                assert(fd_write_full(pair[0], &h, table[i].cut) == 0);
                (void) close(pair[0]);
                assert(wire_receive(pair[1], false, NULL, &r) == table[i].expect);
                (void) close(pair[1]);
        }
}

static void test_waiting(void)
{
        _cleanup_(wire_record_done) WireRecord r = WIRE_RECORD_NULL;
        int pair[2], calls = 0;
        const WireWait wait_a_bit = { count_idle, &calls, 1 };

        make_pair(pair);
        assert(wire_receive(pair[1], false, &wait_a_bit, &r) == -ECANCELED && calls == 3);
        (void) close(pair[0]);
        (void) close(pair[1]);
}

static void test_values(void)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(free_charp) char *s = NULL, *none = NULL;
        char small[4];
        WireUnpack u;

        wire_put_u32(&p, 42);
        wire_put_u64(&p, UINT64_MAX);
        wire_put_str(&p, "grün");
        wire_put_str(&p, NULL);
        wire_put_bytes(&p, "\0\1", 2);
        wire_put_str(&p, "abc");
        u = wire_unpack(p.bytes.data, p.bytes.size);
        assert(wire_get_u32(&u) == 42 && wire_get_u64(&u) == UINT64_MAX);
        wire_get_str(&u, 10, &s);
        wire_get_str(&u, 10, &none);
        wire_get_bytes(&u, 2, &b);
        assert(!wire_get_end(&u));
        wire_get_text(&u, small, sizeof(small));
        assert(streq(s, "grün") && !none && b.size == 2 && b.data[1] == 1 && streq(small, "abc") &&
               wire_get_end(&u));
        (void) wire_get_u32(&u);
        assert(u.failed && !wire_get_end(&u));
}

static void test_strings(void)
{
        static const struct {
                const char *bytes;
                size_t max;
                bool text, raw;
        } table[] = {
                { "plain", 5, true, true },
                { "plain", 4, false, false }, /* too long */
                { "tab\t", 9, false, true },  /* control */
                { "del\x7f", 9, false, true },
                { "\x1b[2J", 9, false, true },          /* a terminal's command */
                { "\xc2\x9b", 9, false, true },         /* the same in one character */
                { "\xc0\xaf", 9, false, true },         /* '/' in two bytes */
                { "\xed\xa0\x80", 9, false, true },     /* half a surrogate pair */
                { "\xf4\x90\x80\x80", 9, false, true }, /* beyond Unicode */
                { "\xe2\x82", 9, false, true },         /* cut off */
                { "\xff", 9, false, true },
                { "\xf0\x9f\x98\x80", 9, true, true },
                { "", 0, true, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
                _cleanup_(free_charp) char *text = NULL, *raw = NULL;
                WireUnpack u, v;

                wire_put_str(&p, table[i].bytes);
                u = v = wire_unpack(p.bytes.data, p.bytes.size);
                wire_get_str(&u, table[i].max, &text);
                wire_get_raw(&v, table[i].max, &raw);
                assert(!!text == table[i].text && wire_get_end(&u) == table[i].text);
                assert(!!raw == table[i].raw && wire_get_end(&v) == table[i].raw);
        }
}

static void test_failures(void)
{
        static const struct {
                int r;
                WhyKind kind;
                const char *code, *text;
                int expect_r;
                WhyKind expect_kind;
                const char *expect_code, *expect_text;
        } table[] = {
                { -ENOENT, WHY_NETWORK, "not-found", "x: 404", -ENOENT, WHY_NETWORK, "not-found", "x: 404" },
                { -EIO, WHY_NOTHING, "a", "nothing to do", -EIO, WHY_HOST, "a", "nothing to do" },
                { -EIO, WHY_BUSY, "a", "b", -EIO, WHY_HOST, "a", "b" },
                { -EIO, (WhyKind) 77, "a", "b", -EIO, WHY_HOST, "a", "b" },
                { 5, WHY_TRUST, "a", "b", -EPROTO, WHY_TRUST, "a", "b" }, /* success is no failure */
                { 0, WHY_TRUST, "a", "b", -EPROTO, WHY_TRUST, "a", "b" },
                { -100000, WHY_TRUST, "a", "b", -EPROTO, WHY_TRUST, "a", "b" },
                { -EIO, WHY_TRUST, "\"}, {", "b", -EIO, WHY_TRUST, "fetch", "b" },
                { -EIO, WHY_TRUST, "a", "\x1b]0;x\x07\xc2\x9b", -EIO, WHY_TRUST, "a", "?]0;x???" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
                Why in = { .kind = table[i].kind }, out = { 0 };
                WireUnpack u;
                int r = 0;

                (void) snprintf(in.code, sizeof(in.code), "%s", table[i].code);
                (void) snprintf(in.text, sizeof(in.text), "%s", table[i].text);
                value_put_why(&p, table[i].r, &in);
                u = wire_unpack(p.bytes.data, p.bytes.size);
                assert(value_get_why(&u, &r, &out) == 0 && r == table[i].expect_r &&
                       out.kind == table[i].expect_kind);
                assert(streq(out.code, table[i].expect_code) && streq(out.text, table[i].expect_text) &&
                       !out.hint[0]);
        }
}

static void test_envelope(void)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(envelope_done) Envelope e = { .type = TYPE_FEED, .n_signatures = 2 }, back = { 0 };
        WireUnpack u;

        assert(bytes_copy(&e.payload, "{}", 2) == 0);
        for (size_t i = 0; i < 2; i++) {
                memset(e.signatures[i].keyid, (int) ('a' + i), 64);
                (void) snprintf(e.signatures[i].alg, ALG_SIZE, "ed25519");
                assert(bytes_copy(&e.signatures[i].sig, "sig", 3) == 0);
        }
        value_put_envelope(&p, &e);
        u = wire_unpack(p.bytes.data, p.bytes.size);
        assert(value_get_envelope(&u, &back) == 0 && back.n_signatures == 2 && streq(back.type, TYPE_FEED));
        assert(streq(back.signatures[1].keyid, e.signatures[1].keyid) && back.signatures[1].sig.size == 3);

        /* every shorter record is refused */
        for (size_t n = 0; n < p.bytes.size; n++) {
                _cleanup_(envelope_done) Envelope none = { 0 };

                u = wire_unpack(p.bytes.data, n);
                assert(value_get_envelope(&u, &none) < 0 && none.n_signatures == 0);
        }
        /* one key must not count twice, in whatever case it is spelled */
        wire_pack_done(&p);
        memset(e.signatures[1].keyid, 'A', 64);
        value_put_envelope(&p, &e);
        u = wire_unpack(p.bytes.data, p.bytes.size);
        assert(value_get_envelope(&u, &back) == -EBADMSG);
}

static void test_http_values(void)
{
        char *lines[] = { (char *) "fleet-lock-protocol: true", (char *) "X-Y: a: b", NULL };
        const FetchHttp request = { "https://x/v1", "POST", lines, "{}", 7, 100 };
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(value_http_done) ValueHttp back = { 0 };
        WireUnpack u;

        value_put_http(&p, &request);
        u = wire_unpack(p.bytes.data, p.bytes.size);
        assert(value_get_http(&u, &back) == 0 && streq(back.request.url, "https://x/v1") &&
               streq(back.request.method, "POST") && streq(back.request.body, "{}") &&
               back.request.timeout_sec == 7 && back.request.max == 100);
        assert(strv_len(back.request.headers) == 2 && streq(back.request.headers[1], "X-Y: a: b"));
        for (size_t n = 0; n < p.bytes.size; n++) {
                _cleanup_(value_http_done) ValueHttp none = { 0 };

                u = wire_unpack(p.bytes.data, n);
                assert(value_get_http(&u, &none) < 0 && !none.url);
        }
}

static void test_http_checks(void)
{
        static const struct {
                const char *url, *method, *header, *body;
                size_t max;
                bool good;
        } table[] = {
                { "http://x/", "GET", NULL, NULL, 0, true },
                { "HTTPS://x/?a=b#c", "POST", NULL, "", FETCH_HTTP_MAX, true },
                { "http://x/", "POST", NULL, NULL, 0, true },
                { "http://x/", "GET", NULL, "{}", 0, false }, /* nobody reads it */
                { "http://x/", "PUT", NULL, NULL, 0, false },
                { "http://x/", "GET", NULL, NULL, FETCH_HTTP_MAX + 1, false },
                { "file:///etc/shadow", "GET", NULL, NULL, 0, false },
                { "/etc/shadow", "GET", NULL, NULL, 0, false },
                { "gopher://x/", "GET", NULL, NULL, 0, false },
                { "", "GET", NULL, NULL, 0, false },
                { "http://x/ HTTP/1.1", "GET", NULL, NULL, 0, false },
                { "http://x/\r\nX: y", "GET", NULL, NULL, 0, false },
                { "http://x/\xc3\xa4", "GET", NULL, NULL, 0, false },
                { "http://x/", "GET", "X: y", NULL, 0, true },
                { "http://x/", "GET", "X: y\r\nZ: 1", NULL, 0, false },
                { "http://x/", "GET", "X: y\n", NULL, 0, false },
                { "http://x/", "GET", "X:\ty", NULL, 0, false },
                { "http://x/", "GET", "X:", NULL, 0, false }, /* libcurl would take one of its own away */
                { "http://x/", "GET", "X: ", NULL, 0, false },
                { "http://x/", "GET", "X;", NULL, 0, false },
                { "http://x/", "GET", ": y", NULL, 0, false },
                { "http://x/", "GET", "X y: z", NULL, 0, false },
                { "http://x/", "GET", "content-LENGTH: 0", NULL, 0, false },
                { "http://x/", "GET", "Host: elsewhere", NULL, 0, false },
                { "http://x/", "GET", "Transfer-Encoding: chunked", NULL, 0, false },
                { "http://x/", "GET", "Content-Type: text/plain", NULL, 0, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *lines[] = { (char *) table[i].header, NULL };
                const FetchHttp request = { table[i].url, table[i].method, lines, table[i].body, 0,
                                            table[i].max };
                _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
                _cleanup_(value_http_done) ValueHttp back = { 0 };
                WireUnpack u;
                Why why = { 0 };

                assert((value_check_http(&request, &why) == 0) == table[i].good);
                assert(table[i].good || (why.kind == WHY_USAGE && streq(why.code, "http-request")));
                if (!streq(table[i].method, "PUT")) { /* there is no such word on the wire */
                        value_put_http(&p, &request);
                        u = wire_unpack(p.bytes.data, p.bytes.size);
                        assert((value_get_http(&u, &back) == 0) == table[i].good);
                }
        }
}

static void test_http_sizes(void)
{
        _cleanup_(free_charp) char *body = malloc(FETCH_HTTP_MAX + 2), *line = malloc(WIRE_STRING_MAX + 2);
        char *lines[FETCH_HTTP_LINES_MAX + 2] = { 0 };
        FetchHttp request = { "http://x/", "POST", NULL, body, 0, 0 };

        assert(body && line);
        memset(body, 'x', FETCH_HTTP_MAX + 1);
        body[FETCH_HTTP_MAX + 1] = 0;
        assert(value_check_http(&request, NULL) < 0);
        body[FETCH_HTTP_MAX] = 0;
        assert(value_check_http(&request, NULL) == 0);
        request.headers = lines;
        for (size_t i = 0; i < FETCH_HTTP_LINES_MAX; i++)
                lines[i] = (char *) "X: y";
        assert(value_check_http(&request, NULL) == 0);
        lines[FETCH_HTTP_LINES_MAX] = (char *) "X: y";
        assert(value_check_http(&request, NULL) < 0);
        memset(lines, 0, sizeof(lines));
        (void) snprintf(line, WIRE_STRING_MAX + 2, "X: %*d", (int) WIRE_STRING_MAX - 3, 1);
        for (size_t i = 0; i < FETCH_HTTP_HEADERS_MAX / WIRE_STRING_MAX; i++)
                lines[i] = line;
        assert(value_check_http(&request, NULL) ==
               0); /* with the body the largest that fits, and it fits a record */
        lines[FETCH_HTTP_HEADERS_MAX / WIRE_STRING_MAX] = (char *) "X: y";
        assert(value_check_http(&request, NULL) < 0);
        _Static_assert(FETCH_HTTP_MAX + FETCH_HTTP_HEADERS_MAX + 4 * FETCH_HTTP_LINES_MAX + WIRE_STRING_MAX +
                                       64 <
                               WIRE_RECORD_MAX,
                       "the largest request does not fit into a record");
}

static void test_esp_paths(void)
{
        static const struct {
                const char *path;
                bool good;
        } table[] = {
                { "EFI/Linux/vmlinuz 6.efi", true },
                { "a", true },
                { "...", true },
                { "", false },
                { "/a", false },
                { "a/", false },
                { "a//b", false },
                { "../a", false },
                { "a/../b", false },
                { "./a", false },
                { "a\\b", false },
                { "a\nb", false },
                { "EFI/\xc3\xa4.efi", true },
                { "\xe4", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
                _cleanup_(fetch_esp_done) FetchEsp esp = { 0 };
                WireUnpack u;

                value_put_esp_file(&p, "first", 1);
                value_put_esp_file(&p, table[i].path, 2);
                u = wire_unpack(p.bytes.data, p.bytes.size);
                assert((value_get_esp(&u, &esp) == 0) == table[i].good);
                assert(esp.n_files == (table[i].good ? 2 : 0));
        }
}

static void test_pe(void)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(pe_summary_done) PeSummary s = { .is_addon = true, .machine = 0x8664, .n_signatures = 1 },
                                             back = { 0 };
        WireUnpack u;

        s.cmdline =
                strdup("usrhash=1\tx\x01"); /* what an image says is compared, not shown: any byte but NUL */
        s.authenticode_sha256[31] = 9;
        assert(bytes_copy(&s.signatures[0], "der", 3) == 0);
        value_put_pe(&p, &s);
        u = wire_unpack(p.bytes.data, p.bytes.size);
        assert(value_get_pe(&u, &back) == 0 && back.is_addon && !back.has_linux && back.machine == 0x8664);
        assert(streq(back.cmdline, s.cmdline) && !back.osrel && back.n_signatures == 1 &&
               back.authenticode_sha256[31] == 9);
        for (size_t n = 0; n < p.bytes.size; n++) {
                _cleanup_(pe_summary_done) PeSummary none = { 0 };

                u = wire_unpack(p.bytes.data, n);
                assert(value_get_pe(&u, &none) < 0);
        }
}

/* --- the client against a child that lies --- */

typedef struct Lie {
        const char *what;
        WireType types[4];
        size_t sizes[4];
        size_t n;
        const char *code; /* NULL: it is no lie */
} Lie;

static int count_data(void *ctx, const void *data _unused_, size_t size, Why *why _unused_)
{
        *(uint64_t *) ctx += size;
        return 0;
}

static int count_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        *(uint64_t *) ctx += size;
        return 0;
}

/* A member of 12000 bytes is asked for. ZERO's size here is the length of the run. */
static void test_lies(void)
{
        static const Lie table[] = {
                { "the truth",
                  { WIRE_DATA, WIRE_PROGRESS, WIRE_ZERO, WIRE_DONE },
                  { 8192, 0, 3808, 0 },
                  4,
                  NULL },
                { "one byte too many",
                  { WIRE_DATA, WIRE_DATA, WIRE_DONE },
                  { 8192, 3809, 0 },
                  3,
                  "fetch-misbehaved" },
                { "whole blocks too many", { WIRE_DATA, WIRE_DONE }, { 12288, 0 }, 2, "fetch-misbehaved" },
                { "one too few", { WIRE_DATA, WIRE_DONE }, { 8192, 0 }, 2, "fetch-misbehaved" },
                { "an odd piece in the middle",
                  { WIRE_DATA, WIRE_DATA, WIRE_DONE },
                  { 8000, 4000, 0 },
                  3,
                  "fetch-misbehaved" },
                { "endless zeroes", { WIRE_ZERO, WIRE_DONE }, { SIZE_MAX / 2, 0 }, 2, "fetch-misbehaved" },
                { "no zeroes", { WIRE_ZERO, WIRE_DONE }, { 0, 0 }, 2, "fetch-misbehaved" },
                { "no data", { WIRE_DATA, WIRE_DONE }, { 0, 0 }, 2, "fetch-misbehaved" },
                { "a request", { WIRE_MEMBER }, { 10 }, 1, "fetch-misbehaved" },
                { "a failure without a reason", { WIRE_FAIL }, { 10 }, 1, "fetch-misbehaved" },
                { "an end with a value",
                  { WIRE_DATA, WIRE_ZERO, WIRE_DONE },
                  { 8192, 3808, 8 },
                  3,
                  "fetch-misbehaved" },
                { "silence", { WIRE_DATA }, { 4096 }, 1, "fetch-died" },
        };
        static uint8_t data[16384];
        const CosiImage image = { .path = "images/x", .uncompressed_size = 12000 };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const Lie *lie = &table[i];
                uint64_t got = 0;
                const FetchSink sink = { count_data, count_zero, &got };
                Fetch *f = NULL;
                Why why = { 0 };
                int pair[2], r;

                make_pair(pair);
                for (size_t k = 0; k < lie->n; k++) {
                        uint64_t run = lie->sizes[k];
                        bool is_run = lie->types[k] == WIRE_ZERO;

                        assert(wire_send(pair[0], lie->types[k], 100 * k, is_run ? (void *) &run : data,
                                         is_run ? sizeof(run) : lie->sizes[k], NULL, 0) == 0);
                }
                assert(shutdown(pair[0], SHUT_WR) == 0);
                assert(fetch_adopt(NULL, pair[1], &f) == 0);
                r = fetch_member(f, &image, 27, WHY_TRUST, &sink, &why);
                assert((r == 0) == !lie->code && got <= 12000);
                assert(lie->code ? streq(why.code, lie->code) && why.kind == WHY_HOST : got == 12000);
                if (lie->code) {
                        why = (Why){ 0 }; /* nothing more is asked of a liar */
                        assert(fetch_cosi_finish(f, &why) < 0 && streq(why.code, "fetch-stopped"));
                }
                fetch_stop(f);
                (void) close(pair[0]);
        }
}

/* An exchange with 5 bytes of body at most is asked for. */
static void test_http_lies(void)
{
        static const struct {
                size_t body;
                uint32_t status;
                uint64_t retry;
                bool good;
        } table[] = {
                { 0, 200, 0, true },
                { 5, 999, FETCH_RETRY_AFTER_MAX, true },
                { 6, 200, 0, false }, /* longer than asked for */
                { 0, 199, 0, false }, /* no final answer */
                { 0, 0, 0, false },
                { 0, 1000, 0, false },
                { 0, 200, FETCH_RETRY_AFTER_MAX + 1, false }, /* "never come again" */
        };
        const FetchHttp request = { .url = "http://x/", .method = "GET", .max = 5 };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
                _cleanup_(fetch_http_reply_done) FetchHttpReply reply = { 0 };
                Fetch *f = NULL;
                Why why = { 0 };
                int pair[2], r;

                make_pair(pair);
                wire_put_u32(&p, table[i].status);
                wire_put_u64(&p, table[i].retry);
                if (table[i].body > 0)
                        assert(wire_send(pair[0], WIRE_DATA, 0, "abcdefgh", table[i].body, NULL, 0) == 0);
                assert(wire_send(pair[0], WIRE_DONE, 0, p.bytes.data, p.bytes.size, NULL, 0) == 0);
                assert(fetch_adopt(NULL, pair[1], &f) == 0);
                r = fetch_http(f, &request, &reply, &why);
                assert((r == 0) == table[i].good && (r == 0 || streq(why.code, "fetch-misbehaved")));
                assert(r < 0 || (reply.status == table[i].status && reply.body.size == table[i].body &&
                                 reply.body.data && reply.body.data[reply.body.size] == 0));
                fetch_stop(f);
                (void) close(pair[0]);
        }
}

static int stop_now(void *ctx _unused_)
{
        return -ECANCELED;
}

static void test_tick_stops(void)
{
        Fetch *f = NULL;
        Why why = { 0 };
        int pair[2];

        make_pair(pair);
        assert(fetch_adopt(NULL, pair[1], &f) == 0);
        fetch_set_tick(f, stop_now, NULL);
        assert(fetch_cosi_finish(f, &why) == -ECANCELED); /* the other side says nothing at all */
        fetch_stop(f);
        (void) close(pair[0]);
}

int main(void)
{
        test_records();
        test_broken_records();
        test_waiting();
        test_values();
        test_strings();
        test_failures();
        test_envelope();
        test_http_values();
        test_http_checks();
        test_http_sizes();
        test_esp_paths();
        test_pe();
        test_lies();
        test_http_lies();
        test_tick_stops();
        return 0;
}
