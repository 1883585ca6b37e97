/* SPDX-License-Identifier: MIT */

/* auth.json is the operator's own, but it is parsed beside bytes that are not. */

#include "fetch/authfile.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(auth_entry_done) AuthEntry e = { 0 };
        Why why = { 0 };
        int r = size > 64 * 1024 ? 0 : authfile_find(data, size, "r.example", "os/acl", &e, &why);

        assert(r <= 0 || (e.user && e.password) || e.identity_token || e.registry_token);
        return 0;
}
