/* SPDX-License-Identifier: MIT */
#include "base/str.h"
#include "policy/window.h"
#include "policy/zone.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever a zone file says: the pieces follow each other and end, and a window on it opens when it says it will. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        PolicyWindow window = { .days = 0x2a, .start_sec = 9000, .length_sec = 20000 };
        Policy p = { .windows = &window, .n_windows = 1 };
        _cleanup_(policy_zone_freep) PolicyZone *z = NULL;
        Why why = { 0 };
        uint64_t t = 0, until;

        if (size > 64 * 1024)
                return 0;
        if (policy_zone_parse(data, size, "fuzz", &z, &why) < 0) {
                assert(why.kind == WHY_USAGE && !z);
                return 0;
        }
        window.zone = z;
        for (unsigned i = 0; i < 200 && t != UINT64_MAX; i++, t = until) {
                int64_t offset = policy_zone_offset(z, t, &until), same;
                uint64_t end;

                assert(until > t && offset > -26 * 3600 && offset < 27 * 3600);
                same = policy_zone_offset(z, until == UINT64_MAX ? t + 1 : until - 1, &end);
                assert(same == offset || until == UINT64_MAX);
        }
        for (t = 1500000000; t < 1500000000 + 86400 * 30; t += 86400 * 5) {
                uint64_t opens = windows_earliest(&p, t), next = windows_next(&p, t);

                assert(next > t && opens >= t);
                assert(opens == UINT64_MAX || windows_open(&p, opens));
                assert(next == UINT64_MAX || windows_open(&p, next) != windows_open(&p, t));
        }
        return 0;
}
