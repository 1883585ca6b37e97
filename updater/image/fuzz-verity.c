/* SPDX-License-Identifier: MIT */

/* A superblock comes from a partition that anybody may have written. */

#include "image/verity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        VerityParams p;
        uint8_t block[VERITY_BLOCK];
        uint64_t hash_size;
        Why why = { 0 };

        if (verity_superblock_parse(data, size, &p, &why) < 0)
                return 0;
        if (verity_hash_size(p.data_blocks, &hash_size) < 0)
                __builtin_trap(); /* what was accepted can be laid out */
        verity_superblock_format(&p, block);
        return 0;
}
