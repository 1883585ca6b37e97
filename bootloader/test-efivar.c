/* SPDX-License-Identifier: MIT */

#undef NDEBUG

#include "bootloader/efivar.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static void test_utf16(void)
{
        static const struct {
                const char *bytes;
                size_t size;
                const char *text; /* NULL: refused */
        } cases[] = {
                { "a\0b\0\0\0", 6, "ab" },
                { "a\0b\0", 4, "ab" },
                { "", 0, "" },
                { "a\0\0\0b\0", 6, "a" },
                { "a\0b", 3, NULL },
                { "\xe9\0", 2, "\xc3\xa9" },
                { "\xac\x20", 2, "\xe2\x82\xac" },
                { "\x3d\xd8\x00\xde", 4, "\xf0\x9f\x98\x80" },
                { "\x3d\xd8", 2, NULL },
                { "\x00\xde", 2, NULL },
                { "\x3d\xd8"
                  "a\0",
                  4, NULL },
        };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *text = NULL;
                int r = utf16_decode((const uint8_t *) cases[i].bytes, cases[i].size, &text);

                assert(cases[i].text ? r == 0 && streq(text, cases[i].text) : r == -EBADMSG);
        }
        assert(utf16_encode("ab", &b) == 0 && b.size == 6 && memcmp(b.data, "a\0b\0\0\0", 6) == 0);
        assert(utf16_encode("\xc3\xa9", &b) == -EINVAL);
}

/* An option as OVMF writes it for a disk, made by hand from the UEFI specification. */
static void test_option(void)
{
        static const uint8_t raw[] = {
                1, 0, 0, 0, 0x6a, 0, 'A', 0, 'Z', 0, 'L', 0, 'A', 0, 0, 0,
                /* ACPI(PNP0A03,0): stepped over */
                2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0, 4, 1, 42, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0,
                0, 0, 6, 0, 0, 0, 0, 0, 0x4a, 0xc9, 0x30, 0x71, 0x3a, 0x21, 0x5a, 0x4e, 0x8e, 0x26, 0x6c,
                0xce, 0x96, 0x62, 0xf1, 0x32, 2, 2, 4, 4, 48, 0, '\\', 0, 'E', 0, 'F', 0, 'I', 0, '\\', 0,
                'A', 0, 'Z', 0, 'L', 0, 'A', 0, '\\', 0, 'B', 0, 'O', 0, 'O', 0, 'T', 0, 'X', 0, '6', 0, '4',
                0, '.', 0, 'E', 0, 'F', 0, 'I', 0, 0, 0, 0x7f, 0xff, 4, 0, 'o', 'p',
                't', /* optional data: not ours */
        };
        _cleanup_(boot_option_done) BootOption o = { 0 }, p = { 0 };
        _cleanup_(bytes_done) Bytes made = BYTES_NULL;

        assert(boot_option_parse(raw, sizeof(raw), &o) == 0);
        assert(o.active && streq(o.description, "AZLA") && o.has_disk && o.disk.number == 1);
        assert(o.disk.start_lba == 2048 && o.disk.size_lba == 0x60000);
        assert(streq(o.disk.partuuid, "7130c94a-213a-4e5a-8e26-6cce9662f132"));
        assert(streq(o.path, "\\EFI\\AZLA\\BOOTX64.EFI"));

        assert(boot_option_format("AZLA", &o.disk, o.path, &made) == 0);
        assert(boot_option_parse(made.data, made.size, &p) == 0 && p.active && streq(p.path, o.path));
        /* the same nodes, byte for byte, but for the one that is not ours */
        assert(made.size == sizeof(raw) - 12 - 3 && memcmp(made.data + 16, raw + 28, made.size - 16) == 0);

        for (size_t n = 0; n < sizeof(raw) - 3; n++) {
                _cleanup_(boot_option_done) BootOption cut = { 0 };
                uint8_t *copy = malloc(n + 1);

                memcpy(copy, raw, n);
                assert(boot_option_parse(copy, n, &cut) == -EBADMSG);
                free(copy);
        }
}

static void test_files(void)
{
        char dir[] = "/tmp/test-efivar.XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(close_fdp) int vars_fd = -1;
        _cleanup_(efivars_done) EfiVars vars = EFIVARS_NULL;
        _cleanup_(free_charp) char *text = NULL, *rm = NULL, *file = NULL;
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(bytes_done) Bytes raw = BYTES_NULL;
        struct stat before, after;
        uint64_t n64 = 7;
        uint16_t n16;

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) == 0);
        /* no folder: no variables, and reading says unset */
        assert(efivars_open(&env, &vars) == -ENOENT && !efivars_present(&vars));
        assert(efivar_get_text(&vars, EFI_LOADER, "LoaderEntryDefault", &text) == -ENOENT);
        assert(efivar_set_text(&vars, EFI_LOADER, "LoaderEntryDefault", "x", false) == -ENOENT);
        assert(efivar_delete(&vars, EFI_LOADER, "LoaderEntryDefault") == 0);

        vars_fd = env_make_dir(&env, "/sys/firmware/efi/efivars", 0755);
        assert(vars_fd >= 0 && efivars_open(&env, &vars) == 0 && !vars.kernel);
        assert(efivar_set_text(&vars, EFI_LOADER, "LoaderEntryDefault", "ab", false) == 0);
        file = str_printf("LoaderEntryDefault-%s", EFI_LOADER);
        assert(file_read(vars_fd, file, 100, &raw) == 0);
        assert(raw.size == 10 && memcmp(raw.data, "\7\0\0\0a\0b\0\0\0", 10) == 0);
        assert(efivar_get_text(&vars, EFI_LOADER, "LoaderEntryDefault", &text) == 0 && streq(text, "ab"));

        /* an equal value is not written again, unless the write itself is the point */
        assert(fstatat(vars_fd, file, &before, 0) == 0);
        assert(efivar_set_text(&vars, EFI_LOADER, "LoaderEntryDefault", "ab", false) == 0);
        assert(fstatat(vars_fd, file, &after, 0) == 0 && before.st_ino == after.st_ino);
        assert(efivar_set_text(&vars, EFI_LOADER, "LoaderEntryDefault", "ab", true) == 0);
        assert(fstatat(vars_fd, file, &after, 0) == 0 &&
               (before.st_ino != after.st_ino || before.st_mtim.tv_nsec != after.st_mtim.tv_nsec));

        /* unset: an empty file, attributes and nothing, an empty string */
        assert(file_replace(vars_fd, file, "", 0, 0600) == 0);
        assert(efivar_get_text(&vars, EFI_LOADER, "LoaderEntryDefault", &(char *){ NULL }) == -ENOENT);
        assert(file_replace(vars_fd, file, "\7\0\0\0\0\0", 6, 0600) == 0);
        assert(efivar_get_text(&vars, EFI_LOADER, "LoaderEntryDefault", &(char *){ NULL }) == -ENOENT);
        assert(file_replace(vars_fd, file, "\7\0", 2, 0600) == 0);
        assert(efivar_get_text(&vars, EFI_LOADER, "LoaderEntryDefault", &(char *){ NULL }) == -EBADMSG);
        assert(efivar_delete(&vars, EFI_LOADER, "LoaderEntryDefault") == 0);
        assert(efivar_delete(&vars, EFI_LOADER, "LoaderEntryDefault") == 0);

        assert(efivar_set_u16(&vars, EFI_GLOBAL, "BootNext", 0x1a2) == 0);
        assert(efivar_get_u16(&vars, EFI_GLOBAL, "BootNext", &n16) == 0 && n16 == 0x1a2);
        assert(efivar_get_u64(&vars, EFI_GLOBAL, "BootNext", &n64) == -EBADMSG && n64 == 7);
        assert(efivar_list(&vars, EFI_GLOBAL, "Boot", &names) == 0 && strv_len(names) == 1 &&
               streq(names[0], "BootNext"));

        rm = str_printf("rm -r %s", dir);
        assert(system(rm) == 0);
}

int main(void)
{
        test_utf16();
        test_option();
        test_files();
        return 0;
}
