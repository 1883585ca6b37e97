/* SPDX-License-Identifier: MIT */

/* Do these signatures suffice? A key counts when its signature over the envelope's bytes verifies with the algorithm the root
 * names for it; a signer counts when all of its keys do; a role is satisfied when enough signers count and every required
 * algorithm is among them. Then the chain of roots. Payloads are parsed only after that, except the first root's, which is
 * trusted as found. */

#include "release/release.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

void trust_verdict_done(TrustVerdict *v)
{
        strv_free(v->good);
        strv_free(v->signers);
        free(v->explain);
        *v = (TrustVerdict){ 0 };
}

static const RootKey *find_key(const Root *root, const char *keyid)
{
        for (size_t i = 0; i < root->n_keys; i++)
                if (streq(root->keys[i].keyid, keyid))
                        return &root->keys[i];
        return NULL;
}

static bool role_has(const RootRole *role, const char *keyid)
{
        for (size_t i = 0; i < role->n_signers; i++)
                if (strv_has(role->signers[i].keyids, keyid))
                        return true;
        return false;
}

/* 1 counts, 0 does not; the reason goes to explain. */
static int try_signature(const RootRole *role, const Root *root, const EnvelopeSignature *s, const Bytes *pae, Str *explain)
{
        const RootKey *rk = find_key(root, s->keyid);
        _cleanup_(key_freep) Key *key = NULL;
        const char *reason = NULL;
        int r;

        if (!rk || !role_has(role, s->keyid))
                reason = "is not a key of this role";
        else if (!streq(s->alg, rk->alg_name))
                reason = "signs with another algorithm than the root names";
        else if (rk->alg < 0 || !key_alg_supported(rk->alg))
                reason = "has an algorithm this build lacks";
        if (!reason) {
                r = key_from_spki(rk->alg, rk->spki.data, rk->spki.size, &key, NULL);
                if (r == -ENOMEM)
                        return r;
                r = r < 0 ? 0 : key_verify(key, pae->data, pae->size, s->sig.data, s->sig.size);
                if (r == -ENOMEM)
                        return r;
                if (r > 0)
                        return 1;
                reason = "has a wrong signature";
        }
        str_addf(explain, "%skey %.16s... %s", explain->size > 0 ? "; " : "", s->keyid, reason);
        return 0;
}

static int count_signers(const RootRole *role, TrustVerdict *v)
{
        for (size_t i = 0; i < role->n_signers; i++) {
                const RootSigner *s = &role->signers[i];
                bool all = true;
                int r;

                for (char **k = s->keyids; *k; k++)
                        all &= strv_has(v->good, *k);
                r = all ? strv_add(&v->signers, s->id) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A key that verified beside a signer that does not count is not a counted signature. */
static bool alg_counts(const RootRole *role, const Root *root, const TrustVerdict *v, const char *alg)
{
        for (size_t i = 0; i < role->n_signers; i++) {
                if (!strv_has(v->signers, role->signers[i].id))
                        continue;
                for (char **k = role->signers[i].keyids; *k; k++) {
                        const RootKey *key = find_key(root, *k);
                        if (key && streq(key->alg_name, alg))
                                return true;
                }
        }
        return false;
}

static int check_required(const RootRole *role, const Root *root, const TrustVerdict *v, const char *what, Why *why)
{
        for (char **alg = role->require_algs; alg && *alg; alg++) {
                KeyAlg known = key_alg_from_name(*alg);

                if (known < 0 || !key_alg_supported(known)) {
                        (void) fail(why, -EOPNOTSUPP, WHY_TRUST, "algorithm-missing",
                                    "%s: the root requires a %s signature, which this build of gybe cannot check", what, *alg);
                        return fail_hint(why, -EOPNOTSUPP, "use a build with an OpenSSL that has it");
                }
                if (!alg_counts(role, root, v, *alg))
                        return fail(why, -EKEYREJECTED, WHY_TRUST, "algorithm-missing",
                                    "%s: the root requires a %s signature, and none counts%s%s", what, *alg,
                                    v->explain[0] ? ": " : "", v->explain);
        }
        return 0;
}

int trust_check(const Root *root, RoleId id, const Envelope *e, const char *what, TrustVerdict *ret, Why *why)
{
        const RootRole *role = &root->roles[id];
        _cleanup_(trust_verdict_done) TrustVerdict v = { 0 };
        _cleanup_(bytes_done) Bytes pae = BYTES_NULL;
        Str explain = STR_NULL;
        int r;

        if (id == ROLE_FEED && !role->present)
                role = &root->roles[ROLE_RELEASE];
        r = envelope_pae(e->type, e->payload.data, e->payload.size, &pae);
        for (size_t i = 0; r >= 0 && i < e->n_signatures; i++) {
                r = try_signature(role, root, &e->signatures[i], &pae, &explain);
                if (r > 0)
                        r = strv_add(&v.good, e->signatures[i].keyid);
        }
        v.explain = str_take(&explain);
        if (r < 0)
                return r;
        if (!v.explain)
                return -ENOMEM;
        r = count_signers(role, &v);
        if (r < 0)
                return r;
        if (strv_len(v.signers) < role->threshold) {
                (void) fail(why, -EKEYREJECTED, WHY_TRUST, "below-threshold", "%s: %zu of %llu needed signers count%s%s", what,
                            strv_len(v.signers), (unsigned long long) role->threshold, v.explain[0] ? ": " : "", v.explain);
                return fail_hint(why, -EKEYREJECTED, "sign it with the keys of root version %llu",
                                 (unsigned long long) root->version);
        }
        r = check_required(role, root, &v, what, why);
        if (r < 0)
                return r;
        *ret = v;
        v = (TrustVerdict){ 0 };
        return 0;
}

/* --- the chain --- */

static int open_root(const Envelope *e, const char *what, Root *ret, Why *why)
{
        if (!streq(e->type, TYPE_ROOT))
                return fail(why, -EBADMSG, WHY_TRUST, "wrong-type", "%s: it is a %s, not a root", what, e->type);
        return root_parse(e->payload.data, e->payload.size, what, ret, why);
}

int trust_anchor_open(const Envelope *first, const char *name, TrustAnchor *ret, Why *why)
{
        _cleanup_(trust_verdict_done) TrustVerdict v = { 0 };
        _cleanup_(root_done) Root root = { 0 };
        char what[64];
        int r;

        (void) snprintf(what, sizeof(what), "%s root", name);
        r = open_root(first, what, &root, why);
        if (r >= 0)
                r = trust_check(&root, ROLE_ROOT, first, what, &v, why);
        if (r < 0)
                return r;
        *ret = (TrustAnchor){ .root = root };
        (void) snprintf(ret->name, sizeof(ret->name), "%s", name);
        root = (Root){ 0 };
        return 0;
}

int trust_anchor_advance(TrustAnchor *anchor, const Envelope *next, Why *why)
{
        _cleanup_(trust_verdict_done) TrustVerdict old = { 0 }, own = { 0 };
        _cleanup_(root_done) Root root = { 0 };
        int r;

        if (!streq(next->type, TYPE_ROOT))
                return fail(why, -EBADMSG, WHY_TRUST, "wrong-type", "root: it is a %s", next->type);
        /* The old root's signatures over the bytes first: what they do not cover is not parsed. */
        r = trust_check(&anchor->root, ROLE_ROOT, next, "next root, by the root before it", &old, why);
        if (r >= 0)
                r = open_root(next, "next root", &root, why);
        if (r < 0)
                return r;
        if (root.version != anchor->root.version + 1)
                return 0;
        r = trust_check(&root, ROLE_ROOT, next, "next root, by itself", &own, why);
        if (r < 0)
                return r;
        root_done(&anchor->root);
        anchor->root = root;
        root = (Root){ 0 };
        return 1;
}

int trust_anchor_check_expiry(const TrustAnchor *anchor, uint64_t now, Why *why)
{
        char when[TIME_TEXT_SIZE];

        if (anchor->root.expires > now)
                return 0;
        format_time(anchor->root.expires, when);
        (void) fail(why, -EKEYEXPIRED, WHY_TRUST, "root-expired", "trust: the %s root, version %llu, expired at %s", anchor->name,
                    (unsigned long long) anchor->root.version, when);
        return fail_hint(why, -EKEYEXPIRED, "publish the next root, or check this host's clock");
}

void trust_anchor_done(TrustAnchor *anchor)
{
        root_done(&anchor->root);
}
