/* SPDX-License-Identifier: MIT */

#include "bootloader/bootloader.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>

const char *guarantee_holds_name(GuaranteeHolds holds)
{
        static const char *const names[_GUARANTEE_HOLDS_MAX] = {
                [GUARANTEE_UNKNOWN] = "unknown",
                [GUARANTEE_YES] = "yes",
                [GUARANTEE_NO] = "no",
        };

        return holds >= 0 && holds < _GUARANTEE_HOLDS_MAX ? names[holds] : NULL;
}

void guarantee_add(Guarantees *g, const char *name, GuaranteeHolds holds, const char *fmt, ...)
{
        Guarantee *one;
        va_list ap;

        if (g->n >= GUARANTEES_MAX)
                return;
        one = &g->list[g->n++];
        one->name = name;
        one->holds = holds;
        va_start(ap, fmt);
        (void) vsnprintf(one->sentence, sizeof(one->sentence), fmt, ap);
        va_end(ap);
}

const Guarantee *guarantee_find(const Guarantees *g, const char *name)
{
        for (size_t i = 0; i < g->n; i++)
                if (streq(g->list[i].name, name))
                        return &g->list[i];
        return NULL;
}
