/* SPDX-License-Identifier: MIT */
#pragma once

/* May we, and when? The rules an operator wrote, as values. Pure but for reading the drop-ins (policy.d, *.json) of
 * /usr/lib/gybe, /etc/gybe and /run/gybe, in that order, merged by field (formats.md section 6). */

#include "base/env.h"

typedef struct Policy {
        unsigned attempts;     /* one-shots an image gets when nothing proves it bad */
        uint64_t deadline_sec; /* from the start of a trial boot to its commit; 0: no deadline */
        uint64_t health_timeout_sec;
        char *pin;   /* only this version */
        char **skip; /* never these */
        bool held;
        uint64_t hold_until; /* UINT64_MAX: until somebody says otherwise */
        char *hold_reason, *hold_by;
} Policy;

#define POLICY_DEFAULT                                                                                       \
        (Policy)                                                                                             \
        {                                                                                                    \
                .attempts = 2, .deadline_sec = 15 * 60, .health_timeout_sec = 120                            \
        }

void policy_done(Policy *policy);

/* May this version be taken now? -EPERM with WHY_POLICY and the rule that says no. Pure. */
int policy_may_take(const Policy *policy, const char *version, uint64_t now, Why *why);

/* Adds a file's rules to *policy: what it says replaces, what it does not say stays. */
int policy_parse(const void *data, size_t size, const char *what, Policy *policy, Why *why);
/* As config_load(): what is wrong is said and left out. */
int policy_load(const Env *env, Policy *ret, Why *why);
