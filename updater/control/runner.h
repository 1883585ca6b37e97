/* SPDX-License-Identifier: MIT */
#pragma once

/* How the agent's jobs become processes. On a real host: units, started by systemd over its bus, with a sandbox of their own;
 * they outlive the agent because they never were its children. In a host made of files: detached children. */

#include "control/agent.h"

typedef struct Runner {
        const Env *env;
        const char *disk; /* for children; NULL: not named */
} Runner;

/* runner is borrowed and must outlive the agent. */
AgentRunner runner_for(Runner *runner);
