/* SPDX-License-Identifier: MIT */
#pragma once

/* SBAT: revocation by generation of a component, as shim does it. */

#include "base/why.h"

/* image: the text of a PE's .sbat section ("" none: nothing to revoke it by); level: SbatLevelRT ("" none). 0, or negative
 * with a sentence when some component of the image is older than the level allows. */
int sbat_check(const char *image, const char *level, const char *what, Why *why);
