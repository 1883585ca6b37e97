/* SPDX-License-Identifier: MIT */

/* Bytes as a container: whatever they are, the parser asks only for what is there and lists only what lies inside. */

#include "fetch/tar.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(tar_freep) Tar *t = NULL;
        Why why = { 0 };

        assert(tar_new("fuzz.cosi", size, WHY_IMAGE, &t) == 0);
        while (!tar_is_complete(t)) {
                uint64_t at = tar_offset(t);

                if (tar_check(t, &why) < 0)
                        break;
                assert(tar_want(t) <= TAR_EXTENDED_MAX && at <= size && tar_want(t) <= size - at);
                if (tar_feed(t, data + at, &why) < 0)
                        break;
                assert(tar_offset(t) > at || tar_is_complete(t));
        }
        assert(tar_is_complete(t) != (why.kind != WHY_NONE));
        for (size_t i = 0; i < tar_n_members(t); i++) {
                const TarMember *m = tar_member(t, i);

                assert(m->offset <= size && m->size <= size - m->offset && *m->name && m->name[0] != '/');
                assert(tar_find(t, m->name) == m);
        }
        return 0;
}
