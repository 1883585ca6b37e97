/* SPDX-License-Identifier: MIT */
#pragma once

/* What the process gives up before it reads the first byte from outside; design.md P8. */

#include "base/why.h"

/* For good, for this thread and all that come after it: no new privileges, no capabilities, no core dumps, and a system
 * call filter under which it can read files, talk to the network and write to descriptors it already has. It cannot open
 * anything for writing, change any name or mode, start or signal a program, look into a process, or mount. */
int sandbox_enter(Why *why);
