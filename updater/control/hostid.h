/* SPDX-License-Identifier: MIT */
#pragma once

/* Who this host is, to servers: a machine id of gybe's own, since the real one is a secret of the machine (machine-id(5)). As
 * `systemd-id128 machine-id --app-specific=0302a748441d4f1d9c34b49be31b8955` prints it. Pure. */

#include "base/mem.h"

#define HOSTID_SIZE 33u
#define HOSTID_APP  "0302a748441d4f1d9c34b49be31b8955"

/* machine_id: 32 hex digits; -EINVAL otherwise. */
int hostid(const char *machine_id, char ret[HOSTID_SIZE]);
