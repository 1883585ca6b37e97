/* SPDX-License-Identifier: MIT */
#include "release/release.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(release_done) Release r = { 0 };
        ReleaseHost host = {
                .product = "azure-container-linux", .arch = "x86_64", .channel = "stable", .now = 1793772001
        };
        _cleanup_(free_charp) char *text = NULL;
        Why why = { 0 };

        if (size > ENVELOPE_MAX)
                return 0;
        if (release_parse(data, size, "fuzz", &r, &why) < 0) {
                assert(why.kind == WHY_TRUST);
                return 0;
        }
        (void) release_judge(&r, &host, 0, &why);
        (void) release_clock_problem(&r, &host, &text);
        return 0;
}
