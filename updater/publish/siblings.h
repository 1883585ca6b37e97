/* SPDX-License-Identifier: MIT */
#pragma once

/* Names that stand beside each other: X.cosi and X.release.json, on a disk or behind a URL (whose query is kept); in a
 * registry both have one address. Pure. */

#include "base/mem.h"

/* "X.cosi" -> "X.release.json"; -EINVAL when it does not end so. */
int sibling_release(const char *cosi, char **ret);
/* Another file in the same folder; the query of a URL is dropped, since it is often made for one file. */
int sibling_named(const char *what, const char *name, char **ret);
bool name_is_cosi(const char *what);
