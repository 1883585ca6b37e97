/* SPDX-License-Identifier: MIT */
#pragma once

/* `gybe status`: the host as a document (gybe.status/1), and that document as a picture of the two slots, whoever made it:
 * this process, or the agent that is asked over the bus. Reads a Host, changes nothing. */

#include "facts.h"

Json *status_json(const Host *host);
/* What is owed to servers (status-owed.c); NULL nothing. */
Json *status_locks_json(const Host *host);
Json *status_outbox_json(const Host *host, OutboxBox box);
/* 80 columns. now (seconds): the document is the agent's, who goes on by itself; 0: nobody does. colour: escape sequences are
 * welcome. The caller frees; NULL: no memory. */
char *status_picture(const Json *status, uint64_t now, bool colour);
