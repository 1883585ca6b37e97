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

/* What the three doors are asked about: one release on one host. Strings are borrowed. */
typedef struct PolicySubject {
        const char *version;    /* NULL: no release is at hand (may we even ask?) */
        uint64_t serial;        /* 0 unknown; release and machine id decide the place in a rollout wave */
        uint64_t issued;        /* 0 unknown */
        const char *machine_id; /* NULL unknown: first in no wave, last in all */
        bool unattended; /* the agent asks: the automation level counts. A person who types is the automation. */
        bool override; /* a person said so, on the record: windows, waves, age and holds do not count */
} PolicySubject;

typedef enum PolicyDoor {
        POLICY_FETCH,    /* may its bytes come here? */
        POLICY_FINALIZE, /* may the next boot try it? */
        POLICY_REBOOT,   /* may the machine reboot for it? */
        _POLICY_DOOR_MAX,
        _POLICY_DOOR_INVALID = -22,
} PolicyDoor;

typedef enum PolicyAnswer {
        POLICY_GO,
        POLICY_WAIT,  /* until verdict.until; UINT64_MAX: until somebody changes a rule */
        POLICY_NEVER, /* not this release under these rules */
        _POLICY_ANSWER_MAX,
        _POLICY_ANSWER_INVALID = -22,
} PolicyAnswer;

typedef struct PolicyVerdict {
        PolicyAnswer answer;
        uint64_t until;
        const char *
                rule; /* "window", "hold", "pin", "skip", "rollout", "minimumAge", "automation"; NULL with GO */
        char because[240]; /* one sentence for people; "" with GO */
} PolicyVerdict;

const char *policy_door_name(PolicyDoor door);
const char *policy_answer_name(PolicyAnswer answer);

/* Pure. The strictest rule speaks: NEVER before WAIT, the latest T among the waits. */
void policy_ask(const Policy *policy, PolicyDoor door, const PolicySubject *subject, uint64_t now,
                PolicyVerdict *ret);

void policy_done(Policy *policy);

/* May this version be taken now? -EPERM with WHY_POLICY and the rule that says no. Pure. */
int policy_may_take(const Policy *policy, const char *version, uint64_t now, Why *why);

/* Adds a file's rules to *policy: what it says replaces, what it does not say stays. */
int policy_parse(const void *data, size_t size, const char *what, Policy *policy, Why *why);
/* As config_load(): what is wrong is said and left out. */
int policy_load(const Env *env, Policy *ret, Why *why);
