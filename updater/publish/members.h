/* SPDX-License-Identifier: MIT */
#pragma once

/* The seek tables inside a COSI on the release engineer's own disk, for inspect. Best effort: what is not understood is
 * "unknown", never a failure; verify is what judges. */

#include "image/cosi.h"
#include "image/seektable.h"

/* 1 the member has a seek table that adds up; 0 it has none; negative: it cannot be said. name: tar member. */
int member_seek_table(int fd, const char *name, SeekTable *ret);
