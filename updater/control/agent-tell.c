/* SPDX-License-Identifier: MIT */

/* What the agent tells the system journal by itself: what the next step of an update waits for. Once for each rule and release: an operator who looks in the morning finds one line, not one a minute. What jobs find out
 * they tell themselves. */

#include "control/agent-state.h"
#include "base/str.h"
#include "control/event.h"

#include <stdio.h>

/* The rules of policy/ and of schedule.c that a person would look up; a pause after a failure was told by the job that failed. */
static const struct {
        const char *rule;
        Event event;
} events[] = {
        { "window", EVENT_WAITING },
        { "rollout", EVENT_WAITING },
        { "minimumAge", EVENT_WAITING },
        { "hold", EVENT_WAITING },
        { "automation", EVENT_WAITING },
        { "coordinator", EVENT_WAITING },
        { "pin", EVENT_REFUSED_POLICY },
        { "skip", EVENT_REFUSED_POLICY },
        { "policy-file", EVENT_FAILED },
        { "config", EVENT_FAILED },
        { "quarantine", EVENT_REFUSED_QUARANTINE },
};

static const char *subject_of(const Agent *a)
{
        return a->plan.headline == ACTION_STAGE ? a->memory.offer.version : a->journal.version;
}

void agent_tell_waiting(Agent *a)
{
        const ScheduleItem *next = &a->plan.items[a->plan.headline];
        const char *version = subject_of(a);
        const LogField rule = { "GYBE_RULE", next->rule };
        char told[sizeof(a->told)];

        /* Nothing is in the way: the next time it is news again. But while a job runs that is only its moment. */
        if (!next->rule) {
                if (!agent_busy(a))
                        a->told[0] = 0;
                return;
        }
        (void) snprintf(told, sizeof(told), "%s %s %s", action_name(a->plan.headline), next->rule,
                        version ? version : "");
        if (streq(told, a->told))
                return;
        if (a->plan.headline == ACTION_CHECK && streq(next->rule, "pin"))
                return; /* nothing was refused: it says why nothing is offered */
        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                if (streq(events[i].rule, next->rule)) {
                        memcpy(a->told, told, sizeof(told));
                        event_log(a->env, events[i].event, version, next->because, &rule, 1);
                        return;
                }
}
