/* SPDX-License-Identifier: MIT */
#pragma once

/* How far a long step is: a bar on a terminal, nothing anywhere else. Every function takes NULL. */

#include "base/why.h"

typedef struct Meter Meter;

/* fd is -1 (quiet) or a descriptor; only a terminal gets a bar. */
int meter_new(int fd, Meter **ret);
Meter *meter_free(Meter *m);
void meter_freep(Meter **m);
/* A step of total bytes begins. */
void meter_begin(Meter *m, const char *label, uint64_t total);
/* That many more bytes went in, and came out (0: a step that makes nothing smaller). */
void meter_add(Meter *m, uint64_t in, uint64_t out);
/* Leaves the finished line on the screen. */
void meter_end(Meter *m);
