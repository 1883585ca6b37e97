/* SPDX-License-Identifier: MIT */
#pragma once

/* One question to whoever coordinates reboots: a FleetLock server through gybe-fetch, or an operator's program. What is done
 * with the answer, and what must be written down before, is update-coordinate.c's business. */

#include "update.h"

/* Where the rules say that the lock is asked for. 1 and *ret; 0: by nobody that is asked (none, kured). */
int coordinator_lock(const Update *u, RebootLock *ret, Why *why);

typedef struct CoordinatorReply {
        bool not_held;            /* a refusal that leaves no doubt: there is nothing to give back */
        bool not_heard;           /* the question reached nobody: what was held before is held still */
        uint64_t retry_after_sec; /* 0 nothing said */
} CoordinatorReply;

/* 0 yes. Negative: no, with WHY_POLICY when others hold it or the answer was no, else that there was none. */
int coordinator_ask(Update *u, const RebootLock *lock, bool give_back, uint64_t timeout_sec,
                    CoordinatorReply *ret, Why *why);
/* "lock.example:8443 (group default)", for people. */
void coordinator_name(const RebootLock *lock, char *out, size_t size);
