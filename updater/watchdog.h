/* SPDX-License-Identifier: MIT */
#pragma once

/* Who ends a machine that hangs: the hardware watchdog as the kernel shows it (/sys/class/watchdog/watchdog0) and as systemd is
 * told to hold it (RuntimeWatchdogSec=). Read-only; it never opens /dev/watchdog, which would be holding it. */

#include "base/env.h"

typedef struct Watchdog {
        int present;         /* 1, 0; -1 the kernel does not say */
        int armed;           /* the same */
        bool software;       /* the kernel watching itself: it does not end a kernel that is dead */
        bool ended_the_last; /* the boot before this one was ended by it (bootstatus) */
        char identity[64];   /* "" unknown */
        uint64_t timeout;    /* seconds until it resets; 0 unknown */
        bool has_config;
        uint64_t configured; /* seconds that systemd is told; 0 off */
        char config[128];    /* by whom: a path, or "the kernel command line" */
} Watchdog;

/* What is not there is unknown; only memory can fail. */
int watchdog_look(const Env *env, Watchdog *ret);
/* One sentence about it. */
void watchdog_tell(const Watchdog *w, char *out, size_t size);

/* "30", "30s", "1min 30s", "2h", "off", "infinity": as systemd writes time spans; rounded up to seconds. Pure. */
int systemd_seconds(const char *text, uint64_t *ret);
/* The last assignment of key in section of an ini file; 1, 0 none. Pure. */
int systemd_ini_get(const char *text, const char *section, const char *key, char **ret);
