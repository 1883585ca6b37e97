/* SPDX-License-Identifier: MIT */
#include "release/release.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(envelope_done) Envelope e = { .type = TYPE_ROOT };
        _cleanup_(trust_verdict_done) TrustVerdict verdict = { 0 };
        _cleanup_(root_done) Root root = { 0 };
        Why why = { 0 };

        if (size > ENVELOPE_MAX)
                return 0;
        if (root_parse(data, size, "fuzz", &root, &why) < 0) {
                assert(why.kind == WHY_TRUST);
                return 0;
        }
        /* Whatever a root says, an envelope that nobody signed satisfies none of its roles. */
        for (RoleId role = 0; role < _ROLE_MAX; role++) {
                static const char *const types[] = { TYPE_ROOT, TYPE_RELEASE, TYPE_FEED };

                (void) strcpy(e.type, types[role]);
                assert(trust_check(&root, role, &e, "fuzz", &verdict, NULL) < 0);
        }
        return 0;
}
