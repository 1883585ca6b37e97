/* SPDX-License-Identifier: MIT */

/* PE files from an image. Whatever comes out must be consistent: texts without white space at the end, at
 * most the named number of signatures. */

#include "bootloader/uki.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(pe_summary_done) PeSummary s = { 0 };
        Why why = { 0 };

        if (pe_parse(data, size, "fuzz", WHY_IMAGE, &s, &why) < 0) {
                if (why.kind == WHY_NONE || s.cmdline)
                        abort();
                return 0;
        }
        if (s.n_signatures > UKI_SIGNATURES_MAX || s.is_addon == s.has_linux || s.has_cmdline != !!s.cmdline)
                abort();
        if (s.n_signatures > 0 && !s.has_authenticode)
                abort();
        return 0;
}
