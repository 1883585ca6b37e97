/* SPDX-License-Identifier: MIT */

/* gybe pin, hold, skip and their opposites: the one drop-in that gybe writes itself. An operator who says "unhold" wants the
 * host not to be held, whoever had held it. So the change is tried in memory together with all other files, and what is
 * written is the least that brings about what was said: the field goes from our file; when an earlier file still says it,
 * ours says null (or "remove", in a skip list); when a later file says it, nothing is written and that file is named. */

#include "policy/policy.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "policy/load.h"

#include <errno.h>

static const struct {
        const char *name;
        PolicyField field;
        bool needs_version;
} verbs[_POLICY_VERB_MAX] = {
        [POLICY_PIN] = { "pin", POLICY_FIELD_PIN, true },
        [POLICY_UNPIN] = { "unpin", POLICY_FIELD_PIN, false },
        [POLICY_HOLD] = { "hold", POLICY_FIELD_HOLD, false },
        [POLICY_UNHOLD] = { "unhold", POLICY_FIELD_HOLD, false },
        [POLICY_SKIP] = { "skip", POLICY_FIELD_SKIP, true },
        [POLICY_UNSKIP] = { "unskip", POLICY_FIELD_SKIP, true },
};

const char *policy_verb_name(PolicyVerb verb)
{
        return verbs[verb].name;
}

PolicyVerb policy_verb_from_name(const char *name)
{
        for (PolicyVerb v = 0; v < _POLICY_VERB_MAX; v++)
                if (streq(verbs[v].name, name))
                        return v;
        return _POLICY_VERB_INVALID;
}

/* --- what our file says --- */

static Json *hold_json(const PolicyChange *c)
{
        Json *hold = json_new_object();

        if (c->until != UINT64_MAX)
                json_set_time(hold, "until", c->until);
        json_set_str(hold, "reason", c->reason);
        json_set_str(hold, "by", c->by);
        return hold;
}

/* The list without one entry. */
static Json *list_without(const Json *list, const char *version)
{
        Json *out = json_new_array();

        json_foreach (item, list) {
                if (!streq0(json_str(item), version))
                        json_add(out, json_ref(item));
        }
        return out;
}

static void list_move(Json *skip, const char *version, const char *to, const char *from)
{
        Json *more = list_without(json_get(skip, to), version);
        Json *less = list_without(json_get(skip, from), version);

        json_add_str(more, version);
        json_set(skip, to, more);
        if (json_len(less) > 0) {
                json_set(skip, from, less);
                return;
        }
        json_remove(skip, from);
        (void) json_unref(less);
}

static void set_skip(Json *j, const char *version)
{
        const Json *skip = json_get(j, "skip");
        Json *list;

        if (!json_is_array(skip)) {
                list_move(json_sub(j, "skip"), version, "add", "remove");
                return;
        }
        list = list_without(skip, version);
        json_add_str(list, version);
        json_set(j, "skip", list);
}

/* force: an earlier file says it, so that taking our own word back is not enough. */
static void clear_skip(Json *j, const char *version, bool force)
{
        const Json *skip = json_get(j, "skip");
        Json *edit;

        if (json_is_array(skip)) {
                json_set(j, "skip", list_without(skip, version));
                return;
        }
        if (!skip && !force)
                return;
        edit = json_sub(j, "skip");
        list_move(edit, version, "remove", "add");
        if (force)
                return;
        json_set(edit, "remove", list_without(json_get(edit, "remove"), version));
        if (json_len(json_get(edit, "remove")) == 0)
                json_remove(edit, "remove");
        if (json_members(edit) == 0)
                json_remove(j, "skip");
}

static void apply(Json *j, const PolicyChange *c, bool force)
{
        const char *key = policy_field_name(verbs[c->verb].field);

        switch (c->verb) {
        case POLICY_PIN:
                json_set_str(j, key, c->version);
                break;
        case POLICY_HOLD:
                json_set(j, key, hold_json(c));
                break;
        case POLICY_SKIP:
                set_skip(j, c->version);
                break;
        case POLICY_UNSKIP:
                clear_skip(j, c->version, force);
                break;
        default:
                json_remove(j, key);
                if (force)
                        json_set_null(j, key);
        }
}

static bool is_so(const Policy *p, const PolicyChange *c)
{
        switch (c->verb) {
        case POLICY_PIN:
                return streq0(p->pin, c->version);
        case POLICY_UNPIN:
                return !p->pin;
        case POLICY_HOLD:
                return p->held && p->hold_until == c->until && streq0(p->hold_reason, c->reason) &&
                       streq0(p->hold_by, c->by);
        case POLICY_UNHOLD:
                return !p->held;
        case POLICY_SKIP:
                return strv_has(p->skip, c->version);
        default:
                return !strv_has(p->skip, c->version);
        }
}

/* --- reading, trying, writing --- */

static int read_ours(const Env *env, Json **ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = env_read(env, POLICY_OPERATOR_FILE, POLICY_FILE_MAX, &b);

        if (r == -ENOENT) {
                *ret = json_new_object();
                return *ret ? 0 : -ENOMEM;
        }
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", POLICY_OPERATOR_FILE);
        r = json_parse(b.data ? (const void *) b.data : "", b.size, JSON_COMMENTS, JSON_DEPTH_MAX,
                       POLICY_OPERATOR_FILE, WHY_HOST, ret, why);
        if (r >= 0 && !json_is_object(*ret)) {
                *ret = json_unref(*ret);
                r = fail(why, -EINVAL, WHY_HOST, "bad-policy", "%s: not a JSON object", POLICY_OPERATOR_FILE);
        }
        return r < 0 ? fail_hint(why, r, "repair or remove that file; gybe writes it anew") : 0;
}

/* 1 the host would do what was said, 0 it would not: *ret_file says who is against it. */
static int try_out(const Env *env, const char *text, const PolicyChange *c, char **ret_file, Why *why)
{
        _cleanup_(policy_done) Policy alone = POLICY_DEFAULT, all = POLICY_DEFAULT;
        const char *source;
        int r;

        r = policy_parse(text, strlen(text), POLICY_OPERATOR_FILE, &alone, why);
        if (r >= 0)
                r = policy_load_with(env, text, &all, NULL);
        if (r < 0 || is_so(&all, c))
                return r < 0 ? r : 1;
        source = policy_source(&all, verbs[c->verb].field);
        free(*ret_file);
        *ret_file = strdup(source ? source : POLICY_OPERATOR_FILE);
        return *ret_file ? 0 : -ENOMEM;
}

static int write_ours(const Env *env, const char *text, Why *why)
{
        _cleanup_(close_fdp) int dir = env_make_dir(env, POLICY_OPERATOR_DIR, 0755);
        int r = dir < 0 ? dir : file_replace(dir, POLICY_OPERATOR_NAME, text, strlen(text), 0644);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", POLICY_OPERATOR_FILE) : 0;
}

static int check_change(const Env *env, const PolicyChange *c, Why *why)
{
        const char *name = policy_verb_name(c->verb);

        if (verbs[c->verb].needs_version && (!c->version || !*c->version))
                return fail(why, -EINVAL, WHY_USAGE, "usage", "%s: which version?", name);
        if (c->verb == POLICY_HOLD && c->until <= env_now(env))
                return fail(why, -EINVAL, WHY_USAGE, "usage", "%s: that time has passed", name);
        return 0;
}

int policy_edit(const Env *env, const PolicyChange *c, Why *why)
{
        _cleanup_(free_charp) char *before = NULL, *after = NULL, *against = NULL;
        _cleanup_(json_unrefp) Json *j = NULL;
        int r;

        if ((r = check_change(env, c, why)) < 0 || (r = read_ours(env, &j, why)) < 0)
                return r;
        before = json_format(j, true);
        /* first the least, then against what earlier files say */
        for (unsigned force = 0; force < 2; force++) {
                apply(j, c, force);
                free(after);
                after = json_format(j, true);
                if (!before || !after)
                        return -ENOMEM;
                r = try_out(env, after, c, &against, why);
                if (r != 0)
                        break;
        }
        if (r < 0)
                return r;
        if (r == 0) {
                (void) fail(why, -EPERM, WHY_POLICY, "overruled",
                            "%s: %s says otherwise, and is read after %s", policy_verb_name(c->verb), against,
                            POLICY_OPERATOR_NAME);
                return fail_hint(why, -EPERM, "change that file");
        }
        if (streq(before, after))
                return 0;
        r = write_ours(env, after, why);
        return r < 0 ? r : 1;
}
