/* SPDX-License-Identifier: MIT */

/* The three doors of an update: fetch, finalize, reboot. Each asks the rules that belong to it and passes on the strictest
 * answer with its sentence. Pure: time comes in, nothing goes out. */

#include "policy/policy.h"
#include "base/str.h"

#include <stdio.h>

static const char *const door_names[_POLICY_DOOR_MAX] = {
        [POLICY_FETCH] = "fetch",
        [POLICY_FINALIZE] = "finalize",
        [POLICY_REBOOT] = "reboot",
};

static const char *const answer_names[_POLICY_ANSWER_MAX] = {
        [POLICY_GO] = "go",
        [POLICY_WAIT] = "wait",
        [POLICY_NEVER] = "never",
};

const char *policy_door_name(PolicyDoor door)
{
        return door_names[door];
}

const char *policy_answer_name(PolicyAnswer answer)
{
        return answer_names[answer];
}

void policy_ask(const Policy *policy, PolicyDoor door _unused_, const PolicySubject *subject, uint64_t now,
                PolicyVerdict *ret)
{
        Why why = { 0 };

        *ret = (PolicyVerdict){ .answer = POLICY_GO };
        if (!subject->version || policy_may_take(policy, subject->version, now, &why) >= 0)
                return;
        ret->answer = streq(why.code, "held") ? POLICY_WAIT : POLICY_NEVER;
        ret->until = policy->hold_until;
        ret->rule = streq(why.code, "held") ? "hold" : streq(why.code, "pinned") ? "pin" : "skip";
        (void) snprintf(ret->because, sizeof(ret->because), "%s", why.text);
}
