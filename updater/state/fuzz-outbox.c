/* SPDX-License-Identifier: MIT */

/* Any bytes: no crash, no leak; and what was accepted is sent as something that would be accepted again, under the same id. */

#include "state/state.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(outbox_entry_done) OutboxEntry first = { 0 }, second = { 0 };

        if (outbox_parse(data, size, &first, NULL) < 0)
                return 0;
        assert(strspn(first.id, "0123456789abcdef-") == OUTBOX_ID_SIZE - 1 &&
               strlen(first.id) == OUTBOX_ID_SIZE - 1);
        assert(outbox_parse(first.text, strlen(first.text), &second, NULL) >= 0);
        assert(streq(first.id, second.id) && streq(first.text, second.text) &&
               first.progress == second.progress);
        return 0;
}
