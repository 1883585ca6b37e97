/* SPDX-License-Identifier: MIT */
#pragma once

/* What getopt_long() did not like, as one sentence; the same in every program. The caller sets opterr = 0 and begins its list
 * of letters with ':', which tells a missing value from an unknown option. */

#include "base/why.h"

int usage_option(int c, char *const argv[], const char *program, Why *why);
int usage_arguments(const char *problem, const char *program, Why *why);
