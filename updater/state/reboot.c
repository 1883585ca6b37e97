/* SPDX-License-Identifier: MIT */

/* A reboot that was asked for and does not come. */

#include "state/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void reboot_wait(const Journal *j, uint64_t now, RebootWait *ret)
{
        uint64_t pause = REBOOT_PATIENCE_SEC;

        *ret = (RebootWait){ 0 };
        if (j->reboot_asks == 0 || j->reboot_asked_at == 0)
                return;
        for (unsigned i = 1; !j->reboot_blocked && i < j->reboot_asks && pause < REBOOT_AGAIN_MAX_SEC; i++)
                pause *= 2;
        ret->again_at = j->reboot_asked_at + MIN(pause, (uint64_t) REBOOT_AGAIN_MAX_SEC);
        /* a clock that was set back would make us wait for years */
        if (j->reboot_asked_at > now)
                ret->again_at = now;
        ret->never = j->reboot_asks >= REBOOT_ASKS_NEVER &&
                     (j->reboot_asked_at > now || now - j->reboot_asked_at >= REBOOT_PATIENCE_SEC);
}

int reboot_asked(Journal *j, uint64_t now, const char *by)
{
        char *text = by ? strdup(by) : NULL;

        if (by && !text)
                return -ENOMEM;
        j->reboot_asked_at = now;
        if (j->reboot_asks < UINT32_MAX)
                j->reboot_asks++;
        free(j->reboot_blocked);
        j->reboot_blocked = text;
        return 0;
}

void reboot_forget(Journal *j)
{
        j->reboot_asked_at = 0;
        j->reboot_asks = 0;
        j->reboot_told = false;
        free(j->reboot_blocked);
        j->reboot_blocked = NULL;
}

bool journal_given_up(const Journal *j)
{
        return j->phase == PHASE_PROBATION && (j->reason == REASON_HEALTH_FALLBACK ||
                                               j->reason == REASON_OPERATOR || j->reason == REASON_DEADLINE);
}
