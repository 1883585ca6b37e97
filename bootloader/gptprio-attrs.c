/* SPDX-License-Identifier: MIT */

#include "bootloader/gptprio.h"
#include "base/str.h"

#define PRIORITY_SHIFT   48
#define TRIES_SHIFT      52
#define SUCCESSFUL_SHIFT 56
#define PRIORITY_MAX     15u
#define GPTPRIO_MASK     (UINT64_C(0x1ff) << PRIORITY_SHIFT)

Prio prio_of(uint64_t attrs)
{
        return (Prio){ .priority = (unsigned) (attrs >> PRIORITY_SHIFT) & 0xf,
                       .tries = (unsigned) (attrs >> TRIES_SHIFT) & 0xf,
                       .successful = (attrs >> SUCCESSFUL_SHIFT) & 1 };
}

uint64_t prio_in(uint64_t attrs, Prio p)
{
        return (attrs & ~GPTPRIO_MASK) | (uint64_t) p.priority << PRIORITY_SHIFT |
               (uint64_t) p.tries << TRIES_SHIFT | (uint64_t) p.successful << SUCCESSFUL_SHIFT;
}

bool prio_equal(Prio a, Prio b)
{
        return a.priority == b.priority && a.tries == b.tries && a.successful == b.successful;
}

static int highest(const Prio *list, size_t n, bool with_tries)
{
        int best = -1;
        unsigned priority = 0;

        for (size_t i = 0; i < n; i++)
                if ((list[i].successful || (with_tries && list[i].tries > 0)) &&
                    list[i].priority > priority) {
                        best = (int) i;
                        priority = list[i].priority;
                }
        return best;
}

int prio_next(const Prio *list, size_t n)
{
        return highest(list, n, true);
}

int prio_default(const Prio *list, size_t n)
{
        return highest(list, n, false);
}

/* Above the other one. */
static void raise(Prio pair[2], int slot)
{
        Prio *one = &pair[slot], *other = &pair[1 - slot];

        if (one->priority > other->priority)
                return;
        if (other->priority == PRIORITY_MAX)
                other->priority = 1;
        one->priority = other->priority + 1;
}

void prio_keep(Prio pair[2], int slot)
{
        Prio *other = &pair[1 - slot];

        other->tries = 0;
        if (!other->successful)
                other->priority = 0;
        raise(pair, slot);
        pair[slot].tries = 0;
        pair[slot].successful = true;
}

void prio_arm(Prio pair[2], int slot)
{
        raise(pair, slot);
        pair[slot].tries = GPTPRIO_TRIES;
        pair[slot].successful = false;
}
