/* SPDX-License-Identifier: MIT */
#pragma once

/* What we ask of systemd over the system bus: units and their states (systemd1), reboots and who inhibits them (login1).
 * Blocking calls with short limits. A host made of files has no systemd: every question answers -ENOSYS there, and also where
 * no bus can be reached; callers treat that as "unknown".
 *
 * For tests, a host made of files speaks to the bus that DBUS_SYSTEM_BUS_ADDRESS names when GYBE_TEST_BUS=1 is set, too, and
 * that is not the machine's own socket. */

#include "base/env.h"
#include "health/health.h"

/* Whether this host has a bus that may be asked at all: not one made of files. */
bool systemd_may_ask(const Env *env);
/* Every loaded unit; services that are not inactive with their restart counter; what failed with its result; what failed or is
 * activating with its time. */
int systemd_units(const Env *env, HealthUnits *ret, Why *why);
/* StartUnit(unit, "fail"); does not wait for it. */
int systemd_start_unit(const Env *env, const char *unit, Why *why);
int systemd_stop_unit(const Env *env, const char *unit, Why *why);
/* 1 active, activating, reloading or deactivating, or about to be: a job of it waits; 0 not. */
int systemd_unit_is_running(const Env *env, const char *unit, Why *why);
/* Asks logind for a reboot. -EBUSY with WHY_BUSY and who inhibits it (and why) when a block inhibitor holds it and
 * override_inhibitors is false. Never reboots a host made of files (-ENOSYS). */
int systemd_reboot(const Env *env, bool override_inhibitors, Why *why);
