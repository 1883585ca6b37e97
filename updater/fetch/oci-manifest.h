/* SPDX-License-Identifier: MIT */
#pragma once

/* What a registry says an artifact is: image manifests and indexes, OCI's and docker's. Pure: bytes in, descriptors out. Knows
 * which of several things is meant; does not know where they are. Digests other than sha256 are kept as "" and never chosen. */

#include "source/oci.h"

#include <sys/types.h>

#define OCI_MANIFEST_MAX (4u * 1024u * 1024u) /* what every registry takes at least, and most at most */
#define OCI_ITEMS_MAX    4096u                /* layers, or entries of an index; 4 MiB hold some 10000 */
#define OCI_DEPTH_MAX    32u

#define OCI_TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_TYPE_INDEX    "application/vnd.oci.image.index.v1+json"
#define OCI_ACCEPT                                                                                           \
        OCI_TYPE_MANIFEST ", " OCI_TYPE_INDEX ", application/vnd.docker.distribution.manifest.v2+json, "     \
                          "application/vnd.docker.distribution.manifest.list.v2+json"

typedef struct OciDescriptor {
        char digest[OCI_DIGEST_SIZE]; /* "": one that cannot be checked here */
        uint64_t size;
        char *media_type;                                  /* "" absent */
        char *artifact_type, *title, *created, *arch, *os; /* NULL absent */
} OciDescriptor;

typedef struct OciManifest {
        bool is_index;
        char *artifact_type; /* of a manifest: its own, or its config's media type, as before OCI 1.1; may be NULL */
        OciDescriptor *items; /* layers, or the entries of an index */
        size_t n_items;
        bool has_subject;
        OciDescriptor subject;
} OciManifest;

void oci_manifest_done(OciManifest *m);
/* content_type: what the server calls it; the document must not say otherwise (one that is read as two things would have two
 * meanings under one digest). "" unknown. */
int oci_manifest_parse(const void *data, size_t size, const char *content_type, const char *what,
                       WhyKind kind, OciManifest *ret, Why *why);

/* questions; all -1 for none */
/* The only layer, or the only one that is called a COSI. */
ssize_t oci_manifest_cosi(const OciManifest *m);
/* Of an index: the first for this machine ("x86_64"). */
ssize_t oci_index_for(const OciManifest *m, const char *arch);
/* Of an index of referrers: the youngest release. */
ssize_t oci_index_release(const OciManifest *m);
/* a is a younger release than b; both of such an index */
bool oci_is_younger(const OciDescriptor *a, const OciDescriptor *b);
/* The artifact is one signed file of ours. */
bool oci_type_is_signed_file(const char *type);

/* The rel="next" of a Link header, as it stands there. 1, 0 there is none, -EBADMSG */
int oci_link_next(const char *link, char **ret);
