/* SPDX-License-Identifier: MIT */

/* A host's place in a rollout: a number from 0 to 1 that follows from its machine id and the release, so that it is the same
 * at every question, spread evenly over a fleet, and another one for the next release: nobody is always first. A share of
 * the hosts takes the release; with a ramp that share grows evenly from the moment the release was issued. */

#include "policy/rules.h"
#include "base/digest.h"
#include "base/str.h"

/* Part of what a fleet relies on: changing it would shuffle a rollout that is under way. */
#define PLACE_SCHEMA "gybe.rollout/1"

/* The place times 2^64. Who cannot say who they are is the last of all. */
static uint64_t place(const PolicySubject *s)
{
        _cleanup_(free_charp) char *text = NULL;
        uint8_t digest[SHA256_SIZE];
        uint64_t v = 0;

        if (!s->machine_id || !s->version)
                return UINT64_MAX;
        text = str_printf(PLACE_SCHEMA "\n%s\n%s\n", s->machine_id, s->version);
        if (!text || sha256(text, strlen(text), digest) < 0)
                return UINT64_MAX;
        for (unsigned i = 0; i < sizeof(v); i++)
                v = v << 8 | digest[i];
        return v;
}

uint64_t rollout_opens(const Policy *p, const PolicySubject *s)
{
        unsigned __int128 scaled = (unsigned __int128) place(s) * 100;

        if (p->rollout_percent >= 100 && p->rollout_ramp_sec == 0)
                return 0;
        if (scaled >= (unsigned __int128) p->rollout_percent << 64)
                return UINT64_MAX;
        if (p->rollout_ramp_sec == 0)
                return 0;
        if (s->issued == 0)
                return UINT64_MAX;
        /* The share reaches percent when the ramp is over: it passes this host's place in the second after this one. */
        return s->issued + 1 + (uint64_t) (scaled * p->rollout_ramp_sec / p->rollout_percent >> 64);
}
