/* SPDX-License-Identifier: MIT */
#pragma once

/* Questions to a root, for the files of this room. */

#include "release/release.h"

const RootKey *root_key(const Root *root, const char *keyid);
const char *role_name(RoleId role);
