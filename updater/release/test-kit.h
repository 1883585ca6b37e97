/* SPDX-License-Identifier: MIT */
#pragma once

/* For tests of this room only: small documents, signed by throw-away keys, written as text so that a test can spoil any
 * byte of them. */

#include "release/release.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

typedef struct KitKey {
        Key *key;
        char id[KEYID_SIZE];
        char *public; /* base64 of the SPKI */
} KitKey;

static inline void kit_key_make(KitKey *k, KeyAlg alg)
{
        _cleanup_(bytes_done) Bytes spki = BYTES_NULL;
        Why why = { 0 };

        assert(key_generate(alg, &k->key, &why) >= 0);
        assert(key_id(k->key, k->id) >= 0);
        assert(key_spki(k->key, &spki) >= 0);
        assert(base64_encode(spki.data, spki.size, &k->public) >= 0);
}

static inline void kit_key_done(KitKey *k)
{
        k->key = key_free(k->key);
        free(k->public);
}

/* Adds a signature under the key's real name; the tests then change what they want. */
static inline void kit_sign(Envelope *e, const KitKey *k)
{
        _cleanup_(bytes_done) Bytes pae = BYTES_NULL;
        EnvelopeSignature *s = &e->signatures[e->n_signatures++];

        assert(envelope_pae(e->type, e->payload.data, e->payload.size, &pae) >= 0);
        assert(key_sign(k->key, pae.data, pae.size, &s->sig, NULL) >= 0);
        (void) snprintf(s->keyid, sizeof(s->keyid), "%s", k->id);
        (void) snprintf(s->alg, sizeof(s->alg), "%s", key_alg_name(key_alg(k->key)));
}

static inline void kit_envelope(Envelope *e, const char *type, const char *payload)
{
        envelope_done(e);
        (void) snprintf(e->type, sizeof(e->type), "%s", type);
        assert(bytes_copy(&e->payload, payload, strlen(payload)) >= 0);
}

/* "keys":{...} of n keys */
static inline char *kit_keys(const KitKey *const *keys, size_t n)
{
        Str s = STR_NULL;

        str_add(&s, "{");
        for (size_t i = 0; i < n; i++)
                str_addf(&s, "%s\"%s\":{\"alg\":\"%s\",\"public\":\"%s\"}", i ? "," : "", keys[i]->id,
                         key_alg_name(key_alg(keys[i]->key)), keys[i]->public);
        str_add(&s, "}");
        return str_take(&s);
}

/* "threshold":T,"keyids":[...] */
static inline char *kit_role(unsigned threshold, const KitKey *const *keys, size_t n)
{
        Str s = STR_NULL;

        str_addf(&s, "{\"threshold\":%u,\"keyids\":[", threshold);
        for (size_t i = 0; i < n; i++)
                str_addf(&s, "%s\"%s\"", i ? "," : "", keys[i]->id);
        str_add(&s, "]}");
        return str_take(&s);
}

/* Takes its texts. */
static inline char *kit_root(unsigned version, char *keys, char *root, char *release)
{
        char *text =
                str_printf("{\"schema\":\"gybe.root/1\",\"version\":%u,\"issued\":\"2026-01-01T00:00:00Z\","
                           "\"expires\":\"2027-01-01T00:00:00Z\",\"keys\":%s,\"roles\":{\"root\":%s,"
                           "\"release\":%s}}",
                           version, keys, root, release);

        free(keys);
        free(root);
        free(release);
        return text;
}

/* The first occurrence of from becomes to; the text is replaced. from must occur. */
static inline char *kit_replace(const char *text, const char *from, const char *to)
{
        const char *at = strstr(text, from);

        if (!at)
                fprintf(stderr, "\"%s\" does not occur\n", from);
        assert(at);
        return str_printf("%.*s%s%s", (int) (at - text), text, to, at + strlen(from));
}

/* Every input of a fuzz corpus keeps the promise of its name: "should-fail-..." is refused, the others are not. */
static inline void kit_corpus(const char *kind, int (*parse)(const void *data, size_t size, Why *why))
{
        _cleanup_(free_charp) char *path =
                str_printf(GYBE_SOURCE_DIR "/integration-tests/fixtures/fuzz/%s", kind);
        _cleanup_(close_fdp) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(strv_freep) char **names = NULL;

        assert(dir >= 0 && dir_list(dir, ".", &names) >= 0 && strv_len(names) > 0);
        for (char **n = names; *n; n++) {
                _cleanup_(bytes_done) Bytes b = BYTES_NULL;
                Why why = { 0 };
                int r;

                assert(file_read(dir, *n, ENVELOPE_MAX, &b) >= 0);
                r = parse(b.data ? (const void *) b.data : "", b.size, &why);
                if ((r < 0) != str_starts(*n, "should-fail-"))
                        fprintf(stderr, "%s: %i %s\n", *n, r, why.text);
                assert((r < 0) == str_starts(*n, "should-fail-"));
        }
}
