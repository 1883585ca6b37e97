/* SPDX-License-Identifier: MIT */

/* What becomes of the evidence: it is stored before the decision that follows from it is carried out, its cause goes into the
 * journal, history and every message, and the crash dumps that it holds are taken out of NVRAM when all that is durable. A
 * black box that cannot be written never keeps a machine from going back. */

#include "update.h"
#include "blackbox.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>

bool update_has_failed(const Recovery *rec)
{
        if (rec->phase == PHASE_PROBATION)
                return false; /* it still runs */
        switch (rec->reason) {
        case REASON_FIRMWARE_FALLBACK:
        case REASON_HEALTH_FALLBACK:
        case REASON_DEADLINE:
        case REASON_POWER_LOSS_RETRY:
                return true;
        case REASON_JOURNAL_LOST:
                return rec->by_intent && rec->close;
        default:
                return false;
        }
}

static int copy(char **to, const char *from)
{
        char *s = from ? strdup(from) : NULL;

        if (from && !s)
                return -ENOMEM;
        free(*to);
        *to = s;
        return 0;
}

static int identify(const Journal *j, const Recovery *rec, Evidence *e)
{
        e->attempt = j->attempt;
        e->slot = j->slot;
        e->reason = rec->reason;
        memcpy(e->roothash, j->roothash, sizeof(e->roothash));
        return copy(&e->update_id, j->update_id) < 0 || copy(&e->version, j->version) < 0 ||
                               copy(&e->entry, j->entry) < 0
                       ? -ENOMEM
                       : 0;
}

/* The verdict's own words, where the journal that had them is lost. */
static const char *verdict(const Journal *j, const Evidence *e)
{
        const char *first = json_get_str(e->health, "firstFailure");

        return j->reason == REASON_HEALTH_FALLBACK && j->message ? j->message : first;
}

int update_conclude(Update *u, const Recovery *rec, Evidence *e)
{
        Journal *j = &u->host.journal;
        Why why = { 0 };
        char name[64];
        int r;

        if ((r = identify(j, rec, e)) < 0)
                return r;
        evidence_conclude(e, verdict(j, e));
        evidence_name(e->update_id, e->attempt, name);
        if ((r = copy(&j->failed_kind, e->kind)) < 0 || (r = copy(&j->cause, e->cause)) < 0 ||
            (r = copy(&j->failed_stage, boot_stage_name(e->stage))) < 0)
                return r;
        r = evidence_save(u->env, e, &why);
        if (r < 0) {
                log_warning("%s; what is known of the boot that failed is not kept", why.text);
                return copy(&j->evidence, NULL);
        }
        return copy(&j->evidence, name);
}

void update_release_evidence(Update *u, const Evidence *e)
{
        if (!u->host.journal.evidence)
                return;
        for (size_t i = 0; i < e->dumps.n; i++)
                if (e->dumps.list[i].blame > CRASH_OTHER && crash_dump_remove(u->env, &e->dumps.list[i]) < 0)
                        log_debug("%s stays in pstore", e->dumps.list[i].name);
}
