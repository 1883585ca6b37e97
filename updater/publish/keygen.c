/* SPDX-License-Identifier: MIT */

/* Keys and a first root for tests and small fleets. Larger ones keep their keys in an HSM: the text at the
 * end says how the same files are made without a private key on any disk. */

#include "publish/publish.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "publish/roots.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#define SIGNERS_MAX 8u /* of one role, with up to two keys each: all of them fit an envelope */

typedef struct KeyPlan {
        const KeygenOptions *o;
        KeyAlg algs[ENVELOPE_SIGNATURES_MAX];
        size_t n_algs;
        Json *doc, *files;
        KeyRing root_keys;
} KeyPlan;

static void plan_done(KeyPlan *p)
{
        json_unrefp(&p->doc);
        json_unrefp(&p->files);
        keyring_done(&p->root_keys);
}

static int parse_algs(char *const *names, KeyPlan *p, Why *why)
{
        if (!names || !*names) {
                p->algs[p->n_algs++] = KEY_ECDSA_P384;
                return 0;
        }
        for (; *names; names++) {
                KeyAlg alg = key_alg_from_name(*names);

                if (alg < 0 || p->n_algs >= ELEMENTSOF(p->algs))
                        return fail_hint(why,
                                         fail(why, -EINVAL, WHY_USAGE, "alg", "--alg %s: no such algorithm",
                                              *names),
                                         "ecdsa-p384, ecdsa-p256, ed25519, rsa-pss or ml-dsa-65");
                if (!key_alg_supported(alg))
                        return fail(why, -EOPNOTSUPP, WHY_USAGE, "alg",
                                    "--alg %s: the OpenSSL of this machine does not have it", *names);
                for (size_t i = 0; i < p->n_algs; i++)
                        if (p->algs[i] == alg)
                                return fail(why, -EINVAL, WHY_USAGE, "alg", "--alg %s: given twice", *names);
                p->algs[p->n_algs++] = alg;
        }
        return 0;
}

/* release.pem, release-2.pem, release.ml-dsa-65.pem: the first signer and the first algorithm have the plain
 * name */
static char *key_name(const KeyPlan *p, const char *role, unsigned signer, size_t alg, const char *suffix)
{
        char number[16] = "";

        if (signer > 0)
                (void) snprintf(number, sizeof(number), "-%u", signer + 1);
        return str_printf("%s/%s%s%s%s%s", p->o->dir, role, number, alg > 0 ? "." : "",
                          alg > 0 ? key_alg_name(p->algs[alg]) : "", suffix);
}

static int make_key(KeyPlan *p, const char *role, unsigned signer, size_t alg, Key **ret, Why *why)
{
        _cleanup_(free_charp) char *private = key_name(p, role, signer, alg, ".pem");
        _cleanup_(free_charp) char *public = key_name(p, role, signer, alg, ".pub.pem");
        _cleanup_(key_freep) Key *key = NULL;
        char keyid[KEYID_SIZE];
        Json *entry = json_new_object();
        int r;

        json_add(p->files, entry);
        if (!private || !public)
                return fail_errno(why, -ENOMEM, WHY_HOST, "keygen");
        r = key_generate(p->algs[alg], &key, why);
        if (r >= 0)
                r = key_save(key, private, true, why);
        if (r >= 0)
                r = key_save(key, public, false, why);
        if (r >= 0)
                r = key_id(key, keyid);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", private);
        json_set_str(entry, "role", role);
        json_set_str(entry, "alg", key_alg_name(p->algs[alg]));
        json_set_str(entry, "keyid", keyid);
        json_set_str(entry, "private", private);
        json_set_str(entry, "public", public);
        *ret = TAKE(key);
        return 0;
}

/* Several algorithms: each release signer has a key of each and counts only with all of them; root and feed
 * list their keys singly and ask for as many. */
static int make_role(KeyPlan *p, const char *role, unsigned signers, uint64_t threshold, Why *why)
{
        bool is_release = streq(role, "release"), is_root = streq(role, "root");

        for (unsigned s = 0; s < signers; s++) {
                _cleanup_(keyring_done) KeyRing ring = { 0 };
                _cleanup_(free_charp) char *id = str_printf("%s-%u", role, s + 1);
                int r = 0;

                for (size_t alg = 0; r >= 0 && alg < p->n_algs; alg++) {
                        r = make_key(p, role, s, alg, &ring.keys[alg], why);
                        if (r >= 0)
                                ring.n_keys++;
                        if (r >= 0 && !(is_release && p->n_algs > 1))
                                r = root_doc_add(p->doc, role, NULL, &ring.keys[alg], 1, why);
                }
                if (r >= 0 && is_release && p->n_algs > 1)
                        r = root_doc_add(p->doc, role, id, ring.keys, ring.n_keys, why);
                if (r < 0)
                        return r;
                for (size_t i = 0; is_root && i < ring.n_keys; i++)
                        p->root_keys.keys[p->root_keys.n_keys++] = TAKE(ring.keys[i]);
        }
        root_doc_threshold(p->doc, role, is_release ? threshold : threshold * p->n_algs);
        return 0;
}

static int check_counts(const KeygenOptions *o, const KeyPlan *p, Why *why)
{
        const struct {
                const char *what;
                uint64_t signers, threshold;
        } roles[] = { { "root", o->root_signers, o->root_threshold },
                      { "release", o->release_signers, o->release_threshold } };

        for (size_t i = 0; i < ELEMENTSOF(roles); i++)
                if (roles[i].signers < 1 || roles[i].signers > SIGNERS_MAX || roles[i].threshold < 1 ||
                    roles[i].threshold > roles[i].signers ||
                    roles[i].signers * p->n_algs > ENVELOPE_SIGNATURES_MAX)
                        return fail(why, -EINVAL, WHY_USAGE, "threshold",
                                    "%s: %" PRIu64 " of %" PRIu64
                                    " signers with %zu algorithms is not possible; at most "
                                    "%u signers and %u keys",
                                    roles[i].what, roles[i].threshold, roles[i].signers, p->n_algs,
                                    SIGNERS_MAX, ENVELOPE_SIGNATURES_MAX);
        return 0;
}

static int write_root(const Env *env, KeyPlan *p, const char *path, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        uint64_t now = env_now(env);
        int r = root_doc_finish(p->doc, now, now + p->o->valid, &e, why);

        if (r >= 0)
                r = envelope_sign_all(&e, &p->root_keys, why);
        return r < 0 ? r : envelope_save(path, &e, why);
}

int publish_keygen(const Env *env, const KeygenOptions *options, Json **ret, Why *why)
{
        _cleanup_(plan_done) KeyPlan p = { .o = options, .doc = root_doc_new(), .files = json_new_array() };
        _cleanup_(free_charp) char *path = str_printf("%s/root.json", options->dir);
        _cleanup_(close_fdp) int dir_fd = -1;
        int r = parse_algs(options->algs, &p, why);

        if (r >= 0)
                r = check_counts(options, &p, why);
        if (r < 0 || !path)
                return r < 0 ? r : fail_errno(why, -ENOMEM, WHY_HOST, "keygen");
        dir_fd = dir_make(AT_FDCWD, options->dir, 0700);
        if (dir_fd < 0)
                return fail_errno(why, dir_fd, WHY_USAGE, "%s", options->dir);
        if (access(path, F_OK) == 0)
                return fail_hint(why, fail(why, -EEXIST, WHY_USAGE, "exists", "%s: exists already", path),
                                 "gybe-release root rotate makes its successor");
        r = make_role(&p, "root", (unsigned) options->root_signers, options->root_threshold, why);
        if (r >= 0)
                r = make_role(&p, "release", (unsigned) options->release_signers, options->release_threshold,
                              why);
        if (r >= 0 && options->feed_key)
                r = make_role(&p, "feed", 1, 1, why);
        if (r >= 0)
                r = write_root(env, &p, path, why);
        if (r < 0)
                return r;
        *ret = json_new_object();
        json_set_str(*ret, "schema", "gybe.keygen/1");
        json_set_str(*ret, "root", path);
        json_set(*ret, "keys", TAKE(p.files));
        return 0;
}
