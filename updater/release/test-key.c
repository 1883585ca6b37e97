/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/file.h"
#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"
#include "release/release.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define OPENSSL "/usr/bin/openssl"

static char folder[] = "/tmp/gybe-test-key-XXXXXX";
static int dir_fd = -1;

static void put(const char *name, const void *data, size_t size)
{
        assert(file_replace(dir_fd, name, data, size, 0600) >= 0);
}

/* One openssl command line, words without blanks, inside the folder. */
static bool openssl(const char *command)
{
        _cleanup_(free_charp) char *line = str_printf(OPENSSL " %s", command);
        _cleanup_(strv_freep) char **argv = NULL;
        _cleanup_(run_result_done) RunResult result = { 0 };
        RunOptions o = { .exe_fd = -1, .cwd_fd = dir_fd, .timeout_sec = 60, .output_max = 4096 };

        assert(line && strv_split_words(line, &argv) >= 0);
        assert(run(argv, &o, &result) >= 0);
        return result.exit_code == 0;
}

static const char message[] = "DSSEv1 1 t 5 hello";

/* What the openssl program says about our signatures, and we about its. */
static const struct {
        KeyAlg alg;
        const char *verify, *sign, *generate;
} tools[] = {
        { KEY_ECDSA_P384, "dgst -sha384 -verify pub -signature sig msg",
          "dgst -sha384 -sign theirs -out sig msg",
          "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out theirs" },
        { KEY_ECDSA_P256, "dgst -sha256 -verify pub -signature sig msg",
          "dgst -sha256 -sign theirs -out sig msg",
          "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out theirs" },
        { KEY_ED25519, "pkeyutl -verify -pubin -inkey pub -rawin -in msg -sigfile sig",
          "pkeyutl -sign -inkey theirs -rawin -in msg -out sig", "genpkey -algorithm ED25519 -out theirs" },
        { KEY_RSA_PSS,
          "dgst -sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:48 -sigopt rsa_mgf1_md:sha384 "
          "-verify pub "
          "-signature sig msg",
          "dgst -sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:48 -sign theirs -out sig msg",
          "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out theirs" },
        { KEY_ML_DSA_65, "pkeyutl -verify -pubin -inkey pub -rawin -in msg -sigfile sig",
          "pkeyutl -sign -inkey theirs -rawin -in msg -out sig", "genpkey -algorithm ML-DSA-65 -out theirs" },
};

static void check_ours(size_t i)
{
        _cleanup_(bytes_done) Bytes sig = BYTES_NULL, pem = BYTES_NULL, spki = BYTES_NULL,
                                    private = BYTES_NULL;
        _cleanup_(key_freep) Key *key = NULL, *again = NULL, *public = NULL;
        char id[KEYID_SIZE], id_again[KEYID_SIZE];

        assert(key_generate(tools[i].alg, &key, NULL) >= 0);
        assert(key_alg(key) == tools[i].alg);
        assert(key_sign(key, message, strlen(message), &sig, NULL) >= 0 && sig.size <= SIGNATURE_MAX);
        assert(key_public_pem(key, &pem) >= 0);
        put("pub", pem.data, pem.size);
        put("msg", message, strlen(message));
        put("sig", sig.data, sig.size);
        assert(openssl(tools[i].verify));

        assert(key_spki(key, &spki) >= 0 &&
               key_from_spki(tools[i].alg, spki.data, spki.size, &public, NULL) >= 0);
        assert(key_verify(public, message, strlen(message), sig.data, sig.size) == 1);
        assert(key_verify(public, message, strlen(message) - 1, sig.data, sig.size) == 0);
        assert(key_verify(public, message, strlen(message), sig.data, sig.size - 1) == 0);
        assert(key_verify(public, message, strlen(message), NULL, 0) == 0);
        sig.data[sig.size / 2] ^= 1;
        assert(key_verify(public, message, strlen(message), sig.data, sig.size) == 0);
        assert(key_same(key, public));

        assert(key_private_pem(key, &private) >= 0);
        assert(key_from_pem(private.data, private.size, "k", &again, NULL) >= 0 &&
               key_alg(again) == tools[i].alg);
        assert(key_id(key, id) >= 0 && key_id(again, id_again) >= 0 && streq(id, id_again));
        /* The keyid is what anybody computes: sha256 over the DER. */
        assert(openssl("pkey -pubin -in pub -outform DER -out der") &&
               openssl("dgst -sha256 -r -out sum der"));
        bytes_done(&pem);
        assert(file_read(dir_fd, "sum", 200, &pem) >= 0 && str_starts((char *) pem.data, id));
}

static void check_theirs(size_t i)
{
        _cleanup_(bytes_done) Bytes pem = BYTES_NULL, sig = BYTES_NULL;
        _cleanup_(key_freep) Key *key = NULL;

        assert(openssl(tools[i].generate) && openssl(tools[i].sign));
        assert(file_read(dir_fd, "theirs", 65536, &pem) >= 0 &&
               file_read(dir_fd, "sig", SIGNATURE_MAX, &sig) >= 0);
        assert(key_from_pem(pem.data, pem.size, "theirs", &key, NULL) >= 0 && key_alg(key) == tools[i].alg);
        assert(key_verify(key, message, strlen(message), sig.data, sig.size) == 1);
}

/* Salt and digest are part of the algorithm's name: other PSS parameters are other signatures. */
static void test_pss_parameters(void)
{
        static const char *const others[] = {
                "dgst -sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sign theirs -out sig "
                "msg",
                "dgst -sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:max -sign theirs -out sig "
                "msg",
                "dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -sign theirs -out "
                "sig msg",
                "dgst -sha384 -sign theirs -out sig msg", /* PKCS#1 v1.5 */
        };
        _cleanup_(bytes_done) Bytes pem = BYTES_NULL;
        _cleanup_(key_freep) Key *key = NULL;

        assert(openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out theirs"));
        assert(file_read(dir_fd, "theirs", 65536, &pem) >= 0);
        assert(key_from_pem(pem.data, pem.size, "theirs", &key, NULL) >= 0);
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                _cleanup_(bytes_done) Bytes sig = BYTES_NULL;

                assert(openssl(others[i]) && file_read(dir_fd, "sig", SIGNATURE_MAX, &sig) >= 0);
                assert(key_verify(key, message, strlen(message), sig.data, sig.size) == 0);
        }
}

static void test_refused_keys(void)
{
        static const struct {
                const char *generate;
                KeyAlg as;
                bool good;
        } cases[] = {
                { "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out theirs", KEY_RSA_PSS, false },
                { "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out theirs", KEY_RSA_PSS, true },
                { "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:3072 -out theirs", KEY_RSA_PSS, true },
                { "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out theirs", KEY_ECDSA_P384,
                  false },
                { "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out theirs", KEY_ECDSA_P384,
                  false },
                { "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out theirs", KEY_ECDSA_P256,
                  false },
                { "genpkey -algorithm ED448 -out theirs", KEY_ED25519, false },
                { "genpkey -algorithm X25519 -out theirs", KEY_ED25519, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(bytes_done) Bytes der = BYTES_NULL, longer = BYTES_NULL;
                _cleanup_(key_freep) Key *key = NULL, *tail = NULL, *other = NULL;
                Why why = { 0 };

                assert(openssl(cases[i].generate) &&
                       openssl("pkey -in theirs -pubout -outform DER -out der"));
                assert(file_read(dir_fd, "der", 65536, &der) >= 0);
                assert((key_from_spki(cases[i].as, der.data, der.size, &key, &why) >= 0) == cases[i].good);
                assert(cases[i].good || (why.kind == WHY_TRUST && why.text[0]));
                /* One byte after the key is not the key. */
                assert(bytes_copy(&longer, der.data, der.size) >= 0 && bytes_append(&longer, "", 1) >= 0);
                assert(key_from_spki(cases[i].as, longer.data, longer.size, &tail, NULL) < 0);
                assert(key_from_spki(cases[i].as == KEY_ED25519 ? KEY_RSA_PSS : KEY_ED25519, der.data,
                                     der.size, &other, NULL) < 0);
        }
}

/* One key in two encodings has two keyids; roots must not take it for two people. */
static void test_same_key(void)
{
        _cleanup_(bytes_done) Bytes a = BYTES_NULL, b = BYTES_NULL;
        _cleanup_(key_freep) Key *key_a = NULL, *key_b = NULL, *other = NULL;

        assert(openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out theirs"));
        assert(openssl("ec -in theirs -pubout -outform DER -out plain -conv_form uncompressed"));
        assert(openssl("ec -in theirs -pubout -outform DER -out short -conv_form compressed"));
        assert(file_read(dir_fd, "plain", 65536, &a) >= 0 && file_read(dir_fd, "short", 65536, &b) >= 0);
        assert(a.size != b.size);
        assert(key_from_spki(KEY_ECDSA_P384, a.data, a.size, &key_a, NULL) >= 0);
        assert(key_from_spki(KEY_ECDSA_P384, b.data, b.size, &key_b, NULL) >= 0);
        assert(key_generate(KEY_ECDSA_P384, &other, NULL) >= 0);
        assert(key_same(key_a, key_b) && !key_same(key_a, other));
}

static void test_pem(void)
{
        _cleanup_(bytes_done) Bytes locked = BYTES_NULL, public = BYTES_NULL, sig = BYTES_NULL;
        _cleanup_(key_freep) Key *key = NULL;
        Why why = { 0 }, cannot = { 0 };

        assert(openssl("genpkey -algorithm ED25519 -aes256 -pass pass:secret -out locked"));
        assert(file_read(dir_fd, "locked", 65536, &locked) >= 0);
        assert(key_from_pem(locked.data, locked.size, "locked", &key, &why) < 0 &&
               why.kind == WHY_USAGE); /* and no prompt */
        assert(key_from_pem("", 0, "empty", &key, NULL) < 0 && key_from_pem("x", 1, "x", &key, NULL) < 0);

        assert(openssl("genpkey -algorithm ED25519 -out theirs") &&
               openssl("pkey -in theirs -pubout -out pub"));
        assert(file_read(dir_fd, "pub", 65536, &public) >= 0);
        assert(key_from_pem(public.data, public.size, "pub", &key, NULL) >= 0 && key_alg(key) == KEY_ED25519);
        assert(key_sign(key, "x", 1, &sig, &cannot) < 0 && cannot.kind == WHY_HOST);
}

static void test_names(void)
{
        for (KeyAlg alg = 0; alg < _KEY_ALG_MAX; alg++)
                assert(key_alg_from_name(key_alg_name(alg)) == alg);
        assert(key_alg_from_name("rsa") < 0 && key_alg_from_name("") < 0 && key_alg_from_name("ED25519") < 0);
        assert(!key_alg_supported(_KEY_ALG_INVALID) && key_alg_supported(KEY_ECDSA_P384));
}

static void test_missing_algorithm(void)
{
        _cleanup_(key_freep) Key *key = NULL;
        Why why = { 0 };

        if (key_alg_supported(KEY_ML_DSA_65))
                return;
        assert(key_from_spki(KEY_ML_DSA_65, (const uint8_t *) "x", 1, &key, &why) == -EOPNOTSUPP);
        assert(strstr(why.text, "ml-dsa-65"));
        assert(key_generate(KEY_ML_DSA_65, &key, NULL) == -EOPNOTSUPP);
}

int main(void)
{
        test_names();
        test_missing_algorithm();
        if (access(OPENSSL, X_OK) < 0)
                return printf("skipped: there is no " OPENSSL " to compare with\n"), 77;
        assert(mkdtemp(folder));
        dir_fd = open(folder, O_DIRECTORY | O_CLOEXEC);
        for (size_t i = 0; i < ELEMENTSOF(tools); i++) {
                if (!key_alg_supported(tools[i].alg)) {
                        /* What the program can do we can too: nothing is left out where it need not be. */
                        assert(!openssl(tools[i].generate));
                        printf("%s: not in this OpenSSL\n", key_alg_name(tools[i].alg));
                        continue;
                }
                check_ours(i);
                check_theirs(i);
        }
        test_pss_parameters();
        test_refused_keys();
        test_same_key();
        test_pem();
        (void) close(dir_fd);
        dir_fd = open("/tmp", O_DIRECTORY | O_CLOEXEC);
        assert(dir_remove(dir_fd, folder + strlen("/tmp/")) >= 0);
        (void) close(dir_fd);
        return 0;
}
