/* SPDX-License-Identifier: MIT */

/* plan(): reads what the pure planner needs off the ESP, then asks whether the result fits. Nothing is written, so every
 * refusal here leaves the host as it was; the space counts what retire() will give back. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>

static int freed_by_retire(SdBoot *b, const View *v, const EspEntry *running, int spare, uint64_t cluster,
                           uint64_t *ret, Why *why)
{
        _cleanup_(strv_freep) char **ukis = NULL, **strays = NULL;
        _cleanup_(free_charp) char *staged = sd_staged_dir(spare);
        _cleanup_(close_fdp) int fd = esp_dir(b->esp.fd, ESP_ENTRIES), efi = -1, gybe = -1;
        uint64_t sum = 0, size = 0;
        int r;

        r = sd_retirable(b, v, running, spare, &ukis, &strays, why);
        if (r < 0)
                return r;
        r = fd < 0 ? fd : staged ? 0 : -ENOMEM;
        for (char **n = ukis; n && r >= 0 && *n; n++) {
                char addons[ENTRY_ADDONS_MAX];

                r = esp_tree_size(fd, *n, cluster, &size);
                sum += size;
                entry_addons_dir(*n, addons);
                if (r >= 0)
                        r = esp_tree_size(fd, addons, cluster, &size);
                sum += size;
        }
        for (char **n = strays; n && r >= 0 && *n; n++) {
                r = esp_tree_size(fd, *n, cluster, &size);
                sum += size;
        }
        efi = esp_dir(b->esp.fd, "EFI");
        if (r >= 0 && efi >= 0) {
                r = esp_tree_size(efi, ESP_SPARE, cluster, &size);
                sum += size;
        }
        gybe = esp_dir(b->esp.fd, GYBE_DIR);
        if (r >= 0 && gybe >= 0) {
                r = esp_tree_size(gybe, strrchr(staged, '/') + 1, cluster, &size);
                sum += size;
        }
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "measuring the ESP %s", b->esp.path);
        *ret = sum;
        return 0;
}

static int check_space(SdBoot *b, const View *v, const EspEntry *running, int spare, BootPlan *plan, Why *why)
{
        char need_text[SIZE_TEXT_SIZE], have_text[SIZE_TEXT_SIZE], freed_text[SIZE_TEXT_SIZE];
        uint64_t have, cluster, freed = 0, copy = 0, need;
        int r;

        r = esp_space(&b->esp, &have, &cluster);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "measuring the ESP %s", b->esp.path);
        r = freed_by_retire(b, v, running, spare, cluster, &freed, why);
        if (r < 0)
                return r;
        r = esp_rebuild_size(&b->esp, ESP_ENTRIES, ROOM_ENTRIES, cluster, &copy);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "measuring the ESP %s", b->esp.path);
        /* The copy of a full folder is gone before the first new file; what retire() removes is not copied. */
        plan->bytes = plan_bytes(plan, cluster);
        need = MAX(plan->bytes, copy > freed ? copy - freed : 0);
        if (need <= have || need - have <= freed)
                return 0;
        format_size(need, need_text);
        format_size(have, have_text);
        format_size(freed, freed_text);
        (void) fail(
                why, -ENOSPC, WHY_HOST, "esp-space",
                "ESP %s: too small: the new boot files need %s, %s are free and removing old ones gives %s",
                b->esp.path, need_text, have_text, freed_text);
        return fail_hint(why, -ENOSPC, "remove what does not belong there, or give the host a larger ESP");
}

/* New folders beside those that lead to the running entry, and the place of a copy. */
static int check_folders(SdBoot *b, const char *loader_dir, Why *why)
{
        const char *const folders[] = { GYBE_DIR, loader_dir };
        unsigned efi = 1, root = 1;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                _cleanup_(close_fdp) int fd = esp_dir(b->esp.fd, folders[i]);

                if (fd == -ENOENT)
                        efi += esp_places(strrchr(folders[i], '/') + 1);
        }
        for (size_t i = 0; i < 2; i++) {
                _cleanup_(close_fdp) int fd = esp_dir(b->esp.fd, i == 0 ? "loader" : "acl");

                if (fd == -ENOENT)
                        root += 2;
        }
        r = esp_check_room(&b->esp, "EFI", efi, why);
        return r < 0 ? r : esp_check_room(&b->esp, "/", root, why);
}

int sd_plan(Boot *boot, int target_slot, const char *roothash, bool inline_hash, const BootImageFile *files,
            size_t n_files, BootPlan *ret, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(view_done) View v = { 0 };
        _cleanup_(esp_live_files_done) LiveFiles live = { 0 };
        _cleanup_(boot_plan_done) BootPlan plan = { 0 };
        _cleanup_(free_charp) char *loader_dir = NULL;
        const EspEntry *running;
        PlanInput in;
        int r;

        if ((r = view_load(b, &v, why)) < 0 || (r = view_running(&v, 1 - target_slot, &running, why)) < 0 ||
            (r = esp_live_files(&b->esp, running->name, &live, why)) < 0)
                return r;
        loader_dir = sd_loader_dir(target_slot, running->parsed.os_index);
        if (!loader_dir)
                return -ENOMEM;
        in = (PlanInput){
                .target = target_slot,
                .roothash = roothash,
                .inline_hash = inline_hash,
                .ids = b->ids,
                .files = files,
                .n_files = n_files,
                .running = live.items,
                .n_running = live.n,
                .globals = v.entries.globals,
                .n_globals = v.entries.n_globals,
                .take_loaders = !sd_loader_runs_from(b, loader_dir),
        };
        if ((r = plan_files(&in, &plan, why)) < 0 || (r = check_folders(b, loader_dir, why)) < 0 ||
            (r = check_space(b, &v, running, target_slot, &plan, why)) < 0)
                return r;
        b->target = target_slot;
        *ret = plan;
        plan = (BootPlan){ 0 };
        return 0;
}
