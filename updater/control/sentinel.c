/* SPDX-License-Identifier: MIT */

#include "control/sentinel.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>

#define RUN_DIR  "/run"
#define NAME     "reboot-required"
#define MARK     "gybe: " /* kured looks at no content; this is how we know ours again */
#define MAX_SIZE 4096u

/* 1 ours, 0 somebody else's, -ENOENT none */
static int is_ours(int dir_fd)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = file_read(dir_fd, NAME, MAX_SIZE, &b);

        if (r < 0)
                return r == -EFBIG || r == -EISDIR ? 0 : r;
        return b.data && str_starts((const char *) b.data, MARK);
}

static int failed(int r, Why *why)
{
        return fail_errno(why, r, WHY_HOST, "%s", SENTINEL_PATH);
}

int sentinel_make(const Env *env, const char *about, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = env_make_dir(env, RUN_DIR, 0755);
        _cleanup_(free_charp) char *text = str_printf(MARK "%s\n", about);
        int r;

        if (!text)
                return -ENOMEM;
        if (dir_fd < 0)
                return failed(dir_fd, why);
        r = is_ours(dir_fd);
        if (r >= 0)
                return 0;
        if (r == -ENOENT)
                r = file_replace(dir_fd, NAME, text, strlen(text), 0644);
        return r < 0 ? failed(r, why) : 1;
}

int sentinel_remove(const Env *env, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = env_open_dir(env, RUN_DIR);
        int r;

        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : failed(dir_fd, why);
        r = is_ours(dir_fd);
        if (r == 0 || r == -ENOENT)
                return 0;
        r = r < 0 ? r : file_remove(dir_fd, NAME);
        return r < 0 ? failed(r, why) : r;
}
