/* SPDX-License-Identifier: MIT */
#pragma once

/* The FleetLock protocol (coreos/zincati docs/development/fleetlock/protocol.md), as far as it has no network in it: what to
 * ask, and what an answer means. Two questions, both safe to repeat: "may I reboot?" takes a recursive lock, "I am steady"
 * gives it back whether it was held or not. */

#include "base/why.h"

#define FLEETLOCK_HEADER        "fleet-lock-protocol: true"
#define FLEETLOCK_GROUP_DEFAULT "default"
#define FLEETLOCK_TEXT_MAX      200u

typedef enum FleetlockAsk {
        FLEETLOCK_PRE_REBOOT,
        FLEETLOCK_STEADY_STATE,
        _FLEETLOCK_MAX,
} FleetlockAsk;

/* A base without a final slash loses nothing of its path. */
char *fleetlock_url(const char *base, FleetlockAsk ask);
/* -EINVAL: an empty id, or a group that is not [a-zA-Z0-9.-]+ */
int fleetlock_body(const char *id, const char *group, char **ret);

typedef struct FleetlockReply {
        bool success; /* any 2xx; the body does not count then */
        bool taken;   /* no, because others hold it: the usual no */
        char kind
                [FLEETLOCK_TEXT_MAX]; /* of the failure, the server's or "generic_http_423"; printable ASCII, as value */
        char value[FLEETLOCK_TEXT_MAX];
} FleetlockReply;

void fleetlock_judge(unsigned status, const void *body, size_t size, FleetlockReply *ret);
