/* SPDX-License-Identifier: MIT */

/* A registry (or whoever answers in its place) against who reads its WWW-Authenticate. */

#include "fetch/challenge.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(challenge_done) Challenge c = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        Why why = { 0 };

        if (size > 2 * CHALLENGE_HEADER_MAX || !(text = strndup((const char *) data, size)))
                return 0;
        if (challenge_parse(text, &c, &why) >= 0 && c.realm)
                (void) challenge_check_realm(c.realm, size % 2, "localhost:5000", &why);
        return 0;
}
