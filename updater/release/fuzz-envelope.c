/* SPDX-License-Identifier: MIT */
#include "release/release.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(envelope_done) Envelope e = { 0 }, again = { 0 };
        _cleanup_(bytes_done) Bytes pae = BYTES_NULL;
        _cleanup_(free_charp) char *text = NULL;
        Why why = { 0 };

        if (envelope_parse(data, size, "fuzz", &e, &why) < 0) {
                assert(why.kind == WHY_TRUST);
                return 0;
        }
        /* What was accepted can be written, and reads back as the same. */
        assert(envelope_check(&e, "fuzz", NULL) >= 0);
        assert(envelope_format(&e, &text) >= 0 &&
               envelope_pae(e.type, e.payload.data, e.payload.size, &pae) >= 0);
        if (strlen(text) > ENVELOPE_MAX)
                return 0;
        assert(envelope_parse(text, strlen(text), "fuzz", &again, NULL) >= 0);
        assert(again.n_signatures == e.n_signatures && again.payload.size == e.payload.size);
        return 0;
}
