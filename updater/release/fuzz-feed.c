/* SPDX-License-Identifier: MIT */
#include "release/release.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(feed_done) Feed f = { 0 };
        Why why = { 0 };

        if (size <= ENVELOPE_MAX && feed_parse(data, size, "fuzz", &f, &why) < 0)
                assert(why.kind == WHY_TRUST);
        return 0;
}
