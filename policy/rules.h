/* SPDX-License-Identifier: MIT */
#pragma once

/* Each rule alone: what it says at an instant, when it says something else, and in which words. Pure; used inside this
 * room only. Override is the doors' business. */

#include "policy/policy.h"

typedef struct RuleState {
        PolicyAnswer answer;
        uint64_t opens; /* with WAIT: when it goes; UINT64_MAX: when somebody changes it */
        uint64_t
                changes; /* the first later instant at which the answer is another one; UINT64_MAX: by itself never */
} RuleState;

/* Is this rule asked at that door about that subject? */
bool rule_applies(PolicyRule rule, PolicyDoor door, const PolicySubject *subject);
bool rule_at_door(PolicyRule rule, PolicyDoor door);
bool rule_overridable(PolicyRule rule);
void rule_ask(const Policy *policy, PolicyRule rule, PolicyDoor door, const PolicySubject *subject,
              uint64_t t, RuleState *ret);
/* The sentence of a rule that does not go. */
void rule_because(const Policy *policy, PolicyRule rule, PolicyDoor door, const PolicySubject *subject,
                  const RuleState *state, char *ret, size_t size);

/* When this host's turn comes: 0 it needs none, UINT64_MAX it does not come by itself. */
uint64_t rollout_opens(const Policy *policy, const PolicySubject *subject);
