/* SPDX-License-Identifier: MIT */
#pragma once

/* What differs between the slot that runs and the other one, as a document (gybe.slot-diff/1). Reads a Host, its ESP and its
 * history; changes nothing, and judges nothing. */

#include "facts.h"

/* -ENODATA with WHY_NOTHING: the other slot holds nothing that gybe knows. */
int slot_diff(const Host *host, Json **ret, Why *why);

typedef enum SlotFactKind {
        SLOT_FACT_TEXT,
        SLOT_FACT_SIZE,    /* bytes */
        SLOT_FACT_DIGESTS, /* of 64 digits; more than one: with commas */
} SlotFactKind;

/* What is told of each slot, in this order, under its name in the document. */
typedef struct SlotFact {
        const char *name, *label;
        SlotFactKind kind;
        bool content; /* of what lies in it; the others tell which slot it is, and how it came to it */
} SlotFact;

const SlotFact *slot_fact_find(const char *name);
