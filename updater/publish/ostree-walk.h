/* SPDX-License-Identifier: MIT */
#pragma once

/* The trees of two commits, side by side. For this room alone. */

#include "fetch/rebuilt.h"
#include "publish/ostree-repo.h"

/* Contents of the file objects that to has and from has not, one behind another, as a host would have made them. */
int ostree_walk_new_files(const OstreeRepo *repo, const uint8_t from[OSTREE_ID], const uint8_t to[OSTREE_ID],
                          Rebuilt *rebuilt, Why *why);
