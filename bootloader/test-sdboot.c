/* SPDX-License-Identifier: MIT */

/* Whole cycles on a host made of files: stage, publish, arm, "boot", commit, and the ways in which that goes wrong. After
 * every verb the two promises are held to the folder: what runs is untouched, byte for byte (P1), and the default is the
 * committed entry (P2). */

#undef NDEBUG

#include "bootloader/sdboot.h"
#include "bootloader/test-pe.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define USR_A   "7130c94a-213a-4e5a-8e26-6cce9662f132"
#define HASH_A  "b736baf1-cdb4-4535-beba-ddaaa30ad7b7"
#define USR_B   "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"
#define HASH_B  "35bdf78b-c453-4661-98e6-f834f534ef5b"
#define ESP_ID  "0f0f0f0f-1111-2222-3333-444444444444"
#define BASE    "mount.usr=/dev/mapper/usr root=LABEL=ROOT panic=5 rd.shell=0 rd.emergency=reboot"
#define FACTORY "vmlinuz-6.6.121.1-1.azl3.efi"

/* Firmware looks for a name per processor; some tools write it small. */
#if defined(__aarch64__)
#define LOADER       "BOOTAA64.EFI"
#define LOADER_SMALL "bootaa64.efi"
#else
#define LOADER       "BOOTX64.EFI"
#define LOADER_SMALL "bootx64.efi"
#endif

static const BootSlotIds ids[2] = { { USR_A, HASH_A, "" }, { USR_B, HASH_B, "" } };

/* --- the host --- */

typedef struct Host {
        char dir[64];
        Env env;
        int fd;
        Boot *boot;
        int running;    /* slot */
        char kept[128]; /* the committed entry */
        char *proof;    /* its digests */
} Host;

static void put(Host *h, const char *path, const void *data, size_t size)
{
        _cleanup_(free_charp) char *folder = strdup(path);
        _cleanup_(close_fdp) int fd = -1;
        char *slash = strrchr(folder, '/');

        *slash = '\0';
        fd = dir_make(h->fd, folder, 0755);
        assert(fd >= 0 && file_replace(fd, slash + 1, data, size, 0644) == 0);
}

static void put_pe(Host *h, const char *path, Bytes b)
{
        put(h, path, b.data, b.size);
        bytes_done(&b);
}

static bool there(Host *h, const char *path)
{
        struct stat st;

        return fstatat(h->fd, path, &st, 0) == 0;
}

static char *text_of(Host *h, const char *path)
{
        Bytes b = BYTES_NULL;

        assert(file_read(h->fd, path, 1 << 20, &b) == 0);
        return (char *) b.data;
}

static void set_var(Host *h, const char *guid, const char *name, const void *data, size_t size,
                    uint8_t attributes)
{
        _cleanup_(free_charp) char *path = str_printf("sys/firmware/efi/efivars/%s-%s", name, guid);
        _cleanup_(bytes_done) Bytes raw = BYTES_NULL;
        uint8_t head[4] = { attributes };

        assert(bytes_append(&raw, head, 4) == 0 && bytes_append(&raw, data, size) == 0);
        put(h, path, raw.data, raw.size);
}

static void set_text(Host *h, const char *name, const char *text)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        assert(utf16_encode(text, &b) == 0);
        set_var(h, EFI_LOADER, name, b.data, b.size, 6);
}

static char *get_text(Host *h, const char *name)
{
        _cleanup_(efivars_done) EfiVars vars = EFIVARS_NULL;
        char *text = NULL;

        assert(efivars_open(&h->env, &vars) == 0);
        return efivar_get_text(&vars, EFI_LOADER, name, &text) == 0 ? text : NULL;
}

static bool var_is(Host *h, const char *name, const char *expect)
{
        _cleanup_(free_charp) char *text = get_text(h, name);

        return streq0(text, expect);
}

static int get_u16(Host *h, const char *name)
{
        _cleanup_(efivars_done) EfiVars vars = EFIVARS_NULL;
        uint16_t n;

        assert(efivars_open(&h->env, &vars) == 0);
        return efivar_get_u16(&vars, EFI_GLOBAL, name, &n) == 0 ? n : -1;
}

static void del_var(Host *h, const char *guid, const char *name)
{
        _cleanup_(free_charp) char *path = str_printf("sys/firmware/efi/efivars/%s-%s", name, guid);

        (void) unlinkat(h->fd, path, 0);
}

static void set_order(Host *h, uint8_t a, uint8_t b)
{
        const uint8_t order[4] = { a, 0, b, 0 };

        set_var(h, EFI_GLOBAL, "BootOrder", order, 4, 7);
}

static void set_option(Host *h, const char *name, const char *path)
{
        const EfiDisk disk = { 1, 2048, 0x60000, ESP_ID };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        assert(boot_option_format("disk", &disk, path, &b) == 0);
        set_var(h, EFI_GLOBAL, name, b.data, b.size, 7);
}

/* BootOrder begins with this number and has n of them. */
static bool order_is(Host *h, uint8_t first, size_t n)
{
        _cleanup_(efivars_done) EfiVars vars = EFIVARS_NULL;
        _cleanup_(bytes_done) Bytes order = BYTES_NULL;

        assert(efivars_open(&h->env, &vars) == 0 && efivar_get(&vars, EFI_GLOBAL, "BootOrder", &order) == 0);
        return order.size == 2 * n && order.data[0] == first && order.data[1] == 0;
}

static char *slot_text(int slot, const char *roothash)
{
        return str_printf("systemd.verity_usr_data=PARTUUID=%s systemd.verity_usr_hash=PARTUUID=%s "
                          "systemd.verity_usr_options=panic-on-corruption usrhash=%s acl.slot=%c",
                          slot ? USR_B : USR_A, slot ? HASH_B : HASH_A, roothash, 'a' + slot);
}

static void root_of(char c, char out[65])
{
        memset(out, c, 64);
        out[64] = '\0';
}

/* A fresh image, slot a, as the factory made it, with what an operator has added. */
static void host_open(Host *h)
{
        static const uint8_t features[8] = { 0x7f }, current[2] = { 1, 0 };
        _cleanup_(free_charp) char *slot = NULL;
        char root[65];
        Why why = { 0 };

        *h = (Host){ .dir = "/tmp/test-sdboot.XXXXXX", .env = ENV_NULL, .fd = -1 };
        assert(mkdtemp(h->dir) && env_open(h->dir, &h->env, NULL) == 0);
        h->fd = open(h->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        root_of('a', root);
        slot = slot_text(0, root);
        put_pe(h, "boot/EFI/Linux/" FACTORY, test_uki(BASE, "ID=azurelinux\nVERSION_ID=3.0.1\n"));
        put_pe(h, "boot/EFI/Linux/" FACTORY ".extra.d/slot-a.addon.efi", test_addon(slot));
        put_pe(h, "boot/EFI/Linux/" FACTORY ".extra.d/fips.addon.efi", test_addon("fips=1"));
        put_pe(h, "boot/EFI/Linux/" FACTORY ".extra.d/site.addon.efi", test_addon("site=1"));
        put(h, "boot/EFI/Linux/" FACTORY ".extra.d/site.cred", "secret", 6);
        put(h, "boot/EFI/BOOT/" LOADER, "shim 1", 6);
        put(h, "boot/EFI/BOOT/grubx64.efi", "loader 1", 8);
        put(h, "boot/EFI/BOOT/mmx64.efi", "foreign", 7);
        put(h, "boot/loader/loader.conf", "timeout 0\ndefault " FACTORY "\n",
            strlen("timeout 0\ndefault " FACTORY "\n"));
        put_pe(h, "boot/acl/uki-addons/slot-a.addon.efi", test_addon("old template a"));
        put_pe(h, "boot/acl/uki-addons/verity-b.addon.efi", test_addon("older template b"));
        put_pe(h, "boot/acl/uki-addons/site.addon.efi", test_addon("operator's"));
        set_text(h, "LoaderInfo", "systemd-boot 255.4");
        set_text(h, "LoaderEntrySelected", FACTORY);
        set_text(h, "LoaderDevicePartUUID", ESP_ID);
        set_var(h, EFI_LOADER, "LoaderFeatures", features, 8, 6);
        set_option(h, "Boot0001", "\\EFI\\BOOT\\" LOADER);
        set_var(h, EFI_GLOBAL, "BootCurrent", current, 2, 6);
        set_order(h, 0, 1);
        assert(boot_open(&h->env, BOOT_LOADER_SDBOOT, "/boot", NULL, ids, &h->boot, &why) == 0);
        (void) snprintf(h->kept, sizeof(h->kept), "%s", FACTORY);
}

static void host_done(Host *h)
{
        _cleanup_(free_charp) char *rm = str_printf("rm -r %s", h->dir);

        boot_freep(&h->boot);
        close_fdp(&h->fd);
        env_done(&h->env);
        free(h->proof);
        assert(system(rm) == 0);
}

/* A new process looks at the same disk. */
static void reopen(Host *h)
{
        Why why = { 0 };

        boot_freep(&h->boot);
        assert(boot_open(&h->env, BOOT_LOADER_SDBOOT, "/boot", NULL, ids, &h->boot, &why) == 0);
}

/* --- the promises --- */

static char *digests(Host *h, const char *entry)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        char uki[65];
        Why why = { 0 };

        assert(h->boot->ops->digests(h->boot, entry, &j, uki, &why) == 0);
        return json_format(j, false);
}

static void keep(Host *h, const char *entry)
{
        (void) snprintf(h->kept, sizeof(h->kept), "%s", entry);
        free(h->proof);
        h->proof = digests(h, entry);
}

static void promises(Host *h)
{
        _cleanup_(boot_state_done) BootState s = { 0 };
        _cleanup_(free_charp) char *now = digests(h, h->kept);
        const BootEntry *e;
        Why why = { 0 };

        assert(streq(now, h->proof));
        assert(h->boot->ops->state(h->boot, &s, &why) == 0);
        assert(streq(s.default_name, h->kept));
        e = boot_entry_find(&s, h->kept);
        assert(e && e->is_default && e->slot == h->running);
}

/* Runs a verb, says what went wrong, holds the promises. */
#define DO(h, call)                                                                                          \
        ({                                                                                                   \
                Why why = { 0 };                                                                             \
                int _r = (h)->boot->ops->call;                                                               \
                if (_r < 0)                                                                                  \
                        fprintf(stderr, "%d: %s: %d %s\n", __LINE__, #call, _r, why.text);                   \
                assert(_r >= 0);                                                                             \
                promises(h);                                                                                 \
                _r;                                                                                          \
        })

#define REFUSED(h, call, kind_, code_)                                                                       \
        ({                                                                                                   \
                Why why = { 0 };                                                                             \
                int _r = (h)->boot->ops->call;                                                               \
                if (_r >= 0 || why.kind != (kind_) || !streq(why.code, (code_)))                             \
                        fprintf(stderr, "%d: %s: %d %s: %s\n", __LINE__, #call, _r, why.code, why.text);     \
                assert(_r < 0 && why.kind == (kind_) && streq(why.code, (code_)));                           \
                promises(h);                                                                                 \
        })

/* --- an image --- */

#define IMAGE_MAX 12u

typedef struct Image {
        char roothash[65];
        BootImageFile files[IMAGE_MAX];
        Bytes data[IMAGE_MAX];
        char *texts[IMAGE_MAX], sha256[IMAGE_MAX][65];
        size_t n;
} Image;

static void image_add(Image *im, const char *path, BootKind kind, Bytes data, const char *cmdline)
{
        size_t i = im->n++;

        im->data[i] = data;
        im->texts[i] = cmdline ? strdup(cmdline) : NULL;
        assert(sha256_hex(data.data, data.size, im->sha256[i]) == 0);
        im->files[i] = (BootImageFile){ path, kind, data.size, im->sha256[i], im->texts[i] };
}

static Bytes raw(const char *text)
{
        Bytes b = BYTES_NULL;

        assert(bytes_copy(&b, text, strlen(text)) == 0);
        return b;
}

/* c: the digit its root hash is made of */
static void image_make(Image *im, char c, const char *version, const char *loader)
{
        _cleanup_(free_charp) char *a = NULL, *b = NULL,
                                   *osrel = str_printf("ID=azurelinux\nVERSION_ID=%s\n", version);
        static const char dir[] = "EFI/Linux/vmlinuz-6.6.130.efi";

        *im = (Image){ .n = 0 };
        root_of(c, im->roothash);
        a = slot_text(0, im->roothash);
        b = slot_text(1, im->roothash);
        image_add(im, dir, BOOT_UKI, test_uki(BASE, osrel), BASE);
        image_add(im, "EFI/Linux/vmlinuz-6.6.130.efi.extra.d/slot-a.addon.efi", BOOT_ADDON, test_addon(a), a);
        image_add(im, "EFI/Linux/vmlinuz-6.6.130.efi.extra.d/firstboot.addon.efi", BOOT_ADDON,
                  test_addon("flatcar.first_boot=detected"), "flatcar.first_boot=detected");
        image_add(im, "EFI/Linux/vmlinuz-6.6.130.efi.extra.d/acl-ipe-policy.p7b.cred", BOOT_CRED,
                  raw("policy"), NULL);
        image_add(im, "acl/uki-addons/slot-a.addon.efi", BOOT_ADDON_TEMPLATE, test_addon(a), a);
        image_add(im, "acl/uki-addons/slot-b.addon.efi", BOOT_ADDON_TEMPLATE, test_addon(b), b);
        image_add(im, "acl/uki-addons/fips.addon.efi", BOOT_ADDON_TEMPLATE, test_addon("fips=1 new"),
                  "fips=1 new");
        if (loader) {
                _cleanup_(free_charp) char *shim = str_printf("shim %s", loader);

                image_add(im, "EFI/BOOT/" LOADER, BOOT_SHIM, raw(shim), NULL);
                image_add(im, "EFI/BOOT/grubx64.efi", BOOT_LOADER, raw(loader), NULL);
        }
}

static void image_done(Image *im)
{
        for (size_t i = 0; i < im->n; i++) {
                bytes_done(&im->data[i]);
                free(im->texts[i]);
        }
}

static void write_files(Host *h, const Image *im, const BootPlan *plan, size_t n)
{
        for (size_t i = 0; i < MIN(n, plan->n_files); i++) {
                const BootFile *f = plan->files + i;
                const Bytes *d = im->data + f->source;

                if (f->carried) {
                        DO(h, copy_carried(h->boot, f, &why));
                        continue;
                }
                DO(h, file_begin(h->boot, f, &why));
                DO(h, file_write(h->boot, d->data, d->size / 2, &why));
                DO(h, file_write(h->boot, d->data + d->size / 2, d->size - d->size / 2, &why));
                DO(h, file_end(h->boot, &why));
        }
}

static BootPlan stage(Host *h, const Image *im)
{
        int target = 1 - h->running;
        BootPlan plan = { 0 };

        DO(h, plan(h->boot, target, im->roothash, false, im->files, im->n, &plan, &why));
        assert(plan.bytes > MIB);
        DO(h, prove_default(h->boot, h->running, &why));
        DO(h, retire(h->boot, target, &why));
        write_files(h, im, &plan, SIZE_MAX);
        DO(h, check(h->boot, target, NULL, &plan, im->roothash, &why));
        return plan;
}

static void finalize(Host *h, const Image *im, const BootPlan *plan, char name[BOOT_NAME_MAX])
{
        _cleanup_(json_unrefp) Json *record = NULL;
        Guarantees list = { .n = 0 };
        Why parse = { 0 };

        assert(json_parse(h->proof, strlen(h->proof), 0, 16, "proof", WHY_HOST, &record, &parse) == 0);
        reopen(h);
        DO(h, way_back(h->boot, h->running, record, NULL, true, &list, &why));
        for (size_t i = 0; i < list.n; i++) {
                if (list.list[i].holds != GUARANTEE_YES)
                        fprintf(stderr, "missing: %s\n", list.list[i].sentence);
                assert(list.list[i].holds == GUARANTEE_YES);
        }
        DO(h, next_name(h->boot, 1 - h->running, name, &why));
        DO(h, write_intent(h->boot, "{}", &why));
        DO(h, publish(h->boot, name, &why));
        DO(h, publish(h->boot, name, &why));
        DO(h, check(h->boot, 1 - h->running, name, plan, im->roothash, &why));
        DO(h, arm(h->boot, name, &why));
        assert(var_is(h, "LoaderEntryOneShot", name));
}

/* Firmware and loader: BootNext and the one-shot are spent. */
static void boot_into(Host *h, const char *entry)
{
        set_text(h, "LoaderEntrySelected", entry);
        del_var(h, EFI_LOADER, "LoaderEntryOneShot");
        del_var(h, EFI_GLOBAL, "BootNext");
        reopen(h);
}

static void commit(Host *h, const char *entry)
{
        Why first = { 0 };
        int r = h->boot->ops->commit(h->boot, 1 - h->running, entry, &first);

        if (r < 0)
                fprintf(stderr, "commit: %d %s\n", r, first.text);
        assert(r == 0);
        h->running = 1 - h->running;
        keep(h, entry);
        promises(h);
        DO(h, commit(h->boot, h->running, entry, &why)); /* again: nothing changes */
        DO(h, remove_intent(h->boot, &why));
}

/* --- cases --- */

static void test_state(Host *h)
{
        _cleanup_(boot_state_done) BootState s = { 0 };
        Why why = { 0 };

        assert(h->boot->ops->state(h->boot, &s, &why) == 0);
        assert(s.n_entries == 1 && s.has_loader_info && s.features == 0x7f && !s.secure_boot);
        assert(streq(s.default_by, "loader.conf") && streq(s.selected, FACTORY) && streq(s.oneshot, ""));
        assert(s.entries[0].slot == 0 && s.entries[0].roothash[0] == 'a' &&
               streq(s.entries[0].version, "3.0.1"));
        assert(!s.entries[0].managed && s.entries[0].is_default && s.entries[0].is_selected &&
               !s.entries[0].is_oneshot);
}

static void test_cycles(void)
{
        _cleanup_(image_done) Image one = { .n = 0 }, two = { .n = 0 }, three = { .n = 0 };
        _cleanup_(boot_plan_done) BootPlan p1 = { 0 }, p2 = { 0 }, p3 = { 0 };
        _cleanup_(free_charp) char *conf = NULL, *shim = NULL;
        char name[BOOT_NAME_MAX];
        Host h;

        host_open(&h);
        keep(&h, FACTORY);
        test_state(&h);

        /* a -> b: the factory UKI is the way back and stays */
        image_make(&one, '1', "3.0.2", "loader 2");
        p1 = stage(&h, &one);
        assert(there(&h, "boot/EFI/Linux/vmlinuz-0.efi.staged") && there(&h, "boot/EFI/AZLB/" LOADER));
        assert(there(&h, "boot/EFI/Linux/vmlinuz-0.efi.staged.extra.d/slot-b.addon.efi"));
        assert(there(&h, "boot/EFI/Linux/vmlinuz-0.efi.staged.extra.d/site.addon.efi"));
        assert(there(&h, "boot/EFI/Linux/vmlinuz-0.efi.staged.extra.d/site.cred"));
        assert(!there(&h, "boot/EFI/Linux/vmlinuz-0.efi.staged.extra.d/slot-a.addon.efi"));
        assert(!there(&h, "boot/EFI/Linux/vmlinuz-0.efi.staged.extra.d/firstboot.addon.efi"));
        finalize(&h, &one, &p1, name);
        assert(streq(name, "vmlinuz-100-azlb0.efi"));
        assert(get_u16(&h, "BootNext") == 1); /* BootCurrent ... */
        assert(order_is(&h, 1, 2));           /* ... moved before the shell */
        boot_into(&h, name);
        commit(&h, name);
        assert(var_is(&h, "LoaderEntryDefault", name));
        conf = text_of(&h, "boot/loader/loader.conf");
        assert(streq(conf, "timeout 0\ndefault vmlinuz-100-azlb0.efi\n"));
        shim = text_of(&h, "boot/EFI/BOOT/" LOADER);
        assert(streq(shim, "shim loader 2") && there(&h, "boot/EFI/BOOT/mmx64.efi"));
        assert(there(&h, "boot/acl/uki-addons/slot-b.addon.efi") &&
               there(&h, "boot/acl/uki-addons/fips.addon.efi"));
        assert(!there(&h, "boot/acl/uki-addons/verity-b.addon.efi") &&
               there(&h, "boot/acl/uki-addons/site.addon.efi"));
        assert(!there(&h, "boot/EFI/gybe/b.staged") && !there(&h, "boot/EFI/gybe/intent.json"));
        assert(there(&h, "boot/EFI/Linux/" FACTORY));

        /* b -> a: slot a is overwritten, so its factory UKI goes; an image without loaders changes none */
        put_pe(&h, "boot/EFI/Linux/acl.efi", test_uki("old", "ID=x\n"));
        put(&h, "boot/EFI/Linux/foreign.efi", "?", 1);
        put(&h, "boot/EFI/Linux/vmlinuz-9.9.9.efi.extra.d/x", "orphan", 6);
        put(&h, "boot/EFI/Linux/other.efi.extra.d/x", "somebody's", 10);
        image_make(&two, '2', "3.0.3", NULL);
        p2 = stage(&h, &two);
        assert(!there(&h, "boot/EFI/Linux/" FACTORY) && !there(&h, "boot/EFI/Linux/" FACTORY ".extra.d"));
        assert(!there(&h, "boot/EFI/Linux/acl.efi") && there(&h, "boot/EFI/Linux/foreign.efi"));
        assert(!there(&h, "boot/EFI/Linux/vmlinuz-9.9.9.efi.extra.d") &&
               there(&h, "boot/EFI/Linux/other.efi.extra.d"));
        finalize(&h, &two, &p2, name);
        assert(streq(name, "vmlinuz-101-azla0.efi"));
        boot_into(&h, name);
        commit(&h, name);
        free(TAKE(shim));
        shim = text_of(&h, "boot/EFI/BOOT/" LOADER);
        assert(streq(shim, "shim loader 2"));

        /* a -> b again, which fails: the machine comes back, the entry is condemned */
        image_make(&three, '3', "3.0.4", "loader 4");
        p3 = stage(&h, &three);
        assert(!there(&h, "boot/EFI/Linux/vmlinuz-100-azlb0.efi"));
        finalize(&h, &three, &p3, name);
        assert(streq(name, "vmlinuz-102-azlb0.efi"));
        boot_into(&h, "vmlinuz-101-azla0.efi");
        REFUSED(&h, condemn(h.boot, "vmlinuz-101-azla0.efi", &why), WHY_HOST, "entry-in-use");
        DO(&h, disarm(h.boot, name, &why));
        DO(&h, condemn(h.boot, name, &why));
        DO(&h, condemn(h.boot, name, &why));
        assert(!there(&h, "boot/EFI/Linux/vmlinuz-102-azlb0.efi") &&
               !there(&h, "boot/EFI/Linux/vmlinuz-102-azlb0.efi.extra.d"));
        /* nothing of the failed image is taken up later */
        DO(&h, commit(h.boot, 0, "vmlinuz-101-azla0.efi", &why));
        free(TAKE(shim));
        shim = text_of(&h, "boot/EFI/BOOT/" LOADER);
        assert(streq(shim, "shim loader 2"));

        host_done(&h);
}

/* Every prefix of publish() and unpublish(), by hand: the next call goes on from there. */
static void test_resume(void)
{
        static const char *const staged = "boot/EFI/Linux/vmlinuz-0.efi.staged",
                                 *const final = "boot/EFI/Linux/vmlinuz-100-azlb0.efi",
                                 *const staged_d = "boot/EFI/Linux/vmlinuz-0.efi.staged.extra.d",
                                 *const final_d = "boot/EFI/Linux/vmlinuz-100-azlb0.efi.extra.d";
        static const char name[] = "vmlinuz-100-azlb0.efi";
        _cleanup_(boot_plan_done) BootPlan plan = { 0 }, again = { 0 };
        _cleanup_(image_done) Image im = { .n = 0 };
        char next[BOOT_NAME_MAX];
        Host h;

        host_open(&h);
        keep(&h, FACTORY);
        image_make(&im, '1', "3.0.2", NULL);
        plan = stage(&h, &im);

        /* the promise does not depend on the order of verbs: without a default by name nothing appears */
        put(&h, "boot/loader/loader.conf", "timeout 0\n", 10);
        REFUSED(&h, publish(h.boot, name, &why), WHY_HOST, "default");
        DO(&h, prove_default(h.boot, 0, &why));

        assert(renameat(h.fd, staged_d, h.fd, final_d) == 0); /* killed between the two renames */
        promises(&h);
        DO(&h, publish(h.boot, name, &why));
        DO(&h, check(h.boot, 1, name, &plan, im.roothash, &why));
        DO(&h, next_name(h.boot, 1, next, &why));
        assert(streq(next, name)); /* the same name, though it is there already */

        assert(renameat(h.fd, final, h.fd, staged) == 0); /* unpublish, killed between its two */
        DO(&h, unpublish(h.boot, name, &why));
        DO(&h, unpublish(h.boot, name, &why));
        assert(there(&h, staged) && there(&h, staged_d) && !there(&h, final) && !there(&h, final_d));
        DO(&h, check(h.boot, 1, NULL, &plan, im.roothash, &why));

        /* a UKI that is there before its addons are would boot without a slot */
        assert(renameat(h.fd, staged, h.fd, final) == 0);
        REFUSED(&h, publish(h.boot, name, &why), WHY_HOST, "half-published");
        DO(&h, unpublish(h.boot, name, &why));
        assert(there(&h, staged) && there(&h, staged_d));

        /* both names, off FAT: a copy, not a shared chain */
        assert(renameat(h.fd, staged_d, h.fd, final_d) == 0 && linkat(h.fd, staged, h.fd, final, 0) == 0);
        DO(&h, publish(h.boot, name, &why));
        assert(!there(&h, staged) && there(&h, final) && there(&h, final_d));
        DO(&h, check(h.boot, 1, name, &plan, im.roothash, &why));
        REFUSED(&h, unpublish(h.boot, FACTORY, &why), WHY_HOST, "entry-in-use");

        /* a stale one-shot must not wait for the name to come back */
        DO(&h, arm(h.boot, name, &why));
        again = stage(&h, &im);
        assert(!there(&h, final) && var_is(&h, "LoaderEntryOneShot", NULL));
        REFUSED(&h, publish(h.boot, "foo.efi", &why), WHY_HOST, "entry-name");
        REFUSED(&h, arm(h.boot, name, &why), WHY_HOST, "no-entry");
        REFUSED(&h, arm(h.boot, FACTORY, &why), WHY_HOST, "default");
        host_done(&h);
}

/* The names that appear and go in EFI/Linux, in order. */
static char *watched(Host *h, int fd)
{
        _cleanup_(str_done) Str out = STR_NULL;
        union {
                struct inotify_event event;
                char bytes[8192];
        } buf;
        ssize_t n = read(fd, buf.bytes, sizeof(buf.bytes));

        for (ssize_t at = 0; at < n;) {
                const struct inotify_event *e = (const void *) (buf.bytes + at);

                str_addf(&out, "%c%s ", e->mask & (IN_DELETE | IN_MOVED_FROM) ? '-' : '+', e->name);
                at += (ssize_t) (sizeof(*e) + e->len);
        }
        promises(h);
        return str_take(&out);
}

/* No listed UKI without its addons, at any moment. */
static void test_order(void)
{
        _cleanup_(close_fdp) int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        _cleanup_(free_charp) char *published = NULL, *taken_back = NULL, *retired = NULL, *dir = NULL;
        _cleanup_(boot_plan_done) BootPlan plan = { 0 };
        _cleanup_(image_done) Image im = { .n = 0 };
        char name[BOOT_NAME_MAX];
        Host h;

        host_open(&h);
        keep(&h, FACTORY);
        image_make(&im, '1', "3.0.2", NULL);
        plan = stage(&h, &im);
        dir = str_printf("%s/boot/EFI/Linux", h.dir);
        assert(inotify_add_watch(fd, dir, IN_MOVE | IN_CREATE | IN_DELETE) >= 0);
        DO(&h, next_name(h.boot, 1, name, &why));
        DO(&h, publish(h.boot, name, &why));
        published = watched(&h, fd);
        assert(streq(published, "-vmlinuz-0.efi.staged.extra.d +vmlinuz-100-azlb0.efi.extra.d "
                                "-vmlinuz-0.efi.staged +vmlinuz-100-azlb0.efi "));
        DO(&h, unpublish(h.boot, name, &why));
        taken_back = watched(&h, fd);
        assert(streq(taken_back, "-vmlinuz-100-azlb0.efi +vmlinuz-0.efi.staged "
                                 "-vmlinuz-100-azlb0.efi.extra.d +vmlinuz-0.efi.staged.extra.d "));
        DO(&h, publish(h.boot, name, &why));
        free(watched(&h, fd));
        DO(&h, retire(h.boot, 1, &why));
        retired = watched(&h, fd);
        assert(streq(retired,
                     "-vmlinuz-100-azlb0.efi +vmlinuz-100-azlb0.efi.retired -vmlinuz-100-azlb0.efi.extra.d "
                     "-vmlinuz-100-azlb0.efi.retired "));
        host_done(&h);
}

/* A managed entry of the running slot makes image builders' entries removable, but never the one that runs. */
static void test_retire_running(void)
{
        Host h;

        host_open(&h);
        keep(&h, FACTORY);
        put_pe(&h, "boot/EFI/Linux/vmlinuz-90-azla0.efi", test_uki("x", "ID=x\n"));
        put_pe(&h, "boot/EFI/Linux/acl.efi", test_uki("x", "ID=x\n"));
        put_pe(&h, "boot/EFI/Linux/vmlinuz-91-azlb1.efi", test_uki("x", "ID=x\n")); /* another OS's */
        DO(&h, retire(h.boot, 1, &why));
        assert(there(&h, "boot/EFI/Linux/vmlinuz-90-azla0.efi") &&
               there(&h, "boot/EFI/Linux/vmlinuz-91-azlb1.efi"));
        assert(!there(&h, "boot/EFI/Linux/acl.efi"));
        host_done(&h);
}

/* What lies on the ESP between staging and arming is proved, not believed. */
static void test_check(void)
{
        static const char extra[] = "boot/EFI/Linux/vmlinuz-0.efi.staged.extra.d/";
        _cleanup_(boot_plan_done) BootPlan plan = { 0 }, none = { 0 };
        _cleanup_(free_charp) char *stray = str_printf("%sslot-a.addon.efi", extra),
                                   *fips = str_printf("%sfips.addon.efi", extra);
        _cleanup_(bytes_done) Bytes kept = BYTES_NULL;
        _cleanup_(image_done) Image im = { .n = 0 };
        BootImageFile changed[IMAGE_MAX];
        char root[65];
        Host h;

        host_open(&h);
        keep(&h, FACTORY);
        image_make(&im, '1', "3.0.2", "loader 2");
        plan = stage(&h, &im);
        root_of('9', root);
        REFUSED(&h, check(h.boot, 1, NULL, &plan, root, &why), WHY_TRUST, "slot-addon");
        REFUSED(&h, check(h.boot, 0, NULL, &plan, im.roothash, &why), WHY_HOST, "wrong-entry");

        put_pe(&h, stray, test_addon("acl.slot=a"));
        REFUSED(&h, check(h.boot, 1, NULL, &plan, im.roothash, &why), WHY_TRUST, "stray-file");
        assert(unlinkat(h.fd, stray, 0) == 0);

        assert(file_read(h.fd, fips, 1 << 20, &kept) == 0);
        kept.data[kept.size - 1] ^= 1;
        put(&h, fips, kept.data, kept.size);
        REFUSED(&h, check(h.boot, 1, NULL, &plan, im.roothash, &why), WHY_TRUST, "staged-changed");
        assert(unlinkat(h.fd, fips, 0) == 0);
        REFUSED(&h, check(h.boot, 1, NULL, &plan, im.roothash, &why), WHY_TRUST, "staged-missing");
        kept.data[kept.size - 1] ^= 1;
        put(&h, fips, kept.data, kept.size);
        DO(&h, check(h.boot, 1, NULL, &plan, im.roothash, &why));

        put_pe(&h, "boot/loader/addons/x.addon.efi", test_addon("systemd.verity=0"));
        REFUSED(&h, check(h.boot, 1, NULL, &plan, im.roothash, &why), WHY_TRUST, "stray-verity");
        REFUSED(&h, plan(h.boot, 1, im.roothash, false, im.files, im.n, &none, &why), WHY_TRUST,
                "stray-verity");
        assert(unlinkat(h.fd, "boot/loader/addons/x.addon.efi", 0) == 0);

        /* bytes that are not what was promised never get a name */
        memcpy(changed, im.files, sizeof(changed));
        DO(&h, retire(h.boot, 1, &why));
        assert(!there(&h, "boot/EFI/Linux/vmlinuz-0.efi.staged") && !there(&h, "boot/EFI/gybe/b.staged"));
        DO(&h, file_begin(h.boot, &plan.files[0], &why));
        DO(&h, file_write(h.boot, im.data[0].data, im.data[0].size - 1, &why));
        REFUSED(&h, file_end(h.boot, &why), WHY_TRUST, "file-size");
        DO(&h, file_begin(h.boot, &plan.files[0], &why));
        DO(&h, file_write(h.boot, im.data[0].data, im.data[0].size - 1, &why));
        DO(&h, file_write(h.boot, "x", 1, &why));
        REFUSED(&h, file_write(h.boot, "x", 1, &why), WHY_TRUST, "file-size");
        REFUSED(&h, file_end(h.boot, &why), WHY_TRUST, "file-digest");
        assert(!there(&h, "boot/EFI/Linux/vmlinuz-0.efi.staged") &&
               !there(&h, "boot/EFI/Linux/vmlinuz-0.efi.staged.new"));
        host_done(&h);
}

/* Each row: what the two places say, and what they must say afterwards. */
static void test_default(void)
{
        static const struct {
                const char *because, *conf, *variable, *expect_conf, *expect_variable;
        } cases[] = {
                { "named by loader.conf", "default " FACTORY "\n", NULL, "default " FACTORY "\n", NULL },
                { "named by both", "default " FACTORY "\n", FACTORY, "default " FACTORY "\n", FACTORY },
                { "a fresh image without a default: sort order", "timeout 3\n", NULL,
                  "timeout 3\ndefault " FACTORY "\n", FACTORY },
                { "a pattern may change its mind", "default vmlinuz-*\n", NULL, "default " FACTORY "\n",
                  FACTORY },
                { "loader.conf names what is gone", "default gone.efi\ntimeout 1\n", FACTORY,
                  "default " FACTORY "\ntimeout 1\n", FACTORY },
                { "the variable names another entry", "default " FACTORY "\n", "vmlinuz-9.0.0.efi",
                  "default " FACTORY "\n", FACTORY },
                { "the variable names what the next update will be called", "default " FACTORY "\n",
                  "vmlinuz-100-azlb0.efi", "default " FACTORY "\n", FACTORY },
                { "@saved follows the one-shot", "default " FACTORY "\n", "@saved", "default " FACTORY "\n",
                  FACTORY },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *conf = NULL;
                Why why = { 0 };
                Host h;

                host_open(&h);
                keep(&h, FACTORY);
                put_pe(&h, "boot/EFI/Linux/vmlinuz-9.0.0.efi",
                       test_uki("newer", "ID=azurelinux\nVERSION_ID=9\n"));
                put(&h, "boot/loader/loader.conf", cases[i].conf, strlen(cases[i].conf));
                if (cases[i].variable)
                        set_text(&h, "LoaderEntryDefault", cases[i].variable);
                assert(h.boot->ops->prove_default(h.boot, 0, &why) == 0);
                promises(&h);
                conf = text_of(&h, "boot/loader/loader.conf");
                if (!streq(conf, cases[i].expect_conf))
                        fprintf(stderr, "%s: %s\n", cases[i].because, conf);
                assert(streq(conf, cases[i].expect_conf) &&
                       var_is(&h, "LoaderEntryDefault", cases[i].expect_variable));
                assert(h.boot->ops->prove_default(h.boot, 1, &why) < 0 && streq(why.code, "wrong-entry"));
                host_done(&h);
        }
}

/* Exactly these do not hold: "name" or "name?" (unknown), separated by blanks, in the order of the list. Looking and proving
 * agree, but that looking never refuses. */
static void holds_but(Host *h, const char *files, const char *target, const char *expect)
{
        _cleanup_(json_unrefp) Json *record = NULL;
        Why parse = { 0 };

        if (files)
                assert(json_parse(files, strlen(files), 0, 16, "x", WHY_HOST, &record, &parse) == 0);
        for (int prove = 0; prove < 2; prove++) {
                _cleanup_(str_done) Str found = STR_NULL;
                _cleanup_(free_charp) char *text = NULL;
                Guarantees list = { .n = 0 };

                DO(h, way_back(h->boot, 0, record, target, prove, &list, &why));
                assert(list.n == 7);
                for (size_t i = 0; i < list.n; i++) {
                        assert(list.list[i].sentence[0] && guarantee_find(&list, list.list[i].name));
                        if (list.list[i].holds != GUARANTEE_YES)
                                str_addf(&found, "%s%s%s", found.size ? " " : "", list.list[i].name,
                                         list.list[i].holds == GUARANTEE_UNKNOWN ? "?" : "");
                }
                text = str_take(&found);
                if (!streq(text, expect))
                        fprintf(stderr, "prove %d: %s, not %s\n", prove, text, expect);
                assert(streq(text, expect));
        }
}

/* Proving refuses with this code, looking says that this one does not hold. */
static void is_final(Host *h, const Json *record, const char *code, const char *name)
{
        Guarantees list = { .n = 0 };
        const Guarantee *g;

        REFUSED(h, way_back(h->boot, 0, record, NULL, true, &list, &why), WHY_HOST, code);
        list.n = 0;
        DO(h, way_back(h->boot, 0, record, NULL, false, &list, &why));
        g = guarantee_find(&list, name);
        assert(g && g->holds == GUARANTEE_NO && g->sentence[0]);
}

#define NOTHING_NEW "new-panic? new-initrd?"

static void test_way_back(void)
{
        static const uint8_t nothing[8] = { 0x3 };
        _cleanup_(json_unrefp) Json *record = NULL;
        _cleanup_(bytes_done) Bytes fips = BYTES_NULL;
        Why parse = { 0 };
        Host h;

        host_open(&h);
        keep(&h, FACTORY);
        assert(json_parse(h.proof, strlen(h.proof), 0, 16, "x", WHY_HOST, &record, &parse) == 0);
        {
                Guarantees list = { .n = 0 };

                DO(&h, way_back(h.boot, 0, record, NULL, false, &list, &why));
                assert(var_is(&h, "LoaderEntryDefault", NULL)); /* looking writes nothing */
        }
        holds_but(&h, h.proof, NULL, NOTHING_NEW);
        assert(var_is(&h, "LoaderEntryDefault", FACTORY)); /* the proof that the NVRAM takes a value */
        holds_but(&h, h.proof, FACTORY, ""); /* an entry that is there already, as a rollback arms it */
        holds_but(&h, NULL, NULL, "old-entry? " NOTHING_NEW);
        del_var(&h, EFI_GLOBAL, "BootCurrent");
        holds_but(&h, h.proof, NULL, NOTHING_NEW); /* another entry starts the loader */
        {
                static const uint8_t current[2] = { 2, 0 };

                set_option(&h, "Boot0002", "\\EFI\\gone\\" LOADER);
                set_var(&h, EFI_GLOBAL, "BootCurrent", current, 2, 6);
                holds_but(&h, h.proof, NULL, NOTHING_NEW); /* its file is gone: Boot0001 is taken */
                del_var(&h, EFI_GLOBAL, "Boot0002");
        }
        del_var(&h, EFI_GLOBAL, "Boot0001");
        holds_but(&h, h.proof, NULL, "firmware-return " NOTHING_NEW);

        set_var(&h, EFI_LOADER, "LoaderFeatures", nothing, 8, 6);
        is_final(&h, record, "no-one-shot", "one-shot");
        del_var(&h, EFI_LOADER, "LoaderFeatures");
        holds_but(&h, h.proof, NULL, "one-shot? firmware-return " NOTHING_NEW);

        /* an operator may have removed an addon; nobody may have changed one */
        assert(file_read(h.fd, "boot/EFI/Linux/" FACTORY ".extra.d/fips.addon.efi", 1 << 20, &fips) == 0);
        assert(unlinkat(h.fd, "boot/EFI/Linux/" FACTORY ".extra.d/fips.addon.efi", 0) == 0);
        free(h.proof);
        h.proof = digests(&h, FACTORY);
        {
                _cleanup_(free_charp) char *before = json_format(record, false);

                holds_but(&h, before, NULL, "old-entry one-shot? firmware-return " NOTHING_NEW);
        }
        put_pe(&h, "boot/EFI/Linux/" FACTORY ".extra.d/fips.addon.efi", test_addon("fips=0"));
        free(h.proof);
        h.proof = digests(&h, FACTORY);
        is_final(&h, record, "way-back", "old-entry");
        host_done(&h);
}

/* The command line that the stub would put together decides, and its last word counts. */
static void test_way_back_cmdline(void)
{
        static const struct {
                const char *because;
                const char *global, *addon; /* NULL: none */
                const char *expect;
        } cases[] = {
                { "the UKI says it all", NULL, NULL, "" },
                { "a global addon takes it back", "panic=0", NULL, "new-panic" },
                { "the entry's own addon speaks after it", "panic=0", "panic=3", "" },
                { "a shell for somebody at the console", NULL, "rd.shell=1", "new-initrd" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Host h;

                host_open(&h);
                if (cases[i].global)
                        put_pe(&h, "boot/loader/addons/x.addon.efi", test_addon(cases[i].global));
                if (cases[i].addon)
                        put_pe(&h, "boot/EFI/Linux/" FACTORY ".extra.d/x.addon.efi",
                               test_addon(cases[i].addon));
                keep(&h, FACTORY);
                holds_but(&h, h.proof, FACTORY, cases[i].expect);
                host_done(&h);
        }
}

/* No entry starts the loader: one is made, from what another entry says about the disk; without variables nothing is armed. */
static void test_arm(void)
{
        _cleanup_(boot_plan_done) BootPlan plan = { 0 };
        _cleanup_(efivars_done) EfiVars vars = EFIVARS_NULL;
        _cleanup_(boot_option_done) BootOption o = { 0 };
        _cleanup_(bytes_done) Bytes raw_option = BYTES_NULL, order = BYTES_NULL;
        _cleanup_(image_done) Image im = { .n = 0 };
        char name[BOOT_NAME_MAX];
        Host h;

        host_open(&h);
        keep(&h, FACTORY);
        set_option(&h, "Boot0001", "\\EFI\\other\\x.efi");
        del_var(&h, EFI_GLOBAL, "BootCurrent");
        image_make(&im, '1', "3.0.2", NULL);
        plan = stage(&h, &im);
        finalize(&h, &im, &plan, name);
        assert(get_u16(&h, "BootNext") == 0);
        assert(efivars_open(&h.env, &vars) == 0);
        assert(efivar_get(&vars, EFI_GLOBAL, "Boot0000", &raw_option) == 0);
        assert(boot_option_parse(raw_option.data, raw_option.size, &o) == 0);
        assert(o.active && streq(o.path, "\\EFI\\BOOT\\" LOADER) && streq(o.disk.partuuid, ESP_ID));
        assert(efivar_get(&vars, EFI_GLOBAL, "BootOrder", &order) == 0 && order.size == 4 &&
               order.data[0] == 0);

        DO(&h, disarm(h.boot, "other.efi", &why)); /* another entry's one-shot is not ours to clear */
        assert(var_is(&h, "LoaderEntryOneShot", name) && get_u16(&h, "BootNext") == -1);
        DO(&h, disarm(h.boot, NULL, &why));
        assert(var_is(&h, "LoaderEntryOneShot", NULL) && !there(&h, "boot/EFI/gybe/intent.json"));

        assert(renameat(h.fd, "sys/firmware/efi/efivars", h.fd, "sys/firmware/efi/gone") == 0);
        reopen(&h);
        REFUSED(&h, arm(h.boot, name, &why), WHY_HOST, "no-efi-variables");
        DO(&h, prove_default(h.boot, 0, &why));
        DO(&h, disarm(h.boot, name, &why));
        host_done(&h);
}

/* What a firmware update left for the next start is not ours to take away. */
static void test_foreign_next(void)
{
        static const uint8_t own[] = { 1, 0 }, other[] = { 0x33, 0 };
        Host h;

        host_open(&h);
        keep(&h, FACTORY);
        set_var(&h, EFI_GLOBAL, "BootNext", other, 2, 7);
        DO(&h, disarm(h.boot, NULL, &why));
        assert(get_u16(&h, "BootNext") == 0x33);
        set_var(&h, EFI_GLOBAL, "BootNext", own, 2, 7);
        DO(&h, disarm(h.boot, NULL, &why));
        assert(get_u16(&h, "BootNext") == -1);
        host_done(&h);
}

/* What started this machine cannot be started again, or firmware does not say what it was: arming takes another option, disarming
 * knows it again, and still leaves what is somebody else's. */
static void test_own_next(void)
{
        static const struct {
                bool current; /* firmware names what it started, which is switched off by now */
                uint8_t next; /* what somebody leaves there after arming; 0: nobody */
                bool stays;
        } cases[] = {
                { true, 0, false },    { false, 0, false }, { true, 0x33, true },
                { false, 0x33, true }, { false, 1, true }, /* the same file, switched off: nothing gybe would start */
                { true, 1, false }, /* what runs may be gybe's of before it was switched off */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(bytes_done) Bytes off = BYTES_NULL;
                _cleanup_(image_done) Image im = { .n = 0 };
                _cleanup_(boot_plan_done) BootPlan plan = { 0 };
                const EfiDisk disk = { 1, 2048, 0x60000, ESP_ID };
                const uint8_t next[] = { cases[i].next, 0 };
                char name[BOOT_NAME_MAX];
                Host h;

                host_open(&h);
                keep(&h, FACTORY);
                assert(boot_option_format("off", &disk, "\\EFI\\BOOT\\" LOADER, &off) == 0);
                off.data[0] &= (uint8_t) ~1u;
                set_var(&h, EFI_GLOBAL, "Boot0001", off.data, off.size, 7);
                if (!cases[i].current)
                        del_var(&h, EFI_GLOBAL, "BootCurrent");
                image_make(&im, '1', "3.0.2", NULL);
                plan = stage(&h, &im);
                finalize(&h, &im, &plan, name);
                assert(get_u16(&h, "BootNext") == 0); /* a new one */
                if (next[0])
                        set_var(&h, EFI_GLOBAL, "BootNext", next, 2, 7);
                DO(&h, disarm(h.boot, name, &why));
                assert(get_u16(&h, "BootNext") == (cases[i].stays ? next[0] : -1));
                host_done(&h);
        }
}

/* Trident's set-up: each slot starts its own loader copy. What started this machine is not replaced while it is needed. */
static void test_loader_folders(void)
{
        _cleanup_(boot_plan_done) BootPlan plan = { 0 }, second = { 0 };
        _cleanup_(free_charp) char *own = NULL;
        _cleanup_(image_done) Image im = { .n = 0 }, im2 = { .n = 0 };
        char name[BOOT_NAME_MAX];
        Host h;

        host_open(&h);
        keep(&h, FACTORY);
        put(&h, "boot/EFI/AZLB/" LOADER_SMALL, "shim of b", 9);
        set_option(&h, "Boot0001", "\\EFI\\AZLB\\" LOADER_SMALL);
        image_make(&im, '1', "3.0.2", "loader 2");
        plan = stage(&h, &im);
        own = text_of(&h, "boot/EFI/AZLB/" LOADER_SMALL);
        assert(streq(own, "shim of b") && !there(&h, "boot/EFI/AZLB/grubx64.efi"));
        host_done(&h);

        host_open(&h);
        keep(&h, FACTORY);
        put(&h, "boot/EFI/AZLA/" LOADER_SMALL, "shim of a", 9);
        set_option(&h, "Boot0001", "\\EFI\\AZLA\\" LOADER_SMALL);
        image_make(&im2, '1', "3.0.2", "loader 2");
        second = stage(&h, &im2);
        finalize(&h, &im2, &second, name);
        assert(get_u16(&h, "BootNext") == 1);
        boot_into(&h, name);
        commit(&h, name);
        {
                _cleanup_(efivars_done) EfiVars vars = EFIVARS_NULL;
                _cleanup_(bytes_done) Bytes order = BYTES_NULL;

                /* the new slot's own copy is in front, the old one behind it */
                assert(efivars_open(&h.env, &vars) == 0 &&
                       efivar_get(&vars, EFI_GLOBAL, "BootOrder", &order) == 0);
                assert(order.size == 4 && order.data[0] == 0 && order.data[2] == 1);
        }
        host_done(&h);
}

int main(void)
{
        test_cycles();
        test_resume();
        test_order();
        test_retire_running();
        test_check();
        test_default();
        test_way_back();
        test_way_back_cmdline();
        test_arm();
        test_foreign_next();
        test_own_next();
        test_loader_folders();
        return 0;
}
