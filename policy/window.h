/* SPDX-License-Identifier: MIT */
#pragma once

/* When the maintenance windows of a policy are open. Pure; used inside this room only. */

#include "policy/policy.h"

bool windows_open(const Policy *policy, uint64_t t);
/* t when they are open then, else when the next one opens; UINT64_MAX: not within a year. */
uint64_t windows_earliest(const Policy *policy, uint64_t t);
/* The first instant after t at which all of them are closed, or one opens; UINT64_MAX: not within a year. */
uint64_t windows_next(const Policy *policy, uint64_t t);
