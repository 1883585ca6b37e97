/* SPDX-License-Identifier: MIT */
#pragma once

/* gybe-release: makes, signs, publishes and explains releases. Runs on the release engineer's machine or in
 * CI, never on a host: it may use all cores and names files by path. Every verb gives a JSON document about
 * what it did; main-release.c prints it, or the sentences in it. */

#include "base/env.h"
#include "base/json.h"
#include "publish/meter.h"
#include "release/release.h"

#define PUBLISH_KEYS_MAX ENVELOPE_SIGNATURES_MAX

/* --- build --- */

typedef enum BuildPart { BUILD_ESP, BUILD_USR, BUILD_HASH, BUILD_OEM, BUILD_ROOT, _BUILD_PART_MAX } BuildPart;

typedef struct BuildOptions {
        const char *output;
        /* from a whole disk ... */
        const char *disk;
        /* ... or from parts */
        const char *usr, *fs_type, *fs_uuid; /* the last two: "" or NULL, found in the image */
        const char *esp;                     /* folder or FAT image */
        const char *uki;
        char **addons, **templates, **creds;
        char **esp_files; /* "PATH=FILE" */
        const char *shim, *loader;
        const char *hash_sig; /* JSON payload of HASH-SIG-A */
        const char *oem, *root;
        uint64_t sizes[_BUILD_PART_MAX]; /* bytes, 0: default */
        /* for both */
        const char *os_release, *packages, *arch, *id;
        const char *salt, *uuid; /* NULL: derived from the content */
        const char *esp_mount;   /* NULL: "/boot" */
        uint32_t lba_size;       /* 0: 512 */
        int level;               /* 0: default */
        uint64_t frame_size;     /* 0: default */
        bool checksum;
        unsigned workers;  /* 0: all cores */
        uint64_t epoch;    /* SOURCE_DATE_EPOCH, 0 when unset */
        bool print_verity; /* stop after the tree: no output file */
} BuildOptions;

/* gybe.build/1: roothash, sizes, members, warnings. -EEXIST never: an existing output is replaced when the
 * new one is complete. */
int publish_build(const Env *env, const BuildOptions *options, Meter *meter, Json **ret, Why *why);
/* gybe.verity/1: roothash, salt, uuid, dataSize, hashSize of an image, with the parameters that build would
 * use. tree (may be NULL): write the hash image there. */
int publish_verity(const char *usr, const char *salt, const char *uuid, const char *tree, unsigned workers,
                   Meter *meter, Json **ret, Why *why);

/* --- keys and roots --- */

typedef struct KeygenOptions {
        const char *dir;
        char **algs; /* NULL: ecdsa-p384 */
        uint64_t root_signers, root_threshold, release_signers, release_threshold;
        bool feed_key;
        uint64_t valid; /* seconds */
} KeygenOptions;

/* gybe.keygen/1: the files */
int publish_keygen(const Env *env, const KeygenOptions *options, Json **ret, Why *why);

typedef struct RootOptions {
        const char *from; /* rotate: the root it follows; NULL: a new one */
        const char *output;
        char **root_keys, **release_keys, **feed_keys; /* PEM files, public halves suffice */
        char **signers;                                /* "ID=PEM,PEM": release signers of several keys */
        char **remove;                                 /* keyids */
        char **require_algs;
        uint64_t root_threshold, release_threshold, feed_threshold; /* 0: as it was, or 1 */
        uint64_t expires;                                           /* absolute */
        char **keys;                                                /* sign with these */
} RootOptions;

/* gybe.root-edit/1: version, signatures and whether they suffice (warnings say what is missing) */
int publish_root_make(const Env *env, const RootOptions *options, Json **ret, Why *why);

/* --- signatures on any envelope: root, release, index --- */

typedef struct SignatureOptions {
        const char *file;
        char **keys;
        const char *public, *signature; /* a signature that an HSM made over the --pae bytes (raw file) */
        const char *pae;                /* write these bytes there instead of signing */
} SignatureOptions;

/* gybe.signatures/1 */
int publish_add_signature(const SignatureOptions *options, Json **ret, Why *why);

/* --- release files --- */

typedef struct SignOptions {
        const char *cosi;   /* a local file */
        const char *output; /* NULL: X.release.json beside X.cosi */
        const char *product, *version, *notes, *ostree_commit;
        char **channels;
        bool has_serial;
        uint64_t serial, floor_serial, minimum_serial;
        uint64_t issued;  /* 0: now, or what the existing file says */
        uint64_t expires; /* 0: issued + valid */
        uint64_t valid;   /* seconds */
        char **revoke_serials, **revoke_roothashes;
        char **keys;
} SignOptions;

/* gybe.sign/1: file, whether it was new, signatures. Where the file exists with the same payload its
 * signatures stay and those of these keys are added or replaced; a different payload starts over and says so
 * in warnings. */
int publish_sign(const Env *env, const SignOptions *options, Json **ret, Why *why);

/* --- feeds --- */

typedef struct FeedOptions {
        const char *dir;
        char **cosis;    /* local; each with its release file beside it */
        char **channels; /* these point to the new release; NULL: those the release names */
        char **remove;   /* versions that leave the index (files stay) */
        char **roots;    /* root.json files to be served as root.N.json */
        char **keys;
        uint64_t valid; /* seconds */
} FeedOptions;

/* gybe.publish/1: what was copied, the index's serial. Nothing to change is success; without COSIs the index
 * is renewed. */
int publish_feed(const Env *env, const FeedOptions *options, Meter *meter, Json **ret, Why *why);

/* --- registries --- */

typedef struct OciOptions {
        const char *ref;       /* oci://HOST/REPOSITORY[:TAG] */
        const char *auth_file; /* containers-auth.json(5); NULL: where podman, oras and docker keep theirs */
        const char *ca;        /* PEM; NULL: the system's */
        char **cosis;          /* local; each with its release file beside it */
        char **channels;       /* these tags point to the new release; NULL: those the release names */
        char **roots;          /* root.json files to be served as tags root.N */
} OciOptions;

/* gybe.publish/1: what was sent, which tags point to it. The same again changes nothing. */
int publish_oci(const Env *env, const OciOptions *options, Meter *meter, Json **ret, Why *why);
/* That file, or the first that exists of those that others write; NULL none. The caller frees it. */
int publish_auth_file(const char *given, char **ret, Why *why);

/* --- looking --- */

/* gybe.inspect/1. what: path or URL of a COSI, or of a release, root or feed file. */
int publish_inspect(const Env *env, const char *what, Meter *meter, Json **ret, Why *why);
/* The same for people. */
char *inspect_text(const Json *doc);

/* gybe.diff/1: what changes from one COSI to another; paths or URLs. */
int publish_diff(const Env *env, const char *old, const char *new, Meter *meter, Json **ret, Why *why);
/* The same for people. */
char *diff_text(const Json *doc);

typedef struct VerifyOptions {
        const char *
                what; /* path or URL of X.cosi or X.release.json (its sibling is found), root.N.json or index.json */
        char **roots;        /* root files: the first is trusted as found, further ones are walked to */
        const char *release; /* release file of a COSI, where it does not stand beside it */
} VerifyOptions;

/* gybe.verify/1 when everything holds; otherwise the first reason why not. */
int publish_verify(const Env *env, const VerifyOptions *options, Meter *meter, Json **ret, Why *why);
