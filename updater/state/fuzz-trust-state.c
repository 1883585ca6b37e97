/* SPDX-License-Identifier: MIT */

/* Any bytes: no crash, no leak; and what was accepted can be written and read back as the same. */

#include "state/state.h"
#include "base/str.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(trust_state_done) TrustState first = { 0 }, second = { 0 };
        _cleanup_(free_charp) char *once = NULL, *twice = NULL;

        if (trust_state_parse(data, size, &first, NULL) < 0)
                return 0;
        assert(trust_state_format(&first, &once) >= 0);
        assert(trust_state_parse(once, strlen(once), &second, NULL) >= 0);
        assert(trust_state_format(&second, &twice) >= 0 && streq(once, twice));
        return 0;
}
