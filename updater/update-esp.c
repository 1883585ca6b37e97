/* SPDX-License-Identifier: MIT */

/* The ESP inside the image: its files against the signed list, and what they would do at the next boot. FAT and PE are taken
 * apart in gybe-fetch; here bytes are digested and compared. Nothing here writes. */

#include "stage.h"
#include "base/str.h"

#include <errno.h>

static bool is_uki_path(const char *path)
{
        static const char dir[] = "EFI/Linux/";
        char head[sizeof(dir)];

        if (strlen(path) < sizeof(dir))
                return false;
        memcpy(head, path, sizeof(dir) - 1);
        head[sizeof(dir) - 1] = 0;
        return str_fold_cmp(head, dir) == 0 && !strchr(path + sizeof(dir) - 1, '/') &&
               str_ends_fold(path, ".efi");
}

/* Flatcar's image has one kernel, for whichever slot: its own slot is a. */
static bool is_kernel_path(const char *path)
{
        return str_fold_cmp(path, "flatcar/vmlinuz-a") == 0 || str_fold_cmp(path, "flatcar/vmlinuz-b") == 0;
}

static bool is_target_template(const Stage *s, const char *path)
{
        _cleanup_(free_charp) char *slot = str_printf("acl/uki-addons/slot-%s.addon.efi",
                                                      slot_name(s->target)),
                                   *verity = str_printf("acl/uki-addons/verity-%s.addon.efi",
                                                        slot_name(s->target));

        return slot && verity && (str_fold_cmp(path, slot) == 0 || str_fold_cmp(path, verity) == 0);
}

static int hash_data(void *ctx, const void *data, size_t size, Why *why _unused_)
{
        return digest_update(ctx, data, size);
}

static int hash_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        static const uint8_t zero[4096];

        for (; size > 0; size -= MIN(size, (uint64_t) sizeof(zero))) {
                int r = digest_update(ctx, zero, (size_t) MIN(size, (uint64_t) sizeof(zero)));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int hash_esp_file(Stage *s, size_t at, char ret[SHA256_HEX], Why *why)
{
        _cleanup_(digest_freep) Digest *d = NULL;
        uint8_t sum[SHA256_SIZE];
        FetchSink sink;
        int r;

        r = digest_new(256, &d);
        if (r < 0)
                return r;
        sink = (FetchSink){ .data = hash_data, .zero = hash_zero, .ctx = d };
        r = fetch_esp_read(s->u->fetch, &s->esp, at, &sink, why);
        if (r >= 0)
                r = digest_final(d, sum);
        if (r < 0)
                return r;
        hex_encode(sum, sizeof(sum), ret);
        return 0;
}

static int check_pe(Stage *s, const StageFile *f, Why *why)
{
        const char *path = s->esp.files[f->at].path;
        uint16_t machine = streq(s->cosi.arch, "aarch64") ? 0xaa64 : 0x8664;

        if (f->pe.machine != machine)
                return fail(why, -EINVAL, s->kind, "wrong-machine",
                            "%s: it is for PE machine 0x%04x, the image for 0x%04x", path, f->pe.machine,
                            machine);
        if (f->kind != BOOT_UKI)
                return 0;
        if (!f->pe.has_linux || !f->pe.has_osrel)
                return fail(why, -EINVAL, s->kind, "bad-uki",
                            "%s: a UKI without %s; systemd-boot would not list it", path,
                            f->pe.has_linux ? ".osrel" : ".linux");
        return 0;
}

static int take_file(Stage *s, size_t at, BootKind kind, const char *expect_sha256, Why *why)
{
        StageFile *f = &s->files[s->n_files];
        int r;

        *f = (StageFile){ .at = at, .kind = kind };
        r = hash_esp_file(s, at, f->sha256, why);
        if (r < 0)
                return r;
        if (expect_sha256 && !streq(f->sha256, expect_sha256))
                return fail(why, -EBADMSG, WHY_TRUST, "file-digest",
                            "%s: its SHA-256 is %.16s..., the release file says %.16s...",
                            s->esp.files[at].path, f->sha256, expect_sha256);
        s->n_files++;
        f->is_pe = boot_kind_starts(kind) || kind == BOOT_ADDON || kind == BOOT_ADDON_TEMPLATE;
        if (!f->is_pe)
                return 0;
        r = fetch_esp_pe(s->u->fetch, &s->esp, at, &f->pe, why);
        return r < 0 ? r : check_pe(s, f, why);
}

/* Without a release file: what an updater may take is said by where it lies. */
static BootKind kind_of_path(const char *path)
{
        if (is_uki_path(path))
                return BOOT_UKI;
        if (is_kernel_path(path))
                return BOOT_KERNEL;
        if (strlen(path) > 10 && strcasestr(path, ".efi.extra.d/"))
                return str_ends_fold(path, ".addon.efi") ? BOOT_ADDON
                       : str_ends_fold(path, ".cred")    ? BOOT_CRED
                                                         : _BOOT_KIND_INVALID;
        if (strcasestr(path, "acl/uki-addons/") == path && str_ends_fold(path, ".addon.efi"))
                return BOOT_ADDON_TEMPLATE;
        return _BOOT_KIND_INVALID;
}

static int take_unlisted_files(Stage *s, Why *why)
{
        for (size_t i = 0; i < s->esp.n_files; i++) {
                BootKind kind = kind_of_path(s->esp.files[i].path);
                int r;

                if (kind < 0)
                        continue;
                if (s->n_files == RELEASE_BOOT_MAX)
                        return fail(why, -E2BIG, s->kind, "too-many-files",
                                    "ESP image: more than %u boot files", RELEASE_BOOT_MAX);
                r = take_file(s, i, kind, NULL, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int take_listed_files(Stage *s, Why *why)
{
        const Release *rel = &s->u->release;

        for (size_t i = 0; i < s->esp.n_files; i++) {
                const char *path = s->esp.files[i].path;
                bool listed = false;

                for (size_t k = 0; k < rel->n_boot; k++)
                        listed |= str_fold_cmp(path, rel->boot[k].path) == 0;
                if (!listed && (is_uki_path(path) || is_kernel_path(path) || is_target_template(s, path)))
                        return fail(why, -EBADMSG, WHY_TRUST, "unlisted-file",
                                    "%s: in the image's ESP but not in the release file", path);
        }
        for (size_t k = 0; k < rel->n_boot; k++) {
                size_t at;
                int r;

                if (!stage_find_esp(s, rel->boot[k].path, &at))
                        return fail(why, -EBADMSG, WHY_TRUST, "missing-file",
                                    "%s: in the release file but not in the image's ESP", rel->boot[k].path);
                r = take_file(s, at, rel->boot[k].kind, rel->boot[k].sha256, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

const StageFile *stage_uki(const Stage *s)
{
        for (size_t i = 0; i < s->n_files; i++)
                if (boot_kind_starts(s->files[i].kind))
                        return &s->files[i];
        return NULL;
}

static int take_files(Stage *s, Why *why)
{
        return s->u->has_release ? take_listed_files(s, why) : take_unlisted_files(s, why);
}

/* 1 taken, 0 it has to come as a whole */
static int take_parts(Stage *s, Why *why)
{
        Why because = { 0 };
        int r = stage_open_esp_parts(s, why);

        if (r <= 0)
                return r;
        r = take_files(s, &because);
        return r < 0 ? stage_esp_as_whole(s, r, &because, why) : 1;
}

int stage_read_esp(Stage *s, Why *why)
{
        unsigned ukis = 0;
        int r;

        if (!s->cosi.esp)
                return fail(why, -EINVAL, s->kind, "no-esp", "COSI: it has no ESP image");
        s->files = calloc(RELEASE_BOOT_MAX, sizeof(*s->files));
        if (!s->files)
                return -ENOMEM;
        r = take_parts(s, why);
        if (r == 0 && (r = fetch_esp_open(s->u->fetch, &s->cosi.esp->image, s->u->host.config.max_window_log,
                                          s->kind, &s->esp, why)) >= 0)
                r = take_files(s, why);
        if (r < 0)
                return r;
        for (size_t i = 0; i < s->n_files; i++)
                ukis += boot_kind_starts(s->files[i].kind);
        if (ukis != 1)
                return fail(why, -EINVAL, s->kind, ukis == 0 ? "no-uki" : "two-ukis",
                            "ESP image: %u UKIs (or kernels of Flatcar), exactly one is needed", ukis);
        return 0;
}

/* What would take part in the boot: the UKI, live addons, and the target's template. */
int stage_check_chain(Stage *s, Why *why)
{
        ChainFile files[RELEASE_BOOT_MAX];
        size_t n = 0;

        for (size_t i = 0; i < s->n_files; i++) {
                const StageFile *f = &s->files[i];
                const char *path = s->esp.files[f->at].path;

                if (f->is_pe && (f->kind != BOOT_ADDON_TEMPLATE || is_target_template(s, path)))
                        files[n++] = (ChainFile){ .what = path,
                                                  .is_uki = boot_kind_starts(f->kind),
                                                  .pe = &f->pe };
        }
        return update_check_chain(s->u, files, n, why);
}

/* acl.verity_usr_signature= sends the initrd to a signature; an empty partition there is a boot that may not go on. */
static int check_signature_promise(const Stage *s, Why *why)
{
        for (size_t i = 0; i < s->plan.n_files && s->signature.size == 0; i++) {
                const BootFile *f = &s->plan.files[i];

                if (!f->carried && f->kind != BOOT_ADDON_TEMPLATE &&
                    boot_names_signature(s->files[f->source].pe.cmdline))
                        return fail(why, -EBADMSG, WHY_TRUST, "slot-addon",
                                    "%s: it names a signature of the root hash, and the image has none",
                                    f->name ? f->name : s->esp.files[s->files[f->source].at].path);
        }
        return 0;
}

int stage_plan_boot(Stage *s, Why *why)
{
        BootImageFile files[RELEASE_BOOT_MAX];
        int r;

        for (size_t i = 0; i < s->n_files; i++)
                files[i] = (BootImageFile){
                        .path = s->esp.files[s->files[i].at].path,
                        .kind = s->files[i].kind,
                        .size = s->esp.files[s->files[i].at].size,
                        .sha256 = s->files[i].sha256,
                        .cmdline = s->files[i].pe.cmdline,
                        .roothash = s->files[i].pe.embedded_roothash,
                };
        r = s->u->host.boot->ops->plan(s->u->host.boot, (int) s->target, s->cosi.usr->roothash,
                                       s->cosi.usr->inline_verity, files, s->n_files, &s->plan, why);
        return r < 0 ? r : check_signature_promise(s, why);
}
