/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* Tables written by libfdisk and sgdisk and read here; cgpt says what it sees of the same. Then tables that
 * are wrong in one place each, with their checksums put right, and disks of which one copy is damaged. */

#include "base/run.h"
#include "disk/gpt.h"
#include "disk/test-disk.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>

static char dir[] = "/tmp/gybe-test-gpt-XXXXXX";
static char *image;

static const TestPart parts[] = {
        { "EFI-SYSTEM", DISK_TYPE_ESP, "11111111-2222-3333-4444-555555555555", 4 * MIB, 0 },
        { "USR-A", DISK_TYPE_FLATCAR_ROOTFS, "7130c94a-213a-4e5a-8e26-6cce9662f132", 8 * MIB, 0 },
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", 8 * MIB, 0 },
        { "h\xc3\xa4sh \xe2\x82\xac", DISK_TYPE_USR_VERITY_X86_64, "35bdf78b-c453-4661-98e6-f834f534ef5b",
          MIB, 0 },
        { "", "0fc63daf-8483-4772-8e79-3d69d8477de4", "35bdf78b-c453-4661-98e6-f834f534ef5c", MIB, 0 },
        { "abcdefghijklmnopqrstuvwxyz0123456789", "0fc63daf-8483-4772-8e79-3d69d8477de4",
          "35bdf78b-c453-4661-98e6-f834f534ef5d", MIB, 0 }, /* all 36 units, no NUL */
};

static const Env *env_files(void)
{
        static Env env = { .root_fd = -1, .root = dir };

        if (env.root_fd < 0)
                assert(env_open(dir, &env, NULL) >= 0);
        return &env;
}

static void check_disk(unsigned sector)
{
        _cleanup_(disk_freep) Disk *disk = NULL;
        Why why = { 0 };
        uint64_t at = MIB;
        unsigned count = 9;

        if (disk_open(env_files(), image, false, &disk, &why) < 0)
                fprintf(stderr, "%s\n", why.text);
        assert(disk && disk_sector_size(disk) == sector);
        assert(disk_n_partitions(disk) == ELEMENTSOF(parts) && !disk_partition(disk, ELEMENTSOF(parts)));
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                const Partition *p = disk_partition(disk, i);

                assert(p->number == i + 1 && streq(p->label, parts[i].label));
                assert(streq(p->type, parts[i].type) && streq(p->partuuid, parts[i].uuid));
                assert(p->offset == at && p->size == parts[i].size);
                at += parts[i].size;
        }
        assert(disk_find_label(disk, "USR-B", &count) == disk_partition(disk, 2) && count == 1);
        assert(!disk_find_label(disk, "usr-b", &count) && count == 0);
        assert(disk_find_partuuid(disk, "E03DD35C-7C2D-4A47-B3FE-27F15780A57C") == disk_partition(disk, 2));
        assert(!disk_find_partuuid(disk, "e03dd35c"));
        assert(disk_lock(disk, NULL) >= 0);
}

static bool have(const char *tool, char path[64])
{
        static const char *const places[] = { "/usr/sbin", "/sbin", "/usr/bin" };

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                (void) snprintf(path, 64, "%s/%s", places[i], tool);
                if (access(path, X_OK) == 0)
                        return true;
        }
        return false;
}

static char *output_of(char *const argv[])
{
        RunOptions o = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 30, .output_max = 64 * 1024 };
        RunResult r = { 0 };
        char *out;

        assert(run(argv, &o, &r) >= 0 && r.exit_code == 0);
        out = strdup(r.output.data ? (char *) r.output.data : "");
        assert(out);
        out[strcspn(out, "\n")] = 0;
        run_result_done(&r);
        return out;
}

static void test_sgdisk(void)
{
        char sgdisk[64], cgpt[64];
        _cleanup_(disk_freep) Disk *disk = NULL;
        const Partition *p;

        if (!have("sgdisk", sgdisk)) {
                printf("sgdisk is missing: its tables are not tried\n");
                return;
        }
        (void) unlink(image);
        assert(truncate(image, 0) < 0);
        int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert(fd >= 0 && ftruncate(fd, 32 * MIB) == 0 && close(fd) == 0);
        free(output_of((char *const[]){
                sgdisk, (char *) "-n", (char *) "3:2048:+8M", (char *) "-t",
                (char *) "3:5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6", (char *) "-c", (char *) "3:USR-A",
                (char *) "-u", (char *) "3:7130C94A-213A-4E5A-8E26-6CCE9662F132", (char *) "-A",
                (char *) "3:set:48", (char *) "-n", (char *) "1:0:+1M", image, NULL }));
        assert(disk_open(env_files(), image, false, &disk, NULL) >= 0);
        assert(disk_n_partitions(disk) == 2);
        p = disk_find_label(disk, "USR-A", NULL);
        assert(p && p->number == 3 && p->offset == MIB && p->size == 8 * MIB &&
               p->attrs == UINT64_C(1) << 48);
        assert(streq(p->type, DISK_TYPE_FLATCAR_ROOTFS));
        if (have("cgpt", cgpt)) {
                static const char *const flags[] = { "-b", "-s", "-l" };
                static const char *const said[] = { "2048", "16384", "USR-A" };

                for (size_t i = 0; i < ELEMENTSOF(flags); i++) {
                        _cleanup_(free_charp) char *out =
                                output_of((char *const[]){ cgpt, (char *) "show", (char *) "-i", (char *) "3",
                                                           (char *) flags[i], image, NULL });
                        assert(streq(out, said[i]));
                }
        }
}

/* What is damaged in the file, and what the refusal speaks of. */
static void test_damage(unsigned sector)
{
        struct {
                uint64_t at;
                const char *says;
        } cases[] = {
                { sector + 56, "primary GPT" },                   /* disk GUID: the checksum sees it */
                { sector, "primary GPT" },                        /* signature */
                { 2 * sector + 60, "primary GPT" },               /* a name among the entries */
                { 64 * MIB - sector + 56, "backup GPT" },         /* backup header */
                { 64 * MIB - sector - 16384 + 60, "backup GPT" }, /* backup entries */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(close_fdp) int fd = open(image, O_RDWR | O_CLOEXEC);
                Disk *disk = NULL;
                Why why = { 0 };
                uint8_t byte;

                assert(fd_pread_full(fd, &byte, 1, cases[i].at) == 1);
                byte ^= 0x20;
                assert(fd_pwrite_full(fd, &byte, 1, cases[i].at) >= 0);
                assert(disk_open(env_files(), image, false, &disk, &why) == -EBADMSG && !disk);
                if (!strstr(why.text, cases[i].says))
                        fprintf(stderr, "%zu: %s\n", i, why.text);
                assert(why.kind == WHY_HOST && strstr(why.text, cases[i].says));
                byte ^= 0x20;
                assert(fd_pwrite_full(fd, &byte, 1, cases[i].at) >= 0);
        }
        check_disk(sector); /* all damage was repaired */
}

/* Both copies are whole, and one of them is of an older table. */
static void test_disagree(unsigned sector)
{
        _cleanup_(close_fdp) int fd = -1;
        uint8_t old[17 * 4096];
        size_t size = 16384 + sector;
        uint64_t at = 64 * MIB - size;
        Disk *disk = NULL;
        Why why = { 0 };

        test_disk_make(image, 64 * MIB, sector, parts, 2);
        fd = open(image, O_RDWR | O_CLOEXEC);
        assert(fd_pread_full(fd, old, size, at) == (ssize_t) size);
        test_disk_make(image, 64 * MIB, sector, parts, ELEMENTSOF(parts));
        close(fd);
        fd = open(image, O_RDWR | O_CLOEXEC);
        assert(fd_pwrite_full(fd, old, size, at) >= 0);
        assert(disk_open(env_files(), image, false, &disk, &why) == -EBADMSG);
        assert(strstr(why.text, "do not agree") && why.hint[0]);
}

static void test_sizes(unsigned sector)
{
        Disk *disk = NULL;
        Why why = { 0 };

        /* larger: an enlarged disk is fine, its backup just stands before the end */
        test_disk_make(image, 64 * MIB, sector, parts, ELEMENTSOF(parts));
        assert(truncate(image, 80 * MIB) == 0);
        check_disk(sector);
        assert(truncate(image, 40 * MIB) == 0);
        assert(disk_open(env_files(), image, false, &disk, &why) == -EBADMSG && why.text[0]);
}

static void test_no_disk(void)
{
        Disk *disk = NULL;
        Why why = { 0 };

        assert(disk_open(env_files(), "/dev/null", false, &disk, &why) == -ENOTBLK && why.kind == WHY_USAGE);
        why = (Why){ 0 };
        assert(disk_open(env_files(), "/nowhere", false, &disk, &why) == -ENOENT);
        why = (Why){ 0 };
        assert(truncate(image, 0) == 0);
        assert(disk_open(env_files(), image, false, &disk, &why) == -EBADMSG && strstr(why.text, "GPT"));
        assert(truncate(image, 8 * MIB) == 0);
        assert(disk_open(env_files(), image, false, &disk, NULL) == -EBADMSG);
}

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
        for (unsigned i = 0; i < bytes; i++)
                p[i] = (uint8_t) (v >> (8 * i));
}

static void put_right(uint8_t *region, unsigned sector)
{
        uint8_t *h = region + sector;

        put_le(h + 88, gpt_crc32(region + 2 * sector, 16384), 4);
        put_le(h + 16, 0, 4);
        put_le(h + 16, gpt_crc32(h, 92), 4);
}

/* One number of the region changed, checksums right. Entry i starts at 2 sectors + 128 i. */
static void test_region(unsigned sector)
{
        static const struct {
                int in_entry; /* -1: header */
                unsigned at, bytes;
                uint64_t value;
                bool good;
                const char *says;
        } cases[] = {
                { -1, 0, 1, 'E', true, NULL },
                { -1, 8, 4, 0x00020000, false, "revision" },
                { -1, 12, 4, 91, false, "header of 91" },
                { -1, 12, 4, 5000, false, "header of 5000" },
                { -1, 24, 8, 2, false, "LBA 2" },
                { -1, 48, 8, 3, false, "usable" },
                { -1, 48, 8, UINT64_MAX, false, "beyond any disk" },
                { -1, 40, 8, UINT64_C(1) << 60, false, "usable" },
                { -1, 40, 8, 4, false, "reach into" },
                { -1, 72, 8, 1, false, "entries" },
                { -1, 72, 8, 1000, false, "entries end" },
                { -1, 72, 8, UINT64_MAX, false, "beyond any disk" },
                { -1, 80, 4, 0, false, "no table" },
                { -1, 80, 4, 0xffffffff, false, "no table" },
                { -1, 80, 4, 127, false, "checksum" },
                { -1, 84, 4, 64, false, "no table" },
                { -1, 84, 4, 132, false, "no table" },
                { 0, 48, 8, UINT64_C(0xffff000000000007), true, NULL }, /* attributes are anybody's */
                { 0, 32, 8, 5, false, "outside" },
                { 0, 40, 8, 0, false, "outside" },
                { 0, 40, 8, UINT64_MAX, false, "outside" },
                { 0, 40, 8, 10240, false, "overlap" }, /* reaches into the next in either sector size */
                { 2, 16, 8, 0x4e5a213a7130c94aull, true, NULL }, /* half a PARTUUID alike is another one */
        };
        static uint8_t good[2 * 4096 + 16384], bad[sizeof(good)];
        size_t size = 2 * sector + 16384;
        _cleanup_(close_fdp) int fd = open(image, O_RDONLY | O_CLOEXEC);
        Partition got[DISK_PARTITIONS_MAX];
        size_t n = 0;

        assert(fd_pread_full(fd, good, size, 0) == (ssize_t) size);
        assert(gpt_parse_region(good, size, sector, got, &n, NULL) >= 0 && n == ELEMENTSOF(parts));
        assert(streq(got[3].label, parts[3].label) && got[1].offset == 5 * MIB);
        assert(gpt_parse_region(good, size - 1, sector, got, &n, NULL) == -EBADMSG);
        assert(gpt_parse_region(good, 2 * sector - 1, sector, got, &n, NULL) == -EBADMSG);
        assert(gpt_parse_region(good, size, 1024, got, &n, NULL) == -EBADMSG);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t *base =
                        cases[i].in_entry < 0 ? bad + sector : bad + 2 * sector + 128 * cases[i].in_entry;
                Why why = { 0 };
                int r;

                if (cases[i].value == 5000 && sector == 4096)
                        continue;
                memcpy(bad, good, size);
                put_le(base + cases[i].at, cases[i].value, cases[i].bytes);
                put_right(bad, sector);
                r = gpt_parse_region(bad, size, sector, got, &n, &why);
                if ((r >= 0) != cases[i].good || (cases[i].says && !strstr(why.text, cases[i].says)))
                        fprintf(stderr, "case %zu (%u): %i %s\n", i, sector, r, why.text);
                assert(cases[i].good || strstr(why.text, cases[i].says));
                assert((r >= 0) == cases[i].good && (r >= 0 || why.kind == WHY_IMAGE));
        }
        memcpy(bad, good, size);
        memcpy(bad + 2 * sector + 128 + 16, bad + 2 * sector + 16, 16);
        put_right(bad, sector);
        assert(gpt_parse_region(bad, size, sector, got, &n, NULL) == -EBADMSG); /* the same PARTUUID twice */
        memcpy(bad, good, size);
        put_le(bad + 2 * sector + 56, 0xde00d83dd83dull, 8); /* half a pair, a whole pair */
        put_le(bad + 2 * sector + 56 + 6, 0, 2);
        put_right(bad, sector);
        assert(gpt_parse_region(bad, size, sector, got, &n, NULL) >= 0);
        assert(streq(got[0].label, "\xef\xbf\xbd\xf0\x9f\x98\x80"));
}

int main(void)
{
        static const unsigned sectors[] = { 512, 4096 };

        (void) setlocale(LC_CTYPE, "C.UTF-8"); /* libfdisk takes labels in the locale's spelling */
        assert(gpt_crc32("123456789", 9) == 0xcbf43926u);
        assert(mkdtemp(dir));
        image = str_printf("%s/disk.raw", dir);
        for (size_t i = 0; i < ELEMENTSOF(sectors); i++) {
                test_disk_make(image, 64 * MIB, sectors[i], parts, ELEMENTSOF(parts));
                check_disk(sectors[i]);
                test_region(sectors[i]);
                test_damage(sectors[i]);
                test_disagree(sectors[i]);
                test_sizes(sectors[i]);
        }
        test_sgdisk();
        test_no_disk();
        (void) unlink(image);
        assert(rmdir(dir) == 0);
        free(image);
        return 0;
}
