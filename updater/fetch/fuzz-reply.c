/* SPDX-License-Identifier: MIT */

/* The head of a response, line by line. */

#include "fetch/reply.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Reply r = { 0 }, first = { 0 };

        while (size > 0) {
                const uint8_t *end = memchr(data, '\n', size);
                size_t n = end ? (size_t) (end - data) + 1 : size;

                if (reply_line(&r, (const char *) data, n) < 0)
                        break;
                if (r.complete && !first.complete)
                        first = r;
                data += n;
                size -= n;
        }
        assert(!first.has_range || first.first <= first.last);
        assert(!first.has_range || !first.has_total || first.last < first.total);
        assert(r.etag[sizeof(r.etag) - 1] == 0 && r.location[sizeof(r.location) - 1] == 0);
        (void) reply_same(&first, &r);
        (void) reply_has_strong_etag(&r);
        return 0;
}
