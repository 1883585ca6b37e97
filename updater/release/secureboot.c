/* SPDX-License-Identifier: MIT */

/* Would this machine's firmware and shim start that image? Asked before the flip, because the answer "no" afterwards is a
 * machine that does not come back by itself. It knows Authenticode signatures, db, dbx, the MOK lists and SBAT; it does not
 * know PE files (bootloader/uki.c hands over digest and signatures) and trusts nothing but the machine's own variables.
 *
 *   dbx, MokListXRT   the image's hash, a certificate its signer leads to, or a certificate's digest: refused, whatever
 *                     else is true, if any of its signatures is concerned
 *   db, MokListRT     the image's hash, or a certificate that a good signature leads to by the certificates beside it;
 *                     the signer itself may be listed, and a listed one need not be self-signed
 *   SbatLevelRT       generations of components
 *
 * As firmware does, it looks at no clock and no key usage. A certificate's revocation by time is taken as revocation: the
 * time stamp that could speak against it is not evaluated. */

#include "release/release.h"
#include "base/digest.h"
#include "base/str.h"
#include "release/sbat.h"
#include "release/siglist.h"

#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#define BLOB_MAX       (256u * KIB) /* signatures of one image: a few certificates of 2 kB */
#define BLOB_CERTS_MAX 32u          /* chains have 3, some signers add a time stamp's */
#define BLOBS_MAX      16u
#define SPC_INDIRECT   "1.3.6.1.4.1.311.2.1.4"

typedef STACK_OF(X509) CertStack;

/* One side: what is allowed, or what is forbidden. */
typedef struct SigDb {
        X509_STORE *certs;
        Bytes image_hashes;   /* SHA256_SIZE each */
        Bytes cert_hashes[3]; /* of SHA-256, SHA-384, SHA-512 */
} SigDb;

struct SecureBoot {
        bool enabled;
        SigDb allowed, forbidden;
        char *sbat_level;
};

static void x509_freep(X509 **p)
{
        X509_free(*p);
}

static void pkcs7_freep(PKCS7 **p)
{
        PKCS7_free(*p);
}

static void bio_freep(BIO **p)
{
        (void) BIO_free(*p);
}

static void signers_freep(CertStack **p)
{
        sk_X509_free(*p); /* the certificates belong to the signature */
}

static void chain_freep(CertStack **p)
{
        sk_X509_pop_free(*p, X509_free);
}

/* --- what the machine lists --- */

static int add_cert(SigDb *db, const SigEntry *e)
{
        const uint8_t *p = e->data;
        _cleanup_(x509_freep) X509 *cert = d2i_X509(NULL, &p, (long) e->size);
        int r = 0;

        /* Firmware skips what it cannot read; it then matches nothing, on either side. */
        if (cert && X509_STORE_add_cert(db->certs, cert) != 1)
                r = -ENOMEM;
        ERR_clear_error();
        return r;
}

static int add_entry(void *ctx, const SigEntry *e)
{
        SigDb *db = ctx;

        switch (e->kind) {
        case SIG_X509:
                return add_cert(db, e);
        case SIG_IMAGE_HASH:
                return bytes_append(&db->image_hashes, e->data, e->size);
        case SIG_CERT_SHA256:
        case SIG_CERT_SHA384:
        case SIG_CERT_SHA512:
                return bytes_append(&db->cert_hashes[e->kind - SIG_CERT_SHA256], e->data, e->size);
        }
        return 0;
}

static void sigdb_done(SigDb *db)
{
        X509_STORE_free(db->certs);
        bytes_done(&db->image_hashes);
        for (size_t i = 0; i < ELEMENTSOF(db->cert_hashes); i++)
                bytes_done(&db->cert_hashes[i]);
}

static int sigdb_fill(SigDb *db, const Bytes *lists, const char *what, const Bytes *mok, const char *mok_what,
                      Why *why)
{
        int r;

        db->certs = X509_STORE_new();
        if (!db->certs)
                return -ENOMEM;
        r = siglist_each(lists->data, lists->size, what, add_entry, db, why);
        return r < 0 ? r : siglist_each(mok->data, mok->size, mok_what, add_entry, db, why);
}

static bool hashes_have(const Bytes *hashes, const uint8_t *digest, size_t size)
{
        for (size_t at = 0; at + size <= hashes->size; at += size)
                if (memcmp(hashes->data + at, digest, size) == 0)
                        return true;
        return false;
}

SecureBoot *secureboot_free(SecureBoot *sb)
{
        if (!sb)
                return NULL;
        sigdb_done(&sb->allowed);
        sigdb_done(&sb->forbidden);
        free(sb->sbat_level);
        free(sb);
        return NULL;
}

void secureboot_freep(SecureBoot **sb)
{
        *sb = secureboot_free(*sb);
}

bool secureboot_enabled(const SecureBoot *sb)
{
        return sb->enabled;
}

int secureboot_new(const SecureBootVariables *v, SecureBoot **ret, Why *why)
{
        _cleanup_(secureboot_freep) SecureBoot *sb = calloc(1, sizeof(*sb));
        int r;

        if (!sb)
                return -ENOMEM;
        sb->enabled = v->enabled;
        sb->sbat_level =
                strndup(v->sbat_level.data ? (const char *) v->sbat_level.data : "", v->sbat_level.size);
        if (!sb->sbat_level)
                return -ENOMEM;
        if ((r = sigdb_fill(&sb->allowed, &v->db, "db", &v->mok, "MokListRT", why)) < 0 ||
            (r = sigdb_fill(&sb->forbidden, &v->dbx, "dbx", &v->mokx, "MokListXRT", why)) < 0)
                return r;
        *ret = TAKE(sb);
        return 0;
}

/* --- one signature --- */

typedef struct Signature {
        PKCS7 *p7;
        X509 *signer; /* borrowed from p7, like the others beside it */
        CertStack *certs;
} Signature;

typedef struct Der {
        const uint8_t *p, *end;
} Der;

/* Steps over one element of the given universal tag and into its bytes. */
static bool der_take(Der *d, int want, Der *ret)
{
        const uint8_t *p = d->p;
        int tag, class, r;
        long n;

        if (p >= d->end)
                return false;
        r = ASN1_get_object(&p, &n, &tag, &class, d->end - d->p);
        if ((r & 0x80) || (r & 0x01) /* indefinite length: not DER */ || tag != want ||
            class != V_ASN1_UNIVERSAL)
                return false;
        *ret = (Der){ p, p + n };
        d->p = p + n;
        return true;
}

/* SpcIndirectDataContent ::= SEQUENCE { data, messageDigest SEQUENCE { SEQUENCE { algorithm, ... }, OCTET STRING } } */
static const char *spc_digest(Der spc, const uint8_t **ret)
{
        static const uint8_t sha256_oid[] = { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01 };
        Der data, info, alg, oid, digest;

        if (!der_take(&spc, V_ASN1_SEQUENCE, &data) || !der_take(&spc, V_ASN1_SEQUENCE, &info) ||
            !der_take(&info, V_ASN1_SEQUENCE, &alg) || !der_take(&info, V_ASN1_OCTET_STRING, &digest) ||
            !der_take(&alg, V_ASN1_OBJECT, &oid))
                return "its signed content is malformed";
        if (oid.end - oid.p != sizeof(sha256_oid) || memcmp(oid.p, sha256_oid, sizeof(sha256_oid)) != 0 ||
            digest.end - digest.p != SHA256_SIZE)
                return "it is over another digest than SHA-256";
        *ret = digest.p;
        return NULL;
}

static bool digest_is_sound(const X509_ALGOR *alg)
{
        int nid = alg ? OBJ_obj2nid(alg->algorithm) : NID_undef;

        return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512;
}

/* Authenticode: one signer, one digest algorithm, named twice. */
static bool signer_is_sound(PKCS7 *p7)
{
        STACK_OF(PKCS7_SIGNER_INFO) *infos = PKCS7_get_signer_info(p7);
        X509_ALGOR *digest = NULL;

        if (sk_PKCS7_SIGNER_INFO_num(infos) != 1 || sk_X509_ALGOR_num(p7->d.sign->md_algs) != 1)
                return false;
        PKCS7_SIGNER_INFO_get0_algs(sk_PKCS7_SIGNER_INFO_value(infos, 0), NULL, &digest, NULL);
        return digest_is_sound(digest) && digest_is_sound(sk_X509_ALGOR_value(p7->d.sign->md_algs, 0));
}

/* The signed content is the inside of the SEQUENCE, without its head. */
static const char *spc_content(const PKCS7 *p7, Der *ret)
{
        const PKCS7 *inner = p7->d.sign ? p7->d.sign->contents : NULL;
        const ASN1_TYPE *other;
        char oid[64];
        Der whole;

        if (!inner || OBJ_obj2txt(oid, sizeof(oid), inner->type, 1) <= 0 || !streq(oid, SPC_INDIRECT))
                return "it is not an Authenticode signature";
        other = inner->d.other;
        if (!other || other->type != V_ASN1_SEQUENCE)
                return "its signed content is malformed";
        whole = (Der){ other->value.sequence->data,
                       other->value.sequence->data + other->value.sequence->length };
        return der_take(&whole, V_ASN1_SEQUENCE, ret) ? NULL : "its signed content is malformed";
}

/* NULL when this is a good signature over that digest by the certificate it carries, else the reason. Who the certificate
 * belongs to is not asked here. */
static const char *signature_open(const Bytes *blob, const uint8_t digest[SHA256_SIZE], Signature *ret)
{
        _cleanup_(signers_freep) CertStack *signers = NULL;
        _cleanup_(pkcs7_freep) PKCS7 *p7 = NULL;
        _cleanup_(bio_freep) BIO *content = NULL;
        const uint8_t *p = blob->data, *signed_digest;
        const char *reason;
        Der spc;

        if (blob->size > BLOB_MAX)
                return "it is larger than any signature";
        p7 = d2i_PKCS7(NULL, &p, (long) blob->size);
        if (!p7 || !PKCS7_type_is_signed(p7))
                return "it is not PKCS#7 signed data";
        reason = spc_content(p7, &spc);
        if (!reason)
                reason = spc_digest(spc, &signed_digest);
        if (reason)
                return reason;
        if (memcmp(signed_digest, digest, SHA256_SIZE) != 0)
                return "it is over another image (or this one was changed)";
        if (!signer_is_sound(p7))
                return "it has not exactly one signer with SHA-256 or better";
        if (sk_X509_num(p7->d.sign->cert) > (int) BLOB_CERTS_MAX)
                return "it carries too many certificates";
        signers = PKCS7_get0_signers(p7, NULL, 0);
        if (!signers || sk_X509_num(signers) != 1)
                return "its signer's certificate is missing";
        content = BIO_new_mem_buf(spc.p, (int) (spc.end - spc.p));
        if (!content || PKCS7_verify(p7, NULL, NULL, content, NULL, PKCS7_NOVERIFY | PKCS7_BINARY) != 1)
                return "it does not verify";
        *ret = (Signature){ .p7 = p7, .signer = sk_X509_value(signers, 0), .certs = p7->d.sign->cert };
        p7 = NULL;
        return NULL;
}

/* --- certificates --- */

/* Does the signer lead to a listed certificate? 1 yes, 0 no, and the chain as far as it goes either way. Negative when that
 * could not be found out, which must not pass for "not forbidden". */
static int leads_to(X509_STORE *listed, const Signature *s, CertStack **ret_chain)
{
        X509_STORE_CTX *ctx = X509_STORE_CTX_new();
        int r = -ENOMEM;

        if (ctx && X509_STORE_CTX_init(ctx, listed, s->signer, s->certs) == 1 &&
            X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_ANY) == 1) {
                X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME);
                r = X509_verify_cert(ctx) == 1;
                if (X509_STORE_CTX_get_error(ctx) == X509_V_ERR_OUT_OF_MEM)
                        r = -ENOMEM;
                *ret_chain = X509_STORE_CTX_get1_chain(ctx);
                if (!*ret_chain)
                        r = -ENOMEM;
        }
        X509_STORE_CTX_free(ctx);
        ERR_clear_error();
        return r;
}

/* Revocation names the digest of the part that the issuer signed: the first element inside the certificate. */
static int cert_hash_listed(const SigDb *db, X509 *cert)
{
        const EVP_MD *const mds[] = { EVP_sha256(), EVP_sha384(), EVP_sha512() };
        uint8_t *der = NULL, hash[EVP_MAX_MD_SIZE];
        int n = i2d_X509(cert, &der), r = -ENOMEM;
        Der whole = { der, der + MAX(n, 0) }, inside, tbs;

        if (n > 0 && der_take(&whole, V_ASN1_SEQUENCE, &inside)) {
                const uint8_t *start = inside.p;

                r = der_take(&inside, V_ASN1_SEQUENCE, &tbs) ? 0 : -ENOMEM;
                for (size_t k = 0; k < ELEMENTSOF(mds) && r == 0; k++) {
                        if (EVP_Digest(start, (size_t) (inside.p - start), hash, NULL, mds[k], NULL) != 1)
                                r = -ENOMEM;
                        else
                                r = hashes_have(&db->cert_hashes[k], hash, (size_t) EVP_MD_get_size(mds[k]));
                }
        }
        OPENSSL_free(der);
        return r;
}

/* The first certificate of the chain that is listed itself, or NULL. */
static int chain_listed(X509_STORE *listed, const CertStack *chain, const X509 **ret)
{
        _cleanup_(chain_freep) CertStack *certs = X509_STORE_get1_all_certs(listed);

        if (!certs)
                return -ENOMEM;
        for (int i = 0; i < sk_X509_num(chain); i++)
                for (int k = 0; k < sk_X509_num(certs); k++)
                        if (X509_cmp(sk_X509_value(chain, i), sk_X509_value(certs, k)) == 0) {
                                *ret = sk_X509_value(chain, i);
                                return 1;
                        }
        return 0;
}

/* 1, 0, negative as above. */
static int chain_has_forbidden(const SecureBoot *sb, const CertStack *chain)
{
        const X509 *which;
        int r = chain_listed(sb->forbidden.certs, chain, &which);

        for (int i = 0; i < sk_X509_num(chain) && r == 0; i++)
                r = cert_hash_listed(&sb->forbidden, sk_X509_value(chain, i));
        return r;
}

static int is_forbidden(const SecureBoot *sb, const Signature *s)
{
        _cleanup_(chain_freep) CertStack *chain = NULL;
        int r = leads_to(sb->forbidden.certs, s, &chain);

        return r == 0 ? chain_has_forbidden(sb, chain) : r;
}

static void name_of(X509 *cert, char out[128])
{
        char *name = X509_NAME_oneline(X509_get_subject_name(cert), out, 128);

        if (!name)
                (void) snprintf(out, 128, "a certificate without a name");
        ERR_clear_error();
}

/* --- the question --- */

static int rejected(Why *why, const char *what, const char *reason, const char *name)
{
        return fail(why, -EKEYREJECTED, WHY_TRUST, "secure-boot",
                    "%s: Secure Boot on this machine would refuse it: %s%s", what, reason, name);
}

/* 1 accepted, 0 not by this one (reason filled), negative: refused whatever else there is. */
static int check_signature(const SecureBoot *sb, const char *what, const Signature *s, char signer[65],
                           char *reason, size_t reason_size, Why *why)
{
        _cleanup_(chain_freep) CertStack *chain = NULL;
        uint8_t digest[SHA256_SIZE];
        const X509 *anchor;
        char name[128];
        int r;

        name_of(s->signer, name);
        r = is_forbidden(sb, s);
        if (r < 0)
                return r;
        if (r > 0)
                return rejected(why, what, "dbx or MokListXRT forbids its signer ", name);
        r = leads_to(sb->allowed.certs, s, &chain);
        if (r < 0)
                return r;
        if (r == 0) {
                (void) snprintf(reason, reason_size,
                                "its signer %s leads to no certificate in db or MokListRT", name);
                return 0;
        }
        r = chain_has_forbidden(sb, chain);
        if (r < 0)
                return r;
        if (r > 0)
                return rejected(why, what, "dbx or MokListXRT forbids an issuer of its signer ", name);
        if (chain_listed(sb->allowed.certs, chain, &anchor) <= 0 ||
            X509_digest(anchor, EVP_sha256(), digest, NULL) != 1)
                return -ENOMEM;
        if (!signer[0])
                hex_encode(digest, sizeof(digest), signer);
        return 1;
}

static int check_signatures(const SecureBoot *sb, const char *what, const uint8_t digest[SHA256_SIZE],
                            const Bytes *blobs, size_t n_blobs, char signer[65], char *reason,
                            size_t reason_size, Why *why)
{
        bool accepted = false;

        /* All of them: one that dbx knows spoils the image, in whatever order they stand. */
        for (size_t i = 0; i < n_blobs; i++) {
                Signature s = { 0 };
                const char *bad = signature_open(&blobs[i], digest, &s);
                int r;

                ERR_clear_error();
                if (bad) {
                        (void) snprintf(reason, reason_size, "its signature cannot be used: %s", bad);
                        continue;
                }
                r = check_signature(sb, what, &s, signer, reason, reason_size, why);
                PKCS7_free(s.p7);
                if (r < 0)
                        return r;
                accepted |= r > 0;
        }
        return accepted;
}

int secureboot_check(const SecureBoot *sb, const char *what, const uint8_t authenticode_sha256[32],
                     const Bytes *blobs, size_t n_blobs, const char *sbat, char ret_signer[65], Why *why)
{
        char signer[65] = "", reason[256] = "it is not signed";
        int r;

        if (hashes_have(&sb->forbidden.image_hashes, authenticode_sha256, SHA256_SIZE))
                return rejected(why, what, "dbx or MokListXRT forbids this very image", "");
        if (n_blobs > BLOBS_MAX)
                return rejected(why, what, "it has more signatures than any image", "");
        r = check_signatures(sb, what, authenticode_sha256, blobs, n_blobs, signer, reason, sizeof(reason),
                             why);
        if (r < 0)
                return r;
        if (r == 0 && !hashes_have(&sb->allowed.image_hashes, authenticode_sha256, SHA256_SIZE)) {
                (void) rejected(why, what, reason, "");
                return fail_hint(why, -EKEYREJECTED,
                                 "sign it with a key this machine knows, or enrol that key's certificate");
        }
        r = sbat_check(sbat, sb->sbat_level, what, why);
        if (r < 0)
                return r;
        memcpy(ret_signer, signer, sizeof(signer));
        return 0;
}
