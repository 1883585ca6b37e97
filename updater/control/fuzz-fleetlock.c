/* SPDX-License-Identifier: MIT */

/* A lock server's answer, any bytes: the first two are the status. Whatever it says, its words are short and printable, and
 * only a 2xx is a yes. */

#include "control/fleetlock.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_words(const char *s)
{
        assert(strlen(s) < FLEETLOCK_TEXT_MAX);
        for (; *s; s++)
                assert(*s >= 0x20 && *s <= 0x7e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        FleetlockReply reply;
        unsigned status;

        if (size < 2)
                return 0;
        status = 200 + (data[0] * 256u + data[1]) % 800;
        fleetlock_judge(status, data + 2, size - 2, &reply);
        assert(reply.success == (status < 300) && (reply.success || reply.kind[0]) &&
               !(reply.success && reply.taken));
        check_words(reply.kind);
        check_words(reply.value);
        return 0;
}
