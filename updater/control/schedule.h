/* SPDX-License-Identifier: MIT */
#pragma once

/* What the agent does next, when, and which rule says so. Pure: facts, rules and a time come in, a plan goes out; a table in
 * test-schedule.c walks it. Refuses to know how jobs are run. Used inside this room only.
 *
 * The rules of the house, besides those of policy/:
 * - nothing while a slot is on trial, but the reboot that a verdict against it asked for and that never came;
 * - a newer release while one is staged is staged instead; a finalized one makes way for a person's word only;
 * - what is in quarantine is never staged, what was refused by trust not again before something else is offered;
 * - a reboot that never comes is asked for again when the journal says so (reboot_wait()); the job that does it tells. */

#include "control/memory.h"
#include "policy/policy.h"
#include "state/state.h"

typedef struct ScheduleFacts {
        /* how things are: status.json, journal.json */
        bool status_known; /* somebody looked since the boot and since the last change */
        Phase phase;
        bool rollback, no_reboot;
        bool given_up; /* on trial, and the verdict against it is written: only the reboot is missing */
        const char *update_id, *version, *roothash; /* of the update in progress; NULL none */
        uint64_t serial, issued;
        const char *running_roothash;  /* NULL unknown */
        uint64_t running_serial;       /* 0 unknown */
        const char *machine_id;        /* NULL unknown */
        const char *offer_quarantined; /* why the offered content is in quarantine; NULL it is not */
        unsigned reboot_asks;          /* for the reboot that is due: reboot_wait() */
        uint64_t reboot_again_at;
        bool reboot_never;
        const char *reboot_blocked; /* NULL: nobody refused it */

        /* the configuration */
        bool has_source;
        uint64_t interval;
        const char *problem; /* NULL: none */

        /* what waits elsewhere */
        uint64_t unlock_at;  /* UINT64_MAX: no lock is to be given back */
        uint64_t deliver_at; /* UINT64_MAX: nothing to deliver */

        uint64_t started_at; /* of the agent */
        uint64_t seed;       /* of the machine: schedule_seed() */
} ScheduleFacts;

typedef struct ScheduleItem {
        bool wanted;
        uint64_t at;      /* UINT64_MAX: when something changes */
        const char *rule; /* NULL: no rule stands in the way */
        char because[512];
} ScheduleItem;

typedef struct Schedule {
        ScheduleItem items[_ACTION_MAX];
        Action due;    /* ACTION_NONE: nothing now */
        uint64_t wake; /* of the earliest one that is not due; UINT64_MAX none */
        Action headline; /* what a person wants to know about: the next step of the update, not the next chore */
} Schedule;

/* Stable on one machine, evenly spread over many. */
uint64_t schedule_seed(const char *machine_id);
void schedule_plan(const ScheduleFacts *facts, const Policy *policy, const Memory *memory, uint64_t now,
                   Schedule *ret);
/* When the source is asked next: on this machine's place in every interval. Also for tests. */
uint64_t schedule_check_at(const ScheduleFacts *facts, const Memory *memory, uint64_t now);
