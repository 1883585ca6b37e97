/* SPDX-License-Identifier: MIT */
#pragma once

/* Who reboots this host, as locksmith's family says it: the file coordinator.conf names the one, and the one keeps an
 * exclusive flock on it while it runs. A file without a lock is what somebody left who is gone. */

#include "base/env.h"

#define COORDCONF_PATH "/run/update-engine/coordinator.conf"

/* Held by somebody who is not gybe: 1 and its name ("somebody" when it does not say). What cannot be read is not held. */
int coordconf_other(const Env *env, char *name, size_t size);

/* Becomes the one (1, *fd is the lock, -1 before), or says anew in which state it is. 0: somebody else is, and *name says who.
 * strategy and state are words. */
int coordconf_hold(const Env *env, int *fd, const char *strategy, const char *state, char *name, size_t size);
