/* SPDX-License-Identifier: MIT */

/* How things were before the slot was left: written by the slot that works, read by the one on trial. What stands in it is the
 * health room's; this room only keeps it. A lost one means that nothing is known about before. */

#include "state/document.h"

#include <errno.h>

#define BASELINE_NAME "baseline.json"
/* every failed and restarted unit of a host with thousands of them */
#define BASELINE_MAX (2u * 1024u * 1024u)

int baseline_load(const Env *env, Json **ret, Why *lost, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r;

        r = document_read(env, BASELINE_NAME, BASELINE_MAX, &b, lost, why);
        if (r != DOCUMENT_READ)
                return r < 0 ? r : 0;
        r = document_parse(b.data ? (const void *) b.data : "", b.size, "baseline", ret, lost);
        return r == -ENOMEM ? r : r >= 0;
}

int baseline_save(const Env *env, const Json *content, Why *why)
{
        _cleanup_(json_unrefp) Json *document = document_new("baseline", content);
        _cleanup_(free_charp) char *text = NULL;
        int r = document_format(document, &text);

        return r < 0 ? r : document_write(env, BASELINE_NAME, text, why);
}
