/* SPDX-License-Identifier: MIT */
#pragma once

/* Key files and envelopes on the release engineer's disk. */

#include "base/env.h"
#include "release/release.h"

typedef struct KeyRing {
        Key *keys[ENVELOPE_SIGNATURES_MAX];
        size_t n_keys;
} KeyRing;

void keyring_done(KeyRing *ring);
int key_load(const char *path, Key **ret, Why *why);
/* The same key twice is refused. */
int keyring_load(char *const *paths, KeyRing *ret, Why *why);
/* Files: PEM, private ones with mode 0600. Existing ones are never replaced. */
int key_save(const Key *key, const char *path, bool private, Why *why);

/* What the hosts' reader would say of a document that we are about to make: here the command line is wrong. */
int fail_own_document(Why *why, int r, const Why *refusal);
/* file_replace() by path. */
int document_save(const char *path, const void *data, size_t size, Why *why);
int envelope_load(const char *path, const char *type, Envelope *ret, Why *why); /* type NULL: any */
int envelope_save(const char *path, const Envelope *e, Why *why);
/* A new envelope around a payload, without signatures. */
int envelope_new(const char *type, const char *payload, Envelope *ret, Why *why);
/* Adds the key's signature; an earlier one by the same key is replaced. */
int envelope_sign(Envelope *e, const Key *key, Why *why);
int envelope_sign_all(Envelope *e, const KeyRing *ring, Why *why);
/* A signature that was made elsewhere over envelope_pae(). It must verify. */
int envelope_attach(Envelope *e, const Key *key, const Bytes *signature, Why *why);

/* [{keyid, alg}] */
Json *envelope_signatures_json(const Envelope *e);
