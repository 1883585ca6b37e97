/* SPDX-License-Identifier: MIT */

/* Which partitions make the two slots. ACL and Flatcar have constants that their boot arguments depend on; a partition
 * counts only when label, type and PARTUUID all say the same, and a disk where one of them says something else is not
 * guessed about. Numbers and sizes mean nothing here.
 *
 *   G1  USR-A USR-B                        the tree inline behind the data (Flatcar too)
 *   G2  + HASH-A HASH-B
 *   G3  + HASH-SIG-A HASH-SIG-B */

#include "base/str.h"
#include "slot/slot.h"

#include <errno.h>

typedef struct Known {
        const char *label, *partuuid;
        const char *types[2]; /* x86-64, aarch64; the same twice where the machine makes no difference */
} Known;

static const Known known_data[_SLOT_MAX] = {
        { "USR-A",
          "7130c94a-213a-4e5a-8e26-6cce9662f132",
          { DISK_TYPE_FLATCAR_ROOTFS, DISK_TYPE_FLATCAR_ROOTFS } },
        { "USR-B",
          "e03dd35c-7c2d-4a47-b3fe-27f15780a57c",
          { DISK_TYPE_FLATCAR_ROOTFS, DISK_TYPE_FLATCAR_ROOTFS } },
};

static const Known known_hash[_SLOT_MAX] = {
        { "HASH-A",
          "b736baf1-cdb4-4535-beba-ddaaa30ad7b7",
          { DISK_TYPE_USR_VERITY_X86_64, DISK_TYPE_USR_VERITY_AARCH64 } },
        { "HASH-B",
          "35bdf78b-c453-4661-98e6-f834f534ef5b",
          { DISK_TYPE_USR_VERITY_X86_64, DISK_TYPE_USR_VERITY_AARCH64 } },
};

static const Known known_sig[_SLOT_MAX] = {
        { "HASH-SIG-A",
          "3514648f-e3da-44ae-89ba-8d0552418f88",
          { DISK_TYPE_USR_VERITY_SIG_X86_64, DISK_TYPE_USR_VERITY_SIG_AARCH64 } },
        { "HASH-SIG-B",
          "d8941eb2-f713-4bb6-b4ae-bd8350ca27d4",
          { DISK_TYPE_USR_VERITY_SIG_X86_64, DISK_TYPE_USR_VERITY_SIG_AARCH64 } },
};

#define REFUSE(why, ...) fail(why, -ENXIO, WHY_HOST, "layout", __VA_ARGS__)

/* By the machine that this is, or by the other one: a disk is also looked at elsewhere. -1 neither. */
static int type_index(const Known *k, const Partition *p)
{
        for (int i = 0; i < 2; i++)
                if (streq(k->types[i], p->type))
                        return i;
        return -1;
}

/* 1 and the partition, 0 when neither its label nor its PARTUUID is on the disk, negative when they contradict. */
static int find_known(const Disk *disk, const Known *k, const Partition **ret, Why *why)
{
        unsigned count = 0;
        const Partition *by_label = disk_find_label(disk, k->label, &count);
        const Partition *by_uuid = disk_find_partuuid(disk, k->partuuid);

        if (count > 1)
                return REFUSE(why, "%s: %u partitions are named %s", disk_path(disk), count, k->label);
        if (!by_label && !by_uuid)
                return 0;
        if (!by_label)
                return REFUSE(why, "%s: partition %u has the PARTUUID of %s and is named \"%s\"",
                              disk_path(disk), by_uuid->number, k->label, by_uuid->label);
        if (by_label != by_uuid)
                return REFUSE(why, "%s: %s has the PARTUUID %s, it should be %s", disk_path(disk), k->label,
                              by_label->partuuid, k->partuuid);
        if (type_index(k, by_label) < 0)
                return REFUSE(why, "%s: %s has the partition type %s, it should be %s", disk_path(disk),
                              k->label, by_label->type, k->types[0]);
        *ret = by_label;
        return 1;
}

/* Both slots have it or neither: 1 or 0. */
static int find_pair(const Disk *disk, const Known pair[_SLOT_MAX], const Partition *ret[_SLOT_MAX], Why *why)
{
        int a, b;

        a = find_known(disk, &pair[SLOT_A], &ret[SLOT_A], why);
        if (a < 0)
                return a;
        b = find_known(disk, &pair[SLOT_B], &ret[SLOT_B], why);
        if (b < 0)
                return b;
        if (a != b)
                return REFUSE(why, "%s: has %s and no %s", disk_path(disk), pair[a ? SLOT_A : SLOT_B].label,
                              pair[a ? SLOT_B : SLOT_A].label);
        if (a && type_index(&pair[SLOT_A], ret[SLOT_A]) != type_index(&pair[SLOT_B], ret[SLOT_B]))
                return REFUSE(why, "%s: %s and %s are for different machines", disk_path(disk),
                              pair[SLOT_A].label, pair[SLOT_B].label);
        return a;
}

static int layout_data(const Disk *disk, SlotLayout *l, Why *why)
{
        const Partition *data[_SLOT_MAX] = { 0 };
        int r;

        r = find_pair(disk, known_data, data, why);
        if (r < 0)
                return r;
        if (r == 0)
                return REFUSE(why, "%s: has no USR-A and USR-B", disk_path(disk));
        l->slot[SLOT_A].data = data[SLOT_A];
        l->slot[SLOT_B].data = data[SLOT_B];
        return 0;
}

static int layout_acl(const Disk *disk, SlotLayout *l, Why *why)
{
        const Partition *hash[_SLOT_MAX] = { 0 }, *sig[_SLOT_MAX] = { 0 };
        int r, has_hash, has_sig;

        r = layout_data(disk, l, why);
        if (r < 0)
                return r;
        has_hash = find_pair(disk, known_hash, hash, why);
        if (has_hash < 0)
                return has_hash;
        has_sig = find_pair(disk, known_sig, sig, why);
        if (has_sig < 0)
                return has_sig;
        if (has_sig && !has_hash)
                return REFUSE(why, "%s: has HASH-SIG-A and no HASH-A", disk_path(disk));
        if (has_sig &&
            type_index(&known_sig[SLOT_A], sig[SLOT_A]) != type_index(&known_hash[SLOT_A], hash[SLOT_A]))
                return REFUSE(why, "%s: HASH-A and HASH-SIG-A are for different machines", disk_path(disk));
        for (unsigned i = 0; i < _SLOT_MAX; i++) {
                l->slot[i].hash = hash[i];
                l->slot[i].sig = sig[i];
        }
        l->generation = has_sig ? "G3 signed-capable" : has_hash ? "G2 separate hash" : "G1 inline";
        return 0;
}

static int layout_flatcar(const Disk *disk, SlotLayout *l, Why *why)
{
        l->generation = "flatcar";
        return layout_data(disk, l, why);
}

/* A selector of the configuration: 1 found, 0 not given. Label and PARTUUID must both fit when both are given. */
static int find_selected(const Disk *disk, const SlotSelector *s, SlotId slot, const char *what,
                         const Partition **ret, Why *why)
{
        const Partition *p;
        unsigned count = 1;

        if (!s->label && !s->partuuid)
                return 0;
        p = s->partuuid ? disk_find_partuuid(disk, s->partuuid) : disk_find_label(disk, s->label, &count);
        if (count > 1)
                return REFUSE(why, "%s: %u partitions are named \"%s\", disk.slots.%s.%s needs a PARTUUID",
                              disk_path(disk), count, s->label, slot_name(slot), what);
        if (!p)
                return REFUSE(why, "%s: has no partition %s, which disk.slots.%s.%s names", disk_path(disk),
                              s->partuuid ? s->partuuid : s->label, slot_name(slot), what);
        if (s->label && !streq(s->label, p->label))
                return REFUSE(why, "%s: partition %s is named \"%s\", disk.slots.%s.%s says \"%s\"",
                              disk_path(disk), p->partuuid, p->label, slot_name(slot), what, s->label);
        *ret = p;
        return 1;
}

static int check_distinct(const Disk *disk, const SlotLayout *l, Why *why)
{
        const Partition *all[3 * _SLOT_MAX];
        size_t n = 0;

        for (unsigned i = 0; i < _SLOT_MAX; i++) {
                all[n++] = l->slot[i].data;
                all[n++] = l->slot[i].hash;
                all[n++] = l->slot[i].sig;
        }
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; all[i] && k < i; k++)
                        if (all[i] == all[k])
                                return REFUSE(why, "%s: disk.slots uses partition %u (%s) twice",
                                              disk_path(disk), all[i]->number, all[i]->label);
        return 0;
}

static int layout_custom(const Disk *disk, const SlotConfig *config, SlotLayout *l, Why *why)
{
        l->generation = "custom";
        for (unsigned i = 0; i < _SLOT_MAX; i++) {
                const SlotSelector *selectors[] = { &config->custom[i].data, &config->custom[i].hash,
                                                    &config->custom[i].sig };
                const Partition **places[] = { &l->slot[i].data, &l->slot[i].hash, &l->slot[i].sig };
                static const char *const names[] = { "data", "hash", "sig" };

                for (size_t k = 0; k < ELEMENTSOF(selectors); k++) {
                        int r = find_selected(disk, selectors[k], (SlotId) i, names[k], places[k], why);
                        if (r < 0)
                                return r;
                }
                if (!l->slot[i].data)
                        return REFUSE(why, "gybe.json: disk.slots.%s.data is missing", slot_name((SlotId) i));
        }
        if (!l->slot[SLOT_A].hash != !l->slot[SLOT_B].hash || !l->slot[SLOT_A].sig != !l->slot[SLOT_B].sig)
                return REFUSE(why, "gybe.json: one of disk.slots has hash or sig, the other has not");
        return check_distinct(disk, l, why);
}

int slot_layout(const Disk *disk, const SlotConfig *config, SlotLayout *ret, Why *why)
{
        SlotLayout l = { 0 };
        int r = -EINVAL;

        switch (config->kind) {
        case SLOT_LAYOUT_ACL:
                r = layout_acl(disk, &l, why);
                break;
        case SLOT_LAYOUT_FLATCAR:
                r = layout_flatcar(disk, &l, why);
                break;
        case SLOT_LAYOUT_CUSTOM:
                r = layout_custom(disk, config, &l, why);
                break;
        }
        if (r < 0)
                return r;
        *ret = l;
        return 0;
}
