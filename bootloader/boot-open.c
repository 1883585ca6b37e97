/* SPDX-License-Identifier: MIT */

/* Which boot loader this machine has: as configured, or by what lies on its ESP. */

#include "bootloader/gptprio.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>

BootLoader boot_loader_from_name(const char *name)
{
        static const char *const names[_BOOT_LOADER_MAX] = {
                [BOOT_LOADER_AUTO] = "auto",
                [BOOT_LOADER_SDBOOT] = "sdboot",
                [BOOT_LOADER_GPTPRIO] = "gptprio",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq0(name, names[i]))
                        return (BootLoader) i;
        return _BOOT_LOADER_INVALID;
}

/* 1, 0, or no memory. */
static int has_flatcar_kernel(const SdBoot *b)
{
        _cleanup_(close_fdp) int dir = esp_dir(b->esp.fd, FLATCAR_DIR);
        int r = 0;

        for (int slot = 0; dir >= 0 && r == 0 && slot < 2; slot++) {
                _cleanup_(free_charp) char *found = NULL;

                r = esp_find(dir, gptprio_entry(slot), &found);
        }
        return r == -ENOMEM ? r : r > 0;
}

int boot_open(const Env *env, BootLoader loader, const char *esp, Disk *disk, const BootSlotIds ids[2],
              Boot **ret, Why *why)
{
        _cleanup_(boot_freep) Boot *boot = NULL;
        GptPrio *g = calloc(1, sizeof(*g)); /* an SdBoot, and a little more */
        int r;

        if (!g)
                return -ENOMEM;
        boot = &g->sd.boot;
        r = sd_open(&g->sd, env, esp, ids, why);
        if (r >= 0 && loader == BOOT_LOADER_AUTO) {
                r = has_flatcar_kernel(&g->sd);
                loader = r > 0 ? BOOT_LOADER_GPTPRIO : BOOT_LOADER_SDBOOT;
        }
        if (r >= 0 && loader == BOOT_LOADER_GPTPRIO)
                r = gptprio_open(g, disk, why);
        if (r < 0)
                return r;
        *ret = TAKE(boot);
        return 0;
}
