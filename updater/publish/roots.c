/* SPDX-License-Identifier: MIT */

#include "publish/roots.h"
#include "base/str.h"

#include <errno.h>

Json *root_doc_new(void)
{
        Json *doc = json_new_object();

        json_set_str(doc, "schema", "gybe.root/1");
        json_set_u64(doc, "version", 1);
        return doc;
}

static int add_key(Json *doc, const Key *key, char keyid[KEYID_SIZE])
{
        _cleanup_(bytes_done) Bytes spki = BYTES_NULL;
        _cleanup_(free_charp) char *text = NULL;
        Json *entry;
        int r = key_id(key, keyid);

        if (r >= 0)
                r = key_spki(key, &spki);
        if (r >= 0)
                r = base64_encode(spki.data, spki.size, &text);
        if (r < 0)
                return r;
        entry = json_new_object();
        json_set_str(entry, "alg", key_alg_name(key_alg(key)));
        json_set_str(entry, "public", text);
        json_set(json_sub(doc, "keys"), keyid, entry);
        return 0;
}

static Json *strings(char *const *v)
{
        Json *list = json_new_array();

        for (; v && *v; v++)
                json_add_str(list, *v);
        return list;
}

/* A list of strings in a role, with one more or without one; the order is kept. */
static void edit_list(Json *object, const char *name, const char *add, const char *drop)
{
        Json *list = json_new_array();
        bool there = false;

        json_foreach (item, json_get(object, name)) {
                const char *s = json_str(item);

                if (!s || (drop && streq(s, drop)))
                        continue;
                there = there || (add && streq(s, add));
                json_add_str(list, s);
        }
        if (add && !there)
                json_add_str(list, add);
        json_set(object, name, list);
}

static void add_signer(Json *role, const char *id, char *const *keyids)
{
        Json *signers = json_new_array(), *signer = json_new_object();

        json_foreach (old, json_get(role, "signers"))
                json_add(signers, json_ref(old));
        /* keys that stood alone become signers of one key */
        json_foreach (old, json_get(role, "keyids")) {
                Json *single = json_new_object();
                char *ids[] = { (char *) json_str(old), NULL };

                json_set_str(single, "id", json_str(old));
                json_set(single, "keyids", strings(ids));
                json_add(signers, single);
        }
        json_remove(role, "keyids");
        json_set_str(signer, "id", id);
        json_set(signer, "keyids", strings(keyids));
        json_add(signers, signer);
        json_set(role, "signers", signers);
}

int root_doc_add(Json *doc, const char *role_name, const char *id, Key *const *keys, size_t n, Why *why)
{
        _cleanup_(strv_freep) char **ids = NULL;
        Json *role = json_sub(json_sub(doc, "roles"), role_name);

        for (size_t i = 0; i < n; i++) {
                char keyid[KEYID_SIZE];

                if (add_key(doc, keys[i], keyid) < 0 || strv_add(&ids, keyid) < 0)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "root");
        }
        if (!json_get(role, "threshold"))
                json_set_u64(role, "threshold", 1);
        if (n == 1 && !id && !json_get(role, "signers")) {
                edit_list(role, "keyids", ids[0], NULL);
                return 0;
        }
        if (!streq(role_name, "release"))
                return fail(why, -EINVAL, WHY_USAGE, "signers",
                            "only the release role has signers of several keys");
        add_signer(role, id ?: ids[0], ids);
        return 0;
}

static void remove_from_signers(Json *role, const char *keyid)
{
        Json *signers;

        if (!json_get(role, "signers"))
                return;
        signers = json_new_array();
        /* a signer of several keys counts only with all of them: it goes as a whole */
        json_foreach (signer, json_get(role, "signers")) {
                bool has = false;

                json_foreach (k, json_get(signer, "keyids"))
                        has = has || streq0(json_str(k), keyid);
                if (!has)
                        json_add(signers, json_ref(signer));
        }
        json_set(role, "signers", signers);
}

int root_doc_remove(Json *doc, const char *keyid, Why *why)
{
        static const char *const roles[] = { "root", "release", "feed" };
        char id[KEYID_SIZE];

        if (hex_normalize(keyid, KEYID_SIZE - 1, id) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "keyid", "--remove %s: not a keyid of 64 hex digits",
                            keyid);
        if (!json_get(json_get(doc, "keys"), id))
                return fail(why, -ENOENT, WHY_USAGE, "keyid", "--remove %.16s: the root has no such key", id);
        json_remove(json_sub(doc, "keys"), id);
        for (size_t i = 0; i < ELEMENTSOF(roles); i++) {
                Json *role;

                if (!json_get(json_get(doc, "roles"), roles[i]))
                        continue;
                role = json_sub(json_sub(doc, "roles"), roles[i]);
                if (json_get(role, "keyids"))
                        edit_list(role, "keyids", NULL, id);
                remove_from_signers(role, id);
        }
        return 0;
}

void root_doc_threshold(Json *doc, const char *role, uint64_t threshold)
{
        json_set_u64(json_sub(json_sub(doc, "roles"), role), "threshold", threshold);
}

void root_doc_require(Json *doc, char *const *algs)
{
        json_set(json_sub(json_sub(doc, "roles"), "release"), "requireAlgs", strings(algs));
}

int root_doc_finish(Json *doc, uint64_t issued, uint64_t expires, Envelope *ret, Why *why)
{
        _cleanup_(free_charp) char *text = NULL;
        _cleanup_(root_done) Root root = { 0 };
        Why refusal = { 0 };
        int r;

        json_set_time(doc, "issued", issued);
        json_set_time(doc, "expires", expires);
        text = json_format(doc, true);
        if (!text)
                return fail_errno(why, -ENOMEM, WHY_HOST, "root");
        r = fail_own_document(why, root_parse(text, strlen(text), "the new root", &root, &refusal), &refusal);
        return r < 0 ? r : envelope_new(TYPE_ROOT, text, ret, why);
}
