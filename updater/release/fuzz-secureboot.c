/* SPDX-License-Identifier: MIT */
#include "release/release.h"

#define DIGEST 32u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* u16 little-endian n | digest of the image | n bytes of signature lists, for db, taken for an SBAT level as well | one signature */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(secureboot_variables_done) SecureBootVariables v = { .enabled = true };
        _cleanup_(secureboot_freep) SecureBoot *sb = NULL;
        _cleanup_(bytes_done) Bytes blob = BYTES_NULL;
        char signer[65];
        size_t n;

        if (size < 2 + DIGEST || size > 64 * KIB)
                return 0;
        n = MIN((size_t) data[0] | (size_t) data[1] << 8, size - 2 - DIGEST);
        if (bytes_copy(&v.db, data + 2 + DIGEST, n) < 0 ||
            bytes_copy(&v.sbat_level, data + 2 + DIGEST, n) < 0 ||
            bytes_copy(&blob, data + 2 + DIGEST + n, size - 2 - DIGEST - n) < 0)
                return 0;
        if (secureboot_new(&v, &sb, NULL) < 0)
                return 0;
        (void) secureboot_check(sb, "fuzz", data + 2, &blob, 1, (const char *) v.sbat_level.data, signer,
                                NULL);
        return 0;
}
