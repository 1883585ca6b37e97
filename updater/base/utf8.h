/* SPDX-License-Identifier: MIT */
#pragma once

/* Text that a bus or a JSON reader takes: valid UTF-8. Sentences quote what came from outside and may be cut in the middle of a
 * character. */

#include "base/mem.h"

/* Length of the valid character at s (n bytes are there), 0 when there is none. No surrogates, nothing over U+10FFFF, no
 * overlong forms. */
size_t utf8_char(const char *s, size_t n);
bool utf8_is_valid(const char *text);
/* Every byte that belongs to no valid character becomes '?'. */
void utf8_repair(char *text);
