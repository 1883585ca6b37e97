/* SPDX-License-Identifier: MIT */
#pragma once

/* Between loading and editing. Used inside this room only. */

#include "policy/policy.h"

#define POLICY_OPERATOR_FILE POLICY_OPERATOR_DIR "/" POLICY_OPERATOR_NAME
#define POLICY_FILE_MAX                                                                                      \
        (256u * 1024u) /* hand-written rules; windows and skip lists of a fleet fit many times */

/* policy_load() as if the operator's file held this text (NULL: what it holds). */
int policy_load_with(const Env *env, const char *operator_text, Policy *ret, Why *why);
