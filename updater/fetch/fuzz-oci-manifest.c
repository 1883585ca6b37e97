/* SPDX-License-Identifier: MIT */

/* Manifests, indexes and referrers as a hostile registry may send them; behind a NUL also as a Link header. */

#include "fetch/oci-manifest.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(oci_manifest_done) OciManifest m = { 0 };
        _cleanup_(free_charp) char *text = NULL, *next = NULL;
        Why why = { 0 };

        if (size == 0 || size > 64 * 1024)
                return 0;
        if (data[0] == 0 && (text = strndup((const char *) data + 1, size - 1)))
                (void) oci_link_next(text, &next);
        if (oci_manifest_parse(data + 1, size - 1, data[0] & 1 ? OCI_TYPE_INDEX : "", "fuzz", WHY_NETWORK, &m,
                               &why) < 0)
                return 0;
        assert(oci_manifest_cosi(&m) < (ssize_t) m.n_items && oci_index_release(&m) < (ssize_t) m.n_items &&
               oci_index_for(&m, "x86_64") < (ssize_t) m.n_items);
        assert(!m.is_index || oci_manifest_cosi(&m) == -1);
        return 0;
}
