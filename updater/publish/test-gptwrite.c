/* SPDX-License-Identifier: MIT */

/* Judge: sgdisk. It moves a backup table to the end of a sparse disk made from our region, finds nothing to
 * complain about, lists what we meant, and leaves our region as it was. */

#undef NDEBUG
#include "publish/gptwrite.h"
#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"
#include "publish/layout.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static const uint8_t seed[32] = { 1, 2, 3 };

static void test_layout(void)
{
        LayoutSizes sizes = { 0 };
        GptLayout l;
        Why why = { 0 };

        assert(layout_acl("x86_64", 512, &sizes, seed, &l, &why) == 0);
        assert(l.n_parts == 9 && l.parts[0].offset == 2 * MIB && l.parts[0].size == 192 * MIB);
        assert(l.parts[PART_USR_B].offset % (2 * MIB) == 0);
        assert(l.parts[PART_HASH_SIG_A].offset == l.parts[PART_HASH_A].offset + 9 * MIB);
        assert(streq(l.parts[PART_USR_A].partuuid, "7130c94a-213a-4e5a-8e26-6cce9662f132"));
        assert(l.disk_size % (UINT64_C(258048) * 512) == 0);

        sizes.needed[PART_USR_A] = GIB + 1; /* the layout grows, and the other slot with it */
        assert(layout_acl("aarch64", 512, &sizes, seed, &l, &why) == 0);
        assert(l.parts[PART_USR_A].size == GIB + MIB && l.parts[PART_USR_B].size == GIB + MIB);
        assert(streq(l.parts[PART_HASH_A].type, "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e"));

        sizes.chosen[PART_USR_A] = GIB;
        assert(layout_acl("x86_64", 512, &sizes, seed, &l, &why) == -EINVAL && strstr(why.text, "USR-A"));
        assert(layout_part_of_label("HASH-B") == PART_HASH_B && layout_part_of_label("USR-C") == _PART_MAX);
}

static void test_refusals(void)
{
        LayoutSizes sizes = { 0 };
        GptLayout good, l;
        Bytes region = BYTES_NULL;
        Why why = { 0 };

        assert(layout_acl("x86_64", 512, &sizes, seed, &good, &why) == 0);
        l = good, l.parts[1].offset -= 512; /* into the ESP */
        assert(gpt_region_format(&l, &region, &why) == -EINVAL && strstr(why.text, "overlap"));
        l = good, l.parts[0].offset = 512 * 33; /* into the entries */
        assert(gpt_region_format(&l, &region, NULL) == -EINVAL);
        l = good, l.parts[8].size += 512 * MIB; /* over the backup */
        assert(gpt_region_format(&l, &region, NULL) == -EINVAL);
        l = good, l.parts[3].number = 2; /* twice */
        assert(gpt_region_format(&l, &region, NULL) == -EINVAL);
        l = good, l.parts[3].number = 129;
        assert(gpt_region_format(&l, &region, NULL) == -EINVAL);
        l = good, l.parts[3].type[7] = 'x';
        assert(gpt_region_format(&l, &region, NULL) == -EINVAL);
        l = good, l.parts[3].label[0] = '\n';
        assert(gpt_region_format(&l, &region, NULL) == -EINVAL);
        assert(!region.data);
}

static int shell(const char *command, Bytes *ret)
{
        char *argv[] = { (char *) "/bin/sh", (char *) "-c", (char *) command, NULL };
        RunOptions o = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 65536 };
        RunResult r;

        assert(run(argv, &o, &r) == 0);
        *ret = r.output;
        return r.exit_code;
}

static int test_judge(void)
{
        LayoutSizes sizes = { 0 };
        char path[] = "/tmp/test-gptwrite.XXXXXX", command[512];
        int fd = mkstemp(path);
        _cleanup_(bytes_done) Bytes region = BYTES_NULL, out = BYTES_NULL;
        GptLayout l;
        Why why = { 0 };
        uint64_t measured;
        uint8_t after[64 * 1024];
        int r;

        assert(fd >= 0 && layout_acl("x86_64", 512, &sizes, seed, &l, &why) == 0);
        l.parts[1].attrs = UINT64_C(1) << 56;
        assert(gpt_region_format(&l, &region, &why) == 0 && region.size == 17408);
        assert(gpt_region_measure(region.data, region.size, 512, &measured, &why) == 0 && measured == 17408);
        assert(gpt_region_measure(region.data, 1000, 512, &measured, NULL) == -EBADMSG);
        assert(fd_write_full(fd, region.data, region.size) == 0 && ftruncate(fd, (off_t) l.disk_size) == 0);
        (void) snprintf(command, sizeof(command),
                        "command -v sgdisk >/dev/null || exit 77; sgdisk -e %s >/dev/null && sgdisk -v %s && "
                        "sgdisk -p %s && sgdisk -i 2 %s",
                        path, path, path, path);
        r = shell(command, &out);
        if (r == 0) {
                const char *text = (const char *) out.data;

                assert(strstr(text, "No problems found"));
                assert(strstr(text, "EFI-SYSTEM") && strstr(text, "HASH-SIG-B") && strstr(text, "ROOT"));
                assert(strstr(text, "7130C94A-213A-4E5A-8E26-6CCE9662F132"));
                assert(strstr(text, "Attribute flags: 0100000000000000"));
                assert(fd_pread_full(fd, after, region.size, 0) == (ssize_t) region.size);
                assert(memcmp(after, region.data, region.size) == 0);
        } else if (r != 77) {
                fprintf(stderr, "sgdisk: %s\n", (const char *) out.data);
                assert(false);
        } else
                printf("no sgdisk to judge the table\n");
        (void) unlink(path);
        (void) close(fd);

        Bytes big = BYTES_NULL;
        assert(layout_acl("x86_64", 4096, &sizes, seed, &l, &why) == 0);
        assert(gpt_region_format(&l, &big, &why) == 0 && big.size == 24576);
        bytes_done(&big);
        return r == 77 ? 77 : 0;
}

int main(void)
{
        test_layout();
        test_refusals();
        return test_judge();
}
