/* SPDX-License-Identifier: MIT */
#pragma once

/* What a person changes by hand, whoever carries it (the command line on a host made of files, the agent for a caller of the
 * bus): the operator's rules, the quarantine. Each change appends a line to history that says who. */

#include "control/job.h"

/* Removes one record (id NULL: all) and forgets the attempts of its image. -ENODATA with WHY_NOTHING when there is none, -EBUSY
 * while a job runs. */
int operator_clear_quarantine(const Env *env, const char *id, const JobRequester *by, unsigned *ret_cleared,
                              Why *why);
