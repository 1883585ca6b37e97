/* SPDX-License-Identifier: MIT */
#pragma once

/* Is it genuine, is it newer? Envelope, root, release manifest, feed index: parsing and every rule of formats.md sections
 * 1-4 and trust.md 3.6 steps 2-6. Pure but for secureboot, which reads EFI variables. Signatures are verified over bytes
 * before those bytes are parsed as JSON; the envelope's own JSON is taken apart in gybe-fetch. */

#include "base/env.h"
#include "base/json.h"

/* --- envelope (DSSE) --- */

#define ENVELOPE_MAX            (256u * 1024u)
#define ENVELOPE_SIGNATURES_MAX 16u
#define KEYID_SIZE              65u
#define ALG_SIZE                24u
#define SIGNATURE_MAX           8192u /* ML-DSA-87 has 4627 bytes, RSA-16384 2048 */

#define TYPE_RELEASE "application/vnd.gybe.release+json;v=1"
#define TYPE_ROOT    "application/vnd.gybe.root+json;v=1"
#define TYPE_FEED    "application/vnd.gybe.feed+json;v=1"

typedef struct EnvelopeSignature {
        char keyid[KEYID_SIZE]; /* lower-case hex */
        char alg[ALG_SIZE];
        Bytes sig;
        Json *as_read; /* rewritten as it was found; NULL in a new one, and in one that came as records */
} EnvelopeSignature;

typedef struct Envelope {
        char type[64];
        Bytes payload;
        size_t n_signatures;
        EnvelopeSignature signatures[ENVELOPE_SIGNATURES_MAX];
        Json *unknown; /* the document as read, without what is above; may be NULL */
} Envelope;

/* JSON bytes -> Envelope. Refuses: too large, malformed, wrong types, more than 16 signatures, the same keyid twice.
 * Signatures with an unknown alg or an odd keyid are kept: they do not count, they do not fail the envelope. */
int envelope_parse(const void *data, size_t size, const char *what, Envelope *ret, Why *why);
/* The same rules for an envelope that came as records and not as JSON; trust_check() applies them too. */
int envelope_check(const Envelope *e, const char *what, Why *why);
void envelope_done(Envelope *e);
void envelope_move(Envelope *dst, Envelope *src);
/* Envelope -> JSON text (file content, ends with a newline). Members that this version does not know are kept. */
int envelope_format(const Envelope *e, char **ret);
/* "DSSEv1" SP len SP type SP len SP payload */
int envelope_pae(const char *type, const void *payload, size_t size, Bytes *ret);

/* --- keys and algorithms: the fence around EVP_PKEY --- */

typedef enum KeyAlg {
        KEY_ECDSA_P384,
        KEY_ECDSA_P256,
        KEY_ED25519,
        KEY_RSA_PSS,
        KEY_ML_DSA_65,
        _KEY_ALG_MAX,
        _KEY_ALG_INVALID = -22,
} KeyAlg;

const char *key_alg_name(KeyAlg alg);
KeyAlg key_alg_from_name(const char *name);
bool key_alg_supported(KeyAlg alg); /* by the OpenSSL at hand */

typedef struct Key Key;

Key *key_free(Key *k);
void key_freep(Key **k);
/* From SPKI DER. Refuses a key that does not fit alg (curve, RSA < 3072). -EOPNOTSUPP when this build lacks alg. */
int key_from_spki(KeyAlg alg, const uint8_t *der, size_t size, Key **ret, Why *why);
/* From a PEM private key file (passphrase prompts are not supported); alg is found from the key. A public key is taken too,
 * it cannot sign. */
int key_from_pem(const void *pem, size_t size, const char *what, Key **ret, Why *why);
int key_generate(KeyAlg alg, Key **ret, Why *why);
KeyAlg key_alg(const Key *k);
int key_spki(const Key *k, Bytes *ret);
int key_private_pem(const Key *k, Bytes *ret);
int key_public_pem(const Key *k, Bytes *ret);
int key_id(const Key *k, char ret[KEYID_SIZE]);
/* The same key, whatever its encoding: then two keyids are one person. */
bool key_same(const Key *a, const Key *b);
int key_sign(const Key *k, const void *data, size_t size, Bytes *ret, Why *why);
/* 1 good, 0 bad, negative errno when it could not be tried */
int key_verify(const Key *k, const void *data, size_t size, const uint8_t *sig, size_t sig_size);

/* --- root --- */

typedef struct RootKey {
        char keyid[KEYID_SIZE];
        KeyAlg alg; /* _KEY_ALG_INVALID: a name this build does not know; such a key never counts */
        char alg_name[ALG_SIZE];
        Bytes spki;
} RootKey;

typedef struct RootSigner {
        char *id;
        char **keyids; /* all of them must verify */
} RootSigner;

typedef struct RootRole {
        bool present;
        uint64_t threshold;
        RootSigner *signers; /* plain keyids are signers of one key each */
        size_t n_signers;
        char **require_algs;
} RootRole;

typedef enum RoleId { ROLE_ROOT, ROLE_RELEASE, ROLE_FEED, _ROLE_MAX } RoleId;

typedef struct Root {
        uint64_t version, issued, expires;
        RootKey *keys;
        size_t n_keys;
        RootRole roles[_ROLE_MAX]; /* feed absent: the release role */
} Root;

int root_parse(const void *payload, size_t size, const char *what, Root *ret, Why *why);
void root_done(Root *root);

/* Which signatures count for a role, and whether they suffice. */
typedef struct TrustVerdict {
        char **good;    /* keyids that verified */
        char **signers; /* signer ids that count (for plain keyids: the keyid) */
        char *explain;  /* one line: who signed, whose signature was wrong, what was unknown */
} TrustVerdict;

void trust_verdict_done(TrustVerdict *v);
/* The envelope must be of the role's type. Refused before anything is counted: a required algorithm this build lacks. */
int trust_check(const Root *root, RoleId role, const Envelope *e, const char *what, TrustVerdict *ret,
                Why *why);

/* A chain of roots: a factory or operator root, trusted as found (must meet its own threshold), then N+1, N+2 ... each
 * signed by the thresholds of N and of itself. */
typedef struct TrustAnchor {
        char name[32]; /* "factory" or "operator": named as such in history */
        Root root;     /* the newest one reached */
} TrustAnchor;

int trust_anchor_open(const Envelope *first, const char *name, TrustAnchor *ret, Why *why);
/* 1 the root moved on to this one; 0 the root at hand has signed it, but it is not the next version (nothing changed);
 * negative: refused. Offer only root.N+1: older ones were signed by keys that may be gone, and are refused. */
int trust_anchor_advance(TrustAnchor *anchor, const Envelope *next, Why *why);
/* Only the newest root of a chain must be unexpired. now: the trusted time, never below the time floor. */
int trust_anchor_check_expiry(const TrustAnchor *anchor, uint64_t now, Why *why);
void trust_anchor_done(TrustAnchor *anchor);

/* --- release manifest --- */

#define RELEASE_BOOT_MAX 64u

typedef enum BootKind {
        BOOT_UKI,
        BOOT_ADDON,
        BOOT_ADDON_TEMPLATE,
        BOOT_CRED,
        BOOT_LOADER,
        BOOT_SHIM,
        BOOT_KERNEL, /* flatcar/vmlinuz-a: one for both slots, with the root hash of /usr in it; instead of a UKI */
        _BOOT_KIND_MAX,
        _BOOT_KIND_INVALID = -22,
} BootKind;

/* What a boot loader starts: of these an image has exactly one. */
static inline bool boot_kind_starts(BootKind kind)
{
        return kind == BOOT_UKI || kind == BOOT_KERNEL;
}
const char *boot_kind_name(BootKind kind);
BootKind boot_kind_from_name(const char *name);

typedef struct ReleaseFile {
        char *path; /* relative to the ESP */
        BootKind kind;
        char sha256[65];
} ReleaseFile;

typedef struct Release {
        char *product, *arch, *version, *notes;
        char **channels;
        uint64_t serial, floor_serial, minimum_serial;
        uint64_t issued, expires;
        struct {
                char *name;
                uint64_t size;
                char metadata_sha384[97];
        } cosi;
        struct {
                char roothash[65];
                uint64_t data_size, hash_size;
                char salt[513]; /* lower-case hex */
                char uuid[37];  /* "" when the release does not say */
                char *ostree_commit;
        } usr;
        ReleaseFile *boot;
        size_t n_boot;
        uint64_t *revoked_serials;
        size_t n_revoked_serials;
        char **revoked_roothashes;
} Release;

/* Payload bytes (already verified) -> Release, with every rule of formats.md section 3. */
int release_parse(const void *payload, size_t size, const char *what, Release *ret, Why *why);
void release_done(Release *r);
void release_move(Release *dst, Release *src);

/* What the host is and remembers, for the judgement. */
typedef struct ReleaseHost {
        const char *product, *arch, *channel;
        const char *running_roothash; /* "" unknown */
        bool running_serial_known;
        uint64_t running_serial;
        uint64_t high_water_serial;
        uint64_t now;        /* system clock */
        uint64_t time_floor; /* newest time that is proved: build of the running image, verified issued */
        bool clock_synchronised;
        const uint64_t *revoked_serials;
        size_t n_revoked_serials;
        char *const *revoked_roothashes;
} ReleaseHost;

typedef enum JudgeFlags {
        JUDGE_ALLOW_DOWNGRADE = 1 << 0, /* operator: below the floor is accepted */
        JUDGE_EXPLICIT = 1 << 1, /* an operator named this release: between floor and running is fine */
} JudgeFlags;

/* product, arch, channel, expiry against max(now, time_floor), serial floor, newer than running, stepping stone,
 * revocation. 0 acceptable; 1 it is what runs, or not newer than what runs and nobody asked for it (nothing newer); negative
 * with kind WHY_TRUST or WHY_POLICY. */
int release_judge(const Release *r, const ReleaseHost *host, unsigned flags, Why *why);
/* 1 and a sentence when the system clock cannot be right: it is before a time that is proved, or before this release was
 * made. No reason to refuse (expiry is judged against what is proved), but something to say. 0: nothing odd. */
int release_clock_problem(const Release *r, const ReleaseHost *host, char **ret);

/* --- feed index --- */

typedef struct FeedRelease {
        char *version, *path;
        char arch[16];
        uint64_t serial;
        char sha384[97];
} FeedRelease;

typedef struct Feed {
        char *product;
        uint64_t serial, issued, expires;
        struct {
                char *channel, *version;
        } * channels;
        size_t n_channels;
        FeedRelease *releases;
        size_t n_releases;
} Feed;

int feed_parse(const void *payload, size_t size, const char *what, Feed *ret, Why *why);
void feed_done(Feed *f);

/* --- Secure Boot chain --- */

typedef struct PeSummary PeSummary; /* bootloader/uki.h */

/* What the firmware and shim of this machine would accept, from EFI variables below env's root. */
typedef struct SecureBoot SecureBoot;

/* The variables' contents, without attributes; absent ones empty. */
typedef struct SecureBootVariables {
        bool enabled;
        Bytes db, dbx, mok, mokx, sbat_level;
} SecureBootVariables;

void secureboot_variables_done(SecureBootVariables *v);
/* Pure; secureboot_open() reads the variables and calls it. */
int secureboot_new(const SecureBootVariables *v, SecureBoot **ret, Why *why);
int secureboot_open(const Env *env, SecureBoot **ret, Why *why);
SecureBoot *secureboot_free(SecureBoot *sb);
void secureboot_freep(SecureBoot **sb);
bool secureboot_enabled(const SecureBoot *sb);
/* One PE image: authenticode_sha256 is the digest the signature must cover, blobs are the PKCS#7 signatures found in it.
 * sbat is the text of its .sbat section ("" none). 0 accepted, and the accepting certificate's SHA-256 goes to
 * ret_signer ("" when accepted by hash): the one in db or MokListRT that the signer leads to, the first of several.
 * -EKEYREJECTED with a sentence otherwise. Answers also where Secure Boot is off. */
int secureboot_check(const SecureBoot *sb, const char *what, const uint8_t authenticode_sha256[32],
                     const Bytes *blobs, size_t n_blobs, const char *sbat, char ret_signer[65], Why *why);
