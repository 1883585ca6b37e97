/* SPDX-License-Identifier: MIT */

/* A watch, any bytes: the first says how they are cut. However they come, the events are the same. */

#include "control/kube-watch.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *ctx, KubeEvent *e)
{
        unsigned *n = ctx;

        assert(e->type >= 0 && e->type < _KUBE_EVENT_MAX && strlen(e->message) < sizeof(e->message));
        *n += 1 + (unsigned) e->type * 16;
        return 0;
}

static int feed(const uint8_t *data, size_t size, size_t piece, unsigned *ret)
{
        _cleanup_(kube_stream_done) KubeStream s = { .prefix = "acl.microsoft.com" };
        Why why = { 0 };
        int r = 0;

        for (size_t i = 0; r == 0 && i < size; i += piece)
                r = kube_stream_feed(&s, data + i, MIN(piece, size - i), count, ret, &why);
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(kube_node_done) KubeNode n = { 0 };
        _cleanup_(free_charp) char *version = NULL;
        unsigned whole = 0, pieces = 0;
        Why why = { 0 };

        if (size < 2 || size > 64 * 1024)
                return 0;
        assert(feed(data + 1, size - 1, size, &whole) ==
               feed(data + 1, size - 1, 1 + data[0] % 64u, &pieces));
        assert(whole == pieces);
        (void) kube_list_parse(data + 1, size - 1, "acl.microsoft.com", "node-1", &n, &version, &why);
        return 0;
}
