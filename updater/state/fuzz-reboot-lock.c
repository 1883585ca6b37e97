/* SPDX-License-Identifier: MIT */

/* Any bytes: no crash, no leak; at most one lock is held; and what was accepted can be written and read back as the same. */

#include "state/state.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(reboot_locks_done) RebootLocks first = { 0 }, second = { 0 };
        _cleanup_(free_charp) char *once = NULL, *twice = NULL;

        if (reboot_locks_parse(data, size, &first, NULL) < 0)
                return 0;
        assert(reboot_locks_format(&first, &once) >= 0);
        assert(reboot_locks_parse(once, strlen(once), &second, NULL) >= 0);
        assert(reboot_locks_format(&second, &twice) >= 0 && streq(once, twice));
        (void) reboot_locks_unwant(&first, 1);
        assert(!reboot_locks_held(&first));
        return 0;
}
