/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/run.h"
#include "base/str.h"
#include "release/test-kit.h"
#include "release/sbat.h"
#include "release/siglist.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define OPENSSL  "/usr/bin/openssl"
#define SBSIGN   "/usr/bin/sbsign"
#define SBVERIFY "/usr/bin/sbverify"

static char folder[] = "/tmp/gybe-test-secureboot-XXXXXX";
static int dir_fd = -1;

static bool tool(const char *command)
{
        _cleanup_(strv_freep) char **argv = NULL;
        _cleanup_(run_result_done) RunResult result = { 0 };
        RunOptions o = { .exe_fd = -1, .cwd_fd = dir_fd, .timeout_sec = 60, .output_max = 4096 };

        assert(strv_split_words(command, &argv) >= 0 && run(argv, &o, &result) >= 0);
        if (getenv("GYBE_DEBUG"))
                fprintf(stderr, "%s: %i %s\n", command, result.exit_code,
                        result.output.data ? (char *) result.output.data : "");
        return result.exit_code == 0;
}

static void put(const char *name, const void *data, size_t size)
{
        assert(file_replace(dir_fd, name, data, size, 0600) >= 0);
}

static Bytes get(const char *name)
{
        Bytes b = BYTES_NULL;

        assert(file_read(dir_fd, name, 1024 * 1024, &b) >= 0);
        return b;
}

/* --- a program for nobody: headers and one section of zeros, enough for sbsign --- */

#define PE_AT       0x40u
#define OPTIONAL_AT (PE_AT + 24u)
#define CHECKSUM_AT (OPTIONAL_AT + 64u)
#define CERTS_AT    (OPTIONAL_AT + 112u + 4u * 8u)
#define SECTION_AT  (OPTIONAL_AT + 240u)

static void le(uint8_t *p, uint64_t v, size_t n)
{
        for (size_t i = 0; i < n; i++)
                p[i] = (uint8_t) (v >> (8 * i));
}

static uint32_t le32(const uint8_t *p)
{
        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static void make_pe(void)
{
        uint8_t pe[0x400] = { 'M', 'Z' }, *o = pe + OPTIONAL_AT, *s = pe + SECTION_AT;

        pe[0x3c] = PE_AT;
        memcpy(pe + PE_AT, "PE\0", 4);
        le(pe + PE_AT + 4, 0x8664, 2);
        le(pe + PE_AT + 6, 1, 2);
        le(pe + PE_AT + 20, 240, 2);
        le(pe + PE_AT + 22, 0x22, 2);
        le(o, 0x20b, 2);
        le(o + 16, 0x1000, 4); /* entry point */
        le(o + 32, 0x1000, 4); /* section alignment */
        le(o + 36, 0x200, 4);  /* file alignment */
        le(o + 56, 0x2000, 4); /* size of image */
        le(o + 60, 0x200, 4);  /* size of headers */
        le(o + 68, 10, 2);     /* EFI application */
        le(o + 108, 16, 4);    /* directories */
        memcpy(s, ".text", 5);
        le(s + 8, 0x200, 4);
        le(s + 12, 0x1000, 4);
        le(s + 16, 0x200, 4);
        le(s + 20, 0x200, 4);
        le(s + 36, 0x60000020, 4);
        put("pe", pe, sizeof(pe));
}

/* Everything but the checksum, the directory entry of the signatures and the signatures. */
static void authenticode(const Bytes *pe, uint8_t digest[SHA256_SIZE])
{
        _cleanup_(digest_freep) Digest *d = NULL;
        size_t end = le32(pe->data + CERTS_AT) ? le32(pe->data + CERTS_AT) : pe->size;

        assert(digest_new(256, &d) >= 0);
        assert(digest_update(d, pe->data, CHECKSUM_AT) >= 0);
        assert(digest_update(d, pe->data + CHECKSUM_AT + 4, CERTS_AT - CHECKSUM_AT - 4) >= 0);
        assert(digest_update(d, pe->data + CERTS_AT + 8, end - CERTS_AT - 8) >= 0);
        assert(digest_final(d, digest) >= 0);
}

typedef struct Image {
        uint8_t digest[SHA256_SIZE];
        Bytes blobs[4];
        size_t n_blobs;
} Image;

static void image_done(Image *i)
{
        for (size_t k = 0; k < i->n_blobs; k++)
                bytes_done(&i->blobs[k]);
}

static void image_load(const char *name, Image *ret)
{
        Bytes pe = get(name);
        size_t at = le32(pe.data + CERTS_AT), end = at + le32(pe.data + CERTS_AT + 4);

        *ret = (Image){ 0 };
        authenticode(&pe, ret->digest);
        while (at && at + 8 < end) {
                size_t n = le32(pe.data + at);

                assert(ret->n_blobs < ELEMENTSOF(ret->blobs) && n > 8 && n <= end - at);
                assert(bytes_copy(&ret->blobs[ret->n_blobs++], pe.data + at + 8, n - 8) >= 0);
                at += (n + 7) / 8 * 8;
        }
        bytes_done(&pe);
}

/* --- signature lists --- */

static const uint8_t guid_x509[16] = { 0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                       0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72 };
static const uint8_t guid_sha256[16] = { 0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
                                         0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28 };
static const uint8_t guid_rsa2048[16] = { 0xe8, 0x66, 0x57, 0x3c, 0x9c, 0x26, 0x34, 0x4e,
                                          0xaa, 0x14, 0xed, 0x77, 0x6e, 0x85, 0xb3, 0xb6 };
static const uint8_t guid_tbs[3][16] = {
        { 0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed },
        { 0x6e, 0x87, 0x76, 0x70, 0xc2, 0x80, 0xe6, 0x4e, 0xaa, 0xd2, 0x28, 0xb3, 0x49, 0xa6, 0x86, 0x5b },
        { 0x63, 0xbf, 0x6d, 0x44, 0x02, 0x25, 0xda, 0x4c, 0xbc, 0xfa, 0x24, 0x65, 0xd2, 0xb0, 0xfe, 0x9d },
};

static void add_list(Bytes *to, const uint8_t guid[16], const void *data, size_t size)
{
        uint8_t head[28 + 16] = { 0 };

        memcpy(head, guid, 16);
        le(head + 16, sizeof(head) + size, 4);
        le(head + 24, 16 + size, 4);
        assert(bytes_append(to, head, sizeof(head)) >= 0 && bytes_append(to, data, size) >= 0);
}

static void add_file(Bytes *to, const uint8_t guid[16], const char *name)
{
        Bytes b = get(name);

        add_list(to, guid, b.data, b.size);
        bytes_done(&b);
}

/* "root.der leaf.der tbs256:leaf.tbs hash": certificates, digests of to-be-signed parts, the image itself */
static void add_words(Bytes *to, const char *words, const Image *image)
{
        _cleanup_(strv_freep) char **v = NULL;

        assert(strv_split_words(words, &v) >= 0);
        for (char **w = v; w && *w; w++) {
                if (streq(*w, "hash"))
                        add_list(to, guid_sha256, image->digest, SHA256_SIZE);
                else if (streq(*w, "other"))
                        add_list(to, guid_rsa2048, image->digest, SHA256_SIZE); /* a kind nobody evaluates */
                else if (streq(*w, "garbage"))
                        add_list(to, guid_x509, image->digest, SHA256_SIZE); /* no certificate: skipped */
                else if (str_starts(*w, "tbs"))
                        add_file(to, guid_tbs[(*w)[3] == '2' ? 0 : (*w)[3] == '3' ? 1 : 2], *w);
                else
                        add_file(to, guid_x509, *w);
        }
}

/* The digest of a certificate without its signature, as `openssl asn1parse` cuts it out, and a time of revocation. */
static void make_tbs(const char *name)
{
        for (unsigned i = 0; i < 3; i++) {
                static const char *const bits[] = { "256", "384", "512" };
                _cleanup_(free_charp) char *cut =
                        str_printf(OPENSSL " asn1parse -inform DER -in %s.der -strparse 4 -noout -out tbs",
                                   name);
                _cleanup_(free_charp) char *sum =
                        str_printf(OPENSSL " dgst -sha%s -binary -out sum tbs", bits[i]);
                _cleanup_(free_charp) char *out = str_printf("tbs%s:%s", bits[i], name);
                Bytes b;

                assert(tool(cut) && tool(sum));
                b = get("sum");
                assert(bytes_append(&b, "\xea\x07\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0", 16) >= 0);
                put(out, b.data, b.size);
                bytes_done(&b);
        }
}

static void make_cert(const char *name, const char *issuer, const char *extensions, unsigned days)
{
        _cleanup_(free_charp) char *key =
                str_printf(OPENSSL " genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out %s.key", name);
        _cleanup_(free_charp) char *req =
                str_printf(OPENSSL " req -new -key %s.key -subj /CN=gybe-test-%s -out %s.csr", name, name,
                           name);
        _cleanup_(free_charp) char *sign = NULL, *der = NULL;

        put("ext", extensions, strlen(extensions));
        if (streq(name, issuer))
                sign = str_printf(
                        OPENSSL
                        " x509 -req -in %s.csr -signkey %s.key -extfile ext -days %u -sha256 -out %s.pem",
                        name, name, days, name);
        else
                sign = str_printf(OPENSSL " x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -set_serial 7 "
                                          "-extfile ext -days %u -sha256 "
                                          "-out %s.pem",
                                  name, issuer, issuer, days, name);
        der = str_printf(OPENSSL " x509 -in %s.pem -outform DER -out %s.der", name, name);
        assert(tool(key) && tool(req) && tool(sign) && tool(der));
}

static void make_everything(void)
{
        Bytes inter, leaf;

        make_pe();
        make_cert("root", "root", "basicConstraints=critical,CA:TRUE\n", 30);
        make_cert("inter", "root", "basicConstraints=critical,CA:TRUE\n", 30);
        make_cert("leaf", "inter", "basicConstraints=CA:FALSE\n", 30);
        make_cert("child", "leaf", "basicConstraints=CA:FALSE\n", 30); /* signed by somebody who may not */
        make_cert("self", "self", "basicConstraints=CA:FALSE\n", 30);
        make_cert("old", "old", "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n",
                  0); /* expires as it is made */
        inter = get("inter.pem");
        leaf = get("leaf.pem");
        assert(bytes_append(&inter, leaf.data, leaf.size) >= 0);
        put("both.pem", inter.data, inter.size);
        bytes_done(&inter);
        bytes_done(&leaf);
        make_tbs("leaf");
        make_tbs("inter");
        make_tbs("root");
        assert(tool(SBSIGN " --key self.key --cert self.pem --output by-self pe"));
        assert(tool(SBSIGN " --key old.key --cert old.pem --output by-old pe"));
        assert(tool(SBSIGN " --key leaf.key --cert leaf.pem --output by-leaf-alone pe"));
        assert(tool(SBSIGN " --key leaf.key --cert leaf.pem --addcert inter.pem --output by-leaf pe"));
        assert(tool(SBSIGN " --key child.key --cert child.pem --addcert both.pem --output by-child pe"));
        assert(tool(SBSIGN
                    " --key leaf.key --cert leaf.pem --addcert inter.pem --output by-self-and-leaf by-self"));
        assert(tool(SBSIGN " --key self.key --cert self.pem --output by-leaf-and-self by-leaf"));
}

static int check(const Image *image, const char *db, const char *dbx, const char *mok, const char *mokx,
                 char signer[65], Why *why)
{
        _cleanup_(secureboot_variables_done) SecureBootVariables v = { .enabled = true };
        _cleanup_(secureboot_freep) SecureBoot *sb = NULL;

        add_words(&v.db, db, image);
        add_words(&v.dbx, dbx, image);
        add_words(&v.mok, mok, image);
        add_words(&v.mokx, mokx, image);
        assert(secureboot_new(&v, &sb, why) >= 0 && secureboot_enabled(sb));
        return secureboot_check(sb, "x.efi", image->digest, image->blobs, image->n_blobs, "", signer, why);
}

static void cert_digest(const char *name, char hex[65])
{
        Bytes b = get(name);

        assert(sha256_hex(b.data, b.size, hex) >= 0);
        bytes_done(&b);
}

static void test_decisions(void)
{
        static const struct {
                const char *image, *db, *dbx, *mok, *mokx;
                const char *signer; /* NULL: refused; "": by hash */
                const char *says;
        } cases[] = {
                { "pe", "root.der", "", "", "", NULL, "not signed" },
                { "pe", "hash", "", "", "", "", NULL },
                { "pe", "root.der hash", "hash", "", "", NULL, "this very image" },
                { "pe", "", "", "hash", "", "", NULL },
                { "pe", "other garbage", "", "", "", NULL, NULL },
                { "by-self", "self.der", "", "", "", "self.der", NULL },
                { "by-self", "garbage other self.der", "other garbage", "", "", "self.der", NULL },
                { "by-self", "root.der", "", "", "", NULL, "gybe-test-self leads to no certificate" },
                { "by-self", "", "", "", "", NULL, NULL },
                { "by-self", "self.der", "self.der", "", "", NULL, "forbids its signer" },
                { "by-self", "self.der", "", "", "hash", NULL, "this very image" },
                { "by-self", "self.der hash", "", "", "self.der", NULL,
                  "forbids its signer" }, /* a hash does not rescue it */
                { "by-old", "old.der", "", "", "", "old.der",
                  NULL }, /* firmware looks at no clock and no usage */
                { "by-leaf", "root.der", "", "", "", "root.der", NULL },
                { "by-leaf", "", "", "inter.der", "", "inter.der", NULL },
                { "by-leaf", "", "", "leaf.der", "", "leaf.der", NULL },
                { "by-leaf-alone", "root.der", "", "", "", NULL, "leads to no certificate" },
                { "by-leaf-alone", "root.der inter.der", "", "", "", "inter.der", NULL },
                { "by-child", "root.der", "", "", "", NULL, NULL }, /* its issuer is no CA */
                { "by-child", "child.der", "", "", "", NULL,
                  NULL }, /* nor does listing it help: the chain is looked at as it is */
                { "by-leaf", "root.der", "leaf.der", "", "", NULL, "forbids" },
                { "by-leaf", "root.der", "inter.der", "", "", NULL, "forbids" },
                { "by-leaf", "root.der", "", "", "inter.der", NULL, "forbids" },
                { "by-leaf", "leaf.der", "root.der", "", "", NULL,
                  "forbids" }, /* listed, but its root is not wanted */
                { "by-leaf-alone", "inter.der", "inter.der", "", "", NULL, "forbids" },
                { "by-leaf", "root.der", "tbs256:leaf", "", "", NULL, "forbids" },
                { "by-leaf", "root.der", "tbs384:inter", "", "", NULL, "forbids" },
                { "by-leaf", "root.der", "tbs512:inter", "", "", NULL, "forbids" },
                { "by-leaf", "root.der", "tbs256:root", "", "", NULL, "forbids an issuer" },
                { "by-self", "self.der", "tbs256:leaf tbs384:leaf tbs512:leaf", "", "", "self.der", NULL },
                { "by-self-and-leaf", "self.der", "", "", "", "self.der", NULL },
                { "by-self-and-leaf", "root.der", "", "", "", "root.der", NULL },
                { "by-self-and-leaf", "self.der", "leaf.der", "", "", NULL,
                  "forbids" }, /* one bad signature spoils it */
                { "by-self-and-leaf", "self.der", "tbs256:leaf", "", "", NULL, "forbids" },
                { "by-leaf-and-self", "self.der", "leaf.der", "", "", NULL, "forbids" },
                { "by-leaf-and-self", "root.der", "self.der", "", "", NULL, "forbids" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char signer[65] = "untouched", expect[65] = "";
                Image image;
                Why why = { 0 };
                int r;

                image_load(cases[i].image, &image);
                r = check(&image, cases[i].db, cases[i].dbx, cases[i].mok, cases[i].mokx, signer, &why);
                if ((r >= 0) != !!cases[i].signer ||
                    (r < 0 && cases[i].says && !strstr(why.text, cases[i].says)))
                        fprintf(stderr, "case %zu (%s): %i %s\n", i, cases[i].image, r, why.text);
                assert((r >= 0) == !!cases[i].signer);
                if (cases[i].signer && cases[i].signer[0])
                        cert_digest(cases[i].signer, expect);
                assert(r < 0 || streq(signer, expect));
                assert(r >= 0 || (r == -EKEYREJECTED && why.kind == WHY_TRUST && streq(signer, "untouched")));
                assert(!cases[i].says || strstr(why.text, cases[i].says));
                image_done(&image);
        }
}

/* sbverify, on the questions it can be asked: one certificate, no dbx, and nothing beside the signer's (it trusts whatever
 * other certificates a signature brings along). */
static void test_against_sbverify(void)
{
        static const char *const images[] = { "by-self", "by-leaf-alone" };
        static const char *const certs[] = { "self", "root", "inter", "leaf" };

        for (size_t i = 0; i < ELEMENTSOF(images); i++)
                for (size_t k = 0; k < ELEMENTSOF(certs); k++) {
                        _cleanup_(free_charp) char *command =
                                str_printf(SBVERIFY " --cert %s.pem %s", certs[k], images[i]);
                        _cleanup_(free_charp) char *der = str_printf("%s.der", certs[k]);
                        char signer[65];
                        Image image;

                        image_load(images[i], &image);
                        assert((check(&image, der, "", "", "", signer, NULL) >= 0) == tool(command));
                        image_done(&image);
                }
}

/* Any byte of the signature changed: never accepted where it matters, never a crash. */
static void test_damage(void)
{
        size_t accepted = 0, n = 0;
        char signer[65];
        Image image;
        Why why = { 0 };

        image_load("by-self", &image);
        assert(image.n_blobs == 1);
        image.digest[0] ^= 1;
        assert(check(&image, "self.der", "", "", "", signer, &why) < 0 && strstr(why.text, "another image"));
        image.digest[0] ^= 1;
        for (size_t at = 0; at < image.blobs[0].size; at += 3, n++) {
                image.blobs[0].data[at] ^= 0x10;
                accepted += check(&image, "self.der", "", "", "", signer, NULL) >= 0;
                image.blobs[0].data[at] ^= 0x10;
        }
        assert(accepted < n / 10); /* version numbers, names of certificates that are not compared */
        image_done(&image);
}

static void test_cut_short(void)
{
        _cleanup_(secureboot_variables_done) SecureBootVariables v = { .enabled = true };
        _cleanup_(secureboot_freep) SecureBoot *sb = NULL;
        char signer[65];
        Image image;

        image_load("by-self", &image);
        add_file(&v.db, guid_x509, "self.der");
        assert(secureboot_new(&v, &sb, NULL) >= 0);
        for (size_t size = 0; size < image.blobs[0].size - 8; size += 13) {
                Bytes cut = { image.blobs[0].data, size };

                assert(secureboot_check(sb, "x", image.digest, &cut, 1, "", signer, NULL) < 0);
        }
        assert(secureboot_check(sb, "x", image.digest, image.blobs, 1, "", signer, NULL) >= 0);
        image_done(&image);
}

static void put_variable(int efivars, const char *name, const char *guid, const void *data, size_t size)
{
        _cleanup_(free_charp) char *file = str_printf("%s-%s", name, guid);
        Bytes b = BYTES_NULL;

        assert(bytes_append(&b, "\x06\0\0\0", 4) >= 0 && bytes_append(&b, data, size) >= 0);
        assert(file_replace(efivars, file, b.data, b.size, 0600) >= 0);
        bytes_done(&b);
}

static void test_variables(void)
{
        static const char global[] = "8be4df61-93ca-11d2-aa0d-00e098032b8c",
                          shim[] = "605dab50-e046-4300-abb6-3dd810dd8b23",
                          database[] = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
        _cleanup_(close_fdp) int vars = dir_make(dir_fd, "host/sys/firmware/efi/efivars", 0755);
        _cleanup_(bytes_done) Bytes a = BYTES_NULL, b = BYTES_NULL;
        _cleanup_(free_charp) char *root = str_printf("%s/host", folder);
        Env env = ENV_NULL;
        char signer[65];
        Image leaf, self;

        image_load("by-leaf", &leaf);
        image_load("by-self", &self);
        assert(vars >= 0 && env_open(root, &env, NULL) >= 0);
        for (int step = 0; step < 6; step++) {
                _cleanup_(secureboot_freep) SecureBoot *sb = NULL;
                Why why = { 0 };
                int r;

                if (step == 1) {
                        put_variable(vars, "SecureBoot", global, "\x01", 1);
                        put_variable(vars, "SetupMode", global, "\x01", 1);
                        add_file(&a, guid_x509, "self.der");
                        put_variable(vars, "db", database, a.data, a.size);
                }
                if (step == 2) { /* shim split its list */
                        put_variable(vars, "SetupMode", global, "\0", 1);
                        put_variable(vars, "MokListRT", shim, a.data, a.size);
                        add_file(&b, guid_x509, "inter.der");
                        put_variable(vars, "MokListRT1", shim, b.data, b.size);
                }
                if (step == 3)
                        put_variable(vars, "SbatLevelRT", shim, "sbat,1,2024\nsystemd-stub,2\n", 27);
                if (step == 4)
                        put_variable(vars, "MokListXRT", shim, b.data, b.size);
                if (step == 5)
                        put_variable(vars, "dbx", database, b.data, b.size - 1);
                r = secureboot_open(&env, &sb, &why);
                if (step == 5) {
                        assert(r < 0 && why.kind == WHY_HOST && strstr(why.text, "dbx"));
                        break;
                }
                assert(r >= 0 && secureboot_enabled(sb) == (step >= 2));
                assert((secureboot_check(sb, "x", self.digest, self.blobs, 1, "", signer, NULL) >= 0) ==
                       (step >= 1));
                assert((secureboot_check(sb, "x", leaf.digest, leaf.blobs, 1, "", signer, NULL) >= 0) ==
                       (step == 2 || step == 3));
                assert((secureboot_check(sb, "x", self.digest, self.blobs, 1, "systemd-stub,1,x", signer,
                                         &why) >= 0) == (step == 1 || step == 2));
                assert(step < 3 || streq(why.code, "sbat"));
        }
        env_done(&env);
        image_done(&leaf);
        image_done(&self);
}

static void test_sbat(void)
{
        static const char level[] = "sbat,1,2024010900\nshim,4\ngrub,3\nsystemd-boot,2\n";
        static const struct {
                const char *image, *level;
                bool good;
        } cases[] = {
                { "", level, true }, /* nothing to revoke it by */
                { "sbat,1,SBAT Version,sbat,1,https://x\nsystemd-boot,2,x,y,z,w\n", level, true },
                { "sbat,1,SBAT Version,sbat,1,https://x\nsystemd-boot,1,x,y,z,w\n", level, false },
                { "systemd-boot,1", level, false },
                { "systemd-boot,1", "", true }, /* no shim on this machine */
                { "sbat,1\r\nother,1\r\nshim,3\r\n", level, false },
                { "systemd-boot.acl,1\nsystemd,0\n", level, true }, /* other names, however alike */
                { "systemd-boot,10", level, true },
                { "systemd-boot,99999999999999999999999", level, false }, /* not a number of ours */
                { "systemd-boot,-1", level, false },
                { "systemd-boot,", level, false },
                { "systemd-boot", level, false },
                { ",5", level, false },
                { "systemd-boot,2", "systemd-boot,x", false },
                { "systemd-boot,2", "\n\nsystemd-boot,3", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Why why = { 0 };
                int r = sbat_check(cases[i].image, cases[i].level, "x.efi", &why);

                if ((r >= 0) != cases[i].good)
                        fprintf(stderr, "case %zu: %s\n", i, why.text);
                assert((r >= 0) == cases[i].good);
        }
}

static int count(void *ctx, const SigEntry *entry)
{
        unsigned *n = ctx;

        assert(entry->size > 0);
        ++*n;
        return 0;
}

static void test_lists(void)
{
        _cleanup_(bytes_done) _unused_ Bytes good = BYTES_NULL;
        static const struct {
                size_t at;
                uint32_t value;
        } bad[] = {
                { 16, 0 },                                          /* a list of no size would never end */
                { 16, 27 },         { 16, UINT32_MAX }, { 20, 1 },  /* a header that leaves no whole entry */
                { 20, UINT32_MAX }, { 24, 0 },          { 24, 16 }, /* an owner without data */
                { 24, 17 },         { 24, UINT32_MAX },
        };
        uint8_t hashes[28 + 2 * 48] = { 0 };
        unsigned n = 0;

        memcpy(hashes, guid_sha256, 16);
        le(hashes + 16, sizeof(hashes), 4);
        le(hashes + 24, 48, 4);
        assert(siglist_each(hashes, sizeof(hashes), "db", count, &n, NULL) >= 0 && n == 2);
        assert(siglist_each("", 0, "db", count, &n, NULL) >= 0 && n == 2);
        for (size_t size = 1; size < sizeof(hashes); size++)
                assert(siglist_each(hashes, size, "db", count, &n, NULL) < 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                uint8_t spoiled[sizeof(hashes)];
                Why why = { 0 };

                memcpy(spoiled, hashes, sizeof(hashes));
                le(spoiled + bad[i].at, bad[i].value, 4);
                assert(siglist_each(spoiled, sizeof(spoiled), "dbx", count, &n, &why) < 0 &&
                       why.kind == WHY_HOST);
        }
        le(hashes + 24, 32, 4); /* whole entries, but no SHA-256 */
        le(hashes + 16, 28 + 96, 4);
        assert(siglist_each(hashes, sizeof(hashes), "db", count, &n, NULL) < 0);
}

/* The layout of fuzz-secureboot.c */
static int parse_secureboot(const void *data, size_t size, Why *why)
{
        const uint8_t *p = data;
        size_t n = (size_t) p[0] | (size_t) p[1] << 8;
        Bytes blob = { (uint8_t *) p + 34 + n, size - 34 - n };
        _cleanup_(secureboot_variables_done) SecureBootVariables v = { 0 };
        _cleanup_(secureboot_freep) SecureBoot *sb = NULL;
        char signer[65];
        int r;

        assert(size >= 34 + n && bytes_copy(&v.db, p + 34, n) >= 0);
        if (n > 5 && memcmp(p + 34, "sbat,", 5) == 0)
                return sbat_check("shim,4\n", (char *) v.db.data, "x", why);
        r = secureboot_new(&v, &sb, why);
        return r < 0 ? r : secureboot_check(sb, "x", p + 2, &blob, blob.size > 0, "", signer, why);
}

int main(void)
{
        test_sbat();
        test_lists();
        kit_corpus("secureboot", parse_secureboot);
        if (access(OPENSSL, X_OK) < 0 || access(SBSIGN, X_OK) < 0 || access(SBVERIFY, X_OK) < 0)
                return printf("skipped: openssl and sbsigntool (sbsign, sbverify) are needed to sign an "
                              "image\n"),
                       77;
        assert(mkdtemp(folder));
        dir_fd = open(folder, O_DIRECTORY | O_CLOEXEC);
        make_everything();
        test_decisions();
        test_against_sbverify();
        test_damage();
        test_cut_short();
        test_variables();
        (void) close(dir_fd);
        dir_fd = open("/tmp", O_DIRECTORY | O_CLOEXEC);
        assert(dir_remove(dir_fd, folder + strlen("/tmp/")) >= 0);
        (void) close(dir_fd);
        return 0;
}
