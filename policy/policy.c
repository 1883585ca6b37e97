/* SPDX-License-Identifier: MIT */

#include "policy/policy.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>

#define POLICY_FILE_MAX                                                                                      \
        (256u * 1024u)   /* hand-written rules; windows and skip lists of a fleet fit many times */
#define ATTEMPTS_MAX 10u /* more first boots of an unproved image are a boot loop with a name */

void policy_done(Policy *p)
{
        free(p->pin);
        strv_free(p->skip);
        free(p->hold_reason);
        free(p->hold_by);
        *p = (Policy){ 0 };
}

static int bad(Why *why, const char *what, const char *rule)
{
        return fail(why, -EINVAL, WHY_USAGE, "bad-policy", "%s: %s", what, rule);
}

static int take_text(const Json *j, const char *key, char **ret)
{
        const char *s = json_get_str(j, key);
        char *copy;

        if (!json_get(j, key))
                return 0;
        if (!s)
                return -EINVAL;
        copy = strdup(s);
        if (!copy)
                return -ENOMEM;
        free(*ret);
        *ret = copy;
        return 0;
}

static int take_numbers(const Json *j, const char *what, Policy *p, Why *why)
{
        uint64_t v;
        int r;

        r = json_get_u64(j, "attempts", &v);
        if (r < 0 || (r > 0 && (v < 1 || v > ATTEMPTS_MAX)))
                return bad(why, what, "attempts must be a number from 1 to 10");
        if (r > 0)
                p->attempts = (unsigned) v;
        r = json_get_duration(j, "deadline", &p->deadline_sec);
        return r < 0 ? bad(why, what, "deadline must be a duration like \"15m\"") : 0;
}

static int take_hold(const Json *j, const char *what, Policy *p, Why *why)
{
        const Json *hold = json_get(j, "hold");
        uint64_t until = UINT64_MAX;
        int r;

        if (!hold)
                return 0;
        if (!json_is_object(hold) || json_get_time(hold, "until", &until) < 0)
                return bad(why, what,
                           "hold must be an object, its until a time like \"2026-11-04T06:00:00Z\"");
        if ((r = take_text(hold, "reason", &p->hold_reason)) < 0 ||
            (r = take_text(hold, "by", &p->hold_by)) < 0)
                return r == -ENOMEM ? r : bad(why, what, "hold: reason and by must be strings");
        p->held = true;
        p->hold_until = until;
        return 0;
}

static int take_skip(const Json *j, const char *what, Policy *p, Why *why)
{
        const Json *skip = json_get(j, "skip");
        _cleanup_(strv_freep) char **list = NULL;
        char **old;

        if (!skip)
                return 0;
        if (!json_is_array(skip))
                return bad(why, what, "skip must be a list of versions");
        json_foreach (item, skip) {
                if (!json_str(item))
                        return bad(why, what, "skip must be a list of versions");
                if (strv_add(&list, json_str(item)) < 0)
                        return -ENOMEM;
        }
        old = p->skip;
        p->skip = TAKE(list);
        strv_free(old);
        return 0;
}

int policy_parse(const void *data, size_t size, const char *what, Policy *p, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        int r;

        r = json_parse(data, size, JSON_COMMENTS, JSON_DEPTH_MAX, what, WHY_USAGE, &j, why);
        if (r < 0)
                return r;
        if (!json_is_object(j))
                return bad(why, what, "not a JSON object");
        if ((r = take_numbers(j, what, p, why)) < 0 || (r = take_hold(j, what, p, why)) < 0 ||
            (r = take_skip(j, what, p, why)) < 0)
                return r;
        r = take_text(j, "pin", &p->pin);
        return r == -EINVAL ? bad(why, what, "pin must be a version") : r;
}

int policy_may_take(const Policy *p, const char *version, uint64_t now, Why *why)
{
        char until[TIME_TEXT_SIZE];

        if (p->pin && !streq(p->pin, version))
                return fail(why, -EPERM, WHY_POLICY, "pinned", "%s: this host is pinned to %s", version,
                            p->pin);
        if (strv_has(p->skip, version))
                return fail(why, -EPERM, WHY_POLICY, "skipped", "%s: it is on this host's skip list",
                            version);
        if (!p->held || now >= p->hold_until)
                return 0;
        format_time(p->hold_until, until);
        return fail(why, -EPERM, WHY_POLICY, "held", "%s: updates are held%s%s%s%s%s%s", version,
                    p->hold_until == UINT64_MAX ? "" : " until ", p->hold_until == UINT64_MAX ? "" : until,
                    p->hold_by ? " by " : "", p->hold_by ? p->hold_by : "", p->hold_reason ? ": " : "",
                    p->hold_reason ? p->hold_reason : "");
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
                r = policy_parse(b.data ? (const void *) b.data : "", b.size, what, policy, why);
                if (r == -ENOMEM)
                        return r; /* anything else is said in *why, and that file is left out */
        }
        return 0;
}

int policy_load(const Env *env, Policy *ret, Why *why)
{
        static const char *const folders[] = { "/usr/lib/gybe/policy.d", "/etc/gybe/policy.d",
                                               "/run/gybe/policy.d" };
        _cleanup_(policy_done) Policy policy = POLICY_DEFAULT;

        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                int r = load_folder(env, folders[i], &policy, why);
                if (r < 0)
                        return r;
        }
        *ret = policy;
        policy = (Policy){ 0 };
        return 0;
}
