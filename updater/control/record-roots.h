/* SPDX-License-Identifier: MIT */
#pragma once

/* The trust roots of this host as an auditor wants them: which files, which keys, which thresholds, what follows from what. */

#include "base/env.h"
#include "base/json.h"

/* Adds to both lists. A root that cannot be used is a problem of the host, not of this function. */
int record_roots(const Env *env, Json *list, Json *problems);
void record_problem(Json *problems, const Why *why);
