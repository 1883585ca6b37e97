/* SPDX-License-Identifier: MIT */
#pragma once

/* The three witnesses, for running.c and its test. Each says 1 and what it knows, or 0 when it has nothing to say; -EBADMSG
 * with a sentence when it contradicts itself or names what cannot be. layout may be NULL: then no slot is concluded. */

#include "slot/slot.h"

typedef struct Witness {
        SlotId slot;       /* _SLOT_INVALID: not concluded */
        char partuuid[37]; /* of the data partition; "" not said */
        char roothash[65];
        SlotId claimed; /* acl.slot=, which concludes nothing alone but must not contradict */
        bool defaulted; /* had to guess: says nothing */
} Witness;

#define WITNESS_NULL                                                                                         \
        (Witness)                                                                                            \
        {                                                                                                    \
                .slot = _SLOT_INVALID, .claimed = _SLOT_INVALID                                              \
        }

int witness_cmdline(const char *cmdline, const SlotLayout *layout, Witness *ret, Why *why);
int witness_dm(const Env *env, const SlotLayout *layout, Witness *ret, Why *why);
int witness_acl(const char *text, const SlotLayout *layout, Witness *ret, Why *why);
