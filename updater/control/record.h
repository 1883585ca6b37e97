/* SPDX-License-Identifier: MIT */
#pragma once

/* What this host remembers, as documents for people and auditors, whoever asks: the command line or the bus. Reads only; names
 * people, hosts and addresses (but for the quarantine), so who may see them is the caller's concern. */

#include "base/env.h"
#include "base/json.h"

/* gybe.history/1; *ret_broken: the line where the hash chain breaks, 0 it holds */
int record_history(const Env *env, Json **ret, uint64_t *ret_broken, Why *why);
/* gybe.quarantine/1 */
int record_quarantine(const Env *env, Json **ret, Why *why);
/* gybe.audit/1: all of it, with trust.json and the trust roots, in one document. What cannot be read is named in "problems". */
int record_audit(const Env *env, Json **ret, Why *why);
