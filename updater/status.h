/* SPDX-License-Identifier: MIT */
#pragma once

/* `gybe status`: the host as a document (gybe.status/1) and as a picture of the two slots. Reads a Host, changes nothing. */

#include "facts.h"

Json *status_json(const Host *host);
/* 80 columns. colour: escape sequences are welcome. The caller frees. */
char *status_picture(const Host *host, bool colour);
