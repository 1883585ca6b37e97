/* SPDX-License-Identifier: MIT */
#pragma once

/* Flatcar's GRUB: which slot boots is said by attributes of the two USR partitions, as ChromeOS says it for its kernels.
 *
 *      bits 48-51  priority    0 never, 15 first
 *      bits 52-55  tries       boots that are left before it has to be successful
 *      bit  56     successful  boots without counting
 *
 * GRUB's gptprio.next takes, among the partitions of Flatcar's /usr type that have tries or are successful, the one with the
 * highest priority (the first of equals), counts a try down on the disk, and starts flatcar/vmlinuz-a or -b from the ESP with
 * that partition as /usr. The root hash of /usr stands in the kernel file itself (64 hex digits where an old error message
 * was), from where GRUB puts it on the command line: there are no addons and there is no entry to write.
 *
 * In the words of this room: an entry is a kernel file ("vmlinuz-b"); the default is the successful partition with the highest
 * priority; a one-shot is a partition above it with one try and not successful. Both states of a slot are one word of the
 * table, so arming and committing are one write (disk_set_attrs), and after a reset that nobody foresaw GRUB finds the try
 * spent and boots the default.
 *
 *      flatcar/vmlinuz-b         slot b's kernel
 *      flatcar/vmlinuz-b.staged  the new one, until finalize; no loader looks at it
 *
 * The ESP half (files under inert names, the intent) is sdboot's, so a GptPrio begins with an SdBoot. */

#include "bootloader/sdboot.h"

#define GPTPRIO_STAGED_SUFFIX ".staged"
#define GPTPRIO_TRIES         1u /* a second boot would be one that the journal does not know of */

/* --- attributes: pure, gptprio-attrs.c --- */

typedef struct Prio {
        unsigned priority, tries;
        bool successful;
} Prio;

Prio prio_of(uint64_t attrs);
uint64_t prio_in(uint64_t attrs, Prio prio); /* other bits stay */
bool prio_equal(Prio a, Prio b);
/* What gptprio.next would take; -1 nothing. */
int prio_next(const Prio *list, size_t n);
/* What it takes when all tries are spent; -1 nothing. */
int prio_default(const Prio *list, size_t n);
/* This one is the default, the other one is not tried: commit, and repair. An other one that was successful stays so. */
void prio_keep(Prio pair[2], int slot);
/* The next boot tries this one, once; the other one, which must be successful, stays the default. */
void prio_arm(Prio pair[2], int slot);

/* --- the boot loader --- */

typedef struct GptPrio {
        SdBoot sd; /* first: the door sees only its Boot */
        Disk *disk;
        const Partition *parts[2];
} GptPrio;

static inline GptPrio *gp(Boot *b)
{
        return (GptPrio *) b;
}

/* The SdBoot in it is open. */
int gptprio_open(GptPrio *g, Disk *disk, Why *why);

const char *gptprio_entry(int slot);    /* "vmlinuz-b" */
int gptprio_slot_of(const char *entry); /* -1: no such entry */
void gptprio_read(const GptPrio *g, Prio ret[2]);
/* Nothing is written where nothing changes and both copies of the table agree, unless always. */
int gptprio_write(GptPrio *g, const Prio pair[2], bool always, Why *why);
/* The slot that runs, by the kernel command line; -1 unknown. */
int gptprio_running(const GptPrio *g);
/* It runs, or it is the default. */
bool gptprio_protects(const GptPrio *g, int slot);
/* The root hash that GRUB would take from this kernel, lower case; "" when there is none. */
void gptprio_roothash(int fd, char ret[65]);

/* --- verbs: gptprio-flip.c, gptprio-stage.c, gptprio-wayback.c --- */

int gp_prove_default(Boot *b, int running_slot, Why *why);
int gp_retire(Boot *b, int spare_slot, Why *why);
int gp_arm(Boot *b, const char *entry, Why *why);
int gp_disarm(Boot *b, const char *entry, Why *why);
int gp_commit(Boot *b, int running_slot, const char *entry, Why *why);
int gp_condemn(Boot *b, const char *entry, Why *why);

int gp_plan(Boot *b, int target_slot, const char *roothash, bool inline_hash, const BootImageFile *files,
            size_t n_files, BootPlan *ret, Why *why);
int gp_file_begin(Boot *b, const BootFile *file, Why *why);
int gp_copy_carried(Boot *b, const BootFile *file, Why *why);
int gp_check(Boot *b, int target_slot, const char *entry, const BootPlan *plan, const char *roothash,
             Why *why);
int gp_open_file(Boot *b, const char *entry, BootKind kind, const char *name, Why *why);
int gp_publish(Boot *b, const char *entry, Why *why);
int gp_unpublish(Boot *b, const char *entry, Why *why);
int gp_digests(Boot *b, const char *entry, Json **ret, char ret_sha256[65], Why *why);
int gp_contents(Boot *b, const char *entry, BootContents *ret, Why *why);

int gp_way_back(Boot *b, int running_slot, const Json *files, const char *target, bool prove, Guarantees *ret,
                Why *why);
