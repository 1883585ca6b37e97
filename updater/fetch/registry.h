/* SPDX-License-Identifier: MIT */
#pragma once

/* Who we are to registries: one session for every repository that is spoken to, which answers challenges with nothing, a
 * password or a token. What it says goes to URLs of that repository alone, never along with a redirect; a password goes to the
 * registry, and to the realm that it names (challenge_check_realm()), and over plain http to nobody but this machine and the
 * registry that the configuration itself calls by oci+http://. */

#include "fetch/http.h"
#include "source/oci.h"

typedef struct Registry Registry;

/* takes auth_file (containers-auth.json(5), may be empty); configured: source.url, or NULL. http is borrowed, and asks here from
 * now on. */
int registry_new(Http *http, Bytes *auth_file, const char *configured, Registry **ret, Why *why);
Registry *registry_free(Registry *r);
void registry_freep(Registry **r);

/* The repository's URL with its '/' at the end: "https://registry.example.com/v2/os/acl/". Borrowed, as long as the registry
 * lives. push: what is asked for may change it. */
int registry_open(Registry *r, const OciRef *ref, bool push, const char **ret_base, Why *why);
/* "https://registry.example.com/": where a token of http.bearerFile for such a source goes. */
int registry_origin(const OciRef *ref, char **ret);
