/* SPDX-License-Identifier: MIT */
#pragma once

/* What an oci:// address leads to: the signed file, and the COSI's blob as an origin like any other. Digests bind a manifest's
 * bytes to its name, and a small blob's to its manifest; a COSI is read by ranges, and judged by what is signed. */

#include "fetch/download.h"
#include "fetch/registry.h"

typedef struct Oci Oci;

/* registry is borrowed; arch: "x86_64", of an image for several; NULL this machine's */
int oci_new(Http *http, Registry *registry, const char *arch, Oci **ret, Why *why);
Oci *oci_free(Oci *o);

/* The release file of a COSI; or, where the address is of a signed file itself, that. -ENOENT: there is none for this COSI. */
int oci_read_envelope(Oci *o, const char *url, Bytes *ret, Why *why);
int oci_open_cosi(Oci *o, const char *url, uint64_t expect_size, Origin *ret, Why *why);
