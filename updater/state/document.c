/* SPDX-License-Identifier: MIT */

#include "state/document.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int state_open_dir(const Env *env, const char *sub, bool make, Why *why)
{
        _cleanup_(free_charp) char *path = str_printf("%s%s%s", STATE_DIR, *sub ? "/" : "", sub);
        int fd;

        if (!path)
                return -ENOMEM;
        fd = make ? env_make_dir(env, path, STATE_DIR_MODE) : env_open_dir(env, path);
        if (fd >= 0 || (fd == -ENOENT && !make))
                return fd;
        return fail_errno(why, fd, WHY_HOST, "%s", path);
}

/* These say something about us, not about the file. */
static bool is_our_trouble(int r)
{
        return r == -ENOMEM || r == -EACCES || r == -EPERM || r == -EMFILE || r == -ENFILE || r == -EINTR;
}

int document_read(const Env *env, const char *name, size_t max, Bytes *ret, Why *lost, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, "", false, why);
        int r = dir_fd;

        if (r >= 0)
                r = file_read(dir_fd, name, max, ret);
        if (r >= 0)
                return DOCUMENT_READ;
        if (r == -ENOENT)
                return DOCUMENT_MISSING;
        if (is_our_trouble(r)) {
                r = fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, name);
                return r == -EACCES || r == -EPERM ? fail_hint(why, r, "run as root") : r;
        }
        if (r == -EFBIG)
                (void) fail(lost, r, WHY_HOST, "lost", "%s: longer than %zu bytes, so not ours", name, max);
        else
                (void) fail(lost, r, WHY_HOST, "lost", "%s: %s", name, strerror(-r));
        return DOCUMENT_LOST;
}

/* "1"; and "1.3", should somebody count minor versions some day: what counts is what may be misread. */
static int parse_major(const char *version, uint64_t *ret)
{
        size_t n = strcspn(version, ".");
        char major[21];
        uint64_t minor;

        if (n >= sizeof(major) || (version[n] && parse_u64(version + n + 1, &minor) < 0))
                return -EINVAL;
        memcpy(major, version, n);
        major[n] = '\0';
        return parse_u64(major, ret);
}

static int check_schema(const Json *object, const char *kind, Why *why)
{
        const char *schema = json_get_str(object, "schema");
        _cleanup_(free_charp) char *prefix = str_printf("gybe.%s/", kind);
        uint64_t major;

        if (!prefix)
                return -ENOMEM;
        if (!schema || !str_starts(schema, prefix) || parse_major(schema + strlen(prefix), &major) < 0 ||
            major == 0)
                return fail(why, -EBADMSG, WHY_HOST, "lost", "%s: its schema is not %s1", kind, prefix);
        if (major > 1)
                return fail(why, -EBADMSG, WHY_HOST, "lost",
                            "%s: written as %s by a newer gybe; this one reads %s1", kind, schema, prefix);
        return 0;
}

int document_parse(const void *data, size_t size, const char *kind, Json **ret, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        int r;

        r = json_parse(data, size, 0, JSON_DEPTH_MAX, kind, WHY_HOST, &j, why);
        if (r < 0)
                return r;
        if (!json_is_object(j))
                return fail(why, -EBADMSG, WHY_HOST, "lost", "%s: not a JSON object", kind);
        r = check_schema(j, kind, why);
        if (r < 0)
                return r;
        *ret = TAKE(j);
        return 0;
}

Json *document_new(const char *kind, const Json *unknown)
{
        char schema[64];
        Json *j = json_new_object();

        (void) snprintf(schema, sizeof(schema), "gybe.%s/1", kind);
        json_set_str(j, "schema", schema);
        json_merge(j, unknown);
        json_set_str(j, "schema", schema);
        return j;
}

int document_format(Json *document, char **ret)
{
        char *text = json_format(document, true);

        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

int document_write(const Env *env, const char *name, const char *text, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, "", true, why);
        int r;

        if (dir_fd < 0)
                return dir_fd;
        r = file_replace(dir_fd, name, text, strlen(text), STATE_FILE_MODE);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, name) : 0;
}

int document_keep_lost(const Env *env, const char *name)
{
        _cleanup_(free_charp) char *lost = str_printf("%s.lost", name);
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, "", false, NULL);

        if (!lost)
                return -ENOMEM;
        if (dir_fd < 0)
                return dir_fd;
        if (unlinkat(dir_fd, lost, 0) < 0 && errno != ENOENT)
                return -errno;
        return linkat(dir_fd, name, dir_fd, lost, 0) < 0 ? -errno : 0;
}

/* reading */

int field_wrong(Fields *f, const char *key, const char *problem)
{
        if (f->r >= 0)
                f->r = fail(f->why, -EBADMSG, WHY_HOST, "lost", "%s: %s: %s", f->what, key, problem);
        return f->r;
}

/* The member, or NULL when there is nothing to do: absent, or an earlier field was wrong. */
static const Json *field_get(Fields *f, const char *key)
{
        return f->r < 0 ? NULL : json_get(f->object, key);
}

static const char *field_borrow(Fields *f, const char *key)
{
        const Json *j = field_get(f, key);
        const char *s = json_str(j);

        if (j && !s)
                (void) field_wrong(f, key, "not a string");
        else if (s && strlen(s) > FIELD_TEXT_MAX)
                (void) field_wrong(f, key, "too long");
        return f->r < 0 ? NULL : s;
}

static void field_keep(Fields *f, const char *s, char **ret)
{
        char *copy = strdup(s);

        if (!copy) {
                f->r = -ENOMEM;
                return;
        }
        free(*ret);
        *ret = copy;
}

void field_text(Fields *f, const char *key, char **ret)
{
        const char *s = field_borrow(f, key);

        if (s && *s)
                field_keep(f, s, ret);
}

void field_file_name(Fields *f, const char *key, char **ret)
{
        const char *s = field_borrow(f, key);

        if (!s || !*s)
                return;
        if (strlen(s) > FIELD_NAME_MAX || streq(s, ".") || streq(s, "..") || strpbrk(s, "/\\")) {
                (void) field_wrong(f, key, "not a file name");
                return;
        }
        for (const char *p = s; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f) {
                        (void) field_wrong(f, key, "a control character in a file name");
                        return;
                }
        field_keep(f, s, ret);
}

void field_digest(Fields *f, const char *key, char ret[65])
{
        const char *s = field_borrow(f, key);

        if (s && *s && hex_normalize(s, 64, ret) < 0)
                (void) field_wrong(f, key, "not 64 hex digits");
}

void field_u64(Fields *f, const char *key, uint64_t *ret)
{
        if (f->r >= 0 && json_get_u64(f->object, key, ret) < 0)
                (void) field_wrong(f, key, "not a whole number");
}

void field_unsigned(Fields *f, const char *key, unsigned *ret)
{
        uint64_t v = *ret;

        field_u64(f, key, &v);
        if (v > UINT16_MAX)
                (void) field_wrong(f, key, "out of range");
        else if (f->r >= 0)
                *ret = (unsigned) v;
}

void field_bool(Fields *f, const char *key, bool *ret)
{
        if (f->r >= 0 && json_get_bool(f->object, key, ret) < 0)
                (void) field_wrong(f, key, "neither true nor false");
}

void field_time(Fields *f, const char *key, uint64_t *ret)
{
        if (f->r >= 0 && json_get_time(f->object, key, ret) < 0)
                (void) field_wrong(f, key, "not a time");
}

void field_slot(Fields *f, const char *key, char *ret)
{
        const char *s = field_borrow(f, key);

        if (!s)
                return;
        if (!streq(s, "a") && !streq(s, "b"))
                (void) field_wrong(f, key, "neither a nor b");
        else
                *ret = *s;
}

const Json *field_object(Fields *f, const char *key)
{
        const Json *j = field_get(f, key);

        if (j && !json_is_object(j))
                (void) field_wrong(f, key, "not an object");
        return f->r < 0 ? NULL : j;
}

const Json *field_array(Fields *f, const char *key, size_t max)
{
        const Json *j = field_get(f, key);

        if (j && !json_is_array(j))
                (void) field_wrong(f, key, "not a list");
        else if (json_len(j) > max)
                (void) field_wrong(f, key, "too many");
        return f->r < 0 ? NULL : j;
}

void field_u64_list(Fields *f, const char *key, size_t max, uint64_t **ret, size_t *ret_n)
{
        const Json *list = field_array(f, key, max);
        size_t n = json_len(list);
        uint64_t *v;

        if (n == 0)
                return;
        v = calloc(n, sizeof(*v));
        if (!v) {
                f->r = -ENOMEM;
                return;
        }
        for (size_t i = 0; i < n; i++)
                if (json_u64(json_at(list, i), &v[i]) <= 0) {
                        (void) field_wrong(f, key, "not a list of whole numbers");
                        free(v);
                        return;
                }
        free(*ret);
        *ret = v;
        *ret_n = n;
}

void field_digest_list(Fields *f, const char *key, size_t max, char ***ret)
{
        _cleanup_(strv_freep) char **list = NULL;
        const Json *array = field_array(f, key, max);

        for (size_t i = 0; i < json_len(array); i++) {
                const char *s = json_str(json_at(array, i));
                char hex[65];
                int r;

                if (!s || hex_normalize(s, 64, hex) < 0) {
                        (void) field_wrong(f, key, "not a list of digests");
                        return;
                }
                r = strv_add(&list, hex);
                if (r < 0) {
                        f->r = r;
                        return;
                }
        }
        if (list) {
                strv_freep(ret);
                *ret = TAKE(list);
        }
}

/* writing */

void member_text(Json *object, const char *key, const char *value)
{
        if (value && *value)
                json_set_str(object, key, value);
        else
                json_remove(object, key);
}

void member_u64(Json *object, const char *key, uint64_t value, bool set)
{
        if (set)
                json_set_u64(object, key, value);
        else
                json_remove(object, key);
}

void member_bool(Json *object, const char *key, bool value)
{
        if (value)
                json_set_bool(object, key, true);
        else
                json_remove(object, key);
}

void member_time(Json *object, const char *key, uint64_t value)
{
        if (value > 0)
                json_set_time(object, key, value);
        else
                json_remove(object, key);
}

void member_slot(Json *object, const char *key, char slot)
{
        char text[2] = { slot, 0 };

        member_text(object, key, text);
}

void member_u64_list(Json *object, const char *key, const uint64_t *list, size_t n)
{
        Json *array;

        if (n == 0) {
                json_remove(object, key);
                return;
        }
        array = json_new_array();
        for (size_t i = 0; i < n; i++)
                json_add_u64(array, list[i]);
        json_set(object, key, array);
}

void member_text_list(Json *object, const char *key, char *const *list)
{
        Json *array;

        if (strv_len(list) == 0) {
                json_remove(object, key);
                return;
        }
        array = json_new_array();
        for (; *list; list++)
                json_add_str(array, *list);
        json_set(object, key, array);
}
