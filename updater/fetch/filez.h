/* SPDX-License-Identifier: MIT */
#pragma once

/* One file object of an archive repository, as it is served: a front with the attributes, then raw deflate. */

#include "fetch/http.h"
#include "fetch/rebuilt.h"
#include "source/ostree.h"

/* Into the heap of rebuilt blocks, if its bytes have its name; a link, and an object the server has not, are left out. */
int filez_fetch(Http *h, const OstreeUrl *url, const uint8_t id[OSTREE_ID], Rebuilt *rebuilt, Why *why);
/* The same from where it lies already. */
int filez_unpack(Origin *origin, const uint8_t id[OSTREE_ID], Rebuilt *rebuilt, Why *why);
