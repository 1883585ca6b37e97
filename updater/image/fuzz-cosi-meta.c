/* SPDX-License-Identifier: MIT */

/* metadata.json has passed a digest or not yet: either way it must not crash the reader. */

#include "image/cosi.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A GPT that has every region's partition, so that the second half of the rules is reached. */
static void check_with_matching_gpt(const Cosi *cosi)
{
        static Partition parts[DISK_PARTITIONS_MAX];
        const CosiRegion *sig;
        uint64_t at = 0;
        size_t n = 0;

        for (size_t i = 1; i < cosi->n_regions && n < DISK_PARTITIONS_MAX; i++, n++) {
                parts[n] = (Partition){ .number = cosi->regions[i].number,
                                        .offset = at,
                                        .size = cosi->regions[i].image.uncompressed_size };
                (void) snprintf(parts[n].label, sizeof(parts[n].label), "%s", i % 3 ? "USR-A" : "HASH-SIG-A");
                memcpy(parts[n].type, DISK_TYPE_USR_VERITY_SIG_X86_64, DISK_UUID_SIZE);
                at += parts[n].size;
                if (at > COSI_SIZE_MAX)
                        return;
        }
        (void) cosi_check_gpt(cosi, parts, n, WHY_TRUST, &sig, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        for (unsigned need_sha384 = 0; need_sha384 < 2; need_sha384++) {
                _cleanup_(cosi_done) Cosi cosi = { 0 };
                _cleanup_(free_charp) char *version = NULL;
                Why why = { 0 };

                if (cosi_parse(data, size, WHY_IMAGE, need_sha384, &cosi, &why) < 0)
                        continue;
                if (!cosi.usr || !cosi.esp)
                        __builtin_trap(); /* promised */
                version = cosi_os_release(&cosi, "VERSION_ID");
                check_with_matching_gpt(&cosi);
        }
        return 0;
}
