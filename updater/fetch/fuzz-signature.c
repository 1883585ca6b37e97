/* SPDX-License-Identifier: MIT */

/* The input is padded to a block, so that the interesting part is short. */

#include "fetch/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char roothash[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        size_t padded = (size + 4095) / 4096 * 4096;
        uint8_t *whole = calloc(1, padded + 1);
        Why why = { 0 };

        if (!whole)
                return 0;
        if (size > 0)
                memcpy(whole, data, size);
        (void) signature_check(whole, padded, roothash, "fuzz", WHY_TRUST, &why);
        free(whole);
        why = (Why){ 0 };
        (void) signature_check(data, size, roothash, "fuzz", WHY_TRUST, &why);
        return 0;
}
