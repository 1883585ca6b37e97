/* SPDX-License-Identifier: MIT */
#pragma once

/* OSTree's objects as bytes: what names them, and what is in a commit and in a tree. Knows nothing of repositories, servers and
 * files on a disk. Everything that is parsed here came from a server; the name of an object is the SHA-256 of its bytes, which
 * makes it consistent and nothing more: what is believed is the release file that a commit carries, and the root hash. */

#include "base/digest.h"
#include "base/gvariant.h"
#include "base/why.h"

#define OSTREE_ID          SHA256_SIZE
#define OSTREE_ID_HEX      SHA256_HEX
#define OSTREE_COMMIT_MAX  (1024u * 1024u) /* with an envelope of 256 KiB inside; libostree allows 10 MiB */
#define OSTREE_TREE_MAX    (10u * 1024u * 1024u) /* libostree's own limit of a metadata object */
#define OSTREE_ENTRIES_MAX 65536u                /* of one folder */
#define OSTREE_XATTRS_MAX  (128u * 1024u)        /* of one file; the kernel lists 64 KiB of names */

/* Keys of a commit's metadata. */
#define OSTREE_KEY_RELEASE "gybe.release" /* ay: the release file, a whole envelope */
#define OSTREE_KEY_USRHASH                                                                                   \
        "gybe.usrhash"               /* s: its root hash, so that a host finds what it runs in the history */
#define OSTREE_KEY_VERSION "version" /* s: libostree's own */
#define OSTREE_KEY_BINDING "ostree.ref-binding"  /* as */
#define OSTREE_KEY_ED25519 "ostree.sign.ed25519" /* aay, detached: signatures over the commit's bytes */

/* --- names --- */

/* Two levels, as archives lie: "objects/ab/cdef....commit". out has OSTREE_PATH_SIZE bytes. */
#define OSTREE_PATH_SIZE 96u
void ostree_object_path(const uint8_t id[OSTREE_ID], const char *suffix, char out[OSTREE_PATH_SIZE]);
/* "deltas/AB/CDEF...-TO/superblock" or a part by its number; from may be NULL. */
#define OSTREE_DELTA_PATH_SIZE 128u
void ostree_delta_path(const uint8_t from[OSTREE_ID], const uint8_t to[OSTREE_ID], const char *part,
                       char out[OSTREE_DELTA_PATH_SIZE]);

/* --- files --- */

typedef struct OstreeXattr {
        const char *name;
        const void *value;
        size_t size;
} OstreeXattr;

/* What a file object says about its file besides the content. */
typedef struct OstreeFile {
        uint32_t uid, gid, mode;   /* mode with its type */
        const char *target;        /* of a symbolic link, else NULL */
        const OstreeXattr *xattrs; /* sorted by name */
        size_t n_xattrs;
} OstreeFile;

/* The serialised header as it is hashed before the content. */
int ostree_file_header(const OstreeFile *file, Bytes *ret);
/* The same with the xattrs as they are serialised already (a(ayay)); for deltas. */
int ostree_file_header_raw(uint32_t uid, uint32_t gid, uint32_t mode, const char *target,
                           const GVariant *xattrs, Bytes *ret);

/* The front of a .filez, which zlib's raw deflate follows: size of the content, mode, and how many bytes the front has. */
typedef struct OstreeFilez {
        uint64_t size;
        uint32_t mode;
        Bytes header; /* as ostree_file_header() would have made it */
} OstreeFilez;

#define OSTREE_FILEZ_FRONT 8u
/* How long the front is: from its first 8 bytes. */
int ostree_filez_front(const uint8_t data[OSTREE_FILEZ_FRONT], size_t *ret);
int ostree_filez_parse(const void *data, size_t size, OstreeFilez *ret);

/* --- commits and trees --- */

typedef struct OstreeCommit {
        uint8_t tree[OSTREE_ID], meta[OSTREE_ID], parent[OSTREE_ID];
        bool has_parent;
        char version[128]; /* "" none */
        char usrhash[65];
        Bytes release; /* empty: it carries none */
} OstreeCommit;

int ostree_commit_parse(const void *data, size_t size, OstreeCommit *ret);
void ostree_commit_done(OstreeCommit *c);
/* The release file in detached metadata: 1, 0 when there is none. */
int ostree_detached_release(const void *data, size_t size, Bytes *ret);

typedef struct OstreeDir {
        uint8_t (*files)[OSTREE_ID];
        size_t n_files;
        uint8_t (*dirs)[2][OSTREE_ID]; /* tree, meta */
        size_t n_dirs;
} OstreeDir;

int ostree_dir_parse(const void *data, size_t size, OstreeDir *ret);
void ostree_dir_done(OstreeDir *d);
