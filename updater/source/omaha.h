/* SPDX-License-Identifier: MIT */
#pragma once

/* Omaha 3.0 as Nebraska speaks it. Pure: a request as text, and what an answer means. The answer's XML is taken apart in
 * gybe-fetch (fetch/omaha-xml.h); what comes from there, and what is offered in it, is hostile until a signature has judged it.
 *
 * Nebraska acknowledges every event, also those that it drops, and never gives up on an instance that reported progress. So:
 * nothing is reported before a grant, only pairs that its table knows are sent, and behind every grant that was taken comes a
 * terminal event (complete or error), whatever happens in between. Who sees to that is update-omaha.c. */

#include "source/source.h"

#define OMAHA_REPLY_MAX    (256u * 1024u) /* an offer with every extra file Nebraska can name has some 60 kB */
#define OMAHA_PACKAGES_MAX 64u            /* the image, its release file, and what other clients want */
#define OMAHA_TEXT_MAX     2048u /* an address has 256 bytes in Nebraska's database, and may carry a token */
#define OMAHA_COUNT_MAX    1000u /* of anything that is only counted */
#define OMAHA_VERSION_SIZE 129u
#define OMAHA_ID_SIZE      37u
#define OMAHA_ALIAS_MAX                                                                                      \
        256u /* a longer one fails in Nebraska's database, and with it the host's registration */

/* --- who asks --- */

/* An OS version as Nebraska takes it, which is strict semver: "202606.05.0" -> "202606.5.0", "3.1" -> "3.1.0", "v4.0~rc1" ->
 * "4.0.0-rc1". A fourth number becomes the last six digits of the third ("3.0.7.2" -> "3.0.7000002"), since what stands behind
 * a "+" is not compared: a product keeps to one form. -EINVAL: there is none. */
int omaha_version(const char *version, char ret[OMAHA_VERSION_SIZE]);
#define OMAHA_VERSION_UNKNOWN                                                                                \
        "0.0.0" /* older than everything: every host that says it is offered everything */

/* This host, to the server: as trident-acl-agent calls it, so that a node keeps its history there. Never the machine id itself,
 * and without braces, which Nebraska leaves out of its statistics. -EINVAL: not 32 hex digits. */
int omaha_machine_id(const char *machine_id, char ret[OMAHA_ID_SIZE]);

/* --- events --- */

typedef enum OmahaEvent {
        OMAHA_DOWNLOADING,
        OMAHA_DOWNLOADED,
        OMAHA_INSTALLED,
        OMAHA_COMPLETE,
        OMAHA_ERROR,
        _OMAHA_EVENT_MAX,
        _OMAHA_EVENT_INVALID = -22,
} OmahaEvent;

const char *omaha_event_name(OmahaEvent e);
OmahaEvent omaha_event_from_name(const char *name);
static inline bool omaha_event_is_terminal(OmahaEvent e)
{
        return e == OMAHA_COMPLETE || e == OMAHA_ERROR;
}

/* Error codes, by the names that Nebraska's pages show for them (they are update_engine's). */
typedef enum OmahaError {
        OMAHA_ERROR_GENERIC = 1,
        OMAHA_ERROR_TRANSFER = 9,
        OMAHA_ERROR_PAYLOAD_VERIFICATION = 12,
        OMAHA_ERROR_ROOTFS_VERIFICATION = 15,
        OMAHA_ERROR_MANIFEST = 23,
        OMAHA_ERROR_IGNORED_BY_POLICY = 35,
        OMAHA_ERROR_DEFERRED_BY_POLICY = 36,
        OMAHA_ERROR_ROLLED_BACK = 44,
        OMAHA_ERROR_INCOMPLETE = 100,
} OmahaError;

OmahaError omaha_error_of(const Why *why);

/* --- a request --- */

typedef struct OmahaReport {
        OmahaEvent event;
        unsigned error_code;          /* of OMAHA_ERROR */
        const char *previous_version; /* what ran before, as omaha_version() says it; NULL: unknown */
} OmahaReport;

/* Borrowed strings. */
typedef struct OmahaAsk {
        const char *app, *track;
        const char *version;                            /* as omaha_version() says it */
        const char *machine_id;                         /* omaha_machine_id() */
        const char *arch;                               /* "x86_64" or "aarch64" */
        const char *alias, *oem, *os_version, *boot_id; /* NULL: not said */
        const char *session_id, *request_id;            /* UUIDs */
        bool scheduled;                                 /* nobody waits for the answer */
        const OmahaReport *report;                      /* NULL: none; the server looks at it first */
        bool ping, check;
} OmahaAsk;

int omaha_format(const OmahaAsk *ask, char **ret);

/* --- an answer --- */

typedef struct OmahaPackage {
        char *name, *hash, *hash_sha256; /* "" where it has none */
        uint64_t size;                   /* 0: not known */
} OmahaPackage;

/* What it says, in the order of the document: of apps, addresses and manifests the first, and how many there are. */
typedef struct OmahaReply {
        unsigned status;          /* of HTTP; nothing else is set unless it is 200 */
        uint64_t retry_after_sec; /* 0: none */
        unsigned n_apps, n_checks, n_urls, n_manifests, n_events;
        char *protocol, *app, *app_status, *check_status, *codebase, *version; /* NULL: not there */
        OmahaPackage *packages;
        size_t n_packages;
} OmahaReply;

void omaha_reply_done(OmahaReply *r);

typedef enum OmahaVerdict {
        OMAHA_NOTED, /* nothing was asked, and what was reported is taken */
        OMAHA_OFFER,
        OMAHA_NOUPDATE,
        OMAHA_IN_PROGRESS, /* the server believes that this host is in the middle of an update */
        OMAHA_WAIT,        /* its rules say: not now */
        OMAHA_REFUSED,     /* it cannot offer anything to this host as it is configured */
} OmahaVerdict;

/* A verdict, whose sentence is in *why for WAIT and REFUSED; negative: this is no answer to what was asked (WHY_NETWORK). */
int omaha_judge(const OmahaReply *r, const OmahaAsk *ask, Why *why);

/* --- an offer --- */

typedef enum OmahaHash {
        OMAHA_HASH_IGNORE,          /* what trident-acl-agent does with it */
        OMAHA_HASH_METADATA_SHA384, /* base64 of the SHA-384 of metadata.json */
        _OMAHA_HASH_MAX,
        _OMAHA_HASH_INVALID = -22,
} OmahaHash;

OmahaHash omaha_hash_from_name(const char *name);

/* Of a reply whose verdict is OMAHA_OFFER. The release file is the extra file of the COSI's name, else it stands beside it. */
int omaha_offer(const OmahaReply *r, OmahaHash hash, Offer *ret, Why *why);
/* The signed release is the one that was offered: 0, or negative with WHY_TRUST. */
int omaha_offer_check(const Offer *offer, const Release *release, Why *why);

/* "https://host:8000/...": the path may be the secret that lets us in. */
void omaha_url_redact(const char *url, char *out, size_t size);
