/* SPDX-License-Identifier: MIT */
#pragma once

/* URLs in sentences: what is secret in them stays out (trust.md section 4). */

#include "base/mem.h"

/* "https://user:pass@host/path?sig=abc#x" -> "https://host/path?..."; control bytes become '?'; always fits, long paths
 * are cut in the middle. */
void url_redact(const char *url, char *out, size_t size);
