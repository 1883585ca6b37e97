/* SPDX-License-Identifier: MIT */

/* What is there: the attributes, the kernels, and which slot runs. gptprio.h tells how they make a boot. */

#include "bootloader/gptprio.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#if defined(__aarch64__)
#define ROOTHASH_OFFSET KERNEL_ROOTHASH_AARCH64
#else
#define ROOTHASH_OFFSET KERNEL_ROOTHASH_X86_64
#endif
#define CMDLINE_MAX (64u * 1024u)

const char *gptprio_entry(int slot)
{
        return slot == 0 ? "vmlinuz-a" : "vmlinuz-b";
}

int gptprio_slot_of(const char *entry)
{
        for (int slot = 0; entry && slot < 2; slot++)
                if (str_fold_cmp(entry, gptprio_entry(slot)) == 0)
                        return slot;
        return -1;
}

void gptprio_roothash(int fd, char ret[65])
{
        char text[65] = "";

        ret[0] = 0;
        if (fd_pread_full(fd, text, 64, ROOTHASH_OFFSET) != 64 || hex_normalize(text, 64, ret) < 0)
                ret[0] = 0;
}

void gptprio_read(const GptPrio *g, Prio ret[2])
{
        for (int slot = 0; slot < 2; slot++)
                ret[slot] = prio_of(g->parts[slot]->attrs);
}

int gptprio_write(GptPrio *g, const Prio pair[2], bool always, Why *why)
{
        PartitionAttrs set[2];
        bool changes = always || disk_table_is_torn(g->disk);

        for (int slot = 0; slot < 2; slot++) {
                const Partition *p = g->parts[slot];

                set[slot] = (PartitionAttrs){ p, prio_in(p->attrs, pair[slot]) };
                changes = changes || set[slot].attrs != p->attrs;
        }
        return changes ? disk_set_attrs(g->disk, set, 2, why) : 0;
}

/* verity.usr=PARTUUID=... (verity) or mount.usr=PARTUUID=... */
int gptprio_running(const GptPrio *g)
{
        static const char *const keys[] = { "verity.usr=", "mount.usr=" };
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        _cleanup_(strv_freep) char **words = NULL;

        if (env_read(g->sd.env, "/proc/cmdline", CMDLINE_MAX, &text) < 0 || !text.data ||
            strv_split_words((const char *) text.data, &words) < 0)
                return -1;
        for (char **w = words; w && *w; w++)
                for (size_t k = 0; k < ELEMENTSOF(keys); k++)
                        for (int slot = 0; str_starts(*w, keys[k]) && slot < 2; slot++)
                                if (strcasestr(*w, g->parts[slot]->partuuid))
                                        return slot;
        return -1;
}

bool gptprio_protects(const GptPrio *g, int slot)
{
        Prio pair[2];

        gptprio_read(g, pair);
        return gptprio_running(g) == slot || prio_default(pair, 2) == slot;
}

/* --- state --- */

static void fill_entry(const GptPrio *g, int dir, int slot, const Prio pair[2], BootEntry *ret)
{
        _cleanup_(close_fdp) int fd = esp_open_file(dir, gptprio_entry(slot));
        int next = prio_next(pair, 2);

        *ret = (BootEntry){ .slot = slot };
        (void) snprintf(ret->name, sizeof(ret->name), "%s", gptprio_entry(slot));
        if (fd >= 0)
                gptprio_roothash(fd, ret->roothash);
        ret->is_default = prio_default(pair, 2) == slot;
        ret->is_selected = gptprio_running(g) == slot;
        ret->is_oneshot = next == slot && !pair[slot].successful;
}

static void name_entries(BootState *s)
{
        for (size_t i = 0; i < s->n_entries; i++) {
                const BootEntry *e = &s->entries[i];

                if (e->is_default)
                        memcpy(s->default_name, e->name, sizeof(s->default_name));
                if (e->is_selected)
                        memcpy(s->selected, e->name, sizeof(s->selected));
                if (e->is_oneshot)
                        memcpy(s->oneshot, e->name, sizeof(s->oneshot));
        }
        if (s->default_name[0])
                (void) snprintf(s->default_by, sizeof(s->default_by), "GPT priority");
        s->default_is_named = s->default_name[0];
}

static int gp_state(Boot *boot, BootState *ret, Why *why)
{
        GptPrio *g = gp(boot);
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR);
        BootState s = { .has_loader_info = true, .entries = calloc(3, sizeof(*s.entries)) };
        uint8_t secure = 0;
        Prio pair[2];

        if (!s.entries)
                return -ENOMEM;
        gptprio_read(g, pair);
        for (int slot = 0; dir >= 0 && slot < 2; slot++) {
                _cleanup_(free_charp) char *found = NULL, *staged = NULL;
                char name[BOOT_NAME_MAX];
                int r;

                (void) snprintf(name, sizeof(name), "%s" GPTPRIO_STAGED_SUFFIX, gptprio_entry(slot));
                r = esp_find(dir, gptprio_entry(slot), &found);
                if (r > 0)
                        fill_entry(g, dir, slot, pair, &s.entries[s.n_entries++]);
                if (r >= 0)
                        r = esp_find(dir, name, &staged);
                if (r < 0) {
                        boot_state_done(&s);
                        return fail_errno(why, r, WHY_HOST, "reading %s on the ESP", FLATCAR_DIR);
                }
                s.has_staged = s.has_staged || r > 0;
        }
        name_entries(&s);
        s.secure_boot = efivar_get_u8(&g->sd.vars, EFI_GLOBAL, "SecureBoot", &secure) >= 0 && secure == 1;
        *ret = s;
        return 0;
}

/* A slot has one name: there is nothing to count. */
static int gp_next_name(Boot *boot _unused_, int target_slot, char ret[BOOT_NAME_MAX], Why *why _unused_)
{
        (void) snprintf(ret, BOOT_NAME_MAX, "%s", gptprio_entry(target_slot));
        return 0;
}

/* --- life cycle --- */

static const BootOps gptprio_ops = {
        .name = "gptprio",
        .inline_tree = true,
        .state = gp_state,
        .prove_default = gp_prove_default,
        .plan = gp_plan,
        .retire = gp_retire,
        .file_begin = gp_file_begin,
        .file_write = sd_file_write,
        .file_end = sd_file_end,
        .copy_carried = gp_copy_carried,
        .check = gp_check,
        .open_file = gp_open_file,
        .way_back = gp_way_back,
        .write_intent = sd_write_intent,
        .remove_intent = sd_remove_intent,
        .read_intent = sd_read_intent,
        .next_name = gp_next_name,
        .publish = gp_publish,
        .unpublish = gp_unpublish,
        .arm = gp_arm,
        .disarm = gp_disarm,
        .commit = gp_commit,
        .condemn = gp_condemn,
        .digests = gp_digests,
        .contents = gp_contents,
};

int gptprio_open(GptPrio *g, Disk *disk, Why *why)
{
        g->disk = disk;
        for (int slot = 0; slot < 2; slot++) {
                const Partition *p = disk ? disk_find_partuuid(disk, g->sd.ids[slot].data_partuuid) : NULL;

                if (!p)
                        return fail(why, -ENODEV, WHY_HOST, "no-disk",
                                    "boot loader gptprio: the disk with the two slots is not known");
                /* GRUB looks at no other type; on any other its bits would mean nothing */
                if (!streq(p->type, DISK_TYPE_FLATCAR_ROOTFS))
                        return fail(why, -ENXIO, WHY_HOST, "layout",
                                    "boot loader gptprio: %s has the partition type %s, GRUB looks for %s",
                                    p->label, p->type, DISK_TYPE_FLATCAR_ROOTFS);
                g->parts[slot] = p;
        }
        g->sd.boot.ops = &gptprio_ops;
        return 0;
}
