/* SPDX-License-Identifier: MIT */

/* gybe-release root and the offline half of sign: documents that several people sign one after the other,
 * often on machines that have nothing but the file and a key. */

#include "publish/publish.h"
#include "base/file.h"
#include "base/str.h"
#include "publish/roots.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

static int add_keys(Json *doc, const char *role, char *const *paths, Why *why)
{
        for (; paths && *paths; paths++) {
                _cleanup_(key_freep) Key *key = NULL;
                int r = key_load(*paths, &key, why);

                if (r >= 0)
                        r = root_doc_add(doc, role, NULL, &key, 1, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* "ID=PEM,PEM" */
static int add_signer(Json *doc, const char *spec, Why *why)
{
        _cleanup_(free_charp) char *copy = strdup(spec);
        _cleanup_(strv_freep) char **paths = NULL;
        _cleanup_(keyring_done) KeyRing ring = { 0 };
        char *equals = copy ? strchr(copy, '=') : NULL, *state = NULL;
        int r;

        if (!equals || equals == copy)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "--signer %s: expected ID=PEM,PEM", spec);
        *equals = 0;
        for (char *path = strtok_r(equals + 1, ",", &state); path; path = strtok_r(NULL, ",", &state))
                if (strv_add(&paths, path) < 0)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "root");
        r = keyring_load(paths, &ring, why);
        return r < 0 ? r : root_doc_add(doc, "release", copy, ring.keys, ring.n_keys, why);
}

static int load_doc(const RootOptions *o, Envelope *old, Json **ret, Why *why)
{
        uint64_t version = 0;
        Json *doc = NULL;
        int r;

        if (!o->from) {
                *ret = root_doc_new();
                return 0;
        }
        r = envelope_load(o->from, TYPE_ROOT, old, why);
        if (r >= 0)
                r = json_parse(old->payload.data, old->payload.size, 0, JSON_DEPTH_MAX, o->from, WHY_TRUST,
                               &doc, why);
        if (r < 0)
                return r;
        if (json_get_u64(doc, "version", &version) != 1) {
                (void) json_unref(doc);
                return fail(why, -EBADMSG, WHY_TRUST, "malformed", "%s: a root without a version", o->from);
        }
        json_set_u64(doc, "version", version + 1);
        *ret = doc;
        return 0;
}

static int edit_doc(Json *doc, const RootOptions *o, Why *why)
{
        int r = 0;

        for (char **k = o->remove; r >= 0 && k && *k; k++)
                r = root_doc_remove(doc, *k, why);
        if (r >= 0)
                r = add_keys(doc, "root", o->root_keys, why);
        if (r >= 0)
                r = add_keys(doc, "release", o->release_keys, why);
        if (r >= 0)
                r = add_keys(doc, "feed", o->feed_keys, why);
        for (char **s = o->signers; r >= 0 && s && *s; s++)
                r = add_signer(doc, *s, why);
        if (o->root_threshold)
                root_doc_threshold(doc, "root", o->root_threshold);
        if (o->release_threshold)
                root_doc_threshold(doc, "release", o->release_threshold);
        if (o->feed_threshold)
                root_doc_threshold(doc, "feed", o->feed_threshold);
        if (o->require_algs)
                root_doc_require(doc, o->require_algs);
        return r;
}

/* Would a host walk from the old root to this one? What is missing is a warning: the others sign later. */
static int judge_root(const Envelope *old, const Envelope *e, Json *warnings)
{
        _cleanup_(trust_anchor_done) TrustAnchor anchor = { 0 };
        Why missing = { 0 };
        int r;

        r = trust_anchor_open(old->payload.data ? old : e, "factory", &anchor, &missing);
        if (r >= 0 && old->payload.data)
                r = trust_anchor_advance(&anchor, e, &missing);
        if (r < 0)
                json_add_str(warnings, missing.text);
        return r >= 0;
}

int publish_root_make(const Env *env, const RootOptions *options, Json **ret, Why *why)
{
        _cleanup_(envelope_done) Envelope old = { 0 }, e = { 0 };
        _cleanup_(json_unrefp) Json *doc = NULL;
        _cleanup_(keyring_done) KeyRing ring = { 0 };
        Json *warnings;
        uint64_t version = 0;
        int r = keyring_load(options->keys, &ring, why);

        if (r >= 0)
                r = load_doc(options, &old, &doc, why);
        if (r >= 0)
                r = edit_doc(doc, options, why);
        if (r >= 0)
                r = root_doc_finish(doc, env_now(env), options->expires, &e, why);
        if (r >= 0)
                r = envelope_sign_all(&e, &ring, why);
        if (r >= 0)
                r = envelope_save(options->output, &e, why);
        if (r < 0)
                return r;
        (void) json_get_u64(doc, "version", &version);
        warnings = json_new_array();
        *ret = json_new_object();
        json_set_str(*ret, "schema", "gybe.root-edit/1");
        json_set_str(*ret, "file", options->output);
        json_set_u64(*ret, "version", version);
        json_set(*ret, "signatures", envelope_signatures_json(&e));
        json_set_bool(*ret, "sufficient", judge_root(&old, &e, warnings));
        json_set(*ret, "warnings", warnings);
        return 0;
}

static int attach_signature(const SignatureOptions *o, Envelope *e, Why *why)
{
        _cleanup_(key_freep) Key *key = NULL;
        _cleanup_(bytes_done) Bytes sig = BYTES_NULL;
        int r = key_load(o->public, &key, why);

        if (r < 0)
                return r;
        r = file_read(AT_FDCWD, o->signature, SIGNATURE_MAX, &sig);
        return r < 0 ? fail_errno(why, r, WHY_USAGE, "%s", o->signature) : envelope_attach(e, key, &sig, why);
}

static int write_pae(const SignatureOptions *o, const Envelope *e, Why *why)
{
        _cleanup_(bytes_done) Bytes pae = BYTES_NULL;
        int r = envelope_pae(e->type, e->payload.data, e->payload.size, &pae);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", o->pae)
                     : document_save(o->pae, pae.data, pae.size, why);
}

int publish_add_signature(const SignatureOptions *options, Json **ret, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(keyring_done) KeyRing ring = { 0 };
        int r;

        if (!options->public != !options->signature)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "--public and --signature belong together");
        if (!options->keys && !options->public && !options->pae)
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "needs --key, --public with --signature, or --pae");
        r = keyring_load(options->keys, &ring, why);
        if (r >= 0)
                r = envelope_load(options->file, NULL, &e, why);
        if (r >= 0 && options->pae)
                r = write_pae(options, &e, why);
        if (r >= 0)
                r = envelope_sign_all(&e, &ring, why);
        if (r >= 0 && options->public)
                r = attach_signature(options, &e, why);
        if (r >= 0 && (options->keys || options->public))
                r = envelope_save(options->file, &e, why);
        if (r < 0)
                return r;
        *ret = json_new_object();
        json_set_str(*ret, "schema", "gybe.signatures/1");
        json_set_str(*ret, "file", options->file);
        json_set(*ret, "signatures", envelope_signatures_json(&e));
        return 0;
}
