/* SPDX-License-Identifier: MIT */
#pragma once

/* `gybe status`: the host as a document (gybe.status/1), and that document as a picture of the two slots, whoever made it:
 * this process, or the agent that is asked over the bus. Reads a Host, changes nothing. */

#include "facts.h"

Json *status_json(const Host *host);
/* One slot of it. */
Json *status_slot_json(const Host *host, SlotId slot);
/* What is owed to servers (status-owed.c); NULL nothing. */
Json *status_locks_json(const Host *host);
Json *status_outbox_json(const Host *host, OutboxBox box);

/* How the picture is drawn: for a file, or as a terminal can show it. */
typedef struct PictureStyle {
        bool colour; /* escape sequences are welcome */
        bool ascii;  /* nothing beyond ASCII */
        unsigned
                columns; /* of the terminal: sentences are broken there, and the boxes stand one below the other where two do
                           * not fit; 0: a sentence is a line, however long */
} PictureStyle;

/* now (seconds): the document is the agent's, who goes on by itself; 0: nobody does. The caller frees; NULL: no memory. */
char *status_picture(const Json *status, uint64_t now, PictureStyle style);
