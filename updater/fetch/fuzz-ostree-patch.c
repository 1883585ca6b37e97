/* SPDX-License-Identifier: MIT */

/* The unpacked blocks between two commits, worked off with old blocks that are there, are cut off, or are not there at all: no
 * write beyond the limit, no question beyond what the job answers. */

#include "fetch/ostree-patch.h"
#include "base/fd.h"
#include "image/blockpatch.h"

#undef NDEBUG
#include <assert.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define LIMIT (16u * 4096u)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(rebuilt_done) Rebuilt rebuilt = REBUILT_NULL;
        _cleanup_(patch_run_freep) PatchRun *run = NULL;
        const BlockRange *ranges = NULL;
        struct stat st;
        size_t n = 0;

        rebuilt.fd = memfd_create("rebuilt", MFD_CLOEXEC);
        rebuilt.limit = LIMIT;
        assert(rebuilt.fd >= 0);
        if (patch_run_new(data, size, &rebuilt, &run, NULL) < 0)
                return 0;
        while (patch_run(run, &ranges, &n, NULL) > 0) {
                uint64_t sum = 0;
                int fd = ranges[0].first % 3 == 0 ? -1 : memfd_create("old", MFD_CLOEXEC);

                for (size_t i = 0; i < n; i++) {
                        assert(ranges[i].count > 0 &&
                               (uint64_t) ranges[i].first + ranges[i].count <= INDEX_BLOCKS_MAX);
                        sum += ranges[i].count;
                }
                assert(n <= FETCH_OLD_RANGES_MAX && sum <= FETCH_OLD_BLOCKS_MAX);
                if (fd >= 0)
                        assert(fd_pwrite_full(fd, data, MIN(size, (size_t) 8192), 0) == 0);
                patch_run_give(run, fd);
        }
        assert(rebuilt.at <= LIMIT && fstat(rebuilt.fd, &st) == 0 && (uint64_t) st.st_size <= LIMIT);
        return 0;
}
