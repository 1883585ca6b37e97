/* SPDX-License-Identifier: MIT */
#pragma once

/* Would the machine come back? The guarantees of the way back (bootloader.h says which there are) as they are right now, and
 * who ends a hang in each stage of the boot that is ahead. */

#include "facts.h"

/* prove: before arming; see BootOps.way_back. Otherwise a look, which refuses nothing and writes nothing. While a slot is on
 * trial there is no boot ahead but the way back itself: then only what still protects this boot is listed. */
int way_back(const Host *h, bool prove, Guarantees *ret, Why *why);

/* [{"name": "watchdog", "holds": "yes"|"no"|"unknown", "sentence": "..."}] */
Json *way_back_json(const Guarantees *g);

/* [{"stage": "initrd", "owner": "command-line", "sentence": "..."}] for every stage of the boot that is ahead; without "owner"
 * where nobody ends a hang.
 *
 *      loader      firmware        the new UKI cannot be started
 *      kernel      watchdog, else panic (ends a panic, not a hang)
 *      initrd      command-line    rd.shell=0 rd.emergency=reboot
 *      user-space  deadline        nobody commits in time */
Json *way_back_hangs_json(const Guarantees *g);
