/* SPDX-License-Identifier: MIT */
#pragma once

/* May this caller do that? asked of org.freedesktop.PolicyKit1 without waiting for the answer: a person may have to type a
 * password. uid 0, and whoever this process runs as, always may; where polkit is not there, nobody else may. The number of open
 * questions is bounded, for one user and for all, so that callers cannot make the agent grow. */

#include "base/why.h"

typedef struct sd_bus sd_bus;
typedef struct sd_bus_message sd_bus_message;

#define POLKIT_OPEN_MAX                                                                                      \
        32u /* questions at a time: a password takes a minute, an administrator has two hands */
#define POLKIT_OPEN_PER_UID 4u

/* The code of a refusal where no polkit is installed. */
#define POLKIT_MISSING "polkit-missing"

typedef struct Polkit Polkit;

/* Once for every question that polkit_ask() took. granted 1: may; 0: may not, and *why says so. ctx is the callee's again. */
typedef void (*PolkitDecided)(void *ctx, sd_bus_message *call, int granted, const Why *why);

int polkit_open(sd_bus *bus, Polkit **ret);
/* Open questions are dropped: drop gets each ctx. */
Polkit *polkit_free(Polkit *polkit);
void polkit_freep(Polkit **polkit);

/* 1: may, at once. 0: asked; decided (with ctx) or, when the answer is not waited for any more, drop (with ctx) follows.
 * Negative: refused at once, *why says why (WHY_BUSY: too many questions). call is the message whose sender asks. */
int polkit_ask(Polkit *polkit, sd_bus_message *call, uint64_t uid, const char *action, PolkitDecided decided,
               void (*drop)(void *ctx), void *ctx, Why *why);
