/* SPDX-License-Identifier: MIT */

/* omaha.json, which another gybe version may have written. */

#include "state/state.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 };
        const Journal j = { .update_id = g.update_id };

        if (omaha_grant_parse(data, size, &g, NULL) < 0)
                return 0;
        assert(g.step == OMAHA_STEP_NONE || (g.id && g.url && g.app && g.track && g.version && g.from));
        (void) omaha_grant_owes(&g, &j, false);
        return 0;
}
