/* SPDX-License-Identifier: MIT */

#include "fetch/exchange.h"
#include "base/url.h"

#include <errno.h>

#define PIECE (16u * 1024u)

static int no_answer(const Transfer *t, const char *name, Why *why)
{
        TransferFault fault;

        return transfer_failure(t, name, &fault, why);
}

/* What is longer than max is cut; what ends too early is no answer: half a refusal may read like a permission. */
static int read_body(Transfer *t, size_t max, const char *name, Bytes *ret, Why *why)
{
        uint8_t piece[PIECE];

        while (ret->size < max) {
                size_t n = MIN(sizeof(piece), max - ret->size), got = 0;
                int r = transfer_read(t, piece, n, &got, why);

                if (r >= 0 && got > 0 && (r = bytes_append(ret, piece, got)) < 0)
                        return fail_errno(why, r, WHY_HOST, "http");
                if (r < 0)
                        return r;
                if (got < n)
                        return transfer_is_complete(t) ? 0 : no_answer(t, name, why);
        }
        return 0;
}

int exchange_named(Http *h, const FetchHttp *request, const char *name, FetchHttpReply *ret, Why *why)
{
        _cleanup_(transfer_freep) Transfer *t = NULL;
        _cleanup_(bytes_done) Bytes body = BYTES_NULL;
        const HttpAsk ask = { .exchange = request };
        int r;

        r = transfer_start(h, request->url, &ask, &t, why);
        if (r < 0)
                return r;
        if (!transfer_reply(t)->complete)
                return no_answer(t, name, why);
        r = read_body(t, request->max, name, &body, why);
        if (r < 0)
                return r;
        ret->status = transfer_reply(t)->status;
        ret->retry_after_sec = transfer_retry_after_sec(t, FETCH_RETRY_AFTER_MAX);
        bytes_move(&ret->body, &body);
        return 0;
}

int exchange(Http *h, const FetchHttp *request, FetchHttpReply *ret, Why *why)
{
        char name[200];

        url_redact(request->url, name, sizeof(name));
        return exchange_named(h, request, name, ret, why);
}
