/* SPDX-License-Identifier: MIT */

/* Our own memory, damaged: what can be read can be written and read again. */

#include "control/node-state.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(node_state_done) NodeState s = { 0 }, again = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        Why why = { 0 };

        if (size > 64 * 1024 || node_state_parse(data, size, &s, &why) < 0)
                return 0;
        assert(node_state_format(&s, &text) == 0);
        assert(node_state_parse(text, strlen(text), &again, &why) == 0);
        assert(s.n_answers == again.n_answers && s.current.set == again.current.set &&
               s.pending.set == again.pending.set);
        return 0;
}
