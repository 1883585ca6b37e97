/* SPDX-License-Identifier: MIT */
#pragma once

/* What an oci:// address means, and what a source of type "oci" offers. Pure: what a registry answers is gybe-fetch's business
 * (fetch/oci.h).
 *
 *      oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX]
 *
 * over https, but over http to this machine itself (localhost, 127.*, [::1]); oci+http:// and oci+https:// say it outright.
 * Plain http is no less safe for the update, which is signed; a registry's user and password are sent over it only to
 * loopback and to the source that the configuration names so. Neither tag nor digest: the tag "latest".
 *
 * A release in a registry: the COSI is the only layer of an artifact (what Trident reads, too), its release file that of an
 * artifact whose subject is the COSI's. Tags are channels and versions; rotated roots are tags root.N. */

#include "source/source.h"

/* What publish writes, and what fetch looks for. A file that is signed is the only layer of its artifact, and of its type. */
#define OCI_TYPE_COSI    "application/vnd.gybe.cosi.v1"
#define OCI_TYPE_LAYER   "application/vnd.gybe.cosi.layer.v1.tar"
#define OCI_TYPE_RELEASE "application/vnd.gybe.release.v1+json"
#define OCI_TYPE_ROOT    "application/vnd.gybe.root.v1+json"

#define OCI_DIGEST_SIZE (sizeof("sha256:") + 64) /* with the NUL; no other algorithm is accepted */

typedef struct OciRef {
        char *host; /* lower case, with its port where there is one: "registry.example.com:5000", "[::1]:5000" */
        char *repository;             /* "os/acl" */
        char *tag;                    /* NULL: none */
        char digest[OCI_DIGEST_SIZE]; /* "": none */
        bool plain, loopback;
} OciRef;

bool url_is_oci(const char *url);
int oci_ref_parse(const char *url, OciRef *ret, Why *why);
void oci_ref_done(OciRef *ref);
char *oci_ref_format(const OciRef *ref); /* NULL: no memory */
bool oci_digest_is_valid(const char *digest);
/* "sha256:HEX" of these bytes */
int oci_digest(const void *data, size_t size, char ret[OCI_DIGEST_SIZE]);

/* A version or channel as a tag: what a tag cannot hold becomes '_' (the signed release must say the version, so that two that
 * collide are noticed). -EINVAL when it is empty or too long. */
int oci_tag_of(const char *name, char **ret);
/* The same repository by another tag. */
int oci_with_tag(const char *url, const char *name, char **ret, Why *why);

/* The tag of the configured address, or the channel's; of a wanted version its own. A digest in the address stays. */
int oci_offer(const char *configured, const char *channel, const char *want_version, Offer *ret, Why *why);
