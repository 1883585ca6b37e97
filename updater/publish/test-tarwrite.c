/* SPDX-License-Identifier: MIT */

/* Judge: the tar program lists and extracts an archive of our headers. Sizes beyond 8 GiB are judged from a
 * sparse file. */

#undef NDEBUG
#include "publish/tarwrite.h"
#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static void test_names(void)
{
        uint8_t h[TAR_BLOCK];
        char longest[TAR_NAME_MAX + 2];

        memset(longest, 'x', sizeof(longest));
        longest[TAR_NAME_MAX + 1] = 0;
        assert(tar_header(longest, 0, 0, h) == -EINVAL);
        longest[TAR_NAME_MAX] = 0;
        assert(tar_header(longest, 0, 0, h) == 0); /* a full field has no NUL */
        assert(tar_header("", 0, 0, h) == -EINVAL);
        assert(tar_header("/images/a", 0, 0, h) == -EINVAL);
        assert(tar_header("./metadata.json", 0, 0, h) == -EINVAL);
        assert(tar_header("cosi-marker", 0, 0, h) == 0);
        assert(memcmp(h, "cosi-marker", 11) == 0); /* how a COSI 1.2 is recognised */
        assert(tar_padding(0) == 0 && tar_padding(1) == 511 && tar_padding(512) == 0 &&
               tar_padding(513) == 511);
}

static void list(const char *path, const char *expect)
{
        char command[256];
        char *argv[] = { (char *) "/bin/sh", (char *) "-c", command, NULL };
        char *variables[] = { (char *) "PATH=/usr/bin:/bin", (char *) "TZ=UTC", (char *) "LC_ALL=C", NULL };
        RunOptions o = {
                .exe_fd = -1, .cwd_fd = -1, .environ = variables, .timeout_sec = 60, .output_max = 4096
        };
        RunResult r;

        (void) snprintf(command, sizeof(command), "tar -tvf %s | tr -s ' '", path);
        assert(run(argv, &o, &r) == 0);
        if (!streq((const char *) r.output.data, expect))
                fprintf(stderr, "tar says:\n%s", (const char *) r.output.data);
        assert(r.exit_code == 0 && streq((const char *) r.output.data, expect));
        run_result_done(&r);
}

static void test_archive(void)
{
        char path[] = "/tmp/test-tarwrite.XXXXXX";
        int fd = mkstemp(path);
        uint8_t h[TAR_BLOCK];
        uint64_t huge = 9 * GIB + 1, at = 0;

        assert(fd >= 0);
        assert(tar_header("cosi-marker", 0, 0, h) == 0 && fd_pwrite_full(fd, h, sizeof(h), at) == 0);
        at += TAR_BLOCK;
        assert(tar_header("metadata.json", 3, 1767225600, h) == 0 &&
               fd_pwrite_full(fd, h, sizeof(h), at) == 0);
        assert(fd_pwrite_full(fd, "{}\n", 3, at + TAR_BLOCK) == 0);
        at += TAR_BLOCK + 3 + tar_padding(3);
        assert(tar_header("images/huge.zst", huge, UINT64_MAX, h) == 0);
        assert(fd_pwrite_full(fd, h, sizeof(h), at) == 0);
        at += TAR_BLOCK + huge + tar_padding(huge);
        assert(tar_header("gybe/usr.index", 8, 0, h) == 0 && fd_pwrite_full(fd, h, sizeof(h), at) == 0);
        assert(ftruncate(fd, (off_t) (at + TAR_BLOCK + 512 + TAR_END_SIZE)) == 0);
        list(path, "-rw-r--r-- root/root 0 1970-01-01 00:00 cosi-marker\n"
                   "-rw-r--r-- root/root 3 2026-01-01 00:00 metadata.json\n"
                   "-rw-r--r-- root/root 9663676417 2242-03-16 12:56 images/huge.zst\n"
                   "-rw-r--r-- root/root 8 1970-01-01 00:00 gybe/usr.index\n");
        (void) unlink(path);
        (void) close(fd);
}

int main(void)
{
        test_names();
        test_archive();
        return 0;
}
