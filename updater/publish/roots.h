/* SPDX-License-Identifier: MIT */
#pragma once

/* root.json under construction: made new, changed for a rotation. Works on the JSON, so that fields which
 * this version does not know stay as they are. */

#include "base/json.h"
#include "publish/keys.h"

/* An empty root of version 1. */
Json *root_doc_new(void);
/* One signer: a single key, or several of which all must sign (id NULL: the key's own id). role: "root",
 * "release", "feed". Signers of several keys are for release only. */
int root_doc_add(Json *doc, const char *role, const char *id, Key *const *keys, size_t n, Why *why);
/* From every role; -ENOENT when no role has it. */
int root_doc_remove(Json *doc, const char *keyid, Why *why);
void root_doc_threshold(Json *doc, const char *role, uint64_t threshold);
void root_doc_require(Json *doc, char *const *algs);
/* Sets the times, checks it with the hosts' own reader, wraps it. */
int root_doc_finish(Json *doc, uint64_t issued, uint64_t expires, Envelope *ret, Why *why);
