/* SPDX-License-Identifier: MIT */

/* Any annotation: what is valid keeps the rules, what is answered has two ids, and an answer of ours can be read back. */

#include "control/node-status.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(const NodeRequest *request, const char *text)
{
        _cleanup_(node_status_freep) NodeStatus *back = NULL;
        _cleanup_(node_status_done) NodeStatus s = { .operation = request->operation,
                                                     .code = NODE_INVALID_REQUEST,
                                                     .started = 1,
                                                     .updated = 1,
                                                     .finished = 1 };
        _cleanup_(free_charp) char *json = NULL;

        memcpy(s.node_update_id, request->node_update_id, sizeof(s.node_update_id));
        memcpy(s.operation_id, request->operation_id, sizeof(s.operation_id));
        assert(node_status_say(&s, text) == 0 && strlen(s.message) <= NODE_MESSAGE_MAX);
        assert(node_status_format(&s, &json) == 0);
        assert(node_status_parse(json, strlen(json), &back) == 0 && node_status_same(&s, back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(node_request_done) NodeRequest r = { 0 };
        _cleanup_(node_status_freep) NodeStatus *s = NULL;
        _cleanup_(free_charp) char *text = strndup((const char *) data, size);
        Why why = { 0 };
        int is;

        is = node_request_parse((const char *) data, size, &r, &why);
        assert(is >= 0 && (is == NODE_REQUEST_VALID) == (why.kind == WHY_NONE));
        if (is != NODE_REQUEST_NOISE) {
                assert(strlen(r.node_update_id) == 36 && strlen(r.operation_id) == 36);
                assert(r.operation >= 0 && r.operation < NODE_COMMIT);
                answer(&r, why.text);
                answer(&r, text);
        }
        if (is == NODE_REQUEST_VALID && r.operation != NODE_ROLLBACK)
                assert(*r.target_version && str_starts(r.server, "https://") && *r.app_id && *r.track);
        (void) node_status_parse((const char *) data, size, &s);
        return 0;
}
