/* SPDX-License-Identifier: MIT */

/* The serialisation in short. Fixed-size values lie at multiples of their alignment. A container with children of variable
 * size ends with the offsets at which they end, each in as many bytes as the container's own size needs (1, 2, 4, 8):
 *
 *      ["ab", "c"]             61 62 00 63 00 | 03 05          one end per element, in order
 *      ("ab", uint32 1, "c")   61 62 00 .. 01 00 00 00 63 00 | 03   ends of all but the last, backwards
 *      <"ab">                  61 62 00 | 00 73                value, NUL, type
 */

#include "base/gvariant.h"
#include "base/utf8.h"

#include <errno.h>
#include <string.h>

#define DEPTH_MAX 16u

/* --- types --- */

/* Length of the complete type that begins here, 0 for none. Only what OSTree uses: y b u t s v, arrays, tuples, entries. */
static size_t type_length(const char *t, size_t n, unsigned depth)
{
        size_t at = 1, children = 0;
        char end;

        if (n == 0 || depth > DEPTH_MAX)
                return 0;
        if (strchr("ybutsv", t[0]) && t[0])
                return 1;
        if (t[0] == 'a') {
                size_t m = type_length(t + 1, n - 1, depth + 1);
                return m ? m + 1 : 0;
        }
        if (t[0] != '(' && t[0] != '{')
                return 0;
        for (end = t[0] == '(' ? ')' : '}'; at < n && t[at] != end; children++) {
                size_t m = type_length(t + at, n - at, depth + 1);
                if (m == 0)
                        return 0;
                at += m;
        }
        return at == n || children == 0 || (end == '}' && children != 2) ? 0 : at + 1;
}

static size_t type_align(const char *t, size_t n)
{
        size_t align = 1;

        for (size_t i = 0; i < n; i++)
                align = MAX(align, t[i] == 't' || t[i] == 'v' ? (size_t) 8
                                   : t[i] == 'u'              ? (size_t) 4
                                                              : (size_t) 1);
        return align;
}

static size_t pad_to(size_t at, size_t align)
{
        return (at + align - 1) / align * align;
}

/* 0: values of the type differ in size. */
static size_t type_fixed(const char *t, size_t n)
{
        size_t size = 0, m;

        if (n == 1)
                return t[0] == 'y' || t[0] == 'b' ? 1 : t[0] == 'u' ? 4 : t[0] == 't' ? 8 : 0;
        if (t[0] == 'a')
                return 0;
        for (size_t at = 1; at + 1 < n; at += m) {
                size_t fixed;

                m = type_length(t + at, n - at, 0);
                fixed = m ? type_fixed(t + at, m) : 0;
                if (fixed == 0)
                        return 0;
                size = pad_to(size, type_align(t + at, m)) + fixed;
        }
        return pad_to(size, type_align(t, n));
}

/* --- reading --- */

static size_t offset_width(size_t size)
{
        return size <= UINT8_MAX ? 1 : size <= UINT16_MAX ? 2 : size <= UINT32_MAX ? 4 : 8;
}

static uint64_t read_end(const uint8_t *p, size_t width)
{
        uint64_t v = 0;

        for (size_t i = 0; i < width; i++)
                v |= (uint64_t) p[i] << 8 * i;
        return v;
}

static bool is_container(const GVariant *v)
{
        return v->type[0] == 'a' || v->type[0] == '(' || v->type[0] == '{' || v->type[0] == 'v';
}

static int open_part(const char *type, size_t type_size, const uint8_t *data, size_t size, GVariant *ret)
{
        size_t fixed = type_fixed(type, type_size);

        if (fixed > 0 && size != fixed)
                return -EBADMSG;
        *ret = (GVariant){ type, type_size, data, size };
        return 0;
}

int gvariant_open(const char *type, const void *data, size_t size, GVariant *ret)
{
        size_t n = strlen(type);

        if (n > GVARIANT_TYPE_MAX || type_length(type, n, 0) != n)
                return -EINVAL;
        return open_part(type, n, data, size, ret);
}

bool gvariant_is(const GVariant *v, const char *type)
{
        return v->type_size == strlen(type) && memcmp(v->type, type, v->type_size) == 0;
}

/* Where the ends of an array with elements of variable size begin, and how many there are. */
static int array_ends(const GVariant *v, size_t *ret_at, size_t *ret_n)
{
        size_t width = offset_width(v->size);
        uint64_t at;

        *ret_at = *ret_n = 0;
        if (v->size == 0)
                return 0;
        if (v->size < width)
                return -EBADMSG;
        at = read_end(v->data + v->size - width, width);
        if (at > v->size - width || (v->size - at) % width != 0)
                return -EBADMSG;
        *ret_at = (size_t) at;
        *ret_n = (v->size - (size_t) at) / width;
        return 0;
}

static size_t tuple_n(const GVariant *v)
{
        size_t n = 0;

        for (size_t at = 1; at + 1 < v->type_size; n++)
                at += type_length(v->type + at, v->type_size - at, 0);
        return n;
}

int gvariant_n_children(const GVariant *v, size_t *ret)
{
        size_t fixed, at;

        if (!is_container(v))
                return -EINVAL;
        if (v->type[0] == 'v') {
                *ret = 1;
                return 0;
        }
        if (v->type[0] != 'a') {
                *ret = tuple_n(v);
                return 0;
        }
        fixed = type_fixed(v->type + 1, v->type_size - 1);
        if (fixed == 0)
                return array_ends(v, &at, ret);
        if (v->size % fixed != 0)
                return -EBADMSG;
        *ret = v->size / fixed;
        return 0;
}

static int array_child(const GVariant *v, size_t i, GVariant *ret)
{
        const char *type = v->type + 1;
        size_t type_size = v->type_size - 1, fixed = type_fixed(type, type_size), at, n;
        size_t width = offset_width(v->size);
        uint64_t start = 0, end;
        int r;

        if (fixed > 0)
                return i < v->size / fixed ? open_part(type, type_size, v->data + i * fixed, fixed, ret)
                                           : -EINVAL;
        r = array_ends(v, &at, &n);
        if (r < 0 || i >= n)
                return r < 0 ? r : -EINVAL;
        if (i > 0)
                start = read_end(v->data + at + (i - 1) * width, width);
        end = read_end(v->data + at + i * width, width);
        if (start > at || (start = pad_to((size_t) start, type_align(type, type_size))) > end || end > at)
                return -EBADMSG;
        return open_part(type, type_size, v->data + start, (size_t) (end - start), ret);
}

static int tuple_child(const GVariant *v, size_t want, GVariant *ret)
{
        size_t width = offset_width(v->size), last = tuple_n(v) - 1, n_ends = 0, at = 0, m, limit;

        if (want > last)
                return -EINVAL;
        for (size_t t = 1, i = 0;; t += m, i++) {
                size_t fixed, end;

                m = type_length(v->type + t, v->type_size - t, 0);
                fixed = type_fixed(v->type + t, m);
                at = pad_to(at, type_align(v->type + t, m));
                if (n_ends * width > v->size)
                        return -EBADMSG;
                limit = v->size - n_ends * width;
                if (fixed > 0) {
                        end = at + fixed;
                } else if (i == last) {
                        end = limit;
                } else {
                        if (++n_ends * width > v->size)
                                return -EBADMSG;
                        limit = v->size - n_ends * width;
                        end = (size_t) read_end(v->data + limit, width);
                }
                if (at > end || end > limit)
                        return -EBADMSG;
                if (i == want)
                        return open_part(v->type + t, m, v->data + at, end - at, ret);
                at = end;
        }
}

static int variant_child(const GVariant *v, GVariant *ret)
{
        const char *type;
        size_t at, n;

        for (at = v->size; at > 0 && v->data[at - 1] != 0; at--)
                ;
        type = (const char *) v->data + at;
        n = v->size - at;
        if (at == 0 || n > GVARIANT_TYPE_MAX || n == 0 || type_length(type, n, 0) != n)
                return -EBADMSG;
        return open_part(type, n, v->data, at - 1, ret);
}

int gvariant_child(const GVariant *v, size_t i, GVariant *ret)
{
        switch (v->type[0]) {
        case 'a':
                return array_child(v, i, ret);
        case '(':
        case '{':
                return tuple_child(v, i, ret);
        case 'v':
                return i == 0 ? variant_child(v, ret) : -EINVAL;
        default:
                return -EINVAL;
        }
}

int gvariant_u8(const GVariant *v, uint8_t *ret)
{
        if (!gvariant_is(v, "y") && !gvariant_is(v, "b"))
                return -EINVAL;
        *ret = v->data[0];
        return 0;
}

int gvariant_u32(const GVariant *v, uint32_t *ret)
{
        if (!gvariant_is(v, "u"))
                return -EINVAL;
        *ret = (uint32_t) read_end(v->data, 4);
        return 0;
}

int gvariant_u64(const GVariant *v, uint64_t *ret)
{
        if (!gvariant_is(v, "t"))
                return -EINVAL;
        *ret = read_end(v->data, 8);
        return 0;
}

int gvariant_str(const GVariant *v, const char **ret)
{
        if (!gvariant_is(v, "s"))
                return -EINVAL;
        if (v->size == 0 || v->data[v->size - 1] != 0 || memchr(v->data, 0, v->size - 1))
                return -EBADMSG;
        for (size_t i = 0; i + 1 < v->size; i++)
                if (v->data[i] < 0x20 || v->data[i] == 0x7f)
                        return -EBADMSG;
        if (!utf8_is_valid((const char *) v->data))
                return -EBADMSG;
        *ret = (const char *) v->data;
        return 0;
}

int gvariant_lookup(const GVariant *dict, const char *name, GVariant *ret)
{
        size_t n = 0;
        int r = gvariant_is(dict, "a{sv}") ? gvariant_n_children(dict, &n) : -EINVAL;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                GVariant entry, key, value;
                const char *text;

                if ((r = gvariant_child(dict, i, &entry)) < 0 || (r = gvariant_child(&entry, 0, &key)) < 0 ||
                    (r = gvariant_str(&key, &text)) < 0)
                        return r;
                if (strcmp(text, name) != 0)
                        continue;
                r = gvariant_child(&entry, 1, &value);
                return r < 0 ? r : (r = gvariant_child(&value, 0, ret)) < 0 ? r : 1;
        }
        return r < 0 ? r : 0;
}

/* --- writing --- */

void gvariant_build_done(GVariantBuild *b)
{
        bytes_done(&b->body);
        free(b->ends);
        *b = (GVariantBuild){ 0 };
}

static void append(GVariantBuild *b, const void *data, size_t size)
{
        if (!b->failed && size > 0 && bytes_append(&b->body, data, size) < 0)
                b->failed = true;
}

void gvariant_add(GVariantBuild *b, const void *data, size_t size, size_t align, bool fixed)
{
        static const uint8_t zeroes[8];
        size_t *ends;

        append(b, zeroes, pad_to(b->body.size, align) - b->body.size);
        append(b, data, size);
        b->last_is_fixed = fixed;
        if (fixed)
                return;
        ends = realloc(b->ends, (b->n_ends + 1) * sizeof(*ends));
        if (!ends) {
                b->failed = true;
                return;
        }
        b->ends = ends;
        b->ends[b->n_ends++] = b->body.size;
}

void gvariant_add_u32(GVariantBuild *b, uint32_t v)
{
        gvariant_add(b, &v, sizeof(v), sizeof(v), true);
}

void gvariant_add_u64(GVariantBuild *b, uint64_t v)
{
        gvariant_add(b, &v, sizeof(v), sizeof(v), true);
}

void gvariant_add_str(GVariantBuild *b, const char *s)
{
        gvariant_add(b, s, strlen(s) + 1, 1, false);
}

void gvariant_add_bytes(GVariantBuild *b, const void *data, size_t size)
{
        gvariant_add(b, data, size, 1, false);
}

void gvariant_add_entry(GVariantBuild *b, const char *name, const char *type, const void *value, size_t size,
                        size_t align)
{
        _cleanup_(gvariant_build_done) GVariantBuild entry = GVARIANT_TUPLE;
        Bytes variant = BYTES_NULL;

        (void) align; /* a variant is aligned to 8, which is enough for any value at its beginning */
        if (bytes_copy(&variant, value, size) < 0 || bytes_append(&variant, "", 1) < 0 ||
            bytes_append(&variant, type, strlen(type)) < 0)
                b->failed = true;
        gvariant_add_str(&entry, name);
        gvariant_add(&entry, variant.data, variant.size, 8, false);
        bytes_done(&variant);
        gvariant_add_build(b, &entry, 8);
}

/* The width of the ends depends on the size of the whole, ends included. */
static size_t whole_width(size_t body, size_t n_ends)
{
        size_t width = 1;

        while (width < 8 && body + n_ends * width > (UINT64_C(1) << 8 * width) - 1)
                width *= 2;
        return width;
}

int gvariant_build_take(GVariantBuild *b, Bytes *ret)
{
        _cleanup_(gvariant_build_done) GVariantBuild own = *b;
        size_t n = own.is_array || own.last_is_fixed || own.n_ends == 0 ? own.n_ends : own.n_ends - 1;
        size_t width = whole_width(own.body.size, n);

        *b = (GVariantBuild){ .is_array = own.is_array };
        for (size_t i = 0; i < n; i++) {
                uint64_t end = own.ends[own.is_array ? i : n - 1 - i];
                uint8_t text[8];

                for (size_t k = 0; k < width; k++)
                        text[k] = (uint8_t) (end >> 8 * k);
                append(&own, text, width);
        }
        if (own.failed)
                return -ENOMEM;
        bytes_move(ret, &own.body);
        return 0;
}

void gvariant_add_build(GVariantBuild *to, GVariantBuild *b, size_t align)
{
        _cleanup_(bytes_done) Bytes whole = BYTES_NULL;

        if (gvariant_build_take(b, &whole) < 0)
                to->failed = true;
        gvariant_add(to, whole.data, whole.size, align, false);
}
