/* SPDX-License-Identifier: MIT */

#include "fetch/tar.h"
#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* --- archives made by hand --- */

typedef struct Block {
        uint8_t b[TAR_BLOCK];
} Block;

static void seal(Block *h)
{
        unsigned sum = 0;

        memset(h->b + 148, ' ', 8);
        for (size_t i = 0; i < TAR_BLOCK; i++)
                sum += h->b[i];
        (void) snprintf((char *) h->b + 148, 8, "%06o", sum);
}

static Block header(const char *name, char type, uint64_t size)
{
        Block h = { 0 };

        (void) snprintf((char *) h.b, 100, "%s", name);
        (void) snprintf((char *) h.b + 124, 12, "%011llo", (unsigned long long) size);
        h.b[156] = (uint8_t) type;
        memcpy(h.b + 257, "ustar\00000", 8);
        seal(&h);
        return h;
}

static void add(Bytes *a, const void *data, size_t size)
{
        static const uint8_t zeroes[TAR_BLOCK];

        assert(bytes_append(a, data, size) == 0);
        assert(bytes_append(a, zeroes, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK) == 0);
}

static void add_member(Bytes *a, const char *name, char type, const char *contents)
{
        Block h = header(name, type, strlen(contents));

        add(a, &h, sizeof(h));
        add(a, contents, strlen(contents));
}

static void add_end(Bytes *a)
{
        static const Block end[2];

        add(a, end, sizeof(end));
}

/* --- reading --- */

static int read_all(const Bytes *a, Tar **ret, Why *why)
{
        _cleanup_(tar_freep) Tar *t = NULL;

        assert(tar_new("x.cosi", a->size, WHY_IMAGE, &t) == 0);
        while (!tar_is_complete(t)) {
                int r = tar_check(t, why);

                if (r >= 0) {
                        assert(tar_want(t) > 0 && tar_want(t) <= TAR_EXTENDED_MAX);
                        assert(tar_offset(t) + tar_want(t) <= a->size);
                        r = tar_feed(t, a->data + tar_offset(t), why);
                }
                if (r < 0)
                        return r;
        }
        *ret = TAKE(t);
        return 0;
}

static void expect_bad(const Bytes *a, const char *code)
{
        _cleanup_(tar_freep) Tar *t = NULL;
        Why why = { 0 };

        assert(read_all(a, &t, &why) < 0 && !t);
        if (!streq(why.code, code))
                printf("%s: %s, expected %s\n", why.code, why.text, code);
        assert(streq(why.code, code) && why.kind == WHY_IMAGE);
}

static void expect_member(const Bytes *a, const Tar *t, const char *name, const char *contents)
{
        const TarMember *m = tar_find(t, name);

        assert(m && m->is_file && m->size == strlen(contents));
        assert(memcmp(a->data + m->offset, contents, m->size) == 0);
}

/* --- names, types, sizes --- */

static void test_names(void)
{
        static const struct {
                const char *name;
                const char *code; /* NULL: accepted */
        } table[] = {
                { "images/usr-a.zst", NULL },
                { "a.b..c", NULL },
                { "./images/x", NULL },
                { "..x", NULL },
                { "/etc/passwd", "tar-name" },
                { "../x", "tar-name" },
                { "a/../b", "tar-name" },
                { "a/..", "tar-name" },
                { "./../x", "tar-name" },
                { "././x", "tar-name" },
                { "a/./b", "tar-name" },
                { "a//b", "tar-name" },
                { ".", "tar-name" },
                { "..", "tar-name" },
                { "", "tar-name" },
                { "./", "tar-name" },
                { "/", "tar-name" },
                { "metadata.json", "tar-name" }, /* is there already */
                { "./metadata.json", "tar-name" },
                { "METADATA.json", NULL }, /* names differ by case */
                { "cosi-marker", "cosi-marker" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(bytes_done) Bytes a = BYTES_NULL;
                _cleanup_(tar_freep) Tar *t = NULL;
                Why why = { 0 };

                add_member(&a, "metadata.json", '0', "{}");
                add_member(&a, table[i].name, '0', "x");
                add_end(&a);
                if (table[i].code) {
                        expect_bad(&a, table[i].code);
                        continue;
                }
                assert(read_all(&a, &t, &why) == 0 && tar_n_members(t) == 2);
                expect_member(&a, t, str_starts(table[i].name, "./") ? table[i].name + 2 : table[i].name,
                              "x");
        }
}

static void test_types(void)
{
        static const struct {
                char type;
                const char *name, *contents;
                bool good, is_file;
        } table[] = {
                { '0', "x", "abc", true, true },    { 0, "x", "abc", true, true },
                { '7', "x", "abc", true, true },    { '1', "x", "", true, false },
                { '1', "x", "abc", false, false },  { '2', "x", "", true, false },
                { '3', "x", "", true, false },      { '5', "x/", "", true, false },
                { '5', "x/", "abc", false, false }, { '6', "x", "", true, false },
                { 0, "x/", "", true, false },       { 0, "x/", "abc", false, false },
                { 'S', "x", "abc", false, false },  { 'V', "x", "", true, false },
                { 'Z', "x", "abc", true, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(bytes_done) Bytes a = BYTES_NULL;
                _cleanup_(tar_freep) Tar *t = NULL;
                Why why = { 0 };

                add_member(&a, table[i].name, table[i].type, table[i].contents);
                add_member(&a, "metadata.json", '0', "{}");
                add_end(&a);
                assert((read_all(&a, &t, &why) == 0) == table[i].good);
                if (!table[i].good)
                        continue;
                assert(tar_find(t, "x")->is_file == table[i].is_file);
                expect_member(&a, t, "metadata.json", "{}");
        }
}

static void test_marker(void)
{
        for (int i = 0; i < 6; i++) {
                _cleanup_(bytes_done) Bytes a = BYTES_NULL;
                _cleanup_(tar_freep) Tar *t = NULL;
                Why why = { 0 };

                if (i == 1)
                        add_member(&a, "ignored", 'x', "18 comment=before\n");
                if (i == 2)
                        add_member(&a, "././@LongLink", 'L', "cosi-marker");
                if (i == 3)
                        add_member(&a, "metadata.json", '0', "{}");
                if (i == 4)
                        add_member(&a, "cosi-marker", '0', "not empty");
                else
                        add_member(&a, "cosi-marker", i == 5 ? '2' : '0', "");
                if (i != 3)
                        add_member(&a, "metadata.json", '0', "{}");
                add_end(&a);
                if (i == 0)
                        assert(read_all(&a, &t, &why) == 0 && tar_n_members(t) == 2);
                else
                        expect_bad(&a, "cosi-marker");
        }
}

static void test_sizes(void)
{
        static const struct {
                uint8_t field[12];
                int64_t size; /* < 0: refused */
                const char *code;
        } table[] = {
                { "00000000002", 2, NULL },
                { "2          ", 2, NULL },
                { "  2        ", 2, NULL },
                { { '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '2' }, 2, NULL },
                { { 0 }, 0, NULL },
                { "00000000009", -1, "tar-size" },
                { "-0000000001", -1, "tar-size" },
                { "1 2        ", -1, "tar-size" },
                { { 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2 }, 2, NULL },
                { { 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, -1, "tar-truncated" },
                { { 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2 }, -1, "tar-size" },
                { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe },
                  -1,
                  "tar-size" },
                { "77777777777", -1, "tar-truncated" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(bytes_done) Bytes a = BYTES_NULL;
                _cleanup_(tar_freep) Tar *t = NULL;
                Block h = header("x", '0', 0);
                Why why = { 0 };

                memcpy(h.b + 124, table[i].field, 12);
                seal(&h);
                add(&a, &h, sizeof(h));
                if (table[i].size > 0)
                        add(&a, "ab", 2);
                add_end(&a);
                if (table[i].code)
                        expect_bad(&a, table[i].code);
                else
                        assert(read_all(&a, &t, &why) == 0 &&
                               tar_find(t, "x")->size == (uint64_t) table[i].size);
        }
}

static void test_checksum(void)
{
        _cleanup_(bytes_done) Bytes a = BYTES_NULL;
        _cleanup_(tar_freep) Tar *t = NULL;
        Block h = header("gr\xfcn", '0', 0);
        int sum = 0;
        Why why = { 0 };

        /* as some old programs counted: signed */
        memset(h.b + 148, ' ', 8);
        for (size_t i = 0; i < TAR_BLOCK; i++)
                sum += (int8_t) h.b[i];
        (void) snprintf((char *) h.b + 148, 8, "%06o", (unsigned) sum);
        add(&a, &h, sizeof(h));
        add_end(&a);
        assert(read_all(&a, &t, &why) == 0);
        a.data[150]++;
        expect_bad(&a, "tar-header");
}

/* --- extended headers --- */

static void test_pax(void)
{
        static const struct {
                const char *records;
                char type;
                const char *name; /* NULL: refused */
                const char *code;
        } table[] = {
                { "22 path=images/long-a\n", 'x', "images/long-a", NULL },
                { "11 size=12\n20 comment=whatever\n", 'x', "short", NULL },
                { "22 path=images/long-a\n", 'g', "images/long-a", NULL },
                { "8 path=\n", 'x', "short", NULL },
                { "", 'x', NULL, "tar-extended" },
                { "22 path=images/long-a", 'x', NULL, "tar-pax" },
                { "23 path=images/long-a\n", 'x', NULL, "tar-pax" },
                { "21 path=images/long-a\n", 'x', NULL, "tar-pax" },
                { "2 path=images/long-a\n", 'x', NULL, "tar-pax" },
                { "0 path=images/long-a\n", 'x', NULL, "tar-pax" },
                { "99999999999999999999 path=x\n", 'x', NULL, "tar-pax" },
                { "path=x\n", 'x', NULL, "tar-pax" },
                { "6 abc\n", 'x', NULL, "tar-pax" },
                { "5 =x\n", 'x', NULL, "tar-pax" },
                { "13 path=/abs\n", 'x', NULL, "tar-name" },
                { "14 path=../up\n", 'x', NULL, "tar-name" },
                { "11 size=-1\n", 'x', NULL, "tar-size" },
                { "11 size=1x\n", 'x', NULL, "tar-size" },
                { "8 size=\n", 'x', NULL, "tar-size" },
                { "29 size=18446744073709551616\n", 'x', NULL, "tar-size" },
                { "29 size=18446744073709551615\n", 'x', NULL, "tar-truncated" },
                { "22 GNU.sparse.major=1\n", 'x', NULL, "tar-sparse" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(bytes_done) Bytes a = BYTES_NULL;
                _cleanup_(tar_freep) Tar *t = NULL;
                Why why = { 0 };

                add_member(&a, "pax", table[i].type, table[i].records);
                add_member(&a, "short", '0', "twelve bytes");
                if (table[i].type == 'x')
                        add_member(&a, "next", '0', "is not meant");
                add_end(&a);
                if (!table[i].name) {
                        expect_bad(&a, table[i].code);
                        continue;
                }
                assert(read_all(&a, &t, &why) == 0);
                expect_member(&a, t, table[i].name, "twelve bytes");
                if (table[i].type == 'x')
                        expect_member(&a, t, "next", "is not meant");
        }
}

static void test_gnu(void)
{
        _cleanup_(bytes_done) Bytes a = BYTES_NULL, nul = BYTES_NULL, orphan = BYTES_NULL, huge = BYTES_NULL;
        _cleanup_(tar_freep) Tar *t = NULL;
        char name[300];
        Why why = { 0 };
        Block h;

        memset(name, 'n', sizeof(name));
        name[200] = 0;
        add_member(&a, "././@LongLink", 'K', "a long target");
        add_member(&a, "././@LongLink", 'L', name);
        add_member(&a, "cut", '0', "abc");
        add_end(&a);
        assert(read_all(&a, &t, &why) == 0 && tar_n_members(t) == 1);
        expect_member(&a, t, name, "abc");

        name[200] = 'n';
        name[299] = 0;
        add_member(&nul, "././@LongLink", 'L', name);
        add_member(&nul, "cut", '0', "abc");
        expect_bad(&nul, "tar-name");

        add_member(&orphan, "././@LongLink", 'L', "x");
        add_end(&orphan);
        expect_bad(&orphan, "tar-extended");

        h = header("pax", 'x', TAR_EXTENDED_MAX + 1);
        add(&huge, &h, sizeof(h));
        expect_bad(&huge, "tar-extended");
}

/* --- ends --- */

static void test_ends(void)
{
        _cleanup_(bytes_done) Bytes a = BYTES_NULL;
        static const Block zero;
        size_t whole;

        expect_bad(&a, "tar-no-end");
        add_member(&a, "metadata.json", '0', "{}");
        expect_bad(&a, "tar-no-end");
        a.size -= 512;
        expect_bad(&a, "tar-truncated");
        a.size += 512;
        add(&a, &zero, sizeof(zero));
        expect_bad(&a, "tar-no-end");
        whole = a.size;
        add_member(&a, "x", '0', "");
        expect_bad(&a, "tar-no-end"); /* a lone zero block */
        a.size = whole;
        add(&a, &zero, sizeof(zero));
        {
                _cleanup_(tar_freep) Tar *t = NULL, *u = NULL;
                Why why = { 0 };

                assert(read_all(&a, &t, &why) == 0);
                assert(bytes_append(&a, "whatever follows", 16) == 0);
                assert(read_all(&a, &u, &why) == 0);
        }
}

static void test_many(void)
{
        _cleanup_(bytes_done) Bytes a = BYTES_NULL;
        _cleanup_(tar_freep) Tar *t = NULL;
        Why why = { 0 };
        char name[16];

        /* one allocation: appending is for small things */
        a.data = calloc(TAR_MEMBERS_MAX + 3, TAR_BLOCK);
        assert(a.data);
        for (unsigned i = 0; i < TAR_MEMBERS_MAX; i++) {
                Block h;

                (void) snprintf(name, sizeof(name), "m%u", i);
                h = header(name, '0', 0);
                memcpy(a.data + a.size, &h, sizeof(h));
                a.size += sizeof(h);
        }
        a.size += sizeof(Block) * 2;
        assert(read_all(&a, &t, &why) == 0 && tar_n_members(t) == TAR_MEMBERS_MAX);
        a.size -= sizeof(Block) * 2;
        {
                Block h = header("one-more", '0', 0);

                memcpy(a.data + a.size, &h, sizeof(h));
        }
        a.size += sizeof(Block) * 3;
        expect_bad(&a, "tar-members");
}

/* --- archives made by tar --- */

static void run_sh(const char *script, const char *dir)
{
        char *argv[] = { (char *) "/bin/sh", (char *) "-ec", (char *) script,
                         (char *) "sh",      (char *) dir,   NULL };
        const RunOptions options = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 4096 };
        _cleanup_(run_result_done) RunResult result = { 0 };

        assert(run(argv, &options, &result) == 0);
        if (result.exit_code != 0)
                printf("%s\n", result.output.data ? (char *) result.output.data : "");
        assert(result.exit_code == 0);
}

/* By itself tar writes sub-second times in front of every member, and so in front of the marker. */
static const char *pax_option(const char *format)
{
        return streq(format, "pax") ? "--pax-option=delete=mtime,delete=atime,delete=ctime" : "";
}

static void test_real_tar(void)
{
        static const char *const formats[] = { "ustar", "gnu", "pax", "v7", "oldgnu" };
        static const char script[] =
                "cd \"$1\"; rm -rf images t.tar; long=images/$(printf %060d/%060d 7 7); mkdir "
                "-p images $long; : > cosi-marker; "
                "echo {} > metadata.json; echo usr > images/usr.zst; echo deep > "
                "$long/esp.zst; ln -sf usr.zst images/link; "
                "members='cosi-marker metadata.json images'; [ $2 != v7 ] || "
                "members='cosi-marker metadata.json images/usr.zst "
                "images/link'; tar --format=$2 -cf t.tar $3 $members";
        char dir[] = "/tmp/gybe-tar-XXXXXX";

        assert(mkdtemp(dir));
        for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
                _cleanup_(free_charp) char *path = str_printf("%s/t.tar", dir);
                _cleanup_(free_charp) char *command =
                        str_printf("set -- \"$1\" %s '%s'; %s", formats[i], pax_option(formats[i]), script);
                _cleanup_(bytes_done) Bytes a = BYTES_NULL;
                _cleanup_(tar_freep) Tar *t = NULL;
                _cleanup_(close_fdp) int fd = -1;
                Why why = { 0 };
                char deep[200];

                run_sh(command, dir);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                assert(fd >= 0 && fd_read_all(fd, MIB, &a) == 0);
                if (read_all(&a, &t, &why) < 0)
                        (void) fprintf(stderr, "%s: %s\n", formats[i], why.text);
                assert(t);
                expect_member(&a, t, "metadata.json", "{}\n");
                expect_member(&a, t, "images/usr.zst", "usr\n");
                assert(!tar_find(t, "images/link")->is_file);
                (void) snprintf(deep, sizeof(deep), "images/%060d/%060d/esp.zst", 7, 7);
                if (!streq(formats[i], "v7"))
                        expect_member(&a, t, deep, "deep\n");
        }
        run_sh("rm -rf \"$1\"", dir);
}

int main(void)
{
        test_names();
        test_types();
        test_marker();
        test_sizes();
        test_checksum();
        test_pax();
        test_gnu();
        test_ends();
        test_many();
        test_real_tar();
        return 0;
}
