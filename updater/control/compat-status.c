/* SPDX-License-Identifier: MIT */

#include "control/compat.h"
#include "base/str.h"

#define IDLE        "UPDATE_STATUS_IDLE"
#define CHECKING    "UPDATE_STATUS_CHECKING_FOR_UPDATE"
#define DOWNLOADING "UPDATE_STATUS_DOWNLOADING"
#define VERIFYING   "UPDATE_STATUS_VERIFYING"
#define FINALIZING  "UPDATE_STATUS_FINALIZING"
#define NEED_REBOOT "UPDATE_STATUS_UPDATED_NEED_REBOOT"
#define REPORTING   "UPDATE_STATUS_REPORTING_ERROR_EVENT"

/* What a verb's job is called before it has said what it does, and while it does something that has no word here. NULL: it is
 * no news to these clients. */
static const struct {
        const char *verb, *operation;
} verbs[] = {
        { "check", CHECKING },      { "stage", CHECKING },      { "update", CHECKING },
        { "finalize", FINALIZING }, { "rollback", FINALIZING },
};

static const struct {
        const char *what, *operation;
} works[] = {
        { "checking", CHECKING },
        { "staging", DOWNLOADING },
        { "verifying", VERIFYING },
        { "asking for the reboot lock", FINALIZING },
};

static const char *operation_of_job(const AgentProperties *p)
{
        const char *found = NULL;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq0(p->job_verb, verbs[i].verb))
                        found = verbs[i].operation;
        for (size_t i = 0; found && i < ELEMENTSOF(works); i++)
                if (streq(p->progress.what, works[i].what))
                        return works[i].operation;
        return found;
}

static bool failed_last(const AgentProperties *p)
{
        return streq0(p->outcome, "rolled-back") || streq0(p->outcome, "rejected");
}

static const char *operation_of(const AgentProperties *p, unsigned pending)
{
        const char *job = p->job_id ? operation_of_job(p) : NULL;

        if (job)
                return job;
        /* what was asked for, and has not begun yet: it must be seen to have left where it was */
        if (pending & COMPAT_PENDING_RESET)
                return FINALIZING;
        if (p->reboot_awaited)
                return NEED_REBOOT;
        if (pending & COMPAT_PENDING_ATTEMPT)
                return CHECKING;
        if (streq0(p->job_verb, "deliver") && failed_last(p))
                return REPORTING;
        return IDLE;
}

CompatStatus compat_status(const AgentProperties *p, unsigned pending)
{
        CompatStatus s = { .operation = operation_of(p, pending),
                           .version = p->target_version    ? p->target_version
                                      : p->offered_version ? p->offered_version
                                                           : "0.0.0",
                           .last_checked = p->last_check > INT64_MAX ? 0 : (int64_t) p->last_check };

        if (!streq(s.operation, DOWNLOADING) && !streq(s.operation, VERIFYING))
                return s;
        s.size = p->progress.total > INT64_MAX ? 0 : (int64_t) p->progress.total;
        if (p->progress.total > 0)
                s.progress = (double) MIN(p->progress.done, p->progress.total) / (double) p->progress.total;
        return s;
}

bool compat_needs_reboot(const CompatStatus *s)
{
        return streq(s->operation, NEED_REBOOT);
}

bool compat_is_idle(const CompatStatus *s)
{
        return streq(s->operation, IDLE);
}
