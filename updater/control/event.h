/* SPDX-License-Identifier: MIT */
#pragma once

/* What an operator may want to look up: each outcome, refusal and wait has a message id, and an entry in the journal catalog
 * (units/gybe.catalog) that says what it means and what to do. `journalctl -x MESSAGE_ID=...` finds them. The ids never change;
 * a new event gets a new one. Knows no walk: who calls knows what happened. */

#include "base/log.h"

typedef enum Event {
        /* the way there */
        EVENT_STAGED,
        EVENT_FINALIZED,
        EVENT_TRIAL,
        EVENT_COMMITTED,
        EVENT_RETURNED, /* a rollback that somebody asked for was kept */
        EVENT_SUPERSEDED,

        /* the way back, by reason */
        EVENT_HEALTH_FAILED, /* in the new slot: it goes back */
        EVENT_HEALTH_FALLBACK,
        EVENT_DEADLINE,
        EVENT_FIRMWARE_FALLBACK,
        EVENT_POWER_LOSS_RETRY,
        EVENT_OPERATOR,
        EVENT_NEVER_REBOOTED,
        EVENT_INTERRUPTED_STAGE,
        EVENT_WRONG_SLOT,
        EVENT_REIMAGED,

        /* memory */
        EVENT_JOURNAL_LOST,
        EVENT_TRUST_LOST,
        EVENT_QUARANTINED,

        /* no, and not yet */
        EVENT_REFUSED_TRUST,
        EVENT_REFUSED_POLICY,
        EVENT_REFUSED_QUARANTINE,
        EVENT_WAITING, /* a window, a wave, an age, a hold that ends */
        EVENT_GUARANTEE_MISSING,
        EVENT_REBOOT_INHIBITED,
        EVENT_SOURCE_UNREACHABLE,
        EVENT_OUTBOX_STUCK,
        EVENT_FAILED, /* this host: an admin must look */
        _EVENT_MAX,
        _EVENT_INVALID = -22,
} Event;

/* Also the field GYBE_EVENT. */
const char *event_name(Event e);
const char *event_message_id(Event e);

/* about: the version (or NULL: this host); detail: one sentence more, or NULL. */
void event_log(const Env *env, Event e, const char *about, const char *detail, const LogField *fields,
               size_t n_fields);
