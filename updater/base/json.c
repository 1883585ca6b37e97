/* SPDX-License-Identifier: MIT */

/* json-c builds the tree; a scan before it refuses what json-c lets pass. Duplicate keys need no set of names: json-c
 * keeps one member per name, so the tree has as many members as the text has names, or somebody said one twice. */

#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>

typedef struct Scan {
        const char *p, *start, *end;
        char *out; /* where comments are blanked, or NULL when there are none to expect */
        bool fractions;
        bool comma; /* the last token was one */
        unsigned depth, max_depth;
        uint64_t names;
        const char *error;
} Scan;

static bool scan_fail(Scan *s, const char *error)
{
        s->error = error;
        return false;
}

static bool scan_string(Scan *s)
{
        for (s->p++; s->p < s->end; s->p++) {
                unsigned char c = (unsigned char) *s->p;

                if (c == '"') {
                        s->p++;
                        return true;
                }
                if (c < 0x20)
                        return scan_fail(s, "a control character inside a string");
                if (c != '\\')
                        continue;
                if (s->p + 1 >= s->end)
                        break;
                s->p++;
                /* json-c's names are C strings: "a" and "a\u0000b" would be one */
                if (*s->p == 'u' && s->end - s->p > 4 && memcmp(s->p + 1, "0000", 4) == 0)
                        return scan_fail(s, "a NUL character inside a string");
        }
        return scan_fail(s, "a string without an end");
}

static bool scan_digits(Scan *s)
{
        const char *start = s->p;

        while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
                s->p++;
        return s->p > start || scan_fail(s, "a malformed number");
}

/* ".5e-3" behind the digits before it. Only the form is checked: nobody reads such a value, json_u64() refuses it. */
static bool scan_fraction(Scan *s)
{
        if (*s->p == '.') {
                s->p++;
                if (!scan_digits(s))
                        return false;
        }
        if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
                s->p++;
                if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
                        s->p++;
                return scan_digits(s);
        }
        return true;
}

static bool scan_number(Scan *s)
{
        char digits[24];
        const char *start = s->p;
        bool negative = *s->p == '-';
        uint64_t v;
        size_t n;

        if (negative)
                s->p++;
        while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
                s->p++;
        if (s->fractions && s->p < s->end && (*s->p == '.' || *s->p == 'e' || *s->p == 'E')) {
                n = (size_t) (s->p - start) - negative;
                if (n == 0 || (n > 1 && start[negative] == '0'))
                        return scan_fail(s, "a malformed number");
                return scan_fraction(s);
        }
        if (s->p < s->end && strchr(".eE+", *s->p) && *s->p)
                return scan_fail(s, "a number that is not a plain integer");
        n = (size_t) (s->p - start) - negative;
        if (n == 0 || n > 20 || (n > 1 && start[negative] == '0'))
                return scan_fail(s, "a malformed number");
        memcpy(digits, start + negative, n);
        digits[n] = 0;
        if (parse_u64(digits, &v) < 0 || (negative && v > (uint64_t) INT64_MAX))
                return scan_fail(s, "a number out of range");
        return true;
}

static bool scan_word(Scan *s)
{
        static const char *const words[] = { "true", "false", "null" };

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                size_t n = strlen(words[i]);
                if ((size_t) (s->end - s->p) >= n && memcmp(s->p, words[i], n) == 0) {
                        s->p += n;
                        return true;
                }
        }
        return scan_fail(s, "an unexpected character");
}

static bool scan_comment(Scan *s)
{
        const char *start = s->p;

        if (!s->out || s->end - s->p < 2 || (s->p[1] != '/' && s->p[1] != '*'))
                return scan_fail(s, "an unexpected character");
        if (s->p[1] == '/') {
                while (s->p < s->end && *s->p != '\n')
                        s->p++;
        } else {
                s->p += 2;
                while (s->end - s->p >= 2 && !(s->p[0] == '*' && s->p[1] == '/'))
                        s->p++;
                if (s->end - s->p < 2)
                        return scan_fail(s, "a comment without an end");
                s->p += 2;
        }
        memset(s->out + (start - s->start), ' ', (size_t) (s->p - start));
        return true;
}

/* "[1,]": json-c minds it only in its strict mode, see json_parse() */
static bool scan_comma(Scan *s)
{
        char c = *s->p;

        if (s->comma && (c == ']' || c == '}'))
                return scan_fail(s, "a comma with nothing behind it");
        if (c != '/' && (!c || !strchr(" \t\r\n", c)))
                s->comma = c == ',';
        return true;
}

/* json-c counts the values inside, so that an empty container may lie one deeper than a full one. */
static bool scan_bracket(Scan *s)
{
        if (*s->p == '[' || *s->p == '{') {
                if (++s->depth > s->max_depth)
                        return scan_fail(s, "nested too deeply");
        } else if (s->depth > 0)
                s->depth--;
        s->p++;
        return true;
}

static bool scan(Scan *s)
{
        while (s->p < s->end) {
                char c = *s->p;
                bool ok = true;

                if (!scan_comma(s))
                        return false;
                if (c == '"')
                        ok = scan_string(s);
                else if (c == '-' || (c >= '0' && c <= '9'))
                        ok = scan_number(s);
                else if (c == '/')
                        ok = scan_comment(s);
                else if (c && strchr("[]{}", c))
                        ok = scan_bracket(s);
                else if (c && strchr(", \t\r\n", c))
                        s->p++;
                else if (c == ':') {
                        s->names++;
                        s->p++;
                } else
                        ok = scan_word(s);
                if (!ok)
                        return false;
        }
        return true;
}

static uint64_t count_members(const Json *j)
{
        uint64_t n = 0;

        if (json_is_object(j)) {
                struct json_object_iterator i = json_object_iter_begin((Json *) j),
                                            end = json_object_iter_end(j);
                for (; !json_object_iter_equal(&i, &end); json_object_iter_next(&i))
                        n += 1 + count_members(json_object_iter_peek_value(&i));
        } else if (json_is_array(j))
                for (size_t i = 0; i < json_object_array_length(j); i++)
                        n += count_members(json_object_array_get_idx(j, i));
        return n;
}

int json_parse(const void *data, size_t size, unsigned flags, unsigned max_depth, const char *what,
               WhyKind kind, Json **ret, Why *why)
{
        _cleanup_(free_charp) char *blanked = NULL;
        struct json_tokener *tok;
        enum json_tokener_error e;
        Scan s = { .p = data,
                   .start = data,
                   .end = (const char *) data + size,
                   .fractions = flags & JSON_FRACTIONS,
                   .max_depth = max_depth };
        Json *j;
        size_t used;

        if (size > INT32_MAX)
                return fail(why, -EFBIG, kind, "malformed", "%s: larger than any JSON of ours", what);
        if (flags & JSON_COMMENTS) {
                blanked = malloc(size + 1);
                if (!blanked)
                        return -ENOMEM;
                memcpy(blanked, data, size);
                s.out = blanked;
        }
        if (!scan(&s))
                return fail(why, -EBADMSG, kind, "malformed", "%s: not valid JSON: %s at byte %zu", what,
                            s.error, (size_t) (s.p - s.start));

        tok = json_tokener_new_ex((int) max_depth + 1);
        if (!tok)
                return -ENOMEM;
        /* Not JSON_TOKENER_STRICT: in json-c 0.18 that takes every byte above 0x7f for a control character where char is
         * signed. The scan has refused all that strict would. */
        json_tokener_set_flags(tok, JSON_TOKENER_VALIDATE_UTF8);
        j = json_tokener_parse_ex(tok, blanked ? blanked : data, (int) size);
        e = json_tokener_get_error(tok);
        if (e == json_tokener_continue) /* a bare number, or nothing yet: the end of input ends it */
                j = json_tokener_parse_ex(tok, "", 1), e = json_tokener_get_error(tok), used = size;
        else
                used = json_tokener_get_parse_end(tok);
        json_tokener_free(tok);
        if (e != json_tokener_success || !j) {
                json_unref(j);
                return fail(why, -EBADMSG, kind, "malformed", "%s: not valid JSON: %s", what,
                            e == json_tokener_error_depth ? "nested too deeply"
                            : e == json_tokener_success   ? "null"
                                                          : json_tokener_error_desc(e));
        }
        for (const char *p = blanked ? blanked : data; used < size; used++)
                if (!p[used] || !strchr(" \t\r\n", p[used])) {
                        json_unref(j);
                        return fail(why, -EBADMSG, kind, "malformed", "%s: bytes after the JSON value", what);
                }
        if (count_members(j) != s.names) {
                json_unref(j);
                return fail(why, -EBADMSG, kind, "duplicate-key",
                            "%s: a JSON name occurs twice in one object", what);
        }
        *ret = j;
        return 0;
}

Json *json_unref(Json *j)
{
        if (j)
                (void) json_object_put(j);
        return NULL;
}

void json_unrefp(Json **j)
{
        *j = json_unref(*j);
}

Json *json_ref(const Json *j)
{
        return j ? json_object_get((Json *) j) : NULL;
}

bool json_is_object(const Json *j)
{
        return j && json_object_is_type(j, json_type_object);
}

bool json_is_array(const Json *j)
{
        return j && json_object_is_type(j, json_type_array);
}

bool json_is_string(const Json *j)
{
        return j && json_object_is_type(j, json_type_string);
}

const Json *json_get(const Json *object, const char *key)
{
        Json *v = NULL;

        if (!json_is_object(object) || !json_object_object_get_ex(object, key, &v))
                return NULL;
        return v;
}

bool json_has(const Json *object, const char *key)
{
        return json_is_object(object) && json_object_object_get_ex(object, key, NULL);
}

const char *json_str(const Json *j)
{
        const char *s;

        if (!json_is_string(j))
                return NULL;
        s = json_object_get_string((Json *) j);
        return s && strlen(s) == (size_t) json_object_get_string_len(j) ? s : NULL;
}

const char *json_get_str(const Json *object, const char *key)
{
        return json_str(json_get(object, key));
}

int json_u64(const Json *j, uint64_t *ret)
{
        if (!j)
                return 0;
        if (!json_object_is_type(j, json_type_int))
                return -EINVAL;
        /* json-c clips a negative number to 0 when asked for an unsigned one */
        if (json_object_get_int64(j) < 0)
                return -EINVAL;
        *ret = json_object_get_uint64(j);
        return 1;
}

int json_get_u64(const Json *object, const char *key, uint64_t *ret)
{
        return json_u64(json_get(object, key), ret);
}

int json_get_bool(const Json *object, const char *key, bool *ret)
{
        const Json *j = json_get(object, key);

        if (!j)
                return 0;
        if (!json_object_is_type(j, json_type_boolean))
                return -EINVAL;
        *ret = json_object_get_boolean(j);
        return 1;
}

int json_get_duration(const Json *object, const char *key, uint64_t *ret_sec)
{
        const Json *j = json_get(object, key);
        const char *s = json_str(j);

        if (s)
                return parse_duration(s, ret_sec) < 0 ? -EINVAL : 1;
        return json_u64(j, ret_sec);
}

int json_get_time(const Json *object, const char *key, uint64_t *ret_sec)
{
        const Json *j = json_get(object, key);
        const char *s = json_str(j);

        if (!j)
                return 0;
        return !s || parse_time(s, ret_sec) < 0 ? -EINVAL : 1;
}

size_t json_len(const Json *array)
{
        return json_is_array(array) ? json_object_array_length(array) : 0;
}

const Json *json_at(const Json *array, size_t i)
{
        return i < json_len(array) ? json_object_array_get_idx(array, i) : NULL;
}

size_t json_members(const Json *object)
{
        return json_is_object(object) ? (size_t) json_object_object_length(object) : 0;
}

int json_each(const Json *object, int (*f)(void *ctx, const char *key, const Json *value), void *ctx)
{
        struct json_object_iterator i, end;

        if (!json_is_object(object))
                return 0;
        i = json_object_iter_begin((Json *) object);
        end = json_object_iter_end(object);
        for (; !json_object_iter_equal(&i, &end); json_object_iter_next(&i)) {
                int r = f(ctx, json_object_iter_peek_name(&i), json_object_iter_peek_value(&i));
                if (r != 0)
                        return r;
        }
        return 0;
}

Json *json_new_object(void)
{
        return json_object_new_object();
}

Json *json_new_array(void)
{
        return json_object_new_array();
}

Json *json_new_str(const char *value)
{
        return json_object_new_string(value);
}

Json *json_new_u64(uint64_t value)
{
        return value > INT64_MAX ? json_object_new_uint64(value) : json_object_new_int64((int64_t) value);
}

void json_set(Json *object, const char *key, Json *value)
{
        if (object && value && json_object_object_add(object, key, value) >= 0)
                return;
        json_unref(value);
}

void json_set_str(Json *object, const char *key, const char *value)
{
        if (value)
                json_set(object, key, json_object_new_string(value));
}

void json_set_null(Json *object, const char *key)
{
        if (object)
                (void) json_object_object_add(object, key, NULL);
}

void json_set_u64(Json *object, const char *key, uint64_t value)
{
        json_set(object, key, json_new_u64(value));
}

void json_set_bool(Json *object, const char *key, bool value)
{
        json_set(object, key, json_object_new_boolean(value));
}

void json_set_time(Json *object, const char *key, uint64_t sec)
{
        char text[TIME_TEXT_SIZE];

        format_time(sec, text);
        json_set_str(object, key, text);
}

void json_add(Json *array, Json *value)
{
        if (array && value && json_object_array_add(array, value) >= 0)
                return;
        json_unref(value);
}

void json_add_str(Json *array, const char *value)
{
        json_add(array, json_object_new_string(value));
}

void json_add_u64(Json *array, uint64_t value)
{
        json_add(array, json_new_u64(value));
}

void json_remove(Json *object, const char *key)
{
        if (object)
                json_object_object_del(object, key);
}

Json *json_sub(Json *object, const char *key)
{
        Json *v = (Json *) json_get(object, key);

        if (v && json_is_object(v))
                return v;
        v = json_new_object();
        json_set(object, key, v);
        return (Json *) json_get(object, key);
}

char *json_format(const Json *j, bool pretty)
{
        const char *s;

        if (!j)
                return NULL;
        s = json_object_to_json_string_ext((Json *) j, JSON_C_TO_STRING_NOSLASHESCAPE |
                                                               (pretty ? JSON_C_TO_STRING_PRETTY : 0));
        return s ? str_printf("%s%s", s, pretty ? "\n" : "") : NULL;
}

static int merge_member(void *ctx, const char *key, const Json *value)
{
        Json *target = ctx;

        if (!value)
                json_remove(target, key);
        else if (json_is_object(value))
                json_merge(json_sub(target, key), value);
        else
                json_set(target, key, json_ref(value));
        return 0;
}

void json_merge(Json *target, const Json *patch)
{
        (void) json_each(patch, merge_member, target);
}
