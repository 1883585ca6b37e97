/* SPDX-License-Identifier: MIT */

#include "control/event.h"
#include "base/str.h"

#define FIELDS_MAX 16u /* of a caller; a journal entry about an update has nine */

typedef struct Row {
        const char *name, *id;
        unsigned priority; /* as syslog counts: 2 critical, 3 error, 4 warning, 5 notice, 6 information */
        const char *sentence;
} Row;

/* clang-format off */
static const Row rows[_EVENT_MAX] = {
        [EVENT_STAGED] = { "staged", "7dfcb0aaa5b44e17be14a7bec12feba5", 6,
                "is staged" },
        [EVENT_FINALIZED] = { "finalized", "e8660489643441668214ccb0ea7f9859", 5,
                "is finalized: the next boot tries it, once" },
        [EVENT_TRIAL] = { "trial", "53fcb447191642b5bf8b878489b7705e", 5,
                "runs, on trial" },
        [EVENT_COMMITTED] = { "committed", "b6d64dd557ff4bd484f3706e558d0778", 5,
                "is kept: it is the default from now on" },
        [EVENT_RETURNED] = { "returned", "c8479cc45e0f439bbea2004095487f4f", 5,
                "runs again, as asked" },
        [EVENT_SUPERSEDED] = { "superseded", "78b4d88e926f4c4e943fec4afc11031b", 6,
                "is not wanted any more: another release takes its place" },
        [EVENT_HEALTH_FAILED] = { "health-failed", "e163ef7e17d047a1977b2fcabb8da597", 3,
                "failed its health checks: this host goes back" },
        [EVENT_HEALTH_FALLBACK] = { "health-fallback", "cdcd52aae6794c5a9638667e4e33fb3b", 3,
                "was left: it had failed its health checks" },
        [EVENT_DEADLINE] = { "deadline", "5b014f01adb645c2a10d8a16bd340255", 3,
                "was left: it was not committed in time" },
        [EVENT_FIRMWARE_FALLBACK] = { "firmware-fallback", "3a43390485e245c2bdceb255b8c7e12a", 3,
                "was left: it did not come up" },
        [EVENT_POWER_LOSS_RETRY] = { "power-loss-retry", "4d1cf15c80e041f3ab9c1ca82d8d8347", 4,
                "did not come up; it gets another attempt" },
        [EVENT_OPERATOR] = { "operator", "90a530c130864db6b74ce6982eb4d6be", 5,
                "was given up by an operator" },
        [EVENT_NEVER_REBOOTED] = { "never-rebooted", "04f1b24f2b144d5cbc11f8a58f0a3766", 4,
                "is finalized, and the reboot has not come" },
        [EVENT_INTERRUPTED_STAGE] = { "interrupted-stage", "0cf618c142534b14889309a17fdc8be1", 4,
                "was interrupted: it has to be staged again" },
        [EVENT_WRONG_SLOT] = { "wrong-slot", "94c026e1e87c43ad9989918e05529548", 4,
                "is not what runs, nor is what ran before it" },
        [EVENT_REIMAGED] = { "reimaged", "8bd2b234b31f493683688a746ea637d8", 5,
                "is not what runs: the disk was replaced" },
        [EVENT_JOURNAL_LOST] = { "journal-lost", "6b3434eaf41a43ffa147c52ebbb5a5a1", 3,
                "what gybe was doing is lost" },
        [EVENT_TRUST_LOST] = { "trust-lost", "f884c0808c6b4b6487aca4669feffa2a", 2,
                "the serial floor and revocations of this host are lost" },
        [EVENT_QUARANTINED] = { "quarantined", "cfc64e5509894290b3779a5d8b22900e", 3,
                "is in quarantine: this content is not tried again here" },
        [EVENT_REFUSED_TRUST] = { "refused-trust", "f454b87ad0004d7994f73949cf78bd4f", 2,
                "refused: it cannot be trusted" },
        [EVENT_REFUSED_POLICY] = { "refused-policy", "4e77c14760b14dab9d2a1f98975d5376", 5,
                "refused by this host's rules" },
        [EVENT_REFUSED_QUARANTINE] = { "refused-quarantine", "4b93248eb725499ebfda7aca279a2282", 4,
                "refused: its content is in quarantine" },
        [EVENT_WAITING] = { "waiting", "6eac7c7b36184ebc810b108242ee7b69", 6,
                "waits" },
        [EVENT_GUARANTEE_MISSING] = { "guarantee-missing", "997b01e99a88453a8e9d8e17b155f496", 4,
                "could not prove everything about the way back" },
        [EVENT_REBOOT_INHIBITED] = { "reboot-inhibited", "8497723e8e6e4a99b44309dc62994322", 4,
                "waits for a reboot that somebody holds up" },
        [EVENT_SOURCE_UNREACHABLE] = { "source-unreachable", "181a38f271774df5b2e52fe97fdf5647", 4,
                "the source of releases cannot be reached" },
        [EVENT_OUTBOX_STUCK] = { "outbox-stuck", "43492b0d6bb64e42b78bcae86732e0ec", 4,
                "reports cannot be delivered" },
        [EVENT_FAILED] = { "failed", "5b8eeb60872c424988a5ad6a49f60ece", 3,
                "failed" },
};
/* clang-format on */

const char *event_name(Event e)
{
        return e >= 0 && e < _EVENT_MAX ? rows[e].name : NULL;
}

const char *event_message_id(Event e)
{
        return e >= 0 && e < _EVENT_MAX ? rows[e].id : NULL;
}

void event_log(const Env *env, Event e, const char *about, const char *detail, const LogField *fields,
               size_t n_fields)
{
        LogField all[FIELDS_MAX + 3];
        _cleanup_(free_charp) char *text = NULL;
        size_t n = 0;

        if (e < 0 || e >= _EVENT_MAX)
                return;
        text = str_printf("%s: %s%s%s", about ? about : "gybe", rows[e].sentence,
                          detail && *detail ? ": " : "", detail ? detail : "");
        all[n++] = (LogField){ "GYBE_EVENT", rows[e].name };
        all[n++] = (LogField){ "GYBE_VERSION", about };
        /* the catalog's text names it: never empty */
        all[n++] = (LogField){ "GYBE_MESSAGE", detail && *detail ? detail : rows[e].sentence };
        for (size_t i = 0; i < n_fields && i < FIELDS_MAX; i++)
                all[n++] = fields[i];
        log_event(env, rows[e].id, rows[e].priority, text ? text : rows[e].sentence, all, n);
}
