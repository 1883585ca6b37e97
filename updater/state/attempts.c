/* SPDX-License-Identifier: MIT */

/* How many boots a content has had: one small file a content, named like its quarantine record. It outlives the journal, so
 * that staging something else in between does not give an image new attempts (promise P6). */

#include "state/state.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define ATTEMPTS_DIR STATE_DIR "/attempts"

int attempts_get(const Env *env, const char *roothash, const char *uki_sha256, unsigned *ret)
{
        _cleanup_(free_charp) char *path = NULL, *line = NULL;
        char id[QUARANTINE_ID_SIZE];
        int r;

        *ret = 0;
        if (quarantine_id(roothash, uki_sha256, id) < 0)
                return 0;
        path = str_printf(ATTEMPTS_DIR "/%s", id);
        if (!path)
                return -ENOMEM;
        r = env_read_line(env, path, &line);
        if (r < 0)
                return r == -ENOMEM ? r : 0; /* unreadable is lost, and lost is none */
        return parse_unsigned(line, ret) < 0 ? 0 : 1;
}

int attempts_set(const Env *env, const char *roothash, const char *uki_sha256, unsigned n, Why *why)
{
        _cleanup_(close_fdp) int dir = -1;
        char id[QUARANTINE_ID_SIZE], text[16];
        int r;

        r = quarantine_id(roothash, uki_sha256, id);
        if (r < 0)
                return fail(why, r, WHY_HOST, "attempts", "attempts: the content has no identity");
        dir = env_make_dir(env, ATTEMPTS_DIR, 0700);
        (void) snprintf(text, sizeof(text), "%u\n", n);
        r = dir < 0 ? dir : file_replace(dir, id, text, strlen(text), 0600);
        return r < 0 ? fail_errno(why, r, WHY_HOST, ATTEMPTS_DIR "/%s", id) : 0;
}

int attempts_forget(const Env *env, const char *roothash, const char *uki_sha256)
{
        _cleanup_(close_fdp) int dir = env_open_dir(env, ATTEMPTS_DIR);
        char id[QUARANTINE_ID_SIZE];
        int r;

        if (dir < 0 || quarantine_id(roothash, uki_sha256, id) < 0)
                return dir == -ENOENT || dir >= 0 ? 0 : dir;
        r = file_remove(dir, id);
        return r < 0 ? r : 0;
}

int attempts_forget_id(const Env *env, const char *id)
{
        _cleanup_(close_fdp) int state = env_open_dir(env, STATE_DIR), dir = -1;
        int r;

        if (state < 0)
                return state == -ENOENT ? 0 : state;
        if (!id)
                return dir_remove(state, "attempts");
        dir = dir_open(state, "attempts");
        if (dir < 0)
                return dir == -ENOENT ? 0 : dir;
        r = file_remove(dir, id);
        return r < 0 ? r : 0;
}
