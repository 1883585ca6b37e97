/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "release/test-kit.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

/* a and b are people, h is a's second key of another kind, x belongs to nobody */
static KitKey a, b, h, x;

static char *keys_text(void)
{
        return kit_keys((const KitKey *[]){ &a, &b, &h }, 3);
}

static char *one(void)
{
        return kit_role(1, (const KitKey *[]){ &a }, 1);
}

static char *two(void)
{
        return kit_role(2, (const KitKey *[]){ &a, &b }, 2);
}

static char *hybrid(const char *more)
{
        return str_printf("{\"threshold\":1%s,\"signers\":[{\"id\":\"build\",\"keyids\":[\"%s\",\"%s\"]},"
                          "{\"id\":\"alone\",\"keyids\":[\"%s\"]}]}",
                          more, a.id, h.id, b.id);
}

static int parse(const char *text, Root *ret, Why *why)
{
        return root_parse(text, strlen(text), "root.json", ret, why);
}

static void test_root_good(void)
{
        _cleanup_(free_charp) char *text =
                kit_root(3, keys_text(), one(), hybrid(",\"requireAlgs\":[\"ed25519\"]"));
        _cleanup_(root_done) Root root = { 0 };
        Why why = { 0 };

        if (parse(text, &root, &why) < 0)
                fprintf(stderr, "%s\n", why.text);
        assert(root.version == 3 && root.n_keys == 3);
        assert(root.roles[ROLE_RELEASE].n_signers == 2 && !root.roles[ROLE_FEED].present);
        assert(streq(root.roles[ROLE_RELEASE].signers[0].id, "build"));
        assert(strv_len(root.roles[ROLE_RELEASE].signers[0].keyids) == 2);
        assert(streq(root.roles[ROLE_ROOT].signers[0].id, a.id));
}

static void test_root_spoiled(void)
{
        char upper[KEYID_SIZE], twice[512], self[256];
        _cleanup_(free_charp) char *good = kit_root(1, keys_text(), two(), two()), *hybrids = NULL;
        const struct {
                const char *text, *from, *to;
                bool accepted;
        } cases[] = {
                { good, "gybe.root/1", "gybe.root/2", false },
                { good, "\"schema\":\"gybe.root/1\",", "", false },
                { good, "\"version\":1", "\"version\":0", false },
                { good, "\"version\":1", "\"version\":-1", false },
                { good, "\"version\":1", "\"version\":\"1\"", false },
                { good, "\"version\":1", "\"version\":18446744073709551615", true },
                { good, "\"expires\":\"2027-01-01T00:00:00Z\",", "", false },
                { good, "2027-01-01", "2025-01-01", false }, /* expires before it was issued */
                { good, "2027-01-01T", "soon", false },
                { good, "\"threshold\":2", "\"threshold\":0", false },
                { good, "\"threshold\":2", "\"threshold\":3", false }, /* nobody could ever meet it */
                { good, "\"threshold\":2,", "", false },
                { good, "\"threshold\":2", "\"threshold\":null", false },
                { good, "\"roles\":{\"root\"", "\"roles\":{\"loot\"", false },
                { good, "\"release\":", "\"feed\":", false },
                { good, a.id, "abc", false },
                { good, a.id, b.id, false },         /* the keyid of another key: a duplicate name */
                { good, a.public, b.public, false }, /* the keyid is not the digest of the key */
                { good, a.public, x.public, false }, /* a good key under another name */
                { good, a.public, "AAAA", false },
                { good, "ecdsa-p384", "ecdsa-p256", false }, /* not that curve */
                { good, "ecdsa-p384", "no-such-alg", true }, /* kept, never counts */
                { good, "\"keyids\":[", "\"keyids\":[null,", false },
                { good, self, twice, true }, /* redundant, and counted once ... */
                { good, a.id, upper, true }, /* digests have no case */
        };

        for (size_t i = 0; i < sizeof(upper); i++)
                upper[i] = (char) (a.id[i] >= 'a' && a.id[i] <= 'f' ? a.id[i] - 32 : a.id[i]);
        (void) snprintf(self, sizeof(self), "\"keyids\":[\"%s\"", a.id);
        (void) snprintf(twice, sizeof(twice), "\"keyids\":[\"%s\",\"%s\"", a.id, upper);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *text = kit_replace(cases[i].text, cases[i].from, cases[i].to);
                _cleanup_(root_done) Root root = { 0 };
                Why why = { 0 };
                int r = parse(text, &root, &why);

                if ((r >= 0) != cases[i].accepted)
                        fprintf(stderr, "case %zu (%s -> %s): %s\n", i, cases[i].from, cases[i].to, why.text);
                assert((r >= 0) == cases[i].accepted);
                assert(r >= 0 || (why.kind == WHY_TRUST && str_starts(why.text, "root.json: ")));
        }
        hybrids = kit_root(1, keys_text(), one(), hybrid(""));
        {
                const struct {
                        const char *from, *to;
                } bad[] = {
                        { "\"id\":\"alone\"", "\"id\":\"build\"" }, /* one name for two signers */
                        { "\"id\":\"alone\",", "" },
                        { "\"id\":\"alone\"", "\"id\":\"\"" },
                        { "\"signers\":[",
                          "\"signers\":[{\"id\":\"nobody\",\"keyids\":[]}," }, /* no keys: always complete */
                        { "\"signers\":[", "\"keyids\":[],\"signers\":[" },
                };
                _cleanup_(free_charp) char *shared = str_printf("\"alone\",\"keyids\":[\"%s\",", h.id);

                for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                        _cleanup_(free_charp) char *text = kit_replace(hybrids, bad[i].from, bad[i].to);
                        _cleanup_(root_done) Root root = { 0 };

                        assert(parse(text, &root, NULL) < 0);
                }
                _cleanup_(free_charp) char *text = kit_replace(hybrids, "\"alone\",\"keyids\":[", shared);
                _cleanup_(root_done) Root root = { 0 };
                Why why = { 0 };

                assert(parse(text, &root, &why) < 0 &&
                       strstr(why.text, "share")); /* two signers, one thief */
        }
}

/* [K, K] with threshold 2 is one signer, and says so. */
static void test_root_one_key_twice(void)
{
        char *role = str_printf("{\"threshold\":2,\"keyids\":[\"%s\",\"%s\"]}", a.id, a.id);
        _cleanup_(free_charp) char *text = kit_root(1, keys_text(), one(), role);
        _cleanup_(root_done) Root root = { 0 };
        Why why = { 0 };

        assert(parse(text, &root, &why) < 0 && strstr(why.text, "only 1 signers"));
}

static const Root *root_of(char *release, Root *root)
{
        _cleanup_(free_charp) char *text = kit_root(1, keys_text(), one(), release);
        Why why = { 0 };
        int r = parse(text, root, &why);

        if (r < 0)
                fprintf(stderr, "%s\n", why.text);
        assert(r >= 0);
        return root;
}

/* Which keys sign, how the envelope is then spoiled, and what becomes of it. */
static void test_counting(void)
{
        enum { TWO, HYBRID, REQUIRE, SELF };
        enum { NOTHING, WRONG_A, ALG_A, NAME_A, PAYLOAD, TYPE, TWICE_A, ID_OF_B };
        static const struct {
                int role;
                const char *by;
                int spoil;
                const char *code; /* NULL: accepted */
                const char *says;
        } cases[] = {
                { TWO, "ab", NOTHING, NULL, NULL },
                { TWO, "abx", NOTHING, NULL, "unknown key" }, /* a stranger does no harm */
                { TWO, "abh", NOTHING, NULL, "not a key of this role" },
                { TWO, "a", NOTHING, "below-threshold", "1 of the 2" },
                { TWO, "", NOTHING, "below-threshold", "no signature at all" },
                { TWO, "xh", NOTHING, "below-threshold", "0 of the 2" },
                { TWO, "ab", WRONG_A, "below-threshold", "WRONG SIGNATURE" },
                { TWO, "ab", ALG_A, "below-threshold", "another algorithm" },
                { TWO, "ab", NAME_A, "below-threshold", "unknown key" },
                { TWO, "ab", PAYLOAD, "below-threshold", "0 of the 2" },
                { TWO, "ab", TYPE, "wrong-type", "feed" },
                { TWO, "ab", TWICE_A, "malformed", "twice" },
                { TWO, "ax", ID_OF_B, "below-threshold", "WRONG SIGNATURE" }, /* x pretends to be b */
                { SELF, "a", NOTHING, NULL, NULL },
                { SELF, "b", NOTHING, "below-threshold", NULL },
                { HYBRID, "ah", NOTHING, NULL, NULL },
                { HYBRID, "a", NOTHING, "below-threshold", "no signature by build" }, /* half a signer */
                { HYBRID, "h", NOTHING, "below-threshold", NULL },
                { HYBRID, "b", NOTHING, NULL, NULL },
                { HYBRID, "ah", WRONG_A, "below-threshold", "build" }, /* named by the signer's name */
                { REQUIRE, "ah", NOTHING, NULL, NULL },
                { REQUIRE, "b", NOTHING, "algorithm-required", "ed25519" },
                { REQUIRE, "bh", NOTHING, "algorithm-required",
                  "ed25519" }, /* h is good, but its signer is not complete */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(trust_verdict_done) TrustVerdict v = { 0 };
                _cleanup_(envelope_done) Envelope e = { 0 };
                _cleanup_(root_done) Root root = { 0 };
                Why why = { 0 };
                int r;

                (void) root_of(cases[i].role == TWO ? two()
                               : cases[i].role == SELF
                                       ? one()
                                       : hybrid(cases[i].role == HYBRID ? ""
                                                                        : ",\"requireAlgs\":[\"ed25519\"]"),
                               &root);
                kit_envelope(&e, TYPE_RELEASE, "{}");
                for (const char *p = cases[i].by; *p; p++)
                        kit_sign(&e, *p == 'a' ? &a : *p == 'b' ? &b : *p == 'h' ? &h : &x);
                if (cases[i].spoil == WRONG_A)
                        e.signatures[0].sig.data[e.signatures[0].sig.size - 1] ^= 1;
                if (cases[i].spoil == ALG_A)
                        (void) snprintf(e.signatures[0].alg, ALG_SIZE, "ed25519");
                if (cases[i].spoil == NAME_A)
                        e.signatures[0].keyid[0] ^= 1;
                if (cases[i].spoil == PAYLOAD)
                        e.payload.data[0] = '[';
                if (cases[i].spoil == TYPE)
                        (void) snprintf(e.type, sizeof(e.type), TYPE_FEED);
                if (cases[i].spoil == TWICE_A)
                        memcpy(e.signatures[1].keyid, a.id, sizeof(a.id));
                if (cases[i].spoil == ID_OF_B)
                        memcpy(e.signatures[1].keyid, b.id, sizeof(b.id));
                r = trust_check(&root, ROLE_RELEASE, &e, "x.release.json", &v, &why);
                if ((r >= 0) != !cases[i].code || (r < 0 && !streq(why.code, cases[i].code)))
                        fprintf(stderr, "case %zu: %i %s: %s\n", i, r, why.code, why.text);
                assert((r >= 0) == !cases[i].code);
                assert(r >= 0 || (why.kind == WHY_TRUST && streq(why.code, cases[i].code)));
                assert(!cases[i].says || strstr(r < 0 ? why.text : v.explain, cases[i].says));
        }
}

static void test_verdict_names(void)
{
        _cleanup_(trust_verdict_done) TrustVerdict v = { 0 };
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(root_done) Root root = { 0 };

        (void) root_of(hybrid(""), &root);
        kit_envelope(&e, TYPE_RELEASE, "{}");
        kit_sign(&e, &a);
        kit_sign(&e, &h);
        assert(trust_check(&root, ROLE_RELEASE, &e, "x", &v, NULL) >= 0);
        assert(strv_len(v.good) == 2 && strv_has(v.good, a.id) && strv_has(v.good, h.id));
        assert(strv_len(v.signers) == 1 && streq(v.signers[0], "build"));
}

/* What nobody here can check is refused in its own words, never counted as fulfilled and never as "too few". */
static void test_algorithm_we_lack(void)
{
        static const char *const names[] = { "ml-dsa-65", "slh-dsa-sha2-128s" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(free_charp) char *more = str_printf(",\"requireAlgs\":[\"%s\"]", names[i]);
                _cleanup_(trust_verdict_done) TrustVerdict v = { 0 };
                _cleanup_(envelope_done) Envelope e = { 0 };
                _cleanup_(root_done) Root root = { 0 };
                Why why = { 0 };

                (void) root_of(hybrid(more), &root);
                kit_envelope(&e, TYPE_RELEASE, "{}");
                kit_sign(&e, &a);
                kit_sign(&e, &h);
                kit_sign(&e, &b);
                assert(trust_check(&root, ROLE_RELEASE, &e, "x", &v, &why) < 0 && strstr(why.text, names[i]));
                if (!key_alg_supported(key_alg_from_name(names[i])))
                        assert(streq(why.code, "algorithm-missing") && why.hint[0]);
                else
                        assert(streq(why.code, "algorithm-required"));
        }
}

/* Classical and post-quantum, both needed. Only where OpenSSL has ML-DSA. */
static void test_post_quantum(void)
{
        KitKey pq = { 0 };

        if (!key_alg_supported(KEY_ML_DSA_65)) {
                printf("ml-dsa-65: not in this OpenSSL\n");
                return;
        }
        kit_key_make(&pq, KEY_ML_DSA_65);
        for (int both = 0; both < 2; both++) {
                _cleanup_(trust_verdict_done) TrustVerdict v = { 0 };
                _cleanup_(free_charp) char *text =
                        kit_root(1, kit_keys((const KitKey *[]){ &a, &pq }, 2), one(),
                                 str_printf("{\"threshold\":1,\"requireAlgs\":[\"ml-dsa-65\"],\"signers\":[{"
                                            "\"id\":\"build\","
                                            "\"keyids\":[\"%s\",\"%s\"]}]}",
                                            a.id, pq.id));
                _cleanup_(envelope_done) Envelope e = { 0 };
                _cleanup_(root_done) Root root = { 0 };

                assert(parse(text, &root, NULL) >= 0);
                kit_envelope(&e, TYPE_RELEASE, "{}");
                kit_sign(&e, both ? &a : &pq);
                assert(trust_check(&root, ROLE_RELEASE, &e, "x", &v, NULL) < 0);
                kit_sign(&e, both ? &pq : &a);
                assert(trust_check(&root, ROLE_RELEASE, &e, "x", &v, NULL) >= 0 && strv_len(v.good) == 2);
        }
        kit_key_done(&pq);
}

static void test_feed_role(void)
{
        _cleanup_(free_charp) char *plain = kit_root(1, keys_text(), one(), two()), *with_feed = NULL;
        _cleanup_(free_charp) char *feed_role = kit_role(1, (const KitKey *[]){ &h }, 1);
        _cleanup_(free_charp) char *to = str_printf("\"roles\":{\"feed\":%s,", feed_role);
        _cleanup_(trust_verdict_done) TrustVerdict v1 = { 0 }, v2 = { 0 };
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(root_done) Root r1 = { 0 }, r2 = { 0 };

        with_feed = kit_replace(plain, "\"roles\":{", to);
        assert(parse(plain, &r1, NULL) >= 0 && parse(with_feed, &r2, NULL) >= 0);
        kit_envelope(&e, TYPE_FEED, "{}");
        kit_sign(&e, &a);
        kit_sign(&e, &b);
        assert(trust_check(&r1, ROLE_FEED, &e, "index.json", &v1, NULL) >=
               0); /* no feed role: the release role */
        assert(trust_check(&r2, ROLE_FEED, &e, "index.json", &v2, NULL) < 0);
        assert(trust_check(&r1, ROLE_RELEASE, &e, "index.json", &v2, NULL) < 0); /* a feed is no release */
        kit_sign(&e, &h);
        assert(trust_check(&r2, ROLE_FEED, &e, "index.json", &v2, NULL) >= 0);
}

/* --- the chain --- */

static void sign_root(Envelope *e, char *text, const char *by)
{
        kit_envelope(e, TYPE_ROOT, text);
        for (const char *p = by; *p; p++)
                kit_sign(e, *p == 'a' ? &a : *p == 'b' ? &b : *p == 'h' ? &h : &x);
        free(text);
}

static char *root_by(unsigned version, const KitKey *k)
{
        return kit_root(version, kit_keys(&k, 1), kit_role(1, &k, 1), kit_role(1, &k, 1));
}

static void test_chain(void)
{
        static const struct {
                unsigned version;
                char owner; /* the key that version trusts */
                const char *by;
                int result; /* 1 moved, 0 not the next, -1 refused */
        } cases[] = {
                { 2, 'b', "ab", 1 }, { 2, 'b', "a", -1 }, /* the new one has not taken over */
                { 2, 'b', "b", -1 },                      /* the old one has not handed over */
                { 2, 'a', "a", 1 },                       /* same keys, new expiry */
                { 3, 'b', "ab", 0 },                      /* one by one */
                { 1, 'b', "ab", 0 }, { 2, 'x', "x", -1 }, { 2, 'x', "", -1 },
        };
        _cleanup_(envelope_done) Envelope first = { 0 };

        sign_root(&first, root_by(1, &a), "a");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(trust_anchor_done) TrustAnchor anchor = { 0 };
                _cleanup_(envelope_done) Envelope next = { 0 };
                Why why = { 0 };
                int r;

                assert(trust_anchor_open(&first, "factory", &anchor, NULL) >= 0);
                sign_root(&next,
                          root_by(cases[i].version, cases[i].owner == 'a'   ? &a
                                                    : cases[i].owner == 'b' ? &b
                                                                            : &x),
                          cases[i].by);
                r = trust_anchor_advance(&anchor, &next, &why);
                if ((r > 0) != (cases[i].result > 0) || (r < 0) != (cases[i].result < 0))
                        fprintf(stderr, "case %zu: %i %s\n", i, r, why.text);
                assert((r > 0) == (cases[i].result > 0) && (r < 0) == (cases[i].result < 0));
                assert(anchor.root.version == (r > 0 ? cases[i].version : 1));
                assert(streq(anchor.root.keys[0].keyid, r > 0 && cases[i].owner == 'b' ? b.id : a.id));
        }
}

static void test_anchor(void)
{
        _cleanup_(envelope_done) Envelope unsigned_ = { 0 }, good = { 0 }, second = { 0 }, as_release = { 0 };
        _cleanup_(trust_anchor_done) TrustAnchor anchor = { 0 };
        _cleanup_(free_charp) char *next = root_by(2, &b);
        Why why = { 0 }, expired = { 0 };

        sign_root(&unsigned_, root_by(1, &a), "b");
        assert(trust_anchor_open(&unsigned_, "factory", &anchor, &why) < 0 &&
               strstr(why.text, "factory root"));
        sign_root(&as_release, root_by(1, &a), "a");
        (void) snprintf(as_release.type, sizeof(as_release.type), TYPE_RELEASE);
        assert(trust_anchor_open(&as_release, "factory", &anchor, NULL) < 0);
        sign_root(&good, root_by(1, &a), "a");
        assert(trust_anchor_open(&good, "operator", &anchor, NULL) >= 0 && streq(anchor.name, "operator"));

        /* 2027-01-01T00:00:00Z is the first second that is too late. */
        assert(trust_anchor_check_expiry(&anchor, 1798761599, NULL) >= 0);
        assert(trust_anchor_check_expiry(&anchor, 1798761600, &expired) < 0 && expired.kind == WHY_TRUST);
        assert(strstr(expired.text, "2027-01-01T00:00:00Z") && strstr(expired.text, "version 1"));

        /* An expired root can still hand over: only the newest one must be fresh. */
        sign_root(&second, kit_replace(next, "2027-01-01", "2037-01-01"), "ab");
        assert(trust_anchor_advance(&anchor, &second, NULL) == 1);
        assert(trust_anchor_check_expiry(&anchor, 1798761600, NULL) >= 0);
}

/* The same key in two encodings: two keyids, one person. */
static void test_one_key_in_two_spellings(void)
{
        static const uint8_t rsa_pss_oid[] = { 0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48,
                                               0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a };
        _cleanup_(bytes_done) Bytes spki = BYTES_NULL, other = BYTES_NULL;
        KitKey plain = { 0 }, bound = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        _cleanup_(root_done) Root root = { 0 };
        Why why = { 0 };
        uint8_t length[4] = { 0x30, 0x82 };
        uint16_t inner;

        kit_key_make(&plain, KEY_RSA_PSS);
        assert(key_spki(plain.key, &spki) >= 0 && spki.data[1] == 0x82 && spki.data[4] == 0x30 &&
               spki.data[5] == 0x0d);
        inner = (uint16_t) (spki.size - 4 - 15 + sizeof(rsa_pss_oid));
        length[2] = (uint8_t) (inner >> 8);
        length[3] = (uint8_t) inner;
        assert(bytes_append(&other, length, 4) >= 0 &&
               bytes_append(&other, rsa_pss_oid, sizeof(rsa_pss_oid)) >= 0 &&
               bytes_append(&other, spki.data + 19, spki.size - 19) >= 0);
        assert(key_from_spki(KEY_RSA_PSS, other.data, other.size, &bound.key, &why) >= 0);
        assert(key_id(bound.key, bound.id) >= 0 && base64_encode(other.data, other.size, &bound.public) >= 0);
        assert(!streq(bound.id, plain.id));
        text = kit_root(1, kit_keys((const KitKey *[]){ &plain, &bound }, 2),
                        kit_role(2, (const KitKey *[]){ &plain, &bound }, 2),
                        kit_role(1, (const KitKey *[]){ &plain }, 1));
        assert(parse(text, &root, &why) < 0 && strstr(why.text, "two spellings"));
        kit_key_done(&plain);
        kit_key_done(&bound);
}

static int parse_root(const void *data, size_t size, Why *why)
{
        _cleanup_(root_done) Root value = { 0 };

        return root_parse(data, size, "corpus", &value, why);
}

int main(void)
{
        kit_key_make(&a, KEY_ECDSA_P384);
        kit_key_make(&b, KEY_ECDSA_P384);
        kit_key_make(&h, KEY_ED25519);
        kit_key_make(&x, KEY_ECDSA_P384);
        test_root_good();
        test_root_spoiled();
        test_root_one_key_twice();
        kit_corpus("root", parse_root);
        test_counting();
        test_verdict_names();
        test_algorithm_we_lack();
        test_post_quantum();
        test_feed_role();
        test_chain();
        test_anchor();
        test_one_key_in_two_spellings();
        kit_key_done(&a);
        kit_key_done(&b);
        kit_key_done(&h);
        kit_key_done(&x);
        return 0;
}
