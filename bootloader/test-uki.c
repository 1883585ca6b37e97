/* SPDX-License-Identifier: MIT */

/* The PE reader against small files built here, and against sbsign: what it signs is what we must have
 * hashed. */

#undef NDEBUG

#include "bootloader/uki.h"
#include "bootloader/test-pe.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static int parse(const Bytes *b, PeSummary *ret, Why *why)
{
        *why = (Why){ 0 };
        return pe_parse(b->data, b->size, "x.efi", WHY_IMAGE, ret, why);
}

static void test_texts(void)
{
        _cleanup_(pe_summary_done) PeSummary s = { 0 }, moved = { 0 };
        _cleanup_(bytes_done) Bytes uki = test_uki("root=LABEL=ROOT quiet \n", "ID=azurelinux\n");
        _cleanup_(bytes_done) Bytes addon = test_addon("usrhash=00");
        Why why;

        assert(parse(&uki, &s, &why) == 0);
        assert(s.has_linux && s.has_initrd && !s.is_addon && s.has_cmdline && s.has_osrel &&
               s.machine == 0x8664);
        assert(streq(s.cmdline, "root=LABEL=ROOT quiet") && streq(s.osrel, "ID=azurelinux"));
        assert(streq(s.uname, "6.6.121") && !s.sbat && strstr(s.sdmagic, "systemd-stub 255"));
        assert(s.has_authenticode && s.n_signatures == 0 && !s.profile_cmdlines);
        pe_summary_move(&moved, &s);
        assert(!s.cmdline && moved.cmdline);
        assert(parse(&addon, &s, &why) == 0);
        assert(s.is_addon && !s.has_osrel && streq(s.cmdline, "usrhash=00") &&
               streq(s.sbat, "sbat,1,SBAT Version"));
}

static void test_profiles(void)
{
        const TestSection sections[] = {
                { ".linux", "k", 0 },          { ".cmdline", "base", 0 },     { ".osrel", "ID=x", 0 },
                { ".profile", "ID=main", 0 },  { ".profile", "ID=reset", 0 }, { ".cmdline", "usrhash=1", 0 },
                { ".profile", "ID=debug", 0 }, { ".cmdline", "debug", 0 },
        };
        const TestSection twice[] = { { ".linux", "k", 0 },
                                      { ".cmdline", "a", 0 },
                                      { ".cmdline", "b", 0 },
                                      { ".profile", "ID=x", 0 } };
        _cleanup_(pe_summary_done) PeSummary s = { 0 };
        _cleanup_(bytes_done) Bytes good = test_pe(0xaa64, sections, ELEMENTSOF(sections), 0);
        _cleanup_(bytes_done) Bytes bad = test_pe(0xaa64, twice, ELEMENTSOF(twice), 0);
        Why why;

        assert(parse(&good, &s, &why) == 0);
        assert(streq(s.cmdline, "base") && streq(s.profile_cmdlines, "usrhash=1 debug") &&
               s.machine == 0xaa64);
        assert(parse(&bad, &s, &why) == -EBADMSG && strstr(why.text, "twice"));
        assert(streq(s.cmdline, "base")); /* untouched on failure */
}

/* One change to a good file each, and what must be said about it. */
static void test_damage(void)
{
        enum { PE = 64, OPT = 64 + 24, SECTION = 64 + 24 + 240 };
        static const struct {
                size_t at;
                uint64_t value;
                size_t size;
                const char *says; /* NULL: harmless */
        } cases[] = {
                { 0, 0, 2, "no MZ" },
                { 60, 0xfffffff0, 4, "too early" },
                { 60, 1, 4, "no PE header" },
                { PE, 0, 4, "no PE header" },
                { PE + 6, 0, 2, "no sections" },
                { PE + 6, 97, 2, "too many" },
                { PE + 6, 96, 2, NULL }, /* 3840 bytes of headers: see below, lies over the sections */
                { PE + 20, 0xffff, 2, "optional header" },
                { OPT + 64, 0x12345678, 4, NULL }, /* checksum: nobody looks */
                { OPT + 144, 0x400, 8, NULL },     /* certificate table of size 0 */
                { OPT + 144, UINT64_C(8) << 32 | 0x400, 8, "not the end" },
                { OPT + 148, 0xffffffff, 4, "larger than" },
                { OPT + 60, 0, 4, NULL }, /* no header size: no digest, texts still readable */
                { SECTION + 16, 0x10000, 4, "beyond the end" },
                { SECTION + 16, 0xffffffff, 4, "beyond the end" },
                { SECTION + 20, 0x10, 4, "over its headers" },
                { SECTION + 20, 0x600, 4, "overlap" },
                { SECTION + 40 * 3 + 8, 0, 4, NULL },          /* empty .cmdline */
                { SECTION + 40 * 3 + 8, 0x7fffffff, 4, NULL }, /* min(VirtualSize, SizeOfRawData) */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(pe_summary_done) PeSummary s = { 0 };
                _cleanup_(bytes_done) Bytes b = test_uki("quiet", "ID=x");
                Why why;
                int r;

                test_put(b.data + cases[i].at, cases[i].value, cases[i].size);
                r = parse(&b, &s, &why);
                if (cases[i].at == PE + 6 && cases[i].value == 96) {
                        assert(r == -EBADMSG);
                        continue;
                }
                if (!cases[i].says) {
                        assert(r == 0);
                        continue;
                }
                if (r != -EBADMSG || !strstr(why.text, cases[i].says))
                        fprintf(stderr, "case %zu: %d %s\n", i, r, why.text);
                assert(r == -EBADMSG && why.kind == WHY_IMAGE && strstr(why.text, cases[i].says));
        }
}

static void test_truncation(void)
{
        _cleanup_(bytes_done) Bytes b = test_uki("quiet", "ID=x");

        for (size_t n = 0; n < b.size; n += 7) {
                _cleanup_(pe_summary_done) PeSummary s = { 0 };
                Bytes part = { b.data, n };
                Why why;

                assert(parse(&part, &s, &why) == -EBADMSG);
        }
}

static void test_texts_refused(void)
{
        static char large[UKI_CMDLINE_MAX + 1];
        const TestSection nul[] = { { ".linux", "k", 0 }, { ".cmdline", "quiet\0usrhash=1", 15 } };
        const TestSection big[] = { { ".linux", "k", 0 }, { ".cmdline", large, sizeof(large) } };
        const TestSection two[] = { { ".linux", "k", 0 }, { ".linux", "k", 0 } };
        const struct {
                const TestSection *sections;
                const char *says;
        } cases[] = { { nul, "NUL byte" }, { big, "larger" }, { two, "two kernels" } };

        memset(large, 'x', sizeof(large));
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(pe_summary_done) PeSummary s = { 0 };
                _cleanup_(bytes_done) Bytes b = test_pe(0x8664, cases[i].sections, 2, 0);
                Why why;

                assert(parse(&b, &s, &why) == -EBADMSG && strstr(why.text, cases[i].says));
        }
}

/* --- sbsign as the judge --- */

static int shell(const char *dir, const char *command)
{
        _cleanup_(free_charp) char *line = str_printf("cd %s && { %s; } >>log 2>&1", dir, command);

        assert(line);
        return system(line);
}

/* The digest inside the first signature: the first OCTET STRING of 32 bytes that openssl shows. */
static void signed_digest(const char *dir, const PeSummary *s, char out[65])
{
        _cleanup_(close_fdp) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;

        assert(file_replace(dir_fd, "p7.der", s->signatures[0].data, s->signatures[0].size, 0600) == 0);
        assert(shell(dir, "openssl asn1parse -inform DER -in p7.der | grep 'l=  32 prim: OCTET STRING' | "
                          "head -1 | "
                          "sed 's/.*DUMP\\]://' | tr -d '\\n' > digest") == 0);
        assert(file_read(dir_fd, "digest", 100, &text) == 0);
        assert(hex_normalize((char *) text.data, 64, out) == 0);
}

static void compare_signed(const char *dir, size_t tail, const char *gap)
{
        _cleanup_(close_fdp) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
        const TestSection sections[] = { { ".text", "code", 0 },
                                         { ".cmdline", "quiet", 0 },
                                         { ".linux", gap, 0 },
                                         { ".osrel", "ID=x", 0 } };
        _cleanup_(bytes_done) Bytes b = test_pe(0x8664, sections, ELEMENTSOF(sections), tail);
        _cleanup_(pe_summary_done) PeSummary s = { 0 }, plain = { 0 };
        char theirs[65], ours[65];
        Why why = { 0 };

        assert(parse(&b, &plain, &why) == 0);
        assert(file_replace(dir_fd, "x.efi", b.data, b.size, 0600) == 0);
        assert(shell(dir, "sbsign --key k.pem --cert c.pem --output once.efi x.efi && "
                          "sbsign --key k.pem --cert c.pem --output twice.efi once.efi && "
                          "sbverify --cert c.pem once.efi && sbverify --cert c.pem twice.efi") == 0);
        for (unsigned n = 1; n <= 2; n++) {
                fd = openat(dir_fd, n == 1 ? "once.efi" : "twice.efi", O_RDONLY | O_CLOEXEC);
                assert(pe_parse_fd(fd, "once.efi", WHY_TRUST, &s, &why) == 0);
                assert(s.n_signatures == n && s.has_authenticode && streq(s.cmdline, "quiet"));
                signed_digest(dir, &s, theirs);
                hex_encode(s.authenticode_sha256, 32, ours);
                assert(streq(ours, theirs));
                if (tail % 8 == 0) /* no padding was added: signing changes nothing that is hashed */
                        assert(memcmp(s.authenticode_sha256, plain.authenticode_sha256, 32) == 0);
                pe_summary_done(&s);
                close(take_fd(&fd));
        }
}

static bool test_against_sbsign(void)
{
        char dir[] = "/tmp/test-uki.XXXXXX";
        _cleanup_(free_charp) char *rm = NULL;

        if (system("command -v sbsign sbverify openssl >/dev/null 2>&1") != 0)
                return false;
        assert(mkdtemp(dir));
        assert(shell(dir,
                     "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -keyout k.pem -out c.pem") ==
               0);
        compare_signed(dir, 0, "a kernel");
        compare_signed(dir, 16, "a kernel");
        compare_signed(dir, 13, "a kernel"); /* sbsign pads to eight bytes and signs the padding */
        rm = str_printf("rm -r %s", dir);
        assert(system(rm) == 0);
        return true;
}

int main(void)
{
        test_texts();
        test_profiles();
        test_damage();
        test_truncation();
        test_texts_refused();
        if (!test_against_sbsign()) {
                puts("skipped the comparison: sbsign, sbverify or openssl is missing");
                return 77;
        }
        return 0;
}
