/* SPDX-License-Identifier: MIT */

/* Takes a PE image apart. A UKI is a PE whose sections are the kernel, its initrd and a few texts; an addon
 * is the same without a kernel. What firmware, shim and systemd-stub would see is what counts here: a section
 * that reaches beyond the file, two of one text, a certificate table that is not the end of the file are
 * refused, because the machine that boots such a file may never come back.
 *
 * The file is read through a callback, in small pieces and in the order of its offsets; only texts and
 * signatures are kept. Nothing here verifies a signature: release/secureboot does, over the digest that is
 * computed here. */

#include "bootloader/pe.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#define DOS_HEADER_SIZE   64u
#define COFF_HEADER_SIZE  24u /* with the signature "PE\0\0" */
#define SECTION_SIZE      40u
#define OPTIONAL_SIZE_MIN 112u /* PE32+ up to the data directories */
#define OPTIONAL_SIZE_MAX 1024u
#define PE32_PLUS         0x20bu
#define CERTIFICATE_ENTRY 4u /* index of the data directory */

uint16_t pe_le16(const uint8_t *p)
{
        return (uint16_t) (p[0] | p[1] << 8);
}

uint32_t pe_le32(const uint8_t *p)
{
        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

int pe_bad(const Pe *pe, const char *text)
{
        return fail(pe->why, -EBADMSG, pe->kind, "bad-pe", "%s is not a usable PE file: %s", pe->what, text);
}

int pe_get(const Pe *pe, uint64_t offset, void *buf, size_t size)
{
        int r;

        if (offset > pe->size || size > pe->size - offset)
                return pe_bad(pe, "it ends too early");
        r = pe->read(pe->ctx, offset, buf, size);
        if (r < 0)
                return fail_errno(pe->why, r, WHY_HOST, "cannot read %s", pe->what);
        return 0;
}

/* --- headers --- */

static int read_directory(Pe *pe, const uint8_t *opt, size_t opt_size, uint64_t opt_at)
{
        size_t at = OPTIONAL_SIZE_MIN + 8 * CERTIFICATE_ENTRY;

        if (pe_le32(opt + 108) <= CERTIFICATE_ENTRY || opt_size < at + 8)
                return 0;
        pe->directory_at = opt_at + at;
        pe->certificates = pe_le32(opt + at);
        pe->certificates_size = pe_le32(opt + at + 4);
        if (pe->certificates_size == 0)
                return 0;
        if (pe->certificates_size > UKI_CERTIFICATES_MAX)
                return pe_bad(pe, "its certificate table is larger than 256 KiB");
        /* Firmware finds the end of the signed bytes by counting back from the end of the file. */
        if (pe->certificates + pe->certificates_size != pe->size || pe->certificates < pe->table_end)
                return pe_bad(pe, "its certificate table is not the end of the file");
        return 0;
}

static int read_optional(Pe *pe, uint64_t opt_at, size_t opt_size)
{
        uint8_t opt[OPTIONAL_SIZE_MAX];
        int r;

        if (opt_size < OPTIONAL_SIZE_MIN)
                return 0;
        r = pe_get(pe, opt_at, opt, opt_size);
        if (r < 0)
                return r;
        if (pe_le16(opt) != PE32_PLUS)
                return 0;
        r = read_directory(pe, opt, opt_size, opt_at);
        if (r < 0)
                return r;
        pe->checksum_at = opt_at + 64;
        pe->headers_size = pe_le32(opt + 60);
        if (pe->headers_size < pe->table_end || pe->headers_size > pe->size - pe->certificates_size)
                pe->headers_size = 0;
        if (pe->headers_size == 0 && pe->certificates_size > 0)
                return pe_bad(pe, "it is signed, but its header size is wrong");
        return 0;
}

static int read_section(Pe *pe, const uint8_t *raw)
{
        Section *s = pe->sections + pe->n_sections;

        memcpy(s->name, raw, 8);
        s->virtual_size = pe_le32(raw + 8);
        s->raw_size = pe_le32(raw + 16);
        s->offset = pe_le32(raw + 20);
        if (s->raw_size > 0) {
                if (s->offset < pe->table_end)
                        return pe_bad(pe, "a section lies over its headers");
                if (s->offset + s->raw_size > pe->size - pe->certificates_size)
                        return pe_bad(pe, "a section reaches beyond the end of the file");
        }
        pe->n_sections++;
        return 0;
}

static int read_headers(Pe *pe)
{
        uint8_t dos[DOS_HEADER_SIZE], coff[COFF_HEADER_SIZE], raw[SECTION_SIZE];
        uint64_t at, table;
        size_t n, opt_size;
        int r;

        r = pe_get(pe, 0, dos, sizeof(dos));
        if (r < 0)
                return r;
        at = pe_le32(dos + 60);
        if (dos[0] != 'M' || dos[1] != 'Z')
                return pe_bad(pe, "no MZ header");
        r = pe_get(pe, at, coff, sizeof(coff));
        if (r < 0)
                return r;
        if (memcmp(coff, "PE\0\0", 4) != 0)
                return pe_bad(pe, "no PE header");
        pe->machine = pe_le16(coff + 4);
        n = pe_le16(coff + 6);
        opt_size = pe_le16(coff + 20);
        if (n == 0 || n > UKI_SECTIONS_MAX || opt_size > OPTIONAL_SIZE_MAX)
                return pe_bad(pe, "it has no sections or too many, or its optional header is too large");
        table = at + COFF_HEADER_SIZE + opt_size;
        pe->table_end = table + n * SECTION_SIZE;
        r = read_optional(pe, at + COFF_HEADER_SIZE, opt_size);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                r = pe_get(pe, table + i * SECTION_SIZE, raw, sizeof(raw));
                if (r >= 0)
                        r = read_section(pe, raw);
        }
        return r;
}

/* --- texts --- */

static int read_text(const Pe *pe, const Section *s, size_t max, char **ret)
{
        _cleanup_(free_charp) char *text = NULL;
        uint64_t size = MIN(s->virtual_size, s->raw_size);
        int r;

        if (size > max)
                return pe_bad(pe, "one of its texts is larger than 64 KiB");
        text = malloc((size_t) size + 1);
        if (!text)
                return -ENOMEM;
        r = size == 0 ? 0 : pe_get(pe, s->offset, text, (size_t) size);
        if (r < 0)
                return r;
        while (size > 0 && memchr("\0 \t\r\n\v\f", text[size - 1], 7))
                size--;
        text[size] = '\0';
        if (strlen(text) != size)
                return pe_bad(pe, "one of its texts has a NUL byte inside");
        *ret = TAKE(text);
        return 0;
}

static int take_text(const Pe *pe, const Section *s, char **slot)
{
        if (*slot)
                return pe_bad(pe, "it has one text section twice");
        return read_text(pe, s, streq(s->name, ".cmdline") ? UKI_CMDLINE_MAX : UKI_TEXT_MAX, slot);
}

static int take_base_section(const Pe *pe, const Section *s, PeSummary *sum)
{
        const struct {
                const char *name;
                char **slot;
        } texts[] = {
                { ".cmdline", &sum->cmdline }, { ".osrel", &sum->osrel },     { ".uname", &sum->uname },
                { ".sbat", &sum->sbat },       { ".sdmagic", &sum->sdmagic },
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (streq(s->name, texts[i].name))
                        return take_text(pe, s, texts[i].slot);
        if (streq(s->name, ".linux")) {
                if (sum->has_linux)
                        return pe_bad(pe, "it has two kernels");
                sum->has_linux = true;
        } else if (streq(s->name, ".initrd"))
                sum->has_initrd = true;
        return 0;
}

/* A profile's sections replace those of the base when it is chosen; nobody here asks for more than their
 * arguments. */
static int take_profile_section(const Pe *pe, const Section *s, PeSummary *sum)
{
        _cleanup_(free_charp) char *text = NULL, *all = NULL;
        int r;

        if (!streq(s->name, ".cmdline"))
                return 0;
        r = read_text(pe, s, UKI_CMDLINE_MAX, &text);
        if (r < 0)
                return r;
        all = str_printf("%s%s%s", sum->profile_cmdlines ? sum->profile_cmdlines : "",
                         sum->profile_cmdlines ? " " : "", text);
        if (!all)
                return -ENOMEM;
        free(sum->profile_cmdlines);
        sum->profile_cmdlines = TAKE(all);
        return 0;
}

static int read_texts(const Pe *pe, PeSummary *sum)
{
        bool base = true;

        for (size_t i = 0; i < pe->n_sections; i++) {
                const Section *s = pe->sections + i;
                int r;

                if (streq(s->name, ".profile"))
                        base = false;
                r = base ? take_base_section(pe, s, sum) : take_profile_section(pe, s, sum);
                if (r < 0)
                        return r;
        }
        sum->has_cmdline = !!sum->cmdline;
        sum->has_osrel = !!sum->osrel;
        sum->is_addon = !sum->has_linux;
        return 0;
}

/* --- door --- */

void pe_summary_done(PeSummary *s)
{
        free(s->cmdline);
        free(s->osrel);
        free(s->uname);
        free(s->sbat);
        free(s->sdmagic);
        free(s->profile_cmdlines);
        for (size_t i = 0; i < s->n_signatures; i++)
                bytes_done(s->signatures + i);
        *s = (PeSummary){ 0 };
}

void pe_summary_move(PeSummary *dst, PeSummary *src)
{
        pe_summary_done(dst);
        *dst = *src;
        *src = (PeSummary){ 0 };
}

static int read_embedded(Pe *pe, char ret[65])
{
        uint64_t at = pe->machine == 0xaa64 ? KERNEL_ROOTHASH_AARCH64 : KERNEL_ROOTHASH_X86_64;
        char text[65] = "";
        int r = pe->size < at + 64 ? 0 : pe->read(pe->ctx, at, text, 64);

        if (r < 0)
                return r;
        if (hex_normalize(text, 64, ret) < 0)
                ret[0] = 0;
        return 0;
}

static int summarize(Pe *pe, bool digest, PeSummary *ret)
{
        _cleanup_(pe_summary_done) PeSummary sum = { 0 };
        int r;

        r = read_headers(pe);
        if (r >= 0)
                r = read_texts(pe, &sum);
        if (r >= 0 && digest)
                r = pe_digest(pe, &sum);
        if (r >= 0 && digest)
                r = pe_signatures(pe, &sum);
        if (r < 0)
                return fail_errno(pe->why, r, WHY_HOST, "cannot read %s", pe->what);
        sum.machine = pe->machine;
        r = read_embedded(pe, sum.embedded_roothash);
        if (r < 0)
                return fail_errno(pe->why, r, WHY_HOST, "cannot read %s", pe->what);
        *ret = sum;
        sum = (PeSummary){ 0 };
        return 0;
}

int pe_read(PeRead read, void *ctx, uint64_t size, const char *what, WhyKind kind, PeSummary *ret, Why *why)
{
        Pe pe = { .read = read, .ctx = ctx, .size = size, .what = what, .kind = kind, .why = why };

        return summarize(&pe, true, ret);
}

typedef struct Memory {
        const uint8_t *data;
        size_t size;
} Memory;

static int memory_read(void *ctx, uint64_t offset, void *buf, size_t size)
{
        const Memory *m = ctx;

        memcpy(buf, m->data + offset, size);
        return 0;
}

int pe_parse(const uint8_t *data, size_t size, const char *what, WhyKind kind, PeSummary *ret, Why *why)
{
        Memory m = { data, size };

        return pe_read(memory_read, &m, size, what, kind, ret, why);
}

static int fd_read_at(void *ctx, uint64_t offset, void *buf, size_t size)
{
        const int *fd = ctx;
        ssize_t l = fd_pread_full(*fd, buf, size, offset);

        return l < 0 ? (int) l : (size_t) l == size ? 0 : -EIO;
}

static int parse_fd(int fd, const char *what, WhyKind kind, bool digest, PeSummary *ret, Why *why)
{
        Pe pe = { .read = fd_read_at, .ctx = &fd, .what = what, .kind = kind, .why = why };
        struct stat st;

        if (fstat(fd, &st) < 0)
                return fail_errno(why, -errno, WHY_HOST, "cannot read %s", what);
        if (!S_ISREG(st.st_mode))
                return fail(why, -EBADMSG, kind, "bad-pe", "%s is not a usable PE file: not a regular file",
                            what);
        pe.size = (uint64_t) st.st_size;
        return summarize(&pe, digest, ret);
}

int pe_parse_fd(int fd, const char *what, WhyKind kind, PeSummary *ret, Why *why)
{
        return parse_fd(fd, what, kind, true, ret, why);
}

int pe_texts_fd(int fd, const char *what, WhyKind kind, PeSummary *ret, Why *why)
{
        return parse_fd(fd, what, kind, false, ret, why);
}
