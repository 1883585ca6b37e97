/* SPDX-License-Identifier: MIT */

/* Members of signed documents. It knows types and sizes and how to complain; what a member means is the business of
 * root.c, manifest.c and feed.c. Everything refused here is a malformed signed document: never this release. */

#include "release/doc.h"
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const char *text_reason(const char *s, size_t max)
{
        if (!*s)
                return "is empty";
        if (strlen(s) > max)
                return "is too long";
        for (const char *p = s; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        return "has a control character";
        return NULL;
}

const char *path_reason(const char *path)
{
        const char *reason = text_reason(path, DOC_PATH_MAX);

        if (reason)
                return reason;
        if (*path == '/')
                return "is an absolute path";
        if (strchr(path, '\\'))
                return "has a backslash";
        for (const char *p = path;; p++) {
                size_t n = strcspn(p, "/");

                if (n == 0)
                        return "has an empty path component";
                if (n == 1 && p[0] == '.')
                        return "has the path component \".\"";
                if (n == 2 && p[0] == '.' && p[1] == '.')
                        return "leads upwards with \"..\"";
                p += n;
                if (!*p)
                        return NULL;
        }
}

int doc_fail(const Doc *d, const char *field, const char *fmt, ...)
{
        char reason[320];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(reason, sizeof(reason), fmt, ap);
        va_end(ap);
        return fail(d->why, -EBADMSG, WHY_TRUST, "malformed", "%s: malformed: %s%s %s", d->what, d->where,
                    field, reason);
}

int doc_open(const void *payload, size_t size, const char *what, const char *schema, Json **ret_json,
             Doc *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *json = NULL;
        const char *found;
        Doc d = { .what = what, .why = why };
        int r;

        r = json_parse(payload, size, 0, JSON_DEPTH_MAX, what, WHY_TRUST, &json, why);
        if (r < 0)
                return r;
        if (!json_is_object(json))
                return fail(why, -EBADMSG, WHY_TRUST, "malformed", "%s: malformed: not a JSON object", what);
        found = json_get_str(json, "schema");
        if (!found)
                return doc_fail(&d, "schema", "is missing, \"%s\" expected", schema);
        if (!streq(found, schema))
                return fail(why, -EPROTONOSUPPORT, WHY_TRUST, "schema",
                            "%s: schema is \"%.60s\", \"%s\" expected", what, found, schema);
        d.json = json;
        *ret = d;
        *ret_json = TAKE(json);
        return 0;
}

int doc_object(const Doc *d, const char *key, Doc *ret)
{
        const Json *j = json_get(d->json, key);
        Doc sub = { .json = j, .what = d->what, .why = d->why };

        if (!j)
                return doc_fail(d, key, "is missing");
        if (!json_is_object(j))
                return doc_fail(d, key, "is not an object");
        (void) snprintf(sub.where, sizeof(sub.where), "%.30s%.16s.", d->where, key);
        *ret = sub;
        return 0;
}

int doc_array(const Doc *d, const char *key, size_t min, size_t max, const Json **ret)
{
        const Json *j = json_get(d->json, key);

        if (!j)
                return doc_fail(d, key, "is missing");
        if (!json_is_array(j))
                return doc_fail(d, key, "is not a list");
        if (json_len(j) < min)
                return doc_fail(d, key, "has %zu entries, at least %zu are needed", json_len(j), min);
        if (json_len(j) > max)
                return doc_fail(d, key, "has %zu entries, at most %zu are allowed", json_len(j), max);
        *ret = j;
        return 0;
}

int doc_item(const Doc *d, const char *key, const Json *array, size_t i, Doc *ret)
{
        Doc sub = { .json = json_at(array, i), .what = d->what, .why = d->why };

        (void) snprintf(sub.where, sizeof(sub.where), "%.16s%.16s[%zu].", d->where, key, i);
        if (!json_is_object(sub.json))
                return doc_fail(d, key, "has an entry (number %zu) that is not an object", i);
        *ret = sub;
        return 0;
}

static int text_value(const Doc *d, const char *key, const Json *value, size_t max, const char **ret)
{
        const char *s = json_str(value), *reason;

        if (!value)
                return doc_fail(d, key, "is missing");
        if (!s)
                return doc_fail(d, key, "is not a string");
        reason = text_reason(s, max);
        if (reason)
                return doc_fail(d, key, "%s (\"%.60s\"; at most %zu characters)", reason, s, max);
        *ret = s;
        return 0;
}

int doc_text(const Doc *d, const char *key, size_t max, char **ret)
{
        const char *s;
        char *copy;
        int r;

        r = text_value(d, key, json_get(d->json, key), max, &s);
        if (r < 0)
                return r;
        copy = strdup(s);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int doc_text_list(const Doc *d, const char *key, size_t min, size_t max, char ***ret)
{
        _cleanup_(strv_freep) char **list = NULL;
        const Json *array;
        const char *s;
        int r;

        r = doc_array(d, key, min, max, &array);
        if (r < 0)
                return r;
        for (size_t i = 0; i < json_len(array); i++) {
                if (!json_at(array, i))
                        return doc_fail(d, key, "has a null entry");
                r = text_value(d, key, json_at(array, i), DOC_TEXT_MAX, &s);
                if (r < 0)
                        return r;
                r = strv_add(&list, s);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(list);
        return 0;
}

int doc_path(const Doc *d, const char *key, char **ret)
{
        _cleanup_(free_charp) char *path = NULL;
        const char *reason;
        int r;

        r = doc_text(d, key, DOC_PATH_MAX, &path);
        if (r < 0)
                return r;
        reason = path_reason(path);
        if (reason)
                return doc_fail(d, key, "%s (\"%.100s\")", reason, path);
        *ret = TAKE(path);
        return 0;
}

int doc_u64(const Doc *d, const char *key, uint64_t *ret)
{
        int r = json_get_u64(d->json, key, ret);

        if (r == 0)
                return doc_fail(d, key, "is missing");
        return r < 0 ? doc_fail(d, key, "is not an integer from 0 to 2^64-1") : 0;
}

int doc_time(const Doc *d, const char *key, uint64_t *ret)
{
        int r = json_get_time(d->json, key, ret);

        if (r == 0)
                return doc_fail(d, key, "is missing");
        return r < 0 ? doc_fail(d, key, "is not a time like \"2026-11-04T06:00:00Z\"") : 0;
}

int doc_hex_of(const Doc *d, const char *key, const Json *value, size_t digits, char *ret)
{
        const char *s = json_str(value);

        if (!value)
                return doc_fail(d, key, "is missing");
        if (!s || hex_normalize(s, digits, ret) < 0)
                return doc_fail(d, key, "is not a string of %zu hex digits", digits);
        return 0;
}

int doc_hex(const Doc *d, const char *key, size_t digits, char *ret)
{
        return doc_hex_of(d, key, json_get(d->json, key), digits, ret);
}
