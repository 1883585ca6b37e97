/* SPDX-License-Identifier: MIT */
#pragma once

/* com.coreos.update1 on the bus, for clients that were written for update_engine: locksmithd, FLUO's update-agent,
 * update_engine_client. Opt-in (gybe.json: compat.coreosUpdate1). Says in that language what the agent is doing, and takes its
 * two orders; what they mean is decided by the same policy as everything else. Who may call is said by the bus's policy file
 * (root, and user core), as it was.
 *
 * The one word that must be right is UPDATE_STATUS_UPDATED_NEED_REBOOT: whoever sees it reboots this host. It is said exactly
 * while an update is armed and the slot that runs is still the old one; a staged update is IDLE.
 *
 * With reboot.coordinator none, fleetlock or hook it is gybe that reboots: then it holds coordinator.conf, and locksmithd does
 * not start. With dbus or kured others do, and gybe does not. */

#include "control/service.h"

typedef struct Compat Compat;

/* --- pure: compat-status.c --- */

typedef struct CompatStatus {
        const char *operation; /* UPDATE_STATUS_..., static */
        double progress;       /* 0 to 1 */
        const char *version;   /* borrowed from the properties; "0.0.0" none */
        int64_t size;          /* bytes of the new image, 0 unknown */
        int64_t last_checked;  /* 0 never */
} CompatStatus;

typedef enum CompatPending {
        COMPAT_PENDING_ATTEMPT = 1 << 0, /* AttemptUpdate was called and its job has not ended */
        COMPAT_PENDING_RESET = 1 << 1,   /* the same with ResetStatus */
} CompatPending;

CompatStatus compat_status(const AgentProperties *p, unsigned pending);
bool compat_needs_reboot(const CompatStatus *s);
bool compat_is_idle(const CompatStatus *s);

/* --- on the bus: compat.c --- */

/* -EEXIST with WHY_BUSY: update_engine itself is there. */
int compat_open(const ServiceOptions *options, Compat **ret, Why *why);
Compat *compat_free(Compat *c);
void compat_freep(Compat **c);

/* From the agent's callbacks. */
void compat_changed(Compat *c);
void compat_job_ended(Compat *c, const char *id);
