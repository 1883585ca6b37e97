/* SPDX-License-Identifier: MIT */

/* Keys and signatures, and nothing else of OpenSSL. One table says which key belongs to which name and which digest goes
 * with it; everything is asked for by name, so that an algorithm a newer OpenSSL brings (ML-DSA) works without being
 * compiled in, and one that is missing is an answer (-EOPNOTSUPP) and not a build error. */

#include "release/release.h"
#include "base/digest.h"
#include "base/str.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define RSA_BITS_MIN 3072  /* formats.md section 1 */
#define RSA_BITS_MAX 16384 /* beyond this OpenSSL does not verify */
#define SPKI_MAX     8192u /* ML-DSA-87 has 2.6 kB, RSA-16384 2.1 kB */
#define PEM_MAX      65536u

static const struct {
        const char *name;
        const char *type;      /* OpenSSL's key type */
        const char *group;     /* curve, or NULL */
        const char *digest;    /* NULL: the algorithm brings its own */
        const char *signature; /* OpenSSL's signature algorithm */
} algs[_KEY_ALG_MAX] = {
        [KEY_ECDSA_P384] = { "ecdsa-p384", "EC", "secp384r1", "SHA384", "ECDSA" },
        [KEY_ECDSA_P256] = { "ecdsa-p256", "EC", "prime256v1", "SHA256", "ECDSA" },
        [KEY_ED25519] = { "ed25519", "ED25519", NULL, NULL, "ED25519" },
        [KEY_RSA_PSS] = { "rsa-pss", "RSA", NULL, "SHA384", "RSA" },
        [KEY_ML_DSA_65] = { "ml-dsa-65", "ML-DSA-65", NULL, NULL, "ML-DSA-65" },
};

struct Key {
        KeyAlg alg;
        EVP_PKEY *pkey;
};

static void pkey_freep(EVP_PKEY **p)
{
        EVP_PKEY_free(*p);
}

static void md_ctx_freep(EVP_MD_CTX **p)
{
        EVP_MD_CTX_free(*p);
}

static void bio_freep(BIO **p)
{
        (void) BIO_free(*p);
}

static void bn_freep(BIGNUM **p)
{
        BN_free(*p);
}

const char *key_alg_name(KeyAlg alg)
{
        return alg >= 0 && alg < _KEY_ALG_MAX ? algs[alg].name : "unknown";
}

KeyAlg key_alg_from_name(const char *name)
{
        for (int i = 0; i < _KEY_ALG_MAX; i++)
                if (streq(algs[i].name, name))
                        return (KeyAlg) i;
        return _KEY_ALG_INVALID;
}

bool key_alg_supported(KeyAlg alg)
{
        EVP_SIGNATURE *signature;
        EVP_KEYMGMT *keymgmt;
        bool both;

        if (alg < 0 || alg >= _KEY_ALG_MAX)
                return false;
        signature = EVP_SIGNATURE_fetch(NULL, algs[alg].signature, NULL);
        keymgmt = EVP_KEYMGMT_fetch(NULL, algs[alg].type, NULL);
        both = signature && keymgmt;
        EVP_SIGNATURE_free(signature);
        EVP_KEYMGMT_free(keymgmt);
        ERR_clear_error();
        return both;
}

Key *key_free(Key *k)
{
        if (!k)
                return NULL;
        EVP_PKEY_free(k->pkey);
        free(k);
        return NULL;
}

void key_freep(Key **k)
{
        *k = key_free(*k);
}

/* NULL when the key is what the name says, else what is wrong with it. An RSA key that is bound to PSS by its own type is
 * as good as a plain one. */
static const char *key_misfit(const EVP_PKEY *pkey, KeyAlg alg)
{
        char group[64] = "";
        size_t n;

        if (alg == KEY_RSA_PSS) {
                if (!EVP_PKEY_is_a(pkey, "RSA") && !EVP_PKEY_is_a(pkey, "RSA-PSS"))
                        return "not an RSA key";
                if (EVP_PKEY_get_bits(pkey) < RSA_BITS_MIN)
                        return "an RSA key of less than 3072 bits";
                if (EVP_PKEY_get_bits(pkey) > RSA_BITS_MAX)
                        return "an RSA key of more than 16384 bits";
                return NULL;
        }
        if (!EVP_PKEY_is_a(pkey, algs[alg].type))
                return "a key of another type";
        if (algs[alg].group &&
            (EVP_PKEY_get_group_name(pkey, group, sizeof(group), &n) != 1 || !streq(group, algs[alg].group)))
                return "a key on another curve";
        return NULL;
}

/* Takes pkey on success. */
static int key_new(KeyAlg alg, EVP_PKEY *pkey, Key **ret)
{
        Key *k = calloc(1, sizeof(*k));

        if (!k)
                return -ENOMEM;
        *k = (Key){ .alg = alg, .pkey = pkey };
        *ret = k;
        return 0;
}

int key_from_spki(KeyAlg alg, const uint8_t *der, size_t size, Key **ret, Why *why)
{
        _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
        const uint8_t *p = der;
        const char *misfit;
        int r;

        if (!key_alg_supported(alg))
                return fail(why, -EOPNOTSUPP, WHY_TRUST, "algorithm-missing",
                            "key: this build cannot check signatures by %s", key_alg_name(alg));
        if (size == 0 || size > SPKI_MAX)
                return fail(why, -EBADMSG, WHY_TRUST, "malformed",
                            "%s key: %zu bytes, at most %u are allowed", key_alg_name(alg), size, SPKI_MAX);
        pkey = d2i_PUBKEY(NULL, &p, (long) size);
        ERR_clear_error();
        if (!pkey || p != der + size)
                return fail(why, -EBADMSG, WHY_TRUST, "malformed", "%s key: not one public key in DER (SPKI)",
                            key_alg_name(alg));
        misfit = key_misfit(pkey, alg);
        if (misfit)
                return fail(why, -EBADMSG, WHY_TRUST, "malformed", "%s key: %s", key_alg_name(alg), misfit);
        r = key_new(alg, pkey, ret);
        if (r >= 0)
                pkey = NULL;
        return r;
}

/* Without this OpenSSL would ask on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
        (void) buf, (void) size, (void) rwflag, (void) ctx;
        return -1;
}

int key_from_pem(const void *pem, size_t size, const char *what, Key **ret, Why *why)
{
        _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
        _cleanup_(bio_freep) BIO *bio = NULL;
        int r;

        if (size > PEM_MAX)
                return fail(why, -EFBIG, WHY_USAGE, "key", "%s: %zu bytes are too many for a key file", what,
                            size);
        bio = BIO_new_mem_buf(pem, (int) size);
        if (!bio)
                return -ENOMEM;
        pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        if (!pkey) {
                (void) BIO_reset(bio);
                pkey = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
        }
        ERR_clear_error();
        if (!pkey)
                return fail(
                        why, -EBADMSG, WHY_USAGE, "key",
                        "%s: not a key in PEM without a passphrase, or of a kind this build does not know",
                        what);
        for (KeyAlg alg = 0; alg < _KEY_ALG_MAX; alg++) {
                if (key_misfit(pkey, alg))
                        continue;
                r = key_new(alg, pkey, ret);
                if (r >= 0)
                        pkey = NULL;
                return r;
        }
        return fail(
                why, -EBADMSG, WHY_USAGE, "key",
                "%s: not a key that signs releases (P-384, P-256, Ed25519, RSA from 3072 bits, ML-DSA-65)",
                what);
}

int key_generate(KeyAlg alg, Key **ret, Why *why)
{
        _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
        int r;

        if (!key_alg_supported(alg))
                return fail(why, -EOPNOTSUPP, WHY_USAGE, "algorithm-missing",
                            "%s: this build cannot make such keys", key_alg_name(alg));
        if (alg == KEY_RSA_PSS)
                pkey = EVP_PKEY_Q_keygen(NULL, NULL, algs[alg].type, (size_t) RSA_BITS_MIN);
        else if (algs[alg].group)
                pkey = EVP_PKEY_Q_keygen(NULL, NULL, algs[alg].type, algs[alg].group);
        else
                pkey = EVP_PKEY_Q_keygen(NULL, NULL, algs[alg].type);
        ERR_clear_error();
        if (!pkey)
                return fail(why, -EIO, WHY_HOST, "key", "%s: the key could not be made", key_alg_name(alg));
        r = key_new(alg, pkey, ret);
        if (r >= 0)
                pkey = NULL;
        return r;
}

KeyAlg key_alg(const Key *k)
{
        return k->alg;
}

int key_spki(const Key *k, Bytes *ret)
{
        uint8_t *der = NULL;
        int n, r;

        n = i2d_PUBKEY(k->pkey, &der);
        if (n <= 0)
                return -EIO;
        r = bytes_copy(ret, der, (size_t) n);
        OPENSSL_free(der);
        return r;
}

static int pem_of(const Key *k, bool private, Bytes *ret)
{
        _cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *text;
        long n;
        int ok;

        if (!bio)
                return -ENOMEM;
        ok = private ? PEM_write_bio_PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL)
                     : PEM_write_bio_PUBKEY(bio, k->pkey);
        ERR_clear_error();
        n = BIO_get_mem_data(bio, &text);
        return ok == 1 && n > 0 ? bytes_copy(ret, text, (size_t) n) : -EIO;
}

int key_private_pem(const Key *k, Bytes *ret)
{
        return pem_of(k, true, ret);
}

int key_public_pem(const Key *k, Bytes *ret)
{
        return pem_of(k, false, ret);
}

int key_id(const Key *k, char ret[KEYID_SIZE])
{
        _cleanup_(bytes_done) Bytes der = BYTES_NULL;
        int r;

        r = key_spki(k, &der);
        if (r < 0)
                return r;
        return sha256_hex(der.data, der.size, ret);
}

/* One RSA key can be written as a plain and as a PSS key, one point of a curve in several forms: the same key then has
 * two keyids. */
bool key_same(const Key *a, const Key *b)
{
        _cleanup_(bn_freep) BIGNUM *n_a = NULL, *n_b = NULL;
        bool same;

        if (a->alg != b->alg)
                return false;
        if (a->alg == KEY_RSA_PSS)
                same = EVP_PKEY_get_bn_param(a->pkey, OSSL_PKEY_PARAM_RSA_N, &n_a) == 1 &&
                       EVP_PKEY_get_bn_param(b->pkey, OSSL_PKEY_PARAM_RSA_N, &n_b) == 1 &&
                       BN_cmp(n_a, n_b) == 0;
        else
                same = EVP_PKEY_eq(a->pkey, b->pkey) == 1;
        ERR_clear_error();
        return same;
}

static bool use_pss(EVP_PKEY_CTX *ctx)
{
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1 &&
               EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, "SHA384", NULL) == 1;
}

int key_sign(const Key *k, const void *data, size_t size, Bytes *ret, Why *why)
{
        _cleanup_(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        uint8_t sig[SIGNATURE_MAX];
        size_t n = sizeof(sig);
        EVP_PKEY_CTX *pctx = NULL; /* belongs to ctx */
        bool ok;

        if (!ctx)
                return -ENOMEM;
        ok = EVP_DigestSignInit_ex(ctx, &pctx, algs[k->alg].digest, NULL, NULL, k->pkey, NULL) == 1 &&
             (k->alg != KEY_RSA_PSS || use_pss(pctx)) && EVP_DigestSign(ctx, sig, &n, data, size) == 1;
        ERR_clear_error();
        if (!ok)
                return fail(why, -EIO, WHY_HOST, "key", "%s key: signing failed; is it a private key?",
                            key_alg_name(k->alg));
        return bytes_copy(ret, sig, n);
}

int key_verify(const Key *k, const void *data, size_t size, const uint8_t *sig, size_t sig_size)
{
        _cleanup_(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        EVP_PKEY_CTX *pctx = NULL;
        bool ready;
        int good;

        if (!ctx)
                return -ENOMEM;
        ready = EVP_DigestVerifyInit_ex(ctx, &pctx, algs[k->alg].digest, NULL, NULL, k->pkey, NULL) == 1 &&
                (k->alg != KEY_RSA_PSS || use_pss(pctx));
        good = ready ? EVP_DigestVerify(ctx, sig, sig_size, data, size) : -1;
        ERR_clear_error();
        if (!ready)
                return -EIO;
        return good == 1;
}
