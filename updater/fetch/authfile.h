/* SPDX-License-Identifier: MIT */
#pragma once

/* Who we are to a registry: containers-auth.json(5), which podman, skopeo, oras and docker write alike. Pure. Credential
 * helpers are programs, and nothing is started here: what only they know is as good as absent. */

#include "base/why.h"

#define AUTHFILE_MAX (1024u * 1024u) /* a cluster's pull secrets together; one entry has 200 bytes */

typedef struct AuthEntry {
        char *user, *password;
        char *identity_token; /* traded for a token at the realm */
        char *registry_token; /* a token already */
} AuthEntry;

void auth_entry_done(AuthEntry *e);
/* The entry that names the most of "host/repository". 1 found, 0 there is none. */
int authfile_find(const void *data, size_t size, const char *host, const char *repository, AuthEntry *ret,
                  Why *why);
