/* SPDX-License-Identifier: MIT */
#pragma once

/* systemd-boot on an ESP: what the verbs of bootloader.h share. One file a group of verbs:
 *
 *      sdboot.c          open, state, names, digests
 *      sdboot-view.c     what is there right now, which entry runs, which one is the default
 *      sdboot-default.c  prove_default
 *      sdboot-plan.c     plan
 *      sdboot-retire.c   retire, condemn: entries out of the loader's sight
 *      sdboot-stage.c    files under inert names
 *      sdboot-check.c    check
 *      sdboot-wayback.c  way_back
 *      sdboot-publish.c  publish, unpublish, intent
 *      sdboot-arm.c      boot options, arm, disarm
 *      sdboot-commit.c   commit
 *      sdboot-contents.c contents
 *
 * On the ESP, besides what acl-disk-and-boot.md names:
 *
 *      EFI/gybe/intent.json             copy of the boot intent
 *      EFI/gybe/<a|b>.staged/templates/ the new image's templates, until commit; then acl/uki-addons/
 *      EFI/gybe/<a|b>.staged/loaders    which files in EFI/AZL<A|B> the new image brought, second stage first
 *      EFI/GYBE.NEW, GYBE.NEW           a folder without room, written once more (esproom.c); gone when retire() is done */

#include "bootloader/efivar.h"
#include "bootloader/esp.h"
#include "bootloader/plan.h"
#include "base/digest.h"

#define GYBE_DIR      "EFI/gybe"
#define TEMPLATES_DIR "acl/uki-addons"
#define FLATCAR_DIR   "flatcar"
#define FALLBACK_DIR  "EFI/BOOT"

/* Free places, in a row, that the names of one update need at most in the folders that firmware and loader list (esproom.c). In
 * EFI/Linux: staged UKI and its temporary name 3 + 3, staged addon folder 4, final names 3 + 4, a retired one 4; and some. */
#define ROOM_ENTRIES 24u
#define ROOM_FILES   6u /* loader.conf, a loader copy, with its temporary name */

#define FEATURE_ENTRY_DEFAULT   (UINT64_C(1) << 2)
#define FEATURE_ENTRY_ONESHOT   (UINT64_C(1) << 3)
#define FEATURE_ENTRY_PREFERRED (UINT64_C(1) << 19)

/* The file that is being staged. */
typedef struct SdFile {
        int dir_fd, fd;
        char *tmp, *name;
        Digest *digest;
        uint64_t size, done;
        char sha256[65];
        BootKind kind;
} SdFile;

typedef struct SdBoot {
        Boot boot; /* first: the door sees only this */
        const Env *env;
        char *esp_path;
        Esp esp;
        EfiVars vars;
        BootSlotIds ids[2];
        int target; /* of the last plan(); -1: none */
        SdFile file;
} SdBoot;

static inline SdBoot *sd(Boot *b)
{
        return (SdBoot *) b;
}

/* b is all zeroes; what it holds is freed by boot_free(), also after a failure. */
int sd_open(SdBoot *b, const Env *env, const char *esp, const BootSlotIds ids[2], Why *why);

/* --- view --- */

typedef struct View {
        EspEntries entries;
        char *selected, *oneshot, *variable, *preferred, *last_booted; /* Loader* variables; NULL: unset */
        char *conf, *conf_default; /* loader.conf: text (""), its default */
        bool has_loader_info, has_features;
        uint64_t features;
        const EspEntry *fallback; /* what boots without one-shot: the default; NULL: nothing at all */
        const char *fallback_by;
} View;

int view_load(SdBoot *b, View *ret, Why *why);
void view_done(View *view);
/* The entry that runs; slot -1: whichever. */
int view_running(const View *view, int slot, const EspEntry **ret, Why *why);
/* Names exactly this entry, whatever else appears in the folder. */
bool view_names(const char *value, const EspEntry *entry);
/* What the loader at hand would call it. */
const char *view_id(const View *view, const EspEntry *entry);
/* Some default names it (or resolves to it), or it runs. */
bool view_protects(const View *view, const EspEntry *entry);

/* --- pieces --- */

int sd_set_default(SdBoot *b, const View *view, const EspEntry *entry, Why *why);
char *sd_staged_dir(int slot);                    /* "EFI/gybe/b.staged" */
char *sd_loader_dir(int slot, unsigned os_index); /* "EFI/AZLB" */
/* The loader folder of this slot is what started this machine, or what firmware starts first. */
bool sd_loader_runs_from(SdBoot *b, const char *dir);
/* What firmware starts first lies there. */
bool sd_order_starts_in(SdBoot *b, const char *dir);
/* What retire() takes away, as names in EFI/Linux. NULL-terminated. */
int sd_retirable(SdBoot *b, const View *view, const EspEntry *running, int spare, char ***ret_ukis,
                 char ***ret_strays, Why *why);
int sd_drop_entry(SdBoot *b, int entries_fd, const char *name);
int sd_forget_staged(SdBoot *b, int slot);
/* Number of the load option that starts the running loader; made when it is missing and can be made. 1 found or (make)
 * made, 0 there is none. ret_missing (may be NULL): why not, a static sentence. */
int sd_boot_option(SdBoot *b, const char *loader_dir, bool make, uint16_t *ret, const char **ret_missing);
/* The same for the loader in exactly this folder, whatever started this system. */
int sd_boot_option_in(SdBoot *b, const char *loader_dir, uint16_t *ret);
int sd_order_first(SdBoot *b, uint16_t number);
const char *sd_loader_name(void); /* "BOOTX64.EFI" */
void sd_file_done(SdFile *file);

/* --- verbs --- */

int sd_prove_default(Boot *b, int running_slot, Why *why);
int sd_plan(Boot *b, int target_slot, const char *roothash, bool inline_hash, const BootImageFile *files,
            size_t n_files, BootPlan *ret, Why *why);
int sd_retire(Boot *b, int spare_slot, Why *why);
int sd_file_begin(Boot *b, const BootFile *file, Why *why);
int sd_file_write(Boot *b, const void *data, size_t size, Why *why);
int sd_file_end(Boot *b, Why *why);
int sd_copy_carried(Boot *b, const BootFile *file, Why *why);
int sd_check(Boot *b, int target_slot, const char *entry, const BootPlan *plan, const char *roothash,
             Why *why);
int sd_open_file(Boot *boot, const char *entry, BootKind kind, const char *name, Why *why);
int sd_way_back(Boot *b, int running_slot, const Json *files, const char *target, bool prove, Guarantees *ret,
                Why *why);
int sd_write_intent(Boot *b, const char *json, Why *why);
int sd_remove_intent(Boot *b, Why *why);
int sd_read_intent(Boot *b, Bytes *ret);
int sd_publish(Boot *b, const char *entry, Why *why);
int sd_unpublish(Boot *b, const char *entry, Why *why);
int sd_arm(Boot *b, const char *entry, Why *why);
int sd_disarm(Boot *b, const char *entry, Why *why);
int sd_commit(Boot *b, int running_slot, const char *entry, Why *why);
int sd_contents(Boot *b, const char *entry, BootContents *ret, Why *why);
int sd_condemn(Boot *b, const char *entry, Why *why);
