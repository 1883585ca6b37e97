/* SPDX-License-Identifier: MIT */
#pragma once

/* /run/reboot-required: the file by which kured (and others) learn that this host wants a reboot. One that somebody else made
 * is left alone, whatever becomes of ours. */

#include "base/env.h"

#define SENTINEL_PATH "/run/reboot-required"

/* 1 made, 0 there already. about: one line for people, after "gybe: ". */
int sentinel_make(const Env *env, const char *about, Why *why);
/* 1 removed, 0 there is none of ours. */
int sentinel_remove(const Env *env, Why *why);
