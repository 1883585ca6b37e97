/* SPDX-License-Identifier: MIT */

/* root.json: which keys there are and which of them speak for what. Only the document; whether an envelope satisfies a role
 * is trust.c's question. formats.md section 2. */

#include "release/release.h"
#include "base/digest.h"
#include "base/str.h"
#include "release/doc.h"

#include <errno.h>

#define ROOT_KEYS_MAX    64u /* a hybrid pair for thirty signers */
#define ROOT_SIGNERS_MAX 64u
#define SIGNER_KEYS_MAX  4u /* classical and post-quantum, and room for a third kind */

static const char *const role_names[_ROLE_MAX] = { [ROLE_ROOT] = "root", [ROLE_RELEASE] = "release", [ROLE_FEED] = "feed" };

static void role_done(RootRole *role)
{
        for (size_t i = 0; i < role->n_signers; i++) {
                free(role->signers[i].id);
                strv_free(role->signers[i].keyids);
        }
        free(role->signers);
        strv_free(role->require_algs);
        *role = (RootRole){ 0 };
}

void root_done(Root *root)
{
        for (size_t i = 0; i < root->n_keys; i++)
                bytes_done(&root->keys[i].spki);
        free(root->keys);
        for (RoleId r = 0; r < _ROLE_MAX; r++)
                role_done(&root->roles[r]);
        *root = (Root){ 0 };
}

static const RootKey *root_key(const Root *root, const char *keyid)
{
        for (size_t i = 0; i < root->n_keys; i++)
                if (streq(root->keys[i].keyid, keyid))
                        return &root->keys[i];
        return NULL;
}

/* --- keys --- */

static int read_spki(const Doc *key, RootKey *ret)
{
        const char *text = json_get_str(key->json, "public");
        char id[SHA256_HEX];
        int r;

        if (!text || base64_decode(text, strlen(text), &ret->spki) < 0)
                return doc_fail(key, "public", "is not base64 of a public key");
        r = sha256_hex(ret->spki.data, ret->spki.size, id);
        if (r < 0)
                return r;
        if (!streq(id, ret->keyid))
                return doc_fail(key, "public", "has the keyid %.16s..., it is listed as %.16s...", id, ret->keyid);
        return 0;
}

/* A key that its own algorithm would not take is a mistake of whoever made the root, and is said now rather than at the
 * first release. An algorithm this build does not know is no mistake: the key just never counts. */
static int check_key(const Doc *key, const RootKey *k)
{
        _cleanup_(key_freep) Key *parsed = NULL;
        Why why = { 0 };
        int r;

        if (k->alg < 0 || !key_alg_supported(k->alg))
                return 0;
        r = key_from_spki(k->alg, k->spki.data, k->spki.size, &parsed, &why);
        if (r == -ENOMEM)
                return r;
        return r < 0 ? doc_fail(key, "public", "is no usable %s key (%.120s)", k->alg_name, why.text) : 0;
}

typedef struct KeyWalk {
        const Doc *doc;
        Root *root;
} KeyWalk;

static int add_key(void *ctx, const char *keyid, const Json *value)
{
        KeyWalk *w = ctx;
        RootKey *k = &w->root->keys[w->root->n_keys];
        Doc key = { .json = value, .what = w->doc->what, .where = "keys.", .why = w->doc->why };
        _cleanup_(free_charp) char *alg = NULL;
        int r;

        *k = (RootKey){ 0 };
        if (hex_normalize(keyid, DOC_SHA256_HEX, k->keyid) < 0)
                return doc_fail(w->doc, "keys", "has a name that is not a keyid (\"%.70s\")", keyid);
        if (root_key(w->root, k->keyid))
                return doc_fail(w->doc, "keys", "names key %.16s... twice", k->keyid);
        if (!json_is_object(value))
                return doc_fail(w->doc, "keys", "has an entry that is not an object");
        r = doc_text(&key, "alg", sizeof(k->alg_name) - 1, &alg);
        if (r < 0)
                return r;
        memcpy(k->alg_name, alg, strlen(alg) + 1);
        k->alg = key_alg_from_name(alg);
        w->root->n_keys++; /* from here on root_done() frees it */
        r = read_spki(&key, k);
        return r < 0 ? r : check_key(&key, k);
}

static int read_keys(const Doc *d, Root *root)
{
        KeyWalk walk = { .doc = d, .root = root };
        Doc keys;
        int r;

        r = doc_object(d, "keys", &keys);
        if (r < 0)
                return r;
        if (json_members(keys.json) == 0 || json_members(keys.json) > ROOT_KEYS_MAX)
                return doc_fail(d, "keys", "has %zu keys, 1 to %u are allowed", json_members(keys.json), ROOT_KEYS_MAX);
        root->keys = calloc(json_members(keys.json), sizeof(*root->keys));
        if (!root->keys)
                return -ENOMEM;
        return json_each(keys.json, add_key, &walk);
}

/* --- roles --- */

/* Every key of a role may speak once. Were a key in two signers, one theft would count twice and a threshold of two would
 * mean one key: such a root is refused. */
static int check_distinct(const Doc *role, const RootRole *r, const char *keyid)
{
        for (size_t i = 0; i < r->n_signers; i++)
                if (strv_has(r->signers[i].keyids, keyid))
                        return doc_fail(role, "keyids", "names key %.16s... twice", keyid);
        return 0;
}

static int add_keyid(const Doc *role, const Root *root, const RootRole *r, const Json *value, RootSigner *s)
{
        char keyid[KEYID_SIZE];
        int e;

        e = doc_hex_of(role, "keyids", value, DOC_SHA256_HEX, keyid);
        if (e < 0)
                return e;
        if (!root_key(root, keyid))
                return doc_fail(role, "keyids", "names key %.16s..., which is not in keys", keyid);
        if (strv_has(s->keyids, keyid))
                return doc_fail(role, "keyids", "names key %.16s... twice", keyid);
        e = check_distinct(role, r, keyid);
        return e < 0 ? e : strv_add(&s->keyids, keyid);
}

static int read_plain(const Doc *role, const Root *root, RootRole *r)
{
        const Json *ids;
        int e;

        e = doc_array(role, "keyids", 1, ROOT_SIGNERS_MAX, &ids);
        if (e < 0)
                return e;
        r->signers = calloc(json_len(ids), sizeof(*r->signers));
        if (!r->signers)
                return -ENOMEM;
        for (size_t i = 0; i < json_len(ids); i++) {
                RootSigner s = { 0 };

                e = add_keyid(role, root, r, json_at(ids, i), &s);
                if (e >= 0 && !(s.id = strdup(s.keyids[0])))
                        e = -ENOMEM;
                if (e < 0) {
                        strv_free(s.keyids);
                        return e;
                }
                r->signers[r->n_signers++] = s;
        }
        return 0;
}

static int read_signer(const Doc *item, const Root *root, const RootRole *r, RootSigner *s)
{
        const Json *ids;
        int e;

        e = doc_text(item, "id", DOC_TEXT_MAX, &s->id);
        if (e >= 0)
                e = doc_array(item, "keyids", 1, SIGNER_KEYS_MAX, &ids);
        if (e < 0)
                return e;
        for (size_t i = 0; i < r->n_signers; i++)
                if (streq(r->signers[i].id, s->id))
                        return doc_fail(item, "id", "is \"%.60s\", as another signer's", s->id);
        for (size_t i = 0; i < json_len(ids); i++) {
                e = add_keyid(item, root, r, json_at(ids, i), s);
                if (e < 0)
                        return e;
        }
        return 0;
}

static int read_signers(const Doc *role, const Root *root, RootRole *r)
{
        const Json *list;
        int e;

        e = doc_array(role, "signers", 1, ROOT_SIGNERS_MAX, &list);
        if (e < 0)
                return e;
        r->signers = calloc(json_len(list), sizeof(*r->signers));
        if (!r->signers)
                return -ENOMEM;
        for (size_t i = 0; i < json_len(list); i++) {
                RootSigner s = { 0 };
                Doc item;

                e = doc_item(role, "signers", list, i, &item);
                if (e >= 0)
                        e = read_signer(&item, root, r, &s);
                if (e < 0) {
                        free(s.id);
                        strv_free(s.keyids);
                        return e;
                }
                r->signers[r->n_signers++] = s;
        }
        return 0;
}

static int read_role(const Doc *roles, RoleId id, Root *root)
{
        RootRole *r = &root->roles[id];
        const char *name = role_names[id];
        Doc role;
        int e;

        if (id == ROLE_FEED && !json_get(roles->json, name))
                return 0;
        e = doc_object(roles, name, &role);
        if (e < 0)
                return e;
        r->present = true;
        e = doc_u64(&role, "threshold", &r->threshold);
        if (e < 0)
                return e;
        if (json_get(role.json, "signers") && json_get(role.json, "keyids"))
                return doc_fail(&role, "signers", "stands beside keyids; a role has one of them");
        e = json_get(role.json, "signers") ? read_signers(&role, root, r) : read_plain(&role, root, r);
        if (e >= 0 && json_get(role.json, "requireAlgs"))
                e = doc_text_list(&role, "requireAlgs", 0, ROOT_KEYS_MAX, &r->require_algs);
        if (e < 0)
                return e;
        if (r->threshold == 0 || r->threshold > r->n_signers)
                return doc_fail(&role, "threshold", "is %llu with %zu signers", (unsigned long long) r->threshold, r->n_signers);
        return 0;
}

int root_parse(const void *payload, size_t size, const char *what, Root *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *json = NULL;
        _cleanup_(root_done) Root root = { 0 };
        Doc d, roles;
        int r;

        if ((r = doc_open(payload, size, what, "gybe.root/1", &json, &d, why)) < 0 || (r = doc_u64(&d, "version", &root.version)) < 0 ||
            (r = doc_time(&d, "expires", &root.expires)) < 0 || (r = doc_time(&d, "issued", &root.issued)) < 0 ||
            (r = read_keys(&d, &root)) < 0 || (r = doc_object(&d, "roles", &roles)) < 0)
                return r;
        if (root.version == 0)
                return doc_fail(&d, "version", "is 0; the first root is version 1");
        for (RoleId id = 0; id < _ROLE_MAX; id++) {
                r = read_role(&roles, id, &root);
                if (r < 0)
                        return r;
        }
        *ret = root;
        root = (Root){ 0 };
        return 0;
}
