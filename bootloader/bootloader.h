/* SPDX-License-Identifier: MIT */
#pragma once

/* What boots next? One vtable, chosen once: systemd-boot on an ESP, or Flatcar's GRUB that goes by attributes of partitions
 * (gptprio). Knows boot entries, ESP files, EFI variables and those attributes; knows nothing of downloads, journals or
 * policies. The order in which these verbs are called is the
 * safety of the whole program and belongs to update.c; each verb alone keeps this promise: whatever prefix of its writes
 * reaches the medium, the default entry still boots what it booted before. Facts: acl-disk-and-boot.md 2, 4-6, design 7. */

#include "base/env.h"
#include "bootloader/uki.h"
#include "disk/disk.h"
#include "release/release.h"

#define BOOT_NAME_MAX    128u /* file name of an entry; longer ones are not ours */
#define BOOT_ENTRIES_MAX 64u

/* The identity of the two slots as command lines name them. index 0 is slot a, 1 is slot b. */
typedef struct BootSlotIds {
        char data_partuuid[37], hash_partuuid[37],
                sig_partuuid[37]; /* lower case; "" when there is no such partition */
} BootSlotIds;

/* One bootable entry as found on the ESP (EFI/Linux/<x>.efi with its live addons), or a type-1 entry by name only. */
typedef struct BootEntry {
        char name[BOOT_NAME_MAX]; /* file name as on the ESP, with its counter */
        int slot;                 /* 0, 1; -1 when its command line names neither or cannot be read */
        char roothash[65];        /* usrhash= of the effective command line, "" unknown */
        bool managed;             /* vmlinuz-<index>-azl<a|b><os>.efi */
        unsigned index, os_index; /* when managed */
        bool is_default;          /* what a boot without one-shot would start */
        bool is_selected;         /* what this boot started */
        bool is_oneshot;
        char version[64]; /* VERSION_ID of .osrel, "" unknown */
} BootEntry;

typedef struct BootState {
        BootEntry *entries;
        size_t n_entries;
        char default_name[BOOT_NAME_MAX]; /* entry the default resolves to, "" none */
        char default_by[32];              /* "LoaderEntryDefault", "loader.conf", "sort order" */
        bool default_is_named;        /* by one of the first two: it stays, whatever appears in the folder */
        char selected[BOOT_NAME_MAX]; /* LoaderEntrySelected, counter kept */
        char oneshot[BOOT_NAME_MAX];  /* LoaderEntryOneShot, "" unset */
        bool has_loader_info;         /* booted through sd-boot */
        bool has_staged;              /* an update's boot files lie under their inert names */
        uint64_t features;            /* LoaderFeatures, 0 unknown */
        bool secure_boot;
} BootState;

/* A file to be staged, from the new image or carried over from the running entry. */
typedef struct BootFile {
        BootKind
                kind; /* BOOT_UKI, BOOT_ADDON, BOOT_CRED, BOOT_ADDON_TEMPLATE, BOOT_LOADER, BOOT_SHIM, BOOT_KERNEL */
        char *name; /* file name only: its name in .extra.d, acl/uki-addons, EFI/AZLx; ignored for the UKI */
        uint64_t size;
        char sha256[65];
        bool carried;  /* from the running entry (source is the ESP itself), not from the image */
        size_t source; /* index of the image's file, for the walk */
} BootFile;

typedef struct BootPlan {
        BootFile *files;
        size_t n_files;
        uint64_t bytes; /* needed on the ESP, cluster rounding and margin included */
} BootPlan;

void boot_plan_done(BootPlan *plan);

/* What an entry is made of, and what it says. Texts are as somebody wrote them to the ESP: nobody has vouched for them. */
typedef struct BootContents {
        BootFile *
                files; /* what starts, then its addon folder's by name; sizes and digests as they lie there */
        size_t n_files;
        char *cmdline; /* effective, its addons' and the global ones' included; NULL: it stands elsewhere (GRUB) */
        char *version_id, *uname; /* of .osrel, .uname; NULL unknown */
} BootContents;

void boot_contents_done(BootContents *contents);

/* A file of the new image's ESP, as the walk knows it after the signed list was applied. */
typedef struct BootImageFile {
        const char *path; /* on the image's ESP, as spelled there */
        BootKind kind;
        uint64_t size;
        const char *sha256;
        const char *cmdline;  /* of PE files, NULL when there is none */
        const char *roothash; /* embedded in a kernel, "" or NULL none */
} BootImageFile;

/* Does the command line send the initrd to a signature of the root hash? */
bool boot_names_signature(const char *cmdline);

/* --- the way back --- */

/* What has to hold so that a trial that fails ends in the slot that was left. The names are stable: `gybe status` shows them
 * (guarantees: [{name, holds, sentence}]) and a policy may require them (require: ["watchdog"]: finalize refuses, exit 3,
 * while one of them does not hold or is unknown).
 *
 *      default          the loader boots the committed entry when nobody says otherwise
 *      old-entry        the running UKI and its addons are, byte for byte, what was committed
 *      one-shot         the loader takes a one-shot entry (LoaderFeatures)
 *      nvram            EFI variables can be written and have room (finalize writes the default once more)
 *      firmware-return  firmware starts the loader again when the new UKI cannot be started
 *      new-panic        the new signed command line reboots after a kernel panic (panic=)
 *      new-initrd       the new signed command line reboots when the initrd fails (rd.shell=0 rd.emergency=reboot)
 *      panic            the running kernel reboots after a panic (kernel.panic): it is the way back
 *      watchdog         a hardware watchdog is held
 *      deadline         a trial boot that nobody commits is ended by systemd (/etc can be written, policy wants it)
 *
 * The first six are the boot loader's, the others the walk's (updater/wayback.c). Whatever the policy says, finalize refuses
 * where old-entry, one-shot or nvram is disproved: there the trial would be final. */
typedef enum GuaranteeHolds {
        GUARANTEE_UNKNOWN,
        GUARANTEE_YES,
        GUARANTEE_NO,
        _GUARANTEE_HOLDS_MAX,
        _GUARANTEE_HOLDS_INVALID = -22,
} GuaranteeHolds;

const char *guarantee_holds_name(GuaranteeHolds holds); /* "unknown", "yes", "no" */

typedef struct Guarantee {
        const char *name; /* static */
        GuaranteeHolds holds;
        char sentence[256];
} Guarantee;

#define GUARANTEES_MAX 16u /* there are ten */

typedef struct Guarantees {
        Guarantee list[GUARANTEES_MAX];
        size_t n;
} Guarantees;

void guarantee_add(Guarantees *g, const char *name, GuaranteeHolds holds, const char *fmt, ...)
        _printf_(4, 5);
const Guarantee *guarantee_find(const Guarantees *g, const char *name); /* NULL: not in the list */

typedef struct Boot Boot;

typedef struct BootOps {
        const char *name; /* "sdboot", "gptprio" */
        /* The kernel command line names no partition of a hash tree: the tree goes behind the data, wherever the image has it. */
        bool inline_tree;

        /* What is there. Read-only; may be called at any time. */
        int (*state)(Boot *b, BootState *ret, Why *why);

        /* The default entry resolves to the running one, by name, whatever happens to the folder next; repaired where it
         * does not (loader.conf first, then LoaderEntryDefault). -> design 7.1 */
        int (*prove_default)(Boot *b, int running_slot, Why *why);

        /* What would be put on the ESP for this image: exactly one slot addon (the target's), firstboot and the other
         * slot's addon dropped, operator addons carried by acl-disk-and-boot.md 2.2. Checks the effective command line:
         * usrhash = roothash, PARTUUIDs = the target's, verity arguments nowhere but in the slot addon (or, inline, the
         * UKI), global addons included; space on the ESP after the clean-up that stage() will do. Writes nothing. */
        int (*plan)(Boot *b, int target_slot, const char *roothash, bool inline_hash,
                    const BootImageFile *files, size_t n_files, BootPlan *ret, Why *why);

        /* The spare slot's own entry becomes inert (renamed away from .efi), then it and stale leftovers are removed.
         * Never what runs, never what a default names. */
        int (*retire)(Boot *b, int spare_slot, Why *why);

        /* Staged names: begin() for a plan file, write() its bytes in order, end() checks size and digest, syncs and gives it
         * its inert name. copy_carried() does all of it for a carried file. */
        int (*file_begin)(Boot *b, const BootFile *file, Why *why);
        int (*file_write)(Boot *b, const void *data, size_t size, Why *why);
        int (*file_end)(Boot *b, Why *why);
        int (*copy_carried)(Boot *b, const BootFile *file, Why *why);

        /* Everything staged is there, nothing else is in the staged addon folder, digests equal, and the command line rules of
         * plan() hold for what is on the ESP. Also after publish(), with the entry's final name. */
        int (*check)(Boot *b, int target_slot, const char *entry /* NULL: staged names */,
                     const BootPlan *plan, const char *roothash, Why *why);

        /* A UKI (name ignored) or a file of its live addon folder, for reading; entry NULL: the staged names. Or a file of the
         * loader that starts (entry ignored). Returns an fd. */
        int (*open_file)(Boot *b, const char *entry, BootKind kind, const char *name, Why *why);

        /* The guarantees of the way back that are the boot loader's, added to *ret. files: digests recorded at commit; may be
         * NULL. target: the entry that is going to be tried, NULL: what lies staged. prove: before arming; NVRAM is written
         * (the default, once more, with its own value), and what would make a failed trial final is an error. Without it
         * nothing is written, nothing is refused, and only memory can fail. */
        int (*way_back)(Boot *b, int running_slot, const Json *files, const char *target, bool prove,
                        Guarantees *ret, Why *why);

        /* Copy of the boot intent on the ESP: EFI/gybe/intent.json. A hint only. */
        int (*write_intent)(Boot *b, const char *json, Why *why);
        int (*remove_intent)(Boot *b, Why *why);
        /* 1 and its bytes, 0 there is none that can be read. */
        int (*read_intent)(Boot *b, Bytes *ret);

        /* The name publish() will give, stable across crashes: the same as long as nothing was committed in between. */
        int (*next_name)(Boot *b, int target_slot, char ret[BOOT_NAME_MAX], Why *why);
        /* Addon folder first, then the UKI, synced each; resumes what an interrupted one left. */
        int (*publish)(Boot *b, const char *entry, Why *why);
        /* The way back: UKI first, then the addon folder, to the staged names again. Resumable; nothing to do is success.
         * Refuses what runs or what a default names. */
        int (*unpublish)(Boot *b, const char *entry, Why *why);
        /* BootNext/BootOrder so that firmware comes back to the running loader when the new UKI does not even start; then the
         * one-shot, last. */
        int (*arm)(Boot *b, const char *entry, Why *why);
        /* One-shot (when it names this entry, or entry is NULL), BootNext and intent gone. */
        int (*disarm)(Boot *b, const char *entry, Why *why);

        /* The running entry becomes the default: loader.conf, LoaderEntryDefault, boot order, templates, loader copies. */
        int (*commit)(Boot *b, int running_slot, const char *entry, Why *why);
        /* A published entry that must not be tried again becomes inert. Refuses what runs or what a default names. */
        int (*condemn)(Boot *b, const char *entry, Why *why);

        /* Digests of an entry's files as {"<ESP path>": "<sha256>"}, for the record made at commit. */
        int (*digests)(Boot *b, const char *entry, Json **ret, char ret_uki_sha256[65], Why *why);

        /* An entry as it lies there; entry NULL: what is staged. Read-only; for looking, decides nothing. */
        int (*contents)(Boot *b, const char *entry, BootContents *ret, Why *why);
} BootOps;

struct Boot {
        const BootOps *ops;
};

void boot_state_done(BootState *state);
/* Entry names are compared as FAT does, counters stripped. */
bool boot_name_equal(const char *a, const char *b);
const BootEntry *boot_entry_find(const BootState *state, const char *name);

typedef enum BootLoader {
        BOOT_LOADER_AUTO, /* gptprio where the ESP has Flatcar's kernels, else sdboot */
        BOOT_LOADER_SDBOOT,
        BOOT_LOADER_GPTPRIO,
        _BOOT_LOADER_MAX,
        _BOOT_LOADER_INVALID = -22,
} BootLoader;

BootLoader boot_loader_from_name(const char *name);

/* Opens the ESP mounted at esp inside env's root. On the real machine: it must be vfat and the partition the loader came
 * from. disk (borrowed for the life of the Boot; NULL: not known) is the one with the slots. */
int boot_open(const Env *env, BootLoader loader, const char *esp, Disk *disk, const BootSlotIds ids[2],
              Boot **ret, Why *why);
Boot *boot_free(Boot *b);
void boot_freep(Boot **b);
