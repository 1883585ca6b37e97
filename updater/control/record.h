/* SPDX-License-Identifier: MIT */
#pragma once

/* What this host remembers, as documents for people and auditors, whoever asks: the command line or the bus. Reads only; names
 * people, hosts and addresses (but for the quarantine), so who may see them is the caller's concern. */

#include "base/env.h"
#include "base/json.h"

/* What is read where memory is no concern, and what an agent of a few megabytes reads: about a thousand events. */
#define RECORD_HISTORY_ALL   (8u * 1024u * 1024u)
#define RECORD_HISTORY_AGENT (512u * 1024u)

/* gybe.history/1, its newest max bytes; *ret_broken: the line where the hash chain breaks, 0 it holds */
int record_history(const Env *env, uint64_t max, Json **ret, uint64_t *ret_broken, Why *why);
/* gybe.quarantine/1 */
int record_quarantine(const Env *env, Json **ret, Why *why);
/* gybe.audit/1: all of it, with trust.json and the trust roots, in one document. What cannot be read is named in "problems". */
int record_audit(const Env *env, uint64_t history_max, Json **ret, Why *why);
