/* SPDX-License-Identifier: MIT */
#pragma once

/* `gybe policy explain`: the rules asked about the release that is at hand on this host, as the agent would ask them. */

#include "policy/policy.h"

/* Strings are borrowed. */
typedef struct ExplainQuestion {
        const char *version; /* about this one; NULL: what is under way, else what is offered */
        const char *offered; /* the source has it and nobody took it yet; NULL none known */
        uint64_t offered_serial, offered_issued;
        uint64_t at;   /* 0: now */
        bool override; /* as a person who passes what can be passed */
} ExplainQuestion;

/* gybe.policy/1. Who may not read the journal gets the answer without it. */
int explain_policy(const Env *env, const Policy *policy, const ExplainQuestion *question, Json **ret);
