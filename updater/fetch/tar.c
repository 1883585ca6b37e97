/* SPDX-License-Identifier: MIT */

#include "fetch/tar.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define MARKER "cosi-marker"

/* Byte ranges of a header block. */
enum {
        AT_NAME = 0,
        NAME_LEN = 100,
        AT_SIZE = 124,
        NUMBER_LEN = 12,
        AT_CHECKSUM = 148,
        CHECKSUM_LEN = 8,
        AT_TYPE = 156,
        AT_MAGIC = 257,
        AT_PREFIX = 345,
        PREFIX_LEN = 155,
};

/* What extended headers say about the next member, or about all of them. */
typedef struct Override {
        char *name;
        bool has_size;
        uint64_t size;
} Override;

/* What the bytes at offset are. */
typedef enum Expect {
        EXPECT_HEADER,
        EXPECT_SECOND_ZERO, /* one block of zeroes was seen */
        EXPECT_EXTENDED,    /* the contents of an x, g or L header */
        EXPECT_NOTHING,
} Expect;

struct Tar {
        const char *what;
        WhyKind kind;
        uint64_t size, offset;
        Expect expect;
        char extended_type;
        uint64_t extended_size;
        Override next, global;
        bool extension_pending; /* an extended header waits for its member */
        TarMember *members;
        size_t n_members;
};

static void override_done(Override *o)
{
        free(o->name);
        *o = (Override){ 0 };
}

int tar_new(const char *what, uint64_t size, WhyKind kind, Tar **ret)
{
        Tar *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        t->what = what;
        t->size = size;
        t->kind = kind;
        *ret = t;
        return 0;
}

Tar *tar_free(Tar *t)
{
        if (!t)
                return NULL;
        for (size_t i = 0; i < t->n_members; i++)
                free(t->members[i].name);
        free(t->members);
        override_done(&t->next);
        override_done(&t->global);
        free(t);
        return NULL;
}

void tar_freep(Tar **t)
{
        tar_free(*t);
}

bool tar_is_complete(const Tar *t)
{
        return t->expect == EXPECT_NOTHING;
}

uint64_t tar_offset(const Tar *t)
{
        return t->offset;
}

static uint64_t padded(uint64_t size)
{
        return (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

size_t tar_want(const Tar *t)
{
        if (t->expect == EXPECT_NOTHING)
                return 0;
        return t->expect == EXPECT_EXTENDED ? (size_t) padded(t->extended_size) : TAR_BLOCK;
}

size_t tar_n_members(const Tar *t)
{
        return t->n_members;
}

const TarMember *tar_member(const Tar *t, size_t i)
{
        return &t->members[i];
}

const TarMember *tar_find(const Tar *t, const char *name)
{
        for (size_t i = 0; i < t->n_members; i++)
                if (streq(t->members[i].name, name))
                        return &t->members[i];
        return NULL;
}

/* --- failures --- */

static int bad(const Tar *t, Why *why, const char *code, const char *how)
{
        return fail(why, -EBADMSG, t->kind, code, "%s: not a valid COSI container: %s (offset %llu)", t->what,
                    how, (unsigned long long) t->offset);
}

static int bad_name(const Tar *t, Why *why, const char *name, const char *how)
{
        return fail(why, -EBADMSG, t->kind, "tar-name",
                    "%s: not a valid COSI container: member \"%.100s\" %s", t->what, name, how);
}

/* --- fields of a header block --- */

static bool is_zero_block(const uint8_t *b)
{
        return b[0] == 0 && memcmp(b, b + 1, TAR_BLOCK - 1) == 0;
}

/* Octal digits between blanks and NULs, or (GNU) a big-endian number behind a first byte with its top bit
 * set. */
static int number(const uint8_t *p, size_t n, uint64_t *ret)
{
        uint64_t v = 0;
        size_t i = 0;

        if (p[0] & 0x80) {
                if (p[0] != 0x80) /* negative, or beyond 2^88 */
                        return -ERANGE;
                for (i = 1; i < n; i++) {
                        if (v >> 56)
                                return -ERANGE;
                        v = v << 8 | p[i];
                }
                *ret = v;
                return 0;
        }
        while (i < n && p[i] == ' ')
                i++;
        for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
                v = v << 3 | (uint64_t) (p[i] - '0'); /* 12 digits are 36 bits */
        for (; i < n; i++)
                if (p[i] != ' ' && p[i] != 0)
                        return -EINVAL;
        *ret = v;
        return 0;
}

/* Historic programs added signed bytes; both sums are taken. */
static bool checksum_holds(const uint8_t *b)
{
        uint64_t said, sum = 0;
        int64_t sum_signed = 0;

        if (number(b + AT_CHECKSUM, CHECKSUM_LEN, &said) < 0)
                return false;
        for (size_t i = 0; i < TAR_BLOCK; i++) {
                uint8_t c = i >= AT_CHECKSUM && i < AT_CHECKSUM + CHECKSUM_LEN ? ' ' : b[i];

                sum += c;
                sum_signed += (int8_t) c;
        }
        return said == sum || (sum_signed >= 0 && said == (uint64_t) sum_signed);
}

static char *header_name(const uint8_t *b)
{
        const char *name = (const char *) b + AT_NAME, *prefix = (const char *) b + AT_PREFIX;

        /* GNU's "ustar  " uses the bytes of the prefix for something else */
        if (memcmp(b + AT_MAGIC, "ustar", 6) == 0 && *prefix)
                return str_printf("%.*s/%.*s", PREFIX_LEN, prefix, NAME_LEN, name);
        return str_printf("%.*s", NAME_LEN, name);
}

/* --- extended headers --- */

static int override_name(const Tar *t, Override *o, const char *name, size_t n, Why *why)
{
        if (n > TAR_NAME_MAX + 3 || memchr(name, 0, n)) /* "./" in front, "/" behind */
                return bad(t, why, "tar-name", "a name that is too long or has a NUL");
        free(o->name);
        o->name = strndup(name, n);
        return o->name ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "%s", t->what);
}

static int override_size(const Tar *t, Override *o, const char *value, size_t n, Why *why)
{
        char digits[21];

        (void) snprintf(digits, sizeof(digits), "%.*s", (int) MIN(n, sizeof(digits)), value);
        if (n == 0 || n >= sizeof(digits) || strlen(digits) != n || parse_u64(digits, &o->size) < 0)
                return bad(t, why, "tar-size", "a PAX size that is no number");
        o->has_size = true;
        return 0;
}

static int take_record(const Tar *t, Override *o, const char *key, size_t n_key, const char *value,
                       size_t n_value, Why *why)
{
        if (n_key == 4 && memcmp(key, "path", 4) == 0)
                return override_name(t, o, value, n_value, why);
        if (n_key == 4 && memcmp(key, "size", 4) == 0)
                return override_size(t, o, value, n_value, why);
        /* The contents of a sparse member are not the file: a map of holes stands in front of them. */
        if (n_key >= 11 && memcmp(key, "GNU.sparse.", 11) == 0)
                return bad(t, why, "tar-sparse", "a sparse member");
        return 0;
}

/* "30 path=images/usr-a.rawzst\n": the number counts the whole record, itself and the newline included. */
static int parse_pax(const Tar *t, const char *p, size_t n, Override *o, Why *why)
{
        while (n > 0) {
                size_t length = 0, i = 0;
                const char *equals;
                int r;

                for (; i < n && i < 7 && p[i] >= '0' && p[i] <= '9'; i++)
                        length = length * 10 + (size_t) (p[i] - '0');
                if (i == 0 || i == n || p[i] != ' ' || length > n || length < i + 3 || p[length - 1] != '\n')
                        return bad(t, why, "tar-pax", "a malformed PAX header");
                i++;
                equals = memchr(p + i, '=', length - 1 - i);
                if (!equals || equals == p + i)
                        return bad(t, why, "tar-pax", "a malformed PAX header");
                r = take_record(t, o, p + i, (size_t) (equals - (p + i)), equals + 1,
                                (size_t) (p + length - 1 - (equals + 1)), why);
                if (r < 0)
                        return r;
                p += length;
                n -= length;
        }
        return 0;
}

static int take_extended(Tar *t, const uint8_t *data, Why *why)
{
        const char *text = (const char *) data;
        int r;

        if (t->extended_type == 'L')
                r = override_name(t, &t->next, text, strnlen(text, (size_t) t->extended_size), why);
        else
                r = parse_pax(t, text, (size_t) t->extended_size,
                              t->extended_type == 'g' ? &t->global : &t->next, why);
        if (r < 0)
                return r;
        t->offset += padded(t->extended_size);
        t->expect = EXPECT_HEADER;
        return 0;
}

static int begin_extended(Tar *t, char type, uint64_t size, Why *why)
{
        /* The first 11 bytes of a COSI 1.2 are "cosi-marker": nothing may stand before the marker's own
         * header. Whether this is such a file is known with the first member, see check_marker(). */
        if (size == 0 || size > TAR_EXTENDED_MAX)
                return bad(t, why, "tar-extended", "an extended header that is empty or too large");
        t->extension_pending = t->extension_pending || type != 'g';
        t->offset += TAR_BLOCK;
        t->extended_type = type;
        t->extended_size = size;
        t->expect = EXPECT_EXTENDED;
        if (padded(size) > t->size - t->offset)
                return bad(t, why, "tar-truncated", "an extended header is cut off");
        /* a link's long target: of no use here, and never looked at */
        if (type == 'K') {
                t->offset += padded(size);
                t->expect = EXPECT_HEADER;
        }
        return 0;
}

/* --- members --- */

/* "./images/x" is "images/x"; nothing else is repaired. Cut in place. */
static int check_name(const Tar *t, char *name, bool *ret_is_dir, Why *why)
{
        size_t n;

        if (str_starts(name, "./"))
                memmove(name, name + 2, strlen(name + 2) + 1);
        n = strlen(name);
        *ret_is_dir = n > 0 && name[n - 1] == '/';
        if (*ret_is_dir)
                name[--n] = 0;
        if (n == 0 && *ret_is_dir)
                return bad_name(t, why, "/", "has an absolute name");
        if (n > TAR_NAME_MAX)
                return bad_name(t, why, name, "has a name that is too long");
        if (name[0] == '/')
                return bad_name(t, why, name, "has an absolute name");
        for (const char *p = name; *p;) {
                size_t part = strcspn(p, "/");

                if (part == 0 || (part == 1 && p[0] == '.') || (part == 2 && p[0] == '.' && p[1] == '.'))
                        return bad_name(t, why, name, "has a name with an empty, \".\" or \"..\" part");
                p += part;
                p += *p == '/';
        }
        return 0;
}

/* Once the first member is known: a marker must be the first thing in the file, whole and empty. */
static int check_marker(const Tar *t, const TarMember *m, uint64_t header, Why *why)
{
        if (!streq(m->name, MARKER))
                return 0;
        if (t->n_members > 0 || header != 0)
                return bad(t, why, "cosi-marker", "cosi-marker is not the first thing in the file");
        if (!m->is_file || m->size != 0)
                return bad(t, why, "cosi-marker", "cosi-marker is not an empty file");
        return 0;
}

static int add_member(Tar *t, TarMember *m, Why *why)
{
        TarMember *members;

        if (t->n_members >= TAR_MEMBERS_MAX)
                return fail(why, -E2BIG, t->kind, "tar-members", "%s: more than %u members", t->what,
                            TAR_MEMBERS_MAX);
        if (tar_find(t, m->name))
                return bad_name(t, why, m->name, "is there twice");
        members = realloc(t->members, (t->n_members + 1) * sizeof(*members));
        if (!members)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", t->what);
        t->members = members;
        t->members[t->n_members++] = *m;
        *m = (TarMember){ 0 };
        return 0;
}

static void member_done(TarMember *m)
{
        free(m->name);
}

/* What is said for the next member beats what is said for all, beats the block. An empty PAX path takes back
 * what was said for all. */
static int member_name(Tar *t, const uint8_t *block, char **ret, Why *why)
{
        const char *said = t->next.name ? t->next.name : t->global.name;
        char *name = said && *said ? strdup(said) : header_name(block);

        if (!name)
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", t->what);
        *ret = name;
        return 0;
}

static int take_member(Tar *t, const uint8_t *block, char type, uint64_t size, Why *why)
{
        _cleanup_(member_done) TarMember m = { 0 };
        uint64_t header = t->offset;
        bool is_dir = false;
        int r;

        if (t->next.has_size || t->global.has_size)
                size = t->next.has_size ? t->next.size : t->global.size;
        m.is_file = type == '0' || type == 0 || type == '7';
        r = member_name(t, block, &m.name, why);
        if (r < 0)
                return r;
        /* "tar -C dir ." begins with the folder itself, which has no name of its own */
        if (type == '5' && (streq(m.name, "./") || streq(m.name, "."))) {
                t->offset += TAR_BLOCK;
                return size == 0 ? 0 : bad(t, why, "tar-size", "a folder with contents");
        }
        r = check_name(t, m.name, &is_dir, why);
        if (r < 0)
                return r;
        if (!*m.name)
                return bad(t, why, "tar-name", "a member without a name");
        if (is_dir && m.is_file && size == 0)
                m.is_file = false; /* how tar wrote folders before it had a type for them */
        else if (is_dir && m.is_file)
                return bad_name(t, why, m.name, "is a file with the name of a folder");
        /* Links, devices and folders have no contents; programs disagree on what a size means there. */
        if (type >= '1' && type <= '6' && size != 0)
                return bad_name(t, why, m.name, "is no file but has contents");
        if (type == 'S')
                return bad_name(t, why, m.name, "is a sparse file");
        m.offset = header + TAR_BLOCK;
        m.size = size;
        if (size > t->size - m.offset || padded(size) > t->size - m.offset)
                return fail(why, -EBADMSG, t->kind, "tar-truncated",
                            "%s: not a valid COSI container: member \"%.100s\" has %llu bytes, the file ends "
                            "before",
                            t->what, m.name, (unsigned long long) size);
        t->offset = m.offset + padded(size);
        r = check_marker(t, &m, header, why);
        return r < 0 ? r : add_member(t, &m, why);
}

static int take_header(Tar *t, const uint8_t *block, Why *why)
{
        char type = (char) block[AT_TYPE];
        uint64_t size;
        int r;

        if (is_zero_block(block)) {
                if (t->extension_pending)
                        return bad(t, why, "tar-extended", "an extended header without its member");
                t->offset += TAR_BLOCK;
                t->expect = EXPECT_SECOND_ZERO;
                return 0;
        }
        if (!checksum_holds(block))
                return bad(t, why, "tar-header", "a header with a wrong checksum");
        if (number(block + AT_SIZE, NUMBER_LEN, &size) < 0)
                return bad(t, why, "tar-size", "a size that is no number below 2^64");
        if (type == 'x' || type == 'g' || type == 'L' || type == 'K')
                return begin_extended(t, type, size, why);
        r = take_member(t, block, type, size, why);
        override_done(&t->next);
        t->extension_pending = false;
        return r;
}

int tar_check(const Tar *t, Why *why)
{
        if (t->expect == EXPECT_NOTHING || tar_want(t) <= t->size - t->offset)
                return 0;
        return bad(t, why, "tar-no-end", "the end-of-archive marker is missing");
}

int tar_feed(Tar *t, const uint8_t *data, Why *why)
{
        int r = 0;

        switch (t->expect) {
        case EXPECT_HEADER:
                r = take_header(t, data, why);
                break;
        case EXPECT_SECOND_ZERO:
                if (!is_zero_block(data))
                        return bad(t, why, "tar-no-end",
                                   "a lone block of zeroes instead of the end-of-archive marker");
                t->offset += TAR_BLOCK;
                t->expect = EXPECT_NOTHING;
                break;
        case EXPECT_EXTENDED:
                r = take_extended(t, data, why);
                break;
        case EXPECT_NOTHING:
                break;
        }
        return r;
}
