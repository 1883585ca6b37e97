/* SPDX-License-Identifier: MIT */

/* Judges: mke2fs and mkfs.vfat make real ones; the magic of the others is written by hand from their documentation. */

#undef NDEBUG
#include "publish/fsprobe.h"
#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

static uint8_t image[FS_PROBE_SIZE];

static int shell(const char *command)
{
        char *argv[] = { (char *) "/bin/sh", (char *) "-c", (char *) command, NULL };
        RunOptions o = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 4096 };
        RunResult r;

        assert(run(argv, &o, &r) == 0);
        run_result_done(&r);
        return r.exit_code;
}

static void expect(const char *type, const char *uuid)
{
        FsFacts facts;

        fs_probe(image, sizeof(image), &facts);
        if (!streq(facts.type, type) || !streq(facts.uuid, uuid))
                fprintf(stderr, "found %s %s\n", facts.type, facts.uuid);
        assert(streq(facts.type, type) && streq(facts.uuid, uuid));
        for (size_t n = 0; n < 4096; n += 511) /* a short image is never read beyond its end */
                fs_probe(image, n, &facts);
}

static int made_by(const char *tool, const char *type, const char *uuid)
{
        char path[] = "/tmp/test-fsprobe.XXXXXX", command[256];
        int fd = mkstemp(path), r;

        assert(fd >= 0 && ftruncate(fd, 40 << 20) == 0);
        (void) snprintf(command, sizeof(command), "%s %s", tool, path);
        r = shell(command);
        if (r == 0) {
                assert(fd_pread_full(fd, image, sizeof(image), 0) == (ssize_t) sizeof(image));
                expect(type, uuid);
        } else
                printf("cannot run: %s\n", command);
        (void) unlink(path);
        (void) close(fd);
        return r;
}

static void test_by_hand(void)
{
        static const uint8_t id[16] = {
                0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8
        };
        static const char text[] = "12345678-9abc-def0-0102-030405060708";

        memset(image, 0, sizeof(image));
        expect("", "");
        memcpy(image + 0x10040, "_BHRfS_M", 8);
        memcpy(image + 0x10020, id, 16);
        expect("btrfs", text);
        memset(image, 0, sizeof(image));
        memcpy(image + 1024, "\xe2\xe1\xf5\xe0", 4);
        memcpy(image + 1024 + 48, id, 16);
        expect("erofs", text);
        memset(image, 0, sizeof(image));
        memcpy(image, "XFSB", 4);
        memcpy(image + 32, id, 16);
        expect("xfs", text);
        memset(image, 0, sizeof(image));
        memcpy(image, "hsqs", 4);
        expect("squashfs", "");
}

int main(void)
{
        int r;

        test_by_hand();
        r = made_by("mke2fs -q -t ext4 -U 5d0e1a2b-0000-4000-8000-000000000001", "ext4",
                    "5d0e1a2b-0000-4000-8000-000000000001");
        r |= made_by("mke2fs -q -t ext2 -U 5d0e1a2b-0000-4000-8000-000000000001", "ext2",
                     "5d0e1a2b-0000-4000-8000-000000000001");
        r |= made_by("mke2fs -q -t ext3 -U 5d0e1a2b-0000-4000-8000-000000000001", "ext3",
                     "5d0e1a2b-0000-4000-8000-000000000001");
        r |= made_by("mkfs.vfat -F 32 -i C3D4250D", "vfat", "C3D4-250D");
        r |= made_by("mkfs.vfat -F 16 -i 00D4250D", "vfat", "00D4-250D");
        return r == 0 ? 0 : 77;
}
