/* SPDX-License-Identifier: MIT */

#include "policy/policy.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>

#define POLICY_FILE_MAX (256u * 1024u) /* hand-written rules; windows and skip lists of a fleet fit many times */
#define ATTEMPTS_MAX    10u            /* more first boots of an unproved image are a boot loop with a name */

int policy_parse(const void *data, size_t size, const char *what, Policy *policy, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        Policy p = *policy;
        uint64_t v;
        int r;

        r = json_parse(data, size, JSON_COMMENTS, JSON_DEPTH_MAX, what, WHY_USAGE, &j, why);
        if (r < 0)
                return r;
        if (!json_is_object(j))
                return fail(why, -EINVAL, WHY_USAGE, "bad-policy", "%s: not a JSON object", what);
        r = json_get_u64(j, "attempts", &v);
        if (r < 0 || (r > 0 && (v < 1 || v > ATTEMPTS_MAX)))
                return fail(why, -EINVAL, WHY_USAGE, "bad-policy", "%s: attempts must be a number from 1 to %u", what,
                            ATTEMPTS_MAX);
        if (r > 0)
                p.attempts = (unsigned) v;
        r = json_get_duration(j, "deadline", &p.deadline_sec);
        if (r < 0)
                return fail(why, -EINVAL, WHY_USAGE, "bad-policy", "%s: deadline must be a duration like \"15m\"", what);
        *policy = p;
        return 0;
}

static int load_folder(const Env *env, const char *path, Policy *policy, Why *why)
{
        _cleanup_(close_fdp) int fd = env_open_dir(env, path);
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        if (fd == -ENOENT)
                return 0;
        if (fd < 0)
                return fail_errno(why, fd, WHY_HOST, "%s", path);
        r = dir_list(fd, ".", &names);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", path);
        for (char **n = names; *n; n++) {
                _cleanup_(free_charp) char *what = str_printf("%s/%s", path, *n);
                _cleanup_(bytes_done) Bytes b = BYTES_NULL;

                if (!what)
                        return -ENOMEM;
                if (!str_ends(*n, ".json"))
                        continue;
                r = file_read(fd, *n, POLICY_FILE_MAX, &b);
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "%s", what);
                r = policy_parse(b.data, b.size, what, policy, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

int policy_load(const Env *env, Policy *ret, Why *why)
{
        static const char *const folders[] = { "/usr/lib/gybe/policy.d", "/etc/gybe/policy.d", "/run/gybe/policy.d" };
        Policy policy = POLICY_DEFAULT;

        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                int r = load_folder(env, folders[i], &policy, why);
                if (r < 0)
                        return r;
        }
        *ret = policy;
        return 0;
}
