/* SPDX-License-Identifier: MIT */

/* Do these signatures suffice? Bytes first: nothing of a payload is parsed before the signatures over it have been
 * counted. The answer comes with its reasons, because "not trusted" alone has never helped anybody: who signed, whose
 * signature is wrong, which keys nobody knows.
 *
 * Signer      all of its keys verified -> counts once, however many keys it has
 * Key         counts when the root lists it for the role, the algorithm is the root's, and the signature is good
 * Root chain  N+1 is signed by the threshold of N (who hands over) and by its own (who takes over) */

#include "release/release.h"
#include "release/root.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

typedef enum SigState {
        SIG_GOOD,
        SIG_WRONG,
        SIG_OTHER_ALG,   /* signed with another algorithm than the root names */
        SIG_NOT_CHECKED, /* an algorithm this build does not have */
        SIG_OTHER_ROLE,  /* the root knows the key, for something else */
        SIG_UNKNOWN,
} SigState;

static const char *const types[_ROLE_MAX] = {
        [ROLE_ROOT] = TYPE_ROOT,
        [ROLE_RELEASE] = TYPE_RELEASE,
        [ROLE_FEED] = TYPE_FEED,
};

void trust_verdict_done(TrustVerdict *v)
{
        (void) strv_free(v->good);
        (void) strv_free(v->signers);
        free(v->explain);
        *v = (TrustVerdict){ 0 };
}

static const RootSigner *role_signer(const RootRole *role, const char *keyid)
{
        for (size_t i = 0; i < role->n_signers; i++)
                if (strv_has(role->signers[i].keyids, keyid))
                        return &role->signers[i];
        return NULL;
}

static int check_signature(const Root *root, const RootRole *role, const EnvelopeSignature *s,
                           const Bytes *pae, SigState *ret)
{
        _cleanup_(key_freep) Key *key = NULL;
        const RootKey *listed = root_key(root, s->keyid);
        int r;

        if (!listed || !role_signer(role, s->keyid)) {
                *ret = listed ? SIG_OTHER_ROLE : SIG_UNKNOWN;
                return 0;
        }
        if (!streq(s->alg, listed->alg_name)) {
                *ret = SIG_OTHER_ALG;
                return 0;
        }
        r = key_from_spki(listed->alg, listed->spki.data, listed->spki.size, &key, NULL);
        if (r == -ENOMEM)
                return r;
        if (r >= 0)
                r = key_verify(key, pae->data, pae->size, s->sig.data, s->sig.size);
        if (r == -ENOMEM)
                return r;
        *ret = r < 0 ? SIG_NOT_CHECKED : r == 0 ? SIG_WRONG : SIG_GOOD;
        return 0;
}

static void explain_signature(Str *text, const RootRole *role, const Root *root, const EnvelopeSignature *s,
                              SigState state)
{
        static const char *const words[] = {
                [SIG_GOOD] = "good",
                [SIG_WRONG] = "WRONG SIGNATURE",
                [SIG_OTHER_ALG] = "not counted, the root names another algorithm",
                [SIG_NOT_CHECKED] = "not counted, this build cannot check it",
                [SIG_OTHER_ROLE] = "not counted, not a key of this role",
                [SIG_UNKNOWN] = "not counted, unknown key",
        };
        const RootSigner *signer = role_signer(role, s->keyid);
        const RootKey *key = root_key(root, s->keyid);

        str_add(text, text->size > 0 ? "; " : "");
        if (signer && !streq(signer->id, s->keyid))
                str_addf(text, "%.40s ", signer->id);
        str_addf(text, "%.12s (%s): %s", s->keyid[0] ? s->keyid : "no keyid", s->alg[0] ? s->alg : "no alg",
                 words[state]);
        if (state == SIG_OTHER_ALG && key)
                str_addf(text, " (%s)", key->alg_name);
}

/* Fills good and explain. */
static int check_signatures(const Root *root, const RootRole *role, const Envelope *e, TrustVerdict *v)
{
        _cleanup_(bytes_done) Bytes pae = BYTES_NULL;
        _cleanup_(str_done) Str text = STR_NULL;
        int r;

        r = envelope_pae(e->type, e->payload.data, e->payload.size, &pae);
        if (r < 0)
                return r;
        for (size_t i = 0; i < e->n_signatures; i++) {
                const EnvelopeSignature *s = &e->signatures[i];
                SigState state;

                r = check_signature(root, role, s, &pae, &state);
                if (r < 0)
                        return r;
                explain_signature(&text, role, root, s, state);
                if (state != SIG_GOOD)
                        continue;
                r = strv_add(&v->good, s->keyid);
                if (r < 0)
                        return r;
        }
        if (e->n_signatures == 0)
                str_add(&text, "there is no signature at all");
        v->explain = str_take(&text);
        return v->explain ? 0 : -ENOMEM;
}

/* The keys of the role that did not sign at all: whom to ask. "" when all of them did. */
static char *explain_missing(const RootRole *role, const Root *root, const Envelope *e)
{
        bool first = true;
        Str text = STR_NULL;

        for (size_t i = 0; i < role->n_signers; i++)
                for (char **k = role->signers[i].keyids; *k; k++) {
                        const RootSigner *signer = &role->signers[i];
                        bool there = false;

                        for (size_t n = 0; n < e->n_signatures; n++)
                                there |= streq(e->signatures[n].keyid, *k);
                        if (there)
                                continue;
                        str_add(&text, first ? "; no signature by " : ", ");
                        if (!streq(signer->id, *k))
                                str_addf(&text, "%.40s ", signer->id);
                        str_addf(&text, "%.12s (%s)", *k, root_key(root, *k)->alg_name);
                        first = false;
                }
        return str_take(&text);
}

static bool signer_complete(const RootSigner *s, char *const *good)
{
        for (size_t i = 0; i < strv_len(s->keyids); i++)
                if (!strv_has(good, s->keyids[i]))
                        return false;
        return true;
}

static int count_signers(const RootRole *role, TrustVerdict *v)
{
        for (size_t i = 0; i < role->n_signers; i++) {
                int r;

                if (!signer_complete(&role->signers[i], v->good))
                        continue;
                r = strv_add(&v->signers, role->signers[i].id);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Before anything is counted: what cannot be checked here must not end as "too few signatures", since fetching again or
 * signing again would not help. */
static int check_algs_here(const Root *root, RoleId id, const RootRole *role, const char *what, Why *why)
{
        for (size_t i = 0; i < strv_len(role->require_algs); i++) {
                const char *name = role->require_algs[i];

                if (key_alg_supported(key_alg_from_name(name)))
                        continue;
                (void) fail(why, -EOPNOTSUPP, WHY_TRUST, "algorithm-missing",
                            "%s: root version %llu demands a signature by %s for the %s role, and this "
                            "build cannot check that algorithm",
                            what, (unsigned long long) root->version, name, role_name(id));
                return fail_hint(why, -EOPNOTSUPP, "use an OpenSSL that has it (ML-DSA: 3.5 or newer)");
        }
        return 0;
}

static int check_algs_used(const Root *root, const RootRole *role, const TrustVerdict *v, const char *what,
                           Why *why)
{
        for (size_t i = 0; i < strv_len(role->require_algs); i++) {
                bool found = false;

                for (size_t k = 0; k < strv_len(v->good) && !found; k++)
                        found = streq(root_key(root, v->good[k])->alg_name, role->require_algs[i]) &&
                                strv_has(v->signers, role_signer(role, v->good[k])->id);
                if (!found)
                        return fail(
                                why, -EKEYREJECTED, WHY_TRUST, "algorithm-required",
                                "%s: root version %llu demands a signature by %s, none of the counted ones "
                                "is: %s",
                                what, (unsigned long long) root->version, role->require_algs[i], v->explain);
        }
        return 0;
}

static int too_few(const Root *root, RoleId id, const RootRole *role, const Envelope *e,
                   const TrustVerdict *v, const char *what, Why *why)
{
        _cleanup_(free_charp) char *missing = explain_missing(role, root, e);

        if (!missing)
                return -ENOMEM;
        return fail(why, -EKEYREJECTED, WHY_TRUST, "below-threshold",
                    "%s: %zu of the %llu required signers count for the %s role of root version %llu: %s%s",
                    what, strv_len(v->signers), (unsigned long long) role->threshold, role_name(id),
                    (unsigned long long) root->version, v->explain, missing);
}

int trust_check(const Root *root, RoleId id, const Envelope *e, const char *what, TrustVerdict *ret, Why *why)
{
        _cleanup_(trust_verdict_done) TrustVerdict v = { 0 };
        const RootRole *role =
                &root->roles[id == ROLE_FEED && !root->roles[ROLE_FEED].present ? ROLE_RELEASE : id];
        int r;

        if (!streq(e->type, types[id]))
                return fail(why, -EBADMSG, WHY_TRUST, "wrong-type",
                            "%s: is signed as \"%s\", \"%s\" expected", what, e->type, types[id]);
        /* The envelope came out of an unprivileged process: what its parser refuses is refused here once more. */
        if ((r = envelope_check(e, what, why)) < 0 || (r = check_algs_here(root, id, role, what, why)) < 0 ||
            (r = check_signatures(root, role, e, &v)) < 0 || (r = count_signers(role, &v)) < 0)
                return r;
        if (strv_len(v.signers) < role->threshold)
                return too_few(root, id, role, e, &v, what, why);
        r = check_algs_used(root, role, &v, what, why);
        if (r < 0)
                return r;
        *ret = v;
        v = (TrustVerdict){ 0 };
        return 0;
}

/* --- the chain --- */

int trust_anchor_check_expiry(const TrustAnchor *anchor, uint64_t now, Why *why)
{
        char expires[TIME_TEXT_SIZE], here[TIME_TEXT_SIZE];

        if (anchor->root.expires > now)
                return 0;
        format_time(anchor->root.expires, expires);
        format_time(now, here);
        (void) fail(why, -EKEYEXPIRED, WHY_TRUST, "root-expired",
                    "%s root: version %llu expired at %s, it is %s or later", anchor->name,
                    (unsigned long long) anchor->root.version, expires, here);
        return fail_hint(why, -EKEYEXPIRED, "publish root.%llu.json, or check this host's clock",
                         (unsigned long long) anchor->root.version + 1);
}

void trust_anchor_done(TrustAnchor *anchor)
{
        root_done(&anchor->root);
        *anchor = (TrustAnchor){ 0 };
}

static int check_itself(const Root *root, const Envelope *e, const char *what, Why *why)
{
        _cleanup_(trust_verdict_done) TrustVerdict v = { 0 };

        return trust_check(root, ROLE_ROOT, e, what, &v, why);
}

int trust_anchor_open(const Envelope *first, const char *name, TrustAnchor *ret, Why *why)
{
        _cleanup_(trust_anchor_done) TrustAnchor a = { 0 };
        char what[64];
        int r;

        (void) snprintf(a.name, sizeof(a.name), "%s", name);
        (void) snprintf(what, sizeof(what), "%s root", a.name);
        r = root_parse(first->payload.data, first->payload.size, what, &a.root, why);
        if (r < 0)
                return r;
        r = check_itself(&a.root, first, what, why);
        if (r < 0)
                return r;
        *ret = a;
        a = (TrustAnchor){ 0 };
        return 0;
}

int trust_anchor_advance(TrustAnchor *anchor, const Envelope *next, Why *why)
{
        _cleanup_(root_done) Root root = { 0 };
        char what[96];
        int r;

        (void) snprintf(what, sizeof(what), "root after version %llu of the %s root",
                        (unsigned long long) anchor->root.version, anchor->name);
        r = check_itself(&anchor->root, next, what, why);
        if (r < 0)
                return r;
        r = root_parse(next->payload.data, next->payload.size, what, &root, why);
        if (r < 0)
                return r;
        if (root.version == 0 || root.version - 1 != anchor->root.version)
                return 0;
        r = check_itself(&root, next, what, why);
        if (r < 0)
                return r;
        root_done(&anchor->root);
        anchor->root = root;
        root = (Root){ 0 };
        return 1;
}
