/* SPDX-License-Identifier: MIT */
#pragma once

/* Kernel command lines: which slot they lead to, and the rule that exactly one part of them may say so. Pure. For siblings
 * and tests. Facts: acl-disk-and-boot.md 2, 2.1, 3.1. */

#include "bootloader/bootloader.h"

/* What one command line (or one addon's share of it) says about slots and about coming back. */
typedef struct CmdlineArgs {
        unsigned n_slot; /* arguments that name the slot: root hash, devices, options, acl.slot, signature */
        unsigned n_diverting; /* others that would take /usr from somewhere else or switch verity off */
        const char *
                bad; /* static name of the first argument that is given twice or malformed; NULL: all is well */
        char usrhash[65]; /* "" when absent or malformed; so are the others */
        char data[37], hash[37], sig[37];
        int slot;                             /* acl.slot; -1 absent */
        bool ignores_corruption, odd_options; /* verity options other than panic-on-corruption */
        bool first_boot;  /* flatcar.first_boot= or ignition.firstboot: provisioning would run again */
        unsigned n_other; /* everything else */
        bool panic_reboots, panic_stays; /* panic= not 0; panic=0 */
        /* What dracut's emergency action does: a shell that waits for somebody unless rd.shell=0, and then a power-off unless
         * rd.emergency=reboot. */
        bool rd_no_shell, rd_reboots, rd_break;
        bool watchdog; /* systemd.watchdog_sec=: held from the initrd's first process on */
} CmdlineArgs;

/* text may be NULL. Only memory can fail. */
int cmdline_parse(const char *text, CmdlineArgs *ret);
/* A failed initrd ends in a reboot. *ret_missing (may be NULL): the argument that it takes, static. */
bool cmdline_initrd_reboots(const CmdlineArgs *args, const char **ret_missing);
/* Which slot these arguments lead to; -1: none, unknown, or they contradict each other. */
int cmdline_slot(const CmdlineArgs *args, const BootSlotIds ids[2]);

/* slot-a.addon.efi, verity-b.addon.efi: 0 or 1; verity.addon.efi (the live name of either): 2; -1: no slot addon. */
int addon_slot_by_name(const char *name);
bool addon_is_firstboot_by_name(const char *name);

typedef enum PartRole {
        PART_UKI,
        PART_GLOBAL, /* loader/addons: every entry gets it */
        PART_ADDON,
        PART_SLOT, /* the one addon that may name the slot */
} PartRole;

typedef struct CmdlinePart {
        const char *name; /* for sentences */
        const char *text;
        PartRole role;
} CmdlinePart;

typedef struct SlotExpect {
        int slot;
        const char *roothash;
        const BootSlotIds *ids; /* two of them */
        int inline_hash;        /* 1 tree behind the data, 0 on its own partition, -1 not known */
} SlotExpect;

/* The whole rule, over everything that systemd-stub would join: kind WHY_TRUST for every fault. */
int cmdline_check(const CmdlinePart *parts, size_t n, const SlotExpect *expect, Why *why);
