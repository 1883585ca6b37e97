/* SPDX-License-Identifier: MIT */

#include "publish/keys.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define KEY_FILE_MAX (64u * KIB) /* an ML-DSA-65 key has 6 kB of PEM */

void keyring_done(KeyRing *ring)
{
        for (size_t i = 0; i < ring->n_keys; i++)
                (void) key_free(ring->keys[i]);
        *ring = (KeyRing){ 0 };
}

int key_load(const char *path, Key **ret, Why *why)
{
        _cleanup_(bytes_done) Bytes pem = BYTES_NULL;
        int r = file_read(AT_FDCWD, path, KEY_FILE_MAX, &pem);

        if (r >= 0)
                r = key_from_pem(pem.data, pem.size, path, ret, why);
        if (pem.data)
                explicit_bzero(pem.data, pem.size);
        return r < 0 ? fail_errno(why, r, WHY_USAGE, "%s", path) : 0;
}

int keyring_load(char *const *paths, KeyRing *ret, Why *why)
{
        _cleanup_(keyring_done) KeyRing ring = { 0 };
        char ids[ENVELOPE_SIGNATURES_MAX][KEYID_SIZE];

        for (; paths && *paths; paths++) {
                size_t n = ring.n_keys;
                int r;

                if (n >= ENVELOPE_SIGNATURES_MAX)
                        return fail(why, -EFBIG, WHY_USAGE, "too-many-keys", "more than %u keys",
                                    ENVELOPE_SIGNATURES_MAX);
                r = key_load(*paths, &ring.keys[n], why);
                if (r < 0)
                        return r;
                ring.n_keys++;
                r = key_id(ring.keys[n], ids[n]);
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "%s", *paths);
                for (size_t i = 0; i < n; i++)
                        if (streq(ids[i], ids[n]))
                                return fail(why, -EEXIST, WHY_USAGE, "key-twice",
                                            "%s: the same key was given before", *paths);
        }
        *ret = ring;
        ring = (KeyRing){ 0 };
        return 0;
}

int key_save(const Key *key, const char *path, bool private, Why *why)
{
        _cleanup_(close_fdp) int fd =
                open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, private ? 0600 : 0644);
        _cleanup_(bytes_done) Bytes pem = BYTES_NULL;
        int r;

        if (fd < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", path);
        r = private ? key_private_pem(key, &pem) : key_public_pem(key, &pem);
        if (r >= 0)
                r = fd_write_full(fd, pem.data, pem.size);
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (pem.data)
                explicit_bzero(pem.data, pem.size);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", path) : 0;
}

int fail_own_document(Why *why, int r, const Why *refusal)
{
        return r < 0 ? fail(why, r, WHY_USAGE, refusal->code, "%s", refusal->text) : r;
}

int document_save(const char *path, const void *data, size_t size, Why *why)
{
        const char *slash = strrchr(path, '/');
        _cleanup_(free_charp) char *folder = slash ? strndup(path, (size_t) (slash - path) + 1) : strdup(".");
        _cleanup_(close_fdp) int dir_fd = folder ? dir_open(AT_FDCWD, folder) : -ENOMEM;
        int r = dir_fd < 0 ? dir_fd : file_replace(dir_fd, slash ? slash + 1 : path, data, size, 0644);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", path) : 0;
}

int envelope_load(const char *path, const char *type, Envelope *ret, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        int r = file_read(AT_FDCWD, path, ENVELOPE_MAX, &text);

        if (r < 0)
                return fail_errno(why, r, WHY_USAGE, "%s", path);
        r = envelope_parse(text.data, text.size, path, &e, why);
        if (r < 0)
                return r;
        if (type && !streq(e.type, type))
                return fail(why, -EBADMSG, WHY_TRUST, "payload-type", "%s: is of type %s, expected %s", path,
                            e.type, type);
        envelope_move(ret, &e);
        return 0;
}

int envelope_save(const char *path, const Envelope *e, Why *why)
{
        _cleanup_(free_charp) char *text = NULL;
        int r = envelope_format(e, &text);

        if (r >= 0 && strlen(text) > ENVELOPE_MAX)
                return fail(why, -EFBIG, WHY_USAGE, "too-large", "%s: %zu bytes, an envelope has at most %u",
                            path, strlen(text), ENVELOPE_MAX);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", path)
                     : document_save(path, text, strlen(text), why);
}

int envelope_new(const char *type, const char *payload, Envelope *ret, Why *why)
{
        Envelope e = { 0 };
        int r = bytes_copy(&e.payload, payload, strlen(payload));

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "envelope");
        (void) snprintf(e.type, sizeof(e.type), "%s", type);
        envelope_move(ret, &e);
        return 0;
}

/* The place of this key's signature; a new one at the end when there is none. NULL: 16 are there. */
static EnvelopeSignature *signature_slot(Envelope *e, const char *keyid)
{
        for (size_t i = 0; i < e->n_signatures; i++)
                if (streq(e->signatures[i].keyid, keyid))
                        return &e->signatures[i];
        return e->n_signatures < ENVELOPE_SIGNATURES_MAX ? &e->signatures[e->n_signatures] : NULL;
}

/* takes sig on success */
static int put_signature(Envelope *e, const Key *key, Bytes *sig, Why *why)
{
        char keyid[KEYID_SIZE];
        EnvelopeSignature *slot;
        int r = key_id(key, keyid);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "key");
        slot = signature_slot(e, keyid);
        if (!slot)
                return fail(why, -EFBIG, WHY_USAGE, "too-many-signatures", "there are already %u signatures",
                            ENVELOPE_SIGNATURES_MAX);
        bytes_move(&slot->sig, sig);
        slot->as_read = json_unref(slot->as_read);
        (void) snprintf(slot->keyid, sizeof(slot->keyid), "%s", keyid);
        (void) snprintf(slot->alg, sizeof(slot->alg), "%s", key_alg_name(key_alg(key)));
        if (slot == &e->signatures[e->n_signatures])
                e->n_signatures++;
        return 0;
}

int envelope_sign(Envelope *e, const Key *key, Why *why)
{
        _cleanup_(bytes_done) Bytes pae = BYTES_NULL, sig = BYTES_NULL;
        int r = envelope_pae(e->type, e->payload.data, e->payload.size, &pae);

        if (r >= 0)
                r = key_sign(key, pae.data, pae.size, &sig, why);
        return r < 0 ? fail_errno(why, r, WHY_USAGE, "signing (is this a private key?)")
                     : put_signature(e, key, &sig, why);
}

int envelope_sign_all(Envelope *e, const KeyRing *ring, Why *why)
{
        for (size_t i = 0; i < ring->n_keys; i++) {
                int r = envelope_sign(e, ring->keys[i], why);

                if (r < 0)
                        return r;
        }
        return 0;
}

int envelope_attach(Envelope *e, const Key *key, const Bytes *signature, Why *why)
{
        _cleanup_(bytes_done) Bytes pae = BYTES_NULL, sig = BYTES_NULL;
        int r = envelope_pae(e->type, e->payload.data, e->payload.size, &pae);

        if (r >= 0)
                r = key_verify(key, pae.data, pae.size, signature->data, signature->size);
        if (r == 0)
                return fail(why, -EKEYREJECTED, WHY_TRUST, "bad-signature",
                            "the signature is not one of this key over this document");
        if (r >= 0)
                r = bytes_copy(&sig, signature->data, signature->size);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "signature") : put_signature(e, key, &sig, why);
}

Json *envelope_signatures_json(const Envelope *e)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < e->n_signatures; i++) {
                Json *s = json_new_object();

                json_set_str(s, "keyid", e->signatures[i].keyid);
                json_set_str(s, "alg", e->signatures[i].alg);
                json_add(list, s);
        }
        return list;
}
