/* SPDX-License-Identifier: MIT */

/* Room in folders: the arithmetic against tables, the second copy on a folder of any file system that can exchange names.
 * What FAT makes of it is for the power-cut test. */

#undef NDEBUG
#include "bootloader/esp.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static void test_places(void)
{
        static const struct {
                const char *name;
                unsigned places;
        } cases[] = {
                { "a", 2 },
                { "thirteen.byte", 2 },
                { "fourteen.bytes", 3 },
                { "vmlinuz-0.efi.staged", 3 },
                { "vmlinuz-0.efi.staged.extra.d", 4 },
                { "vmlinuz-100-azlb0.efi", 3 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert(esp_places(cases[i].name) == cases[i].places);
}

static void test_room(void)
{
        static const struct {
                const char *about;
                EspPlace entries[5];
                size_t n;
                uint64_t size;
                unsigned room;
        } cases[] = {
                { "a folder of one cluster, dots only", { { 0, 1 }, { 32, 1 } }, 2, 512, 14 },
                { "as an image build leaves it", { { 0, 1 }, { 32, 1 }, { 64, 3 }, { 160, 4 } }, 4, 512, 7 },
                { "full to the last place", { { 0, 1 }, { 32, 1 }, { 64, 14 } }, 3, 512, 0 },
                { "a short name where a long one was assumed",
                  { { 0, 1 }, { 32, 2 }, { 64, 2 } },
                  3,
                  512,
                  12 },
                { "a hole larger than the end", { { 0, 1 }, { 32, 1 }, { 384, 3 } }, 3, 512, 10 },
                { "more than its clusters hold", { { 0, 1 }, { 480, 4 } }, 2, 512, 14 },
                { "the root, with dots that take nothing", { { 0, 1 }, { 1, 1 }, { 2, 1 } }, 3, 512, 14 },
                { "an empty root", { { 0, 1 }, { 1, 1 } }, 2, 512, 14 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                unsigned room = esp_room_of(cases[i].entries, cases[i].n, cases[i].size);

                if (room != cases[i].room)
                        fprintf(stderr, "%s: %u\n", cases[i].about, room);
                assert(room == cases[i].room);
        }
}

static void put(int dir, const char *folder, const char *name, const char *text)
{
        _cleanup_(close_fdp) int fd = dir_make(dir, folder, 0700);

        assert(fd >= 0 && file_replace(fd, name, text, strlen(text), 0600) == 0);
}

static bool holds(int dir, const char *path, const char *text)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        return file_read(dir, path, 4096, &b) >= 0 && streq((const char *) b.data, text);
}

static void test_rebuild(int top)
{
        _cleanup_(close_fdp) int efi = dir_make(top, "EFI", 0700), before = -1, after = -1;
        Esp esp = { .fd = top, .path = "/boot", .vfat = true };
        struct stat a, b;

        put(efi, "Linux", "vmlinuz-1.efi", "the running one");
        put(efi, "Linux/vmlinuz-1.efi.extra.d", "slot-a.addon.efi", "its addon");
        put(efi, ESP_SPARE "/deep", "half", "what a power cut left");
        before = dir_open(efi, "Linux");
        assert(esp_rebuild(&esp, efi, "Linux") == 0);
        after = dir_open(efi, "Linux");
        assert(fstat(before, &a) == 0 && fstat(after, &b) == 0 && a.st_ino != b.st_ino);
        assert(holds(efi, "Linux/vmlinuz-1.efi", "the running one"));
        assert(holds(efi, "Linux/vmlinuz-1.efi.extra.d/slot-a.addon.efi", "its addon"));
        assert(dir_open(efi, ESP_SPARE) == -ENOENT);
        assert(esp_rebuild(&esp, efi, "Nothing") == -ENOENT);

        /* what cannot be copied leaves the old one, and nothing beside it */
        put(efi, "Linux/1/2/3/4/5", "deep", "");
        assert(esp_rebuild(&esp, efi, "Linux") == -ELOOP);
        assert(holds(efi, "Linux/vmlinuz-1.efi", "the running one") && dir_open(efi, ESP_SPARE) == -ENOENT);
}

/* Both names on the same folder, as a cut inside the exchange can leave them: here by a symbolic link. */
static void test_twins(int top)
{
        _cleanup_(close_fdp) int efi = dir_make(top, "EFI", 0700);
        Esp esp = { .fd = top, .path = "/boot", .vfat = true };

        assert(dir_remove(efi, "Linux") == 0);
        put(efi, "Linux", "vmlinuz-1.efi", "the running one");
        assert(symlinkat("Linux", efi, ESP_SPARE) == 0);
        assert(esp_rebuild(&esp, efi, "Linux") == -EEXIST);
        assert(holds(efi, "Linux/vmlinuz-1.efi", "the running one"));
        assert(unlinkat(efi, ESP_SPARE, 0) == 0);
}

static void test_replace(int top)
{
        _cleanup_(close_fdp) int dir = dir_make(top, "loader", 0700);

        assert(esp_replace(dir, "loader.conf", "default a\n", 10) == 0 &&
               holds(dir, "loader.conf", "default a\n"));
        assert(esp_replace(dir, "loader.conf", "b\n", 2) == 0 && holds(dir, "loader.conf", "b\n"));
        assert(faccessat(dir, "loader.conf.new~", F_OK, 0) < 0);
        put(top, "new", "x", "fresh");
        {
                _cleanup_(close_fdp) int from = dir_open(top, "new");

                assert(esp_copy(from, "x", dir, "loader.conf") == 1 && holds(dir, "loader.conf", "fresh"));
                assert(esp_copy(from, "x", dir, "loader.conf") == 0);
        }
}

int main(void)
{
        char path[] = "/tmp/test-esp.XXXXXX";
        _cleanup_(close_fdp) int top = -1;

        test_places();
        test_room();
        assert(mkdtemp(path));
        top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(top >= 0);
        test_rebuild(top);
        test_twins(top);
        test_replace(top);
        (void) dir_remove(AT_FDCWD, path); /* the working directory cannot be synced */
        return 0;
}
