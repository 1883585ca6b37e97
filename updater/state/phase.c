/* SPDX-License-Identifier: MIT */

/* One string table for each enum, used by journal, history, status and bus alike. A name is a contract:
 * another gybe version, booted from the other slot, reads it. */

#include "state/state.h"
#include "base/str.h"

static const char *const phase_names[_PHASE_MAX] = {
        [PHASE_IDLE] = "idle",     [PHASE_OFFERED] = "offered",     [PHASE_TRUSTED] = "trusted",
        [PHASE_STAGED] = "staged", [PHASE_FINALIZED] = "finalized", [PHASE_PROBATION] = "probation",
};

static const char *const outcome_names[_OUTCOME_MAX] = {
        [OUTCOME_NONE] = "none",
        [OUTCOME_COMMITTED] = "committed",
        [OUTCOME_ROLLED_BACK] = "rolled-back",
        [OUTCOME_REJECTED] = "rejected",
        [OUTCOME_SUPERSEDED] = "superseded",
};

static const char *const reason_names[_REASON_MAX] = {
        [REASON_NONE] = "none",
        [REASON_TARGET_BOOTED] = "target-booted",
        [REASON_FIRMWARE_FALLBACK] = "firmware-fallback",
        [REASON_HEALTH_FALLBACK] = "health-fallback",
        [REASON_NEVER_REBOOTED] = "never-rebooted",
        [REASON_INTERRUPTED_STAGE] = "interrupted-stage",
        [REASON_REIMAGED] = "reimaged",
        [REASON_WRONG_SLOT] = "wrong-slot",
        [REASON_JOURNAL_LOST] = "journal-lost",
        [REASON_POWER_LOSS_RETRY] = "power-loss-retry",
        [REASON_DEADLINE] = "deadline",
        [REASON_OPERATOR] = "operator",
};

static const char *name_of(const char *const *names, size_t n, int value)
{
        return value >= 0 && (size_t) value < n ? names[value] : NULL;
}

static int value_of(const char *const *names, size_t n, const char *name)
{
        for (size_t i = 0; name && i < n; i++)
                if (streq(names[i], name))
                        return (int) i;
        return -1;
}

const char *phase_name(Phase p)
{
        return name_of(phase_names, _PHASE_MAX, (int) p);
}

Phase phase_from_name(const char *name)
{
        int v = value_of(phase_names, _PHASE_MAX, name);

        return v < 0 ? _PHASE_INVALID : (Phase) v;
}

const char *outcome_name(Outcome o)
{
        return name_of(outcome_names, _OUTCOME_MAX, (int) o);
}

Outcome outcome_from_name(const char *name)
{
        int v = value_of(outcome_names, _OUTCOME_MAX, name);

        return v < 0 ? _OUTCOME_INVALID : (Outcome) v;
}

const char *reason_name(Reason r)
{
        return name_of(reason_names, _REASON_MAX, (int) r);
}

Reason reason_from_name(const char *name)
{
        int v = value_of(reason_names, _REASON_MAX, name);

        return v < 0 ? _REASON_INVALID : (Reason) v;
}
