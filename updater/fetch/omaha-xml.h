/* SPDX-License-Identifier: MIT */
#pragma once

/* The XML of an update server's answer, taken apart where it can do no harm. Knows where Nebraska puts what; what it means is
 * source/omaha.h. Pure: bytes in, values out. */

#include "source/omaha.h"

/* 0 and *ret (status and pause are left 0), or negative with WHY_NETWORK: this is no answer of an Omaha server. Unknown
 * elements and attributes are passed over. A document type declaration is refused, and with it every entity of its own. */
int omaha_parse(const void *data, size_t size, OmahaReply *ret, Why *why);
