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
