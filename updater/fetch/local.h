/* SPDX-License-Identifier: MIT */
#pragma once

/* COSIs and release files on this machine. The job opens them, since gybe-fetch's user may not. */

#include "base/why.h"

/* 1 *ret is a local path (plain, or out of a file: URL), 0 url is for the network, negative: neither */
int local_path(const char *url, char **ret, Why *why);
/* A regular file's descriptor. */
int local_open(const char *path, Why *why);
