/* SPDX-License-Identifier: MIT */

/* Attributes that change. Each verb decides on copies and writes both slots' words at once, so there is no state between
 * "the old slot" and "the new slot, once". */

#include "bootloader/gptprio.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>

static const Prio nothing = { .priority = 0 };

static int in_use(int slot, Why *why)
{
        return fail(why, -EBUSY, WHY_HOST, "entry-in-use", "%s: it runs, or it is the default; it stays",
                    gptprio_entry(slot));
}

static int no_entry(const char *entry, Why *why)
{
        return fail(why, -EINVAL, WHY_HOST, "entry-name", "%s: not the name of a kernel in %s", entry,
                    FLATCAR_DIR);
}

/* GRUB looks at every partition of the type, not only at our two. */
static int check_strangers(const GptPrio *g, Why *why)
{
        for (size_t i = 0; i < disk_n_partitions(g->disk); i++) {
                const Partition *p = disk_partition(g->disk, i);
                Prio prio = prio_of(p->attrs);

                if (p == g->parts[0] || p == g->parts[1] || !streq(p->type, DISK_TYPE_FLATCAR_ROOTFS) ||
                    prio.priority == 0 || (!prio.successful && prio.tries == 0))
                        continue;
                (void) fail(why, -ENXIO, WHY_HOST, "layout",
                            "%s: partition %u (%s) is neither slot, but GRUB may start it (priority %u)",
                            disk_path(g->disk), p->number, p->label, prio.priority);
                return fail_hint(why, -ENXIO, "cgpt add -i %u -P 0 %s", p->number, disk_path(g->disk));
        }
        return 0;
}

int gp_prove_default(Boot *boot, int running_slot, Why *why)
{
        GptPrio *g = gp(boot);
        Prio pair[2];
        int r = check_strangers(g, why);

        if (r < 0)
                return r;
        gptprio_read(g, pair);
        if (prio_default(pair, 2) == running_slot && prio_next(pair, 2) == running_slot &&
            pair[running_slot].tries == 0)
                return gptprio_write(g, pair, false, why);
        prio_keep(pair, running_slot);
        return gptprio_write(g, pair, false, why);
}

/* Out of GRUB's reach first; then the files may go. */
static int forget_slot(GptPrio *g, int slot, Why *why)
{
        Prio pair[2];

        gptprio_read(g, pair);
        pair[slot] = nothing;
        return gptprio_write(g, pair, false, why);
}

static int remove_names(GptPrio *g, int slot, Why *why)
{
        static const char *const suffixes[] = { "", GPTPRIO_STAGED_SUFFIX, GPTPRIO_STAGED_SUFFIX ".new" };
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR);
        int r = dir == -ENOENT ? 0 : dir;

        for (size_t i = 0; dir >= 0 && r >= 0 && i < ELEMENTSOF(suffixes); i++) {
                _cleanup_(free_charp) char *name = str_printf("%s%s", gptprio_entry(slot), suffixes[i]);

                r = name ? esp_remove(dir, name) : -ENOMEM;
        }
        if (r >= 0)
                r = esp_sync(&g->sd.esp);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "removing %s on the ESP", gptprio_entry(slot)) : 0;
}

int gp_retire(Boot *boot, int spare_slot, Why *why)
{
        GptPrio *g = gp(boot);
        int r;

        if (gptprio_protects(g, spare_slot))
                return in_use(spare_slot, why);
        if ((r = forget_slot(g, spare_slot, why)) < 0 || (r = remove_names(g, spare_slot, why)) < 0)
                return r;
        return esp_make_room(&g->sd.esp, FLATCAR_DIR, ROOM_FILES, why);
}

int gp_arm(Boot *boot, const char *entry, Why *why)
{
        GptPrio *g = gp(boot);
        int slot = gptprio_slot_of(entry), r;
        Prio pair[2];

        if (slot < 0)
                return no_entry(entry, why);
        r = check_strangers(g, why);
        if (r < 0)
                return r;
        gptprio_read(g, pair);
        if (gptprio_running(g) == slot || !pair[1 - slot].successful || pair[1 - slot].priority == 0)
                return fail(why, -EPERM, WHY_HOST, "no-way-back",
                            "%s: the other slot is not successful, so nothing would come back",
                            gptprio_entry(slot));
        prio_arm(pair, slot);
        return gptprio_write(g, pair, true, why);
}

/* A slot that is successful is no one-shot: it stays as it is. */
int gp_disarm(Boot *boot, const char *entry, Why *why)
{
        GptPrio *g = gp(boot);
        int only = entry ? gptprio_slot_of(entry) : -1;
        Prio pair[2];
        int r;

        gptprio_read(g, pair);
        for (int slot = 0; slot < 2; slot++)
                if ((only < 0 ? !entry : slot == only) && !pair[slot].successful &&
                    gptprio_running(g) != slot)
                        pair[slot] = nothing;
        r = gptprio_write(g, pair, false, why);
        return r < 0 ? r : sd_remove_intent(boot, why);
}

int gp_commit(Boot *boot, int running_slot, const char *entry, Why *why)
{
        GptPrio *g = gp(boot);
        Prio pair[2];

        if (gptprio_slot_of(entry) != running_slot)
                return no_entry(entry, why);
        gptprio_read(g, pair);
        prio_keep(pair, running_slot);
        return gptprio_write(g, pair, false, why);
}

int gp_condemn(Boot *boot, const char *entry, Why *why)
{
        GptPrio *g = gp(boot);
        int slot = gptprio_slot_of(entry), r;

        if (slot < 0)
                return no_entry(entry, why);
        if (gptprio_protects(g, slot))
                return in_use(slot, why);
        r = forget_slot(g, slot, why);
        return r < 0 ? r : remove_names(g, slot, why);
}
