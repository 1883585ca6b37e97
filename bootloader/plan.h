/* SPDX-License-Identifier: MIT */
#pragma once

/* Which files make the new entry. Pure. For siblings and tests. Policy: acl-disk-and-boot.md 2.1, 2.2. */

#include "bootloader/cmdline.h"

#define PLAN_MARGIN MIB /* left free on the ESP, as Trident does */

/* A file in the running entry's addon folder. */
typedef struct LiveFile {
        char *name;
        uint64_t size;
        char sha256[65];
        char *cmdline; /* of an addon; NULL: not one, or it cannot be read */
} LiveFile;

/* A global addon: name and command line. */
typedef struct GlobalAddon {
        char *name, *cmdline;
} GlobalAddon;

typedef struct PlanInput {
        int target;
        const char *roothash;
        bool inline_hash;
        const BootSlotIds *ids; /* two of them */
        const BootImageFile *files;
        size_t n_files;
        const LiveFile *running;
        size_t n_running;
        const GlobalAddon *globals;
        size_t n_globals;
        bool take_loaders; /* false: the target's loader folder is what runs, and stays */
} PlanInput;

/* Chooses the files and checks the command line they would make. bytes is left 0. */
int plan_files(const PlanInput *in, BootPlan *ret, Why *why);
/* Bytes on a file system that gives space in clusters: the files, folders, the temporary copy that replacing a loader needs,
 * and a margin. */
uint64_t plan_bytes(const BootPlan *plan, uint64_t cluster);

/* A file name that may be created on the ESP. */
bool plan_name_ok(const char *name);
