/* SPDX-License-Identifier: MIT */

/* The job's side against a child that was taken over: the input is everything that the child ever says. The first byte
 * chooses what was asked. */

#include "fetch/client.h"
#include "fetch/values.h"
#include "base/fd.h"

#undef NDEBUG
#include <assert.h>
#include <sys/socket.h>

#define INPUT_MAX 60000u /* what a socket takes without a reader */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Count {
        uint64_t got, max;
} Count;

static int count_data(void *ctx, const void *data _unused_, size_t size, Why *why _unused_)
{
        Count *c = ctx;

        assert(size <= c->max - c->got);
        c->got += size;
        return 0;
}

static int count_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        Count *c = ctx;

        assert(size > 0 && size <= c->max - c->got);
        c->got += size;
        return 0;
}

#define ASK_HTTP  0x80u
#define ASK_OMAHA 0x40u

static int ask_http(Fetch *f, Why *why)
{
        _cleanup_(fetch_http_reply_done) FetchHttpReply reply = { 0 };
        const FetchHttp request = { .url = "http://x/", .method = "POST", .body = "{}", .max = 100 };
        int r = fetch_http(f, &request, &reply, why);

        assert(r < 0 || (reply.body.size <= 100 && reply.body.data[reply.body.size] == 0 &&
                         reply.status >= 200 && reply.retry_after_sec <= FETCH_RETRY_AFTER_MAX));
        return r;
}

static int ask_omaha(Fetch *f, Why *why)
{
        _cleanup_(omaha_reply_done) OmahaReply reply = { 0 };
        int r = fetch_omaha(f, "http://x/", "<request/>", 1, &reply, why);

        assert(r < 0 || (reply.status >= 200 && reply.n_packages <= OMAHA_PACKAGES_MAX));
        return r;
}

static int ask(Fetch *f, unsigned what, Why *why)
{
        CosiImage image = { .path = "images/x",
                            .compressed_size = 1,
                            .uncompressed_size = what % 2 ? 8192 : 9999 };
        FetchEspFile file = { .path = (char *) "x", .size = 3000 };
        FetchEsp esp = { &file, 1 };
        _cleanup_(fetch_cosi_done) FetchCosi cosi = { 0 };
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Count count = { .max = what % 8 == 4 ? file.size : image.uncompressed_size };
        const FetchSink sink = { count_data, count_zero, &count };
        char sha384[97];
        uint64_t cost;
        int r;

        if (what & ASK_HTTP)
                return ask_http(f, why);
        if (what & ASK_OMAHA)
                return ask_omaha(f, why);
        switch (what % 8) {
        case 0:
                return fetch_envelope(f, "http://x/", &e, sha384, why);
        case 1:
                return fetch_cosi_open(f, "http://x/", what & 8 ? UINT64_MAX : 5000, &cosi, why);
        case 2:
        case 3:
                r = fetch_member(f, &image, 27, WHY_TRUST, &sink, why);
                assert(r < 0 || count.got == count.max);
                return r;
        case 4:
                r = fetch_esp_read(f, &esp, 0, &sink, why);
                assert(r < 0 || count.got == count.max);
                return r;
        case 5:
                return fetch_member_signature(f, &image, 27, WHY_TRUST, "00", &b, why);
        case 6:
                return what & 8 ? fetch_esp_cost(f, &esp, 0, &cost, why) : fetch_esp_pe(f, &esp, 0, &pe, why);
        default:
                return fetch_cosi_finish(f, why);
        }
}

/* The list of an ESP needs a scratch file to be asked for; its value is read here as it is. */
static void read_values(const uint8_t *data, size_t size)
{
        _cleanup_(fetch_esp_done) FetchEsp esp = { 0 };
        _cleanup_(value_http_done) ValueHttp http = { 0 };
        WireUnpack u = wire_unpack(data, size);
        Why why = { 0 };
        int r = 0;

        (void) value_get_esp(&u, &esp);
        u = wire_unpack(data, size);
        if (value_get_http(&u, &http) == 0)
                assert(http.request.url && value_check_http(&http.request, NULL) == 0);
        u = wire_unpack(data, size);
        if (value_get_why(&u, &r, &why) == 0)
                assert(r < 0 && why.kind != WHY_NONE && why.kind != WHY_NOTHING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const Env env = ENV_NULL;
        Fetch *f = NULL;
        Why why = { 0 };
        int pair[2], r;

        if (size < 1 || size > INPUT_MAX)
                return 0;
        read_values(data + 1, size - 1);
        assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        assert(fd_write_full(pair[0], data + 1, size - 1) == 0 && shutdown(pair[0], SHUT_WR) == 0);
        assert(fetch_adopt(&env, pair[1], &f) == 0);
        r = ask(f, data[0], &why);
        assert((r < 0) == (why.kind != WHY_NONE));
        assert(why.kind != WHY_NOTHING && why.kind != WHY_POLICY && why.kind != WHY_BUSY);
        fetch_stop(f);
        (void) close(pair[0]);
        return 0;
}
