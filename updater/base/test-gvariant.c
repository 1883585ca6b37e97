/* SPDX-License-Identifier: MIT */

/* The bytes are GLib's: gvariant-print and `ostree` wrote them, or the reader here would only be judged by its own writer. */

#undef NDEBUG
#include <assert.h>
#include <errno.h>

#include "base/gvariant.h"

/* ("ab", uint32 1, "c") */
static const uint8_t three[] = { 'a', 'b', 0, 0, 1, 0, 0, 0, 'c', 0, 3 };
/* {'n': <uint32 7>, 'version': <'1.0'>}, as a{sv} */
static const uint8_t dict[] = { 'n', 0,   0,   0,   0,   0,   0, 0,   7,   0,   0, 0, 0,   'u', 2,  0, 'v',
                                'e', 'r', 's', 'i', 'o', 'n', 0, '1', '.', '0', 0, 0, 's', 8,   15, 31 };

static void test_tuple(void)
{
        GVariant v, c;
        const char *text;
        uint32_t n;
        size_t count;

        assert(gvariant_open("(sus)", three, sizeof(three), &v) == 0);
        assert(gvariant_n_children(&v, &count) == 0 && count == 3);
        assert(gvariant_child(&v, 0, &c) == 0 && gvariant_str(&c, &text) == 0 && strcmp(text, "ab") == 0);
        assert(gvariant_child(&v, 1, &c) == 0 && gvariant_u32(&c, &n) == 0 && n == 1);
        assert(gvariant_child(&v, 2, &c) == 0 && gvariant_str(&c, &text) == 0 && strcmp(text, "c") == 0);
        assert(gvariant_child(&v, 3, &c) == -EINVAL);
        assert(gvariant_u32(&v, &n) == -EINVAL);
}

static void test_dict(void)
{
        GVariant v, c;
        const char *text;
        uint32_t n;

        assert(gvariant_open("a{sv}", dict, sizeof(dict), &v) == 0);
        assert(gvariant_lookup(&v, "n", &c) == 1 && gvariant_u32(&c, &n) == 0 && n == 7);
        assert(gvariant_lookup(&v, "version", &c) == 1 && gvariant_str(&c, &text) == 0);
        assert(strcmp(text, "1.0") == 0);
        assert(gvariant_lookup(&v, "nothing", &c) == 0);
}

/* What the writer makes is what GLib makes. */
static void test_build(void)
{
        _cleanup_(gvariant_build_done) GVariantBuild t = GVARIANT_TUPLE, d = GVARIANT_ARRAY,
                                                     none = GVARIANT_ARRAY;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        uint32_t seven = 7;

        gvariant_add_str(&t, "ab");
        gvariant_add_u32(&t, 1);
        gvariant_add_str(&t, "c");
        assert(gvariant_build_take(&t, &b) == 0);
        assert(b.size == sizeof(three) && memcmp(b.data, three, b.size) == 0);
        gvariant_add_entry(&d, "n", "u", &seven, sizeof(seven), 4);
        gvariant_add_entry(&d, "version", "s", "1.0", 4, 1);
        assert(gvariant_build_take(&d, &b) == 0);
        assert(b.size == sizeof(dict) && memcmp(b.data, dict, b.size) == 0);
        assert(gvariant_build_take(&none, &b) == 0 && b.size == 0);
}

/* Ends of one, two and four bytes, read back. */
static void test_widths(void)
{
        static const size_t counts[] = { 1, 60, 61, 64, 300, 16000, 20000 };

        for (size_t k = 0; k < ELEMENTSOF(counts); k++) {
                _cleanup_(gvariant_build_done) GVariantBuild a = GVARIANT_ARRAY;
                _cleanup_(bytes_done) Bytes b = BYTES_NULL;
                GVariant v, c;
                size_t n;

                for (size_t i = 0; i < counts[k]; i++)
                        gvariant_add_bytes(&a, "abc", i % 4);
                assert(gvariant_build_take(&a, &b) == 0);
                assert(gvariant_open("aay", b.data, b.size, &v) == 0);
                assert(gvariant_n_children(&v, &n) == 0 && n == counts[k]);
                for (size_t i = 0; i < n; i++)
                        assert(gvariant_child(&v, i, &c) == 0 && c.size == i % 4 &&
                               memcmp(c.data, "abc", c.size) == 0);
                assert(gvariant_child(&v, n, &c) < 0);
        }
}

static void test_broken(void)
{
        static const struct {
                const char *type, *bytes;
                size_t size, child;
                int r; /* of opening, else of taking the child */
        } cases[] = {
                { "u", "\0\0\0", 3, 0, -EBADMSG },
                { "(uu", "", 0, 0, -EINVAL },
                { "(", "", 0, 0, -EINVAL },
                { "x", "", 0, 0, -EINVAL },
                { "{s}", "", 0, 0, -EINVAL },
                { "aay", "abc\xff", 4, 0, -EBADMSG },     /* ends beyond the array */
                { "aay", "abc\x03\x01", 5, 1, -EBADMSG }, /* the second ends before the first */
                { "(ss)", "a\0\x09", 3, 0, -EBADMSG },    /* ends beyond the tuple */
                { "(us)", "\0\0", 2, 0, -EBADMSG },       /* no room for the number */
                { "(ayayay)", "\x01", 1, 2, -EBADMSG },   /* no room for the ends */
                { "v", "abc", 3, 0, -EBADMSG },           /* no type */
                { "v", "a\0(", 3, 0, -EBADMSG },          /* half a type */
                { "v", "a\0u", 3, 0, -EBADMSG },          /* one byte is no number */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                GVariant v, c;
                int r = gvariant_open(cases[i].type, cases[i].bytes, cases[i].size, &v);

                if (r == 0)
                        r = gvariant_child(&v, cases[i].child, &c);
                assert(r == cases[i].r);
        }
}

static void test_strings(void)
{
        static const struct {
                const char *bytes;
                size_t size;
                int r;
        } cases[] = {
                { "a\0", 2, 0 },           { "\0", 1, 0 },
                { "", 0, -EBADMSG },       { "a", 1, -EBADMSG },
                { "a\0b\0", 4, -EBADMSG }, { "a\nb\0", 4, -EBADMSG }, /* would break a line of a log */
                { "\xff\0", 2, -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *text;
                GVariant v;

                assert(gvariant_open("s", cases[i].bytes, cases[i].size, &v) == 0);
                assert(gvariant_str(&v, &text) == cases[i].r);
        }
}

int main(void)
{
        test_tuple();
        test_dict();
        test_build();
        test_widths();
        test_broken();
        test_strings();
        return 0;
}
