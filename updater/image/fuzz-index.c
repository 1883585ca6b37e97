/* SPDX-License-Identifier: MIT */

/* A whole index as a server sends it: head, groups, frames. What is accepted must come out of the writer again. */

#undef NDEBUG
#include "image/index.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        IndexHead head;
        uint8_t again[INDEX_HEAD_SIZE];
        uint64_t sum = 0, blocks = 0;

        if (size < INDEX_HEAD_SIZE || size > 256 * 1024 || index_head_parse(data, size, &head, NULL) < 0)
                return 0;
        assert(index_leaves_at(&head) + (uint64_t) head.n_blocks * INDEX_LEAF_SIZE == size);
        index_head_format(&head, again);
        assert(memcmp(data, again, 16) == 0);
        for (uint32_t i = 0; i < head.n_frames; i++)
                sum += index_frame(&head, data + index_frames_at(&head), i);
        if (index_groups_check(data + index_groups_at(&head), index_groups_size(&head), head.n_groups,
                               head.n_blocks, NULL) < 0)
                return 0;
        for (uint32_t i = 0; i < head.n_groups; i++) {
                IndexGroup g = index_group(data + index_groups_at(&head), i);
                const uint8_t *leaves = data + index_leaves_at(&head) + blocks * INDEX_LEAF_SIZE;
                uint64_t name = 0;

                assert(g.count > 0 && blocks + g.count <= head.n_blocks);
                assert(index_group_name(leaves, g.count, &name) == 0);
                assert(index_group_length(leaves, (uint32_t) (head.n_blocks - blocks)) > 0);
                blocks += g.count;
        }
        assert(blocks == head.n_blocks);
        return sum == UINT64_MAX;
}
