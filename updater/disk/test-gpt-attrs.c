/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* Attributes written through libfdisk: what cgpt and sgdisk see of them, and every state that a power cut can leave between
 * two of its writes, in its order and in GRUB's. */

#include "base/file.h"
#include "base/run.h"
#include "disk/gpt.h"
#include "disk/test-disk.h"

#include <errno.h>
#include <stdio.h>

static char dir[] = "/tmp/gybe-test-attrs-XXXXXX";
static char *image;

#define DISK_SIZE (32 * MIB)
#define GOOD      (UINT64_C(1) << 56 | UINT64_C(1) << 48)
#define TRY       (UINT64_C(1) << 52 | UINT64_C(2) << 48)
#define OTHER     (UINT64_C(1) << 60) /* read-only: somebody else's bit */

static const TestPart parts[] = {
        { "EFI-SYSTEM", DISK_TYPE_ESP, "11111111-2222-3333-4444-555555555555", 4 * MIB, 0 },
        { "USR-A", DISK_TYPE_FLATCAR_ROOTFS, "7130c94a-213a-4e5a-8e26-6cce9662f132", 8 * MIB, 0 },
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", 8 * MIB, 0 },
};

static const Env *env_files(void)
{
        static Env env = { .root_fd = -1, .root = dir };

        if (env.root_fd < 0)
                assert(env_open(dir, &env, NULL) >= 0);
        return &env;
}

static Disk *disk_of(const char *path)
{
        Disk *disk = NULL;
        Why why = { 0 };

        if (disk_open(env_files(), path, true, &disk, &why) < 0)
                fprintf(stderr, "%s\n", why.text);
        assert(disk);
        return disk;
}

static uint64_t attrs_of(const Disk *disk, const char *label)
{
        const Partition *p = disk_find_label(disk, label, NULL);

        assert(p);
        return p->attrs;
}

static void set(Disk *disk, uint64_t a, uint64_t b)
{
        PartitionAttrs both[] = { { disk_find_label(disk, "USR-A", NULL), a },
                                  { disk_find_label(disk, "USR-B", NULL), b } };
        Why why = { 0 };

        if (disk_set_attrs(disk, both, 2, &why) < 0)
                fprintf(stderr, "%s\n", why.text);
        assert(why.kind == WHY_NONE);
}

static uint8_t *bytes_of(const char *path)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint8_t *data = malloc(DISK_SIZE);

        assert(data && fd_pread_full(fd, data, DISK_SIZE, 0) == DISK_SIZE);
        return data;
}

static bool tool(char *const argv[], const char *expect)
{
        RunOptions o = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 30, .output_max = 64 * 1024 };
        RunResult r = { 0 };
        bool ok;

        if (access(argv[0], X_OK) < 0)
                return true;
        assert(run(argv, &o, &r) >= 0);
        ok = r.exit_code == 0 && r.output.data && strstr((char *) r.output.data, expect);
        if (!ok)
                fprintf(stderr, "%s: %s\n", argv[0], r.output.data ? (char *) r.output.data : "");
        run_result_done(&r);
        return ok;
}

static void check_cgpt(const char *flag, const char *says)
{
        assert(tool((char *const[]){ (char *) "/usr/bin/cgpt", (char *) "show", (char *) "-i", (char *) "3",
                                     (char *) flag, image, NULL },
                    says));
}

static void test_write(unsigned sector)
{
        _cleanup_(disk_freep) Disk *disk = NULL, *again = NULL, *reader = NULL;
        Why why = { 0 };

        test_disk_make(image, DISK_SIZE, sector, parts, ELEMENTSOF(parts));
        disk = disk_of(image);
        set(disk, GOOD | OTHER, TRY);
        assert(attrs_of(disk, "USR-A") == (GOOD | OTHER) && attrs_of(disk, "USR-B") == TRY);
        again = disk_of(image);
        assert(attrs_of(again, "USR-A") == (GOOD | OTHER) && attrs_of(again, "USR-B") == TRY);
        assert(attrs_of(again, "EFI-SYSTEM") == 0 && !disk_table_is_torn(again));
        if (sector == 512) {
                check_cgpt("-P", "2");
                check_cgpt("-T", "1");
                check_cgpt("-S", "0");
                assert(tool((char *const[]){ (char *) "/usr/sbin/sgdisk", (char *) "-v", image, NULL },
                            "No problems found"));
        }
        assert(disk_open(env_files(), image, false, &reader, NULL) >= 0);
        PartitionAttrs one = { disk_find_label(reader, "USR-A", NULL), 0 };
        assert(disk_set_attrs(reader, &one, 1, &why) == -EROFS);
}

/* The backup moves to the new end, and the table stays one that everybody can read. */
static void test_enlarged(void)
{
        _cleanup_(disk_freep) Disk *disk = NULL, *again = NULL;

        test_disk_make(image, DISK_SIZE, 512, parts, ELEMENTSOF(parts));
        assert(truncate(image, DISK_SIZE + 8 * MIB) == 0);
        disk = disk_of(image);
        set(disk, GOOD, TRY);
        again = disk_of(image);
        assert(attrs_of(again, "USR-B") == TRY && !disk_table_is_torn(again));
        assert(tool((char *const[]){ (char *) "/usr/sbin/sgdisk", (char *) "-v", image, NULL },
                    "No problems found"));
}

/* Where the two states differ. The four places, in libfdisk's order. */
typedef struct Step {
        uint64_t at;
        const uint8_t *data;
} Step;

static void put(const char *path, const uint8_t *data, const Step *steps, size_t n, unsigned sector)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert(fd_pwrite_full(fd, data, DISK_SIZE, 0) >= 0);
        for (size_t i = 0; i < n; i++)
                assert(fd_pwrite_full(fd, steps[i].data, sector, steps[i].at) >= 0);
}

/* Sector 512: entries 1-4 are in the first sector of the array; sector 4096: 1-32. */
static void test_cuts(unsigned sector, const unsigned order[4], unsigned flips_at)
{
        _cleanup_(disk_freep) Disk *first = NULL;
        uint8_t *old, *new;
        uint64_t places[4] = { DISK_SIZE - sector - 16384, DISK_SIZE - sector, 2 * sector, sector };
        Step steps[4];
        size_t changed = 0;

        test_disk_make(image, DISK_SIZE, sector, parts, ELEMENTSOF(parts));
        first = disk_of(image);
        set(first, GOOD, 0);
        old = bytes_of(image);
        set(first, GOOD, TRY);
        new = bytes_of(image);
        first = disk_free(first); /* and its lock */
        for (size_t i = 0; i < DISK_SIZE; i += sector)
                changed += memcmp(old + i, new + i, sector) != 0;
        assert(changed == 4);
        for (unsigned i = 0; i < 4; i++)
                steps[i] = (Step){ places[order[i]], new + places[order[i]] };
        for (unsigned n = 0; n <= 4; n++) {
                Disk *disk;

                put(image, old, steps, n, sector);
                disk = disk_of(image);
                assert(attrs_of(disk, "USR-A") == GOOD);
                assert(attrs_of(disk, "USR-B") == (n >= flips_at ? TRY : 0));
                assert(disk_table_is_torn(disk) == (n > 0 && n < 4));
                set(disk, GOOD, TRY);
                assert(!disk_table_is_torn(disk));
                disk = disk_free(disk);
                disk = disk_of(image);
                assert(!disk_table_is_torn(disk) && attrs_of(disk, "USR-B") == TRY);
                disk = disk_free(disk);
                if (sector == 512)
                        assert(tool((char *const[]){ (char *) "/usr/sbin/sgdisk", (char *) "-v", image,
                                                     NULL },
                                    "No problems found"));
        }
        free(old);
        free(new);
}

/* Anything but attributes that differs is no interrupted write. */
static void test_other_difference(void)
{
        static const uint64_t places[] = { 512 * 2 + 128 + 60, DISK_SIZE - 512 - 16384 + 128 + 60,
                                           512 * 2 + 128 + 33 };

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                _cleanup_(close_fdp) int fd = -1;
                Disk *disk = NULL;
                Why why = { 0 };
                uint8_t byte;

                test_disk_make(image, DISK_SIZE, 512, parts, ELEMENTSOF(parts));
                fd = open(image, O_RDWR | O_CLOEXEC);
                assert(fd_pread_full(fd, &byte, 1, places[i]) == 1);
                byte ^= 1;
                assert(fd_pwrite_full(fd, &byte, 1, places[i]) >= 0);
                assert(disk_open(env_files(), image, true, &disk, &why) == -EBADMSG);
        }
}

int main(void)
{
        static const unsigned ours[4] = { 0, 1, 2, 3 };  /* backup entries, backup header, primary's */
        static const unsigned grubs[4] = { 3, 2, 1, 0 }; /* primary header, primary entries, backup's */

        assert(mkdtemp(dir));
        image = str_printf("%s/disk.img", dir);
        test_write(512);
        test_write(4096);
        test_enlarged();
        /* once the primary's entries no longer fit its header, the backup counts: it is new already */
        test_cuts(512, ours, 3);
        test_cuts(4096, ours, 3);
        test_cuts(512, grubs, 2);
        test_cuts(4096, grubs, 2);
        test_other_difference();
        assert(unlink(image) == 0 && rmdir(dir) == 0);
        free(image);
        return 0;
}
