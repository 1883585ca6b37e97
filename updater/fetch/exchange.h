/* SPDX-License-Identifier: MIT */
#pragma once

/* One question to a server and its answer, whatever that is: a lock, a health endpoint, a report. Nothing is followed,
 * repeated or resumed: what becomes of an answer, or of none, is the caller's business. */

#include "fetch/http.h"

/* request is checked already: value_get_http(). */
int exchange(Http *h, const FetchHttp *request, FetchHttpReply *ret, Why *why);
/* The same; name is what sentences call the address, where its path is a secret. */
int exchange_named(Http *h, const FetchHttp *request, const char *name, FetchHttpReply *ret, Why *why);
