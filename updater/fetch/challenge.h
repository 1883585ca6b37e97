/* SPDX-License-Identifier: MIT */
#pragma once

/* WWW-Authenticate: what a registry wants to see before it answers. Pure. Knows the two schemes that registries use, Basic and
 * Bearer, and where a token may be asked for; knows no user and no token. */

#include "base/why.h"

#define CHALLENGE_HEADER_MAX 4096u /* all such lines of an answer; real ones have 200 bytes */
#define CHALLENGE_PARTS_MAX  32u   /* schemes and parameters together; real ones have 6 */
#define CHALLENGE_REALM_MAX  1024u

typedef struct Challenge {
        bool basic, bearer;
        char *realm, *service; /* of the first Bearer; NULL absent */
} Challenge;

void challenge_done(Challenge *c);
/* header: the values of all lines, joined by commas. -EBADMSG it cannot be read; schemes that are not known are skipped. */
int challenge_parse(const char *header, Challenge *ret, Why *why);

/* Whether user, password and a question may go to this address, which a registry named: https anywhere, as every client
 * does. Plain http only where the registry (host, with its port) is asked by plain http itself, and only on the same host:
 * otherwise a registry could have any server of the neighbourhood asked, and get the answer as its token. */
int challenge_check_realm(const char *realm, bool plain, const char *host, Why *why);
