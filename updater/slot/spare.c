/* SPDX-License-Identifier: MIT */

/* May this slot be written into? Every reason against it, before a byte is fetched: nothing here writes. The first
 * question is always the same: are we sure that nobody runs from it? */

#include "base/str.h"
#include "slot/slot.h"

#include <errno.h>
#include <inttypes.h>

static bool overlap(const Partition *a, const Partition *b)
{
        return a && b && a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

static int check_running(const SlotLayout *layout, const SlotRunning *running, SlotId target, Why *why)
{
        const SlotParts *t = &layout->slot[target], *r;
        const Partition *mine[3], *theirs[3];

        if (!running->known)
                return fail(why, -ENXIO, WHY_HOST, "running-unknown",
                            "slot %s: which slot runs is not known, so nothing is written",
                            slot_name(target));
        if (running->slot == target)
                return fail(why, -EBUSY, WHY_HOST, "slot-running", "slot %s: is the one that runs",
                            slot_name(target));
        if (running->data_partuuid[0] && str_fold_cmp(running->data_partuuid, t->data->partuuid) == 0)
                return fail(why, -EBUSY, WHY_HOST, "slot-running", "slot %s: /usr runs from its partition %s",
                            slot_name(target), t->data->label);
        r = &layout->slot[running->slot];
        memcpy(mine, (const Partition *[]){ t->data, t->hash, t->sig }, sizeof(mine));
        memcpy(theirs, (const Partition *[]){ r->data, r->hash, r->sig }, sizeof(theirs));
        for (size_t i = 0; i < ELEMENTSOF(mine); i++)
                for (size_t k = 0; k < ELEMENTSOF(theirs); k++)
                        if (overlap(mine[i], theirs[k]))
                                return fail(why, -EBUSY, WHY_HOST, "slot-running",
                                            "slot %s: %s is also part of the running slot", slot_name(target),
                                            mine[i]->label);
        return 0;
}

static int check_fits(const Partition *p, uint64_t need, const char *what, Why *why)
{
        uint64_t usable = p->size / AREA_ALIGN * AREA_ALIGN;

        if (need <= usable)
                return 0;
        return fail(why, -ENOSPC, WHY_HOST, "too-big", "%s: %s has %" PRIu64 " bytes, the partition %" PRIu64,
                    p->label, what, need, usable);
}

static int check_sizes(const SlotParts *t, const SlotNeed *need, SlotId target, Why *why)
{
        uint64_t together;
        int r;

        if (need->inline_hash != !t->hash)
                return fail(why, -EMEDIUMTYPE, WHY_HOST, "layout",
                            "slot %s: the image has its hash tree %s, the disk %s", slot_name(target),
                            need->inline_hash ? "behind the data" : "apart",
                            t->hash ? "has a HASH partition" : "has no HASH partition");
        if (need->inline_hash) {
                if (__builtin_add_overflow(need->data_size, need->hash_size, &together))
                        together = UINT64_MAX;
                return check_fits(t->data, together, "the image with its hash tree", why);
        }
        r = check_fits(t->data, need->data_size, "the image", why);
        if (r < 0)
                return r;
        r = check_fits(t->hash, need->hash_size, "the hash tree", why);
        if (r < 0 || need->sig_size == 0)
                return r;
        if (!t->sig)
                return fail(why, -EMEDIUMTYPE, WHY_HOST, "layout",
                            "slot %s: the image has a signature, the disk has no HASH-SIG partition",
                            slot_name(target));
        return check_fits(t->sig, need->sig_size, "the signature", why);
}

int slot_check_spare(const Disk *disk, const SlotLayout *layout, const SlotRunning *running, SlotId target,
                     const SlotNeed *need, Why *why)
{
        const SlotParts *t = &layout->slot[target];
        const Partition *parts[] = { t->data, t->hash, t->sig };
        int r;

        r = check_running(layout, running, target, why);
        if (r < 0)
                return r;
        r = check_sizes(t, need, target, why);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                r = parts[i] ? disk_in_use(disk, parts[i], why) : 0;
                if (r < 0)
                        return r;
                if (r > 0)
                        return fail_hint(why, -EBUSY, "unmount or close it, then try again");
        }
        return 0;
}
