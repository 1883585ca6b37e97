/* SPDX-License-Identifier: MIT */

/* root.json: which keys exist, who may sign what, and how many of them it takes. Only the document: whether signatures
 * satisfy it is trust.c's question.
 *
 * A threshold promises that many independent signatures. Whatever would let one key pass for two is therefore malformed: a
 * keyid that is not the digest of its key, one key under two spellings, two signers that share a key. A keyid listed twice
 * in one list is only redundant, and is dropped before thresholds are compared. */

#include "release/doc.h"
#include "release/root.h"
#include "base/digest.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define ROOT_KEYS_MAX    64u /* a company's signers with their successors; each pair is compared */
#define ROOT_SIGNERS_MAX 32u
#define ROOT_ALGS_MAX    8u

static const char *const role_names[_ROLE_MAX] = {
        [ROLE_ROOT] = "root",
        [ROLE_RELEASE] = "release",
        [ROLE_FEED] = "feed",
};

static void role_done(RootRole *role)
{
        for (size_t i = 0; i < role->n_signers; i++) {
                free(role->signers[i].id);
                (void) strv_free(role->signers[i].keyids);
        }
        free(role->signers);
        (void) strv_free(role->require_algs);
}

void root_done(Root *root)
{
        for (size_t i = 0; i < root->n_keys; i++)
                bytes_done(&root->keys[i].spki);
        free(root->keys);
        for (int i = 0; i < _ROLE_MAX; i++)
                role_done(&root->roles[i]);
        *root = (Root){ 0 };
}

const RootKey *root_key(const Root *root, const char *keyid)
{
        for (size_t i = 0; i < root->n_keys; i++)
                if (streq(root->keys[i].keyid, keyid))
                        return &root->keys[i];
        return NULL;
}

const char *role_name(RoleId role)
{
        return role_names[role];
}

/* --- keys --- */

typedef struct KeysWalk {
        const Doc *doc;
        Root *root;
} KeysWalk;

/* A key of an algorithm we cannot check stays in the list (it never counts); one we can check must fit its name. */
static int check_key_fits(const Doc *d, const RootKey *key)
{
        _cleanup_(key_freep) Key *k = NULL;
        Why why = { 0 };
        int r;

        if (!key_alg_supported(key->alg))
                return 0;
        r = key_from_spki(key->alg, key->spki.data, key->spki.size, &k, &why);
        return r == -ENOMEM ? r : r < 0 ? doc_fail(d, "public", "is not what alg says: %s", why.text) : 0;
}

static int parse_key(const Doc *d, const char *keyid, RootKey *key)
{
        _cleanup_(free_charp) char *alg = NULL, *public = NULL;
        char digest[SHA256_HEX];
        int r;

        if (hex_normalize(keyid, DOC_SHA256_HEX, key->keyid) < 0)
                return doc_fail(d, "", "is not named by a SHA-256 in hex");
        r = doc_text(d, "alg", ALG_SIZE - 1, &alg);
        if (r < 0)
                return r;
        (void) snprintf(key->alg_name, sizeof(key->alg_name), "%s", alg);
        key->alg = key_alg_from_name(alg);
        r = doc_text(d, "public", ENVELOPE_MAX, &public);
        if (r < 0)
                return r;
        r = base64_decode(public, strlen(public), &key->spki);
        if (r < 0)
                return r == -ENOMEM ? r : doc_fail(d, "public", "is not base64");
        r = sha256_hex(key->spki.data, key->spki.size, digest);
        if (r < 0)
                return r;
        if (!streq(digest, key->keyid))
                return doc_fail(d, "public", "has the SHA-256 %.16s..., the keyid says %.16s...", digest,
                                key->keyid);
        return check_key_fits(d, key);
}

static int parse_key_member(void *ctx, const char *name, const Json *value)
{
        KeysWalk *w = ctx;
        RootKey *key = &w->root->keys[w->root->n_keys];
        Doc d = { .json = value, .what = w->doc->what, .why = w->doc->why };
        int r;

        (void) snprintf(d.where, sizeof(d.where), "keys[%.16s].", name);
        if (!json_is_object(value))
                return doc_fail(&d, "", "is not an object");
        w->root->n_keys++; /* counted first: what was filled so far is freed with the root */
        r = parse_key(&d, name, key);
        if (r < 0)
                return r;
        if (root_key(w->root, key->keyid) != key)
                return doc_fail(&d, "", "is listed twice");
        return 0;
}

static int check_keys_differ(const Doc *d, const Root *root)
{
        Key *keys[ROOT_KEYS_MAX] = { 0 };
        int r = 0;

        for (size_t i = 0; i < root->n_keys && r >= 0; i++) {
                const RootKey *k = &root->keys[i];

                if (!key_alg_supported(k->alg))
                        continue;
                r = key_from_spki(k->alg, k->spki.data, k->spki.size, &keys[i], d->why);
                for (size_t j = 0; j < i && r >= 0; j++)
                        if (keys[j] && key_same(keys[i], keys[j]))
                                r = doc_fail(d, "keys", "%.16s and %.16s are one key in two spellings",
                                             k->keyid, root->keys[j].keyid);
        }
        for (size_t i = 0; i < root->n_keys; i++)
                (void) key_free(keys[i]);
        return r;
}

static int parse_keys(const Doc *d, Root *root)
{
        KeysWalk walk = { .doc = d, .root = root };
        Doc keys;
        int r;

        r = doc_object(d, "keys", &keys);
        if (r < 0)
                return r;
        if (json_members(keys.json) > ROOT_KEYS_MAX)
                return doc_fail(d, "keys", "has %zu entries, at most %u are allowed", json_members(keys.json),
                                ROOT_KEYS_MAX);
        root->keys = calloc(json_members(keys.json) + 1, sizeof(*root->keys));
        if (!root->keys)
                return -ENOMEM;
        r = json_each(keys.json, parse_key_member, &walk);
        return r < 0 ? r : check_keys_differ(d, root);
}

/* --- roles --- */

static int parse_keyids(const Doc *d, const Root *root, char ***ret)
{
        _cleanup_(strv_freep) char **listed = NULL, **keyids = NULL;
        char keyid[KEYID_SIZE];
        int r;

        r = doc_text_list(d, "keyids", 1, ROOT_KEYS_MAX, &listed);
        if (r < 0)
                return r;
        for (size_t i = 0; i < strv_len(listed); i++) {
                if (hex_normalize(listed[i], DOC_SHA256_HEX, keyid) < 0)
                        return doc_fail(d, "keyids", "has an entry that is not a SHA-256 in hex");
                if (!root_key(root, keyid))
                        return doc_fail(d, "keyids", "names key %.16s..., which is not among keys", keyid);
                if (strv_has(keyids, keyid))
                        continue;
                r = strv_add(&keyids, keyid);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(keyids);
        return 0;
}

static int parse_plain_keyids(const Doc *d, const Root *root, RootRole *role)
{
        _cleanup_(strv_freep) char **keyids = NULL;
        int r;

        r = parse_keyids(d, root, &keyids);
        if (r < 0)
                return r;
        role->signers = calloc(strv_len(keyids), sizeof(*role->signers));
        if (!role->signers)
                return -ENOMEM;
        for (size_t i = 0; i < strv_len(keyids); i++) {
                RootSigner *s = &role->signers[role->n_signers++];

                s->id = strdup(keyids[i]);
                if (!s->id)
                        return -ENOMEM;
                r = strv_add(&s->keyids, keyids[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int check_signer_alone(const Doc *d, const RootRole *role, const RootSigner *s)
{
        for (const RootSigner *other = role->signers; other < s; other++) {
                if (streq(other->id, s->id))
                        return doc_fail(d, "id", "\"%.40s\" is the id of two signers", s->id);
                for (size_t i = 0; i < strv_len(s->keyids); i++)
                        if (strv_has(other->keyids, s->keyids[i]))
                                return doc_fail(d, "keyids",
                                                "has key %.16s..., which signer \"%.40s\" has too: two "
                                                "signers that share"
                                                " a key are not two",
                                                s->keyids[i], other->id);
        }
        return 0;
}

static int parse_signers(const Doc *d, const Root *root, RootRole *role)
{
        const Json *array;
        int r;

        r = doc_array(d, "signers", 1, ROOT_SIGNERS_MAX, &array);
        if (r < 0)
                return r;
        role->signers = calloc(json_len(array), sizeof(*role->signers));
        if (!role->signers)
                return -ENOMEM;
        for (size_t i = 0; i < json_len(array); i++) {
                RootSigner *s = &role->signers[role->n_signers++];
                Doc item;

                r = doc_item(d, "signers", array, i, &item);
                if (r < 0)
                        return r;
                r = doc_text(&item, "id", DOC_TEXT_MAX, &s->id);
                if (r < 0)
                        return r;
                r = parse_keyids(&item, root, &s->keyids);
                if (r < 0)
                        return r;
                r = check_signer_alone(&item, role, s);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse_role(const Doc *d, const Root *root, RootRole *role)
{
        bool plain = json_get(d->json, "keyids"), named = json_get(d->json, "signers");
        int r;

        if (plain == named)
                return doc_fail(d, "keyids",
                                plain ? "and signers are both there, one is needed"
                                      : "and signers are both missing, one is needed");
        r = plain ? parse_plain_keyids(d, root, role) : parse_signers(d, root, role);
        if (r < 0)
                return r;
        r = doc_u64(d, "threshold", &role->threshold);
        if (r < 0)
                return r;
        if (role->threshold == 0)
                return doc_fail(d, "threshold", "is 0: nobody would have to sign");
        if (role->threshold > role->n_signers)
                return doc_fail(d, "threshold", "is %llu, but there are only %zu signers",
                                (unsigned long long) role->threshold, role->n_signers);
        if (json_get(d->json, "requireAlgs")) {
                r = doc_text_list(d, "requireAlgs", 0, ROOT_ALGS_MAX, &role->require_algs);
                if (r < 0)
                        return r;
        }
        role->present = true;
        return 0;
}

static int parse_roles(const Doc *d, Root *root)
{
        Doc roles, role;
        int r;

        r = doc_object(d, "roles", &roles);
        if (r < 0)
                return r;
        for (int i = 0; i < _ROLE_MAX; i++) {
                if (i == ROLE_FEED && !json_get(roles.json, role_names[i]))
                        continue;
                r = doc_object(&roles, role_names[i], &role);
                if (r < 0)
                        return r;
                r = parse_role(&role, root, &root->roles[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

int root_parse(const void *payload, size_t size, const char *what, Root *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *json = NULL;
        _cleanup_(root_done) Root root = { 0 };
        Doc d;
        int r;

        r = doc_open(payload, size, what, "gybe.root/1", &json, &d, why);
        if (r < 0)
                return r;
        if ((r = doc_u64(&d, "version", &root.version)) < 0 ||
            (r = doc_time(&d, "issued", &root.issued)) < 0 ||
            (r = doc_time(&d, "expires", &root.expires)) < 0)
                return r;
        if (root.version == 0)
                return doc_fail(&d, "version", "is 0, the first one is 1");
        if (root.issued > root.expires)
                return doc_fail(&d, "expires", "is before issued");
        if ((r = parse_keys(&d, &root)) < 0 || (r = parse_roles(&d, &root)) < 0)
                return r;
        *ret = root;
        root = (Root){ 0 };
        return 0;
}
