/* SPDX-License-Identifier: MIT */
#pragma once

/* publish --oci, between its files: what is being published, and the documents a registry keeps. */

#include "fetch/push.h"
#include "publish/publish.h"

#define TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define TYPE_INDEX    "application/vnd.oci.image.index.v1+json"
#define TYPE_EMPTY    "application/vnd.oci.empty.v1+json"

#define KEY_VERSION "org.opencontainers.image.version"
#define KEY_CREATED "org.opencontainers.image.created"
#define KEY_TITLE   "org.opencontainers.image.title"
#define KEY_SERIAL  "gybe.serial"
#define KEY_PRODUCT "gybe.product"

#define COSIS_MAX 8u /* architectures of one release */

typedef struct Item {
        const char *cosi;
        char *release_path;
        Bytes release_file;
        Release release;
        char digest[OCI_DIGEST_SIZE], release_digest[OCI_DIGEST_SIZE]; /* of the two manifests */
        size_t manifest_size;
} Item;

typedef struct OciPub {
        const Env *env;
        const OciOptions *o;
        Meter *meter;
        OciRef ref;
        Push *push;
        Item items[COSIS_MAX];
        size_t n_items;
        Root root; /* the newest of those that are published; releases must fulfil it */
        bool has_root;
        uint64_t bytes, told;
        Json *pushed, *tags, *artifacts, *warnings;
} OciPub;

/* documents (ocidoc.c). Values of json; no memory shows when they are formatted. */
Json *oci_descriptor(const char *type, const char *digest, uint64_t size);
Json *oci_document(const char *type);
/* Without a time (0) the same COSI is the same artifact, however often its release is signed. */
void oci_annotate(Json *manifest, const Release *release, uint64_t created);
/* Makes manifest one over layer (taken), and sends it by its digest. */
int oci_push_artifact(OciPub *p, const char *type, Json *layer, Json *manifest, char ret[OCI_DIGEST_SIZE],
                      size_t *ret_size, bool *ret_listed, Why *why);

/* The tag of the reference alone, or the version's and the channels' (ocitags.c). */
int oci_set_tags(OciPub *p, Why *why);

int oci_no_memory(Why *why);
