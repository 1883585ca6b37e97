/* SPDX-License-Identifier: MIT */
#pragma once

/* What a person changes by hand, whoever carries it (the command line on a host made of files, the agent for a caller of the
 * bus): the operator's rules, the quarantine. Each change appends a line to history that says who. */

#include "control/job.h"
#include "policy/policy.h"

/* The name of a user in the host's /etc/passwd; NULL: unknown. No name service is asked, since it might need the network. */
char *operator_name(const Env *env, uint64_t uid);

/* Removes one record (id NULL: all) and forgets the attempts of its image. -ENODATA with WHY_NOTHING when there is none, -EBUSY
 * while a job runs. */
int operator_clear_quarantine(const Env *env, const char *id, const JobRequester *by, unsigned *ret_cleared,
                              Why *why);

/* policy_edit(), with change->by said by this function when it is NULL. -ENODATA with WHY_NOTHING when it was so already. */
int operator_change_rule(const Env *env, const PolicyChange *change, const JobRequester *by, Why *why);
