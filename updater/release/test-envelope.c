/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "release/test-kit.h"
#include "base/str.h"

#include <assert.h>
#include <stdio.h>

#define ID_A      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B      "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define UP_A      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define SIG(id)   "{\"keyid\":\"" id "\",\"alg\":\"ed25519\",\"sig\":\"AAAA\"}"
#define ENV(sigs) "{\"payloadType\":\"t\",\"payload\":\"e30=\",\"signatures\":[" sigs "]}"

static void test_parse(void)
{
        static const struct {
                const char *text;
                int signatures; /* -1: refused */
        } cases[] = {
                { ENV(""), 0 }, /* nobody signed: well-formed, and trusted by nobody */
                { ENV(SIG(ID_A) "," SIG(ID_B)), 2 },
                { ENV(SIG(ID_A) "," SIG(ID_A)), -1 },
                { ENV(SIG(ID_A) "," SIG(UP_A)), -1 },         /* the same key, shouted */
                { ENV(SIG("laptop") "," SIG("LAPTOP")), -1 }, /* no digest, but the same name */
                { ENV(SIG(ID_A "0") "," SIG(ID_A "1")), 2 },  /* too long to be a digest: two unknown keys */
                { ENV(SIG(ID_A) "," SIG(ID_A "0")), 2 },
                { ENV("{\"alg\":\"cms\",\"sig\":\"AAAA\"},{\"alg\":\"cms\",\"sig\":\"AAAA\"}"),
                  2 }, /* unnamed keys */
                { ENV("{\"keyid\":\"" ID_A "\",\"sig\":\"AAAA\"}"), 1 },
                { ENV("{\"keyid\":\"" ID_A
                      "\",\"alg\":\"slh-dsa-sha2-256s-with-a-very-long-name\",\"sig\":\"\"}"),
                  1 },
                { ENV("{\"keyid\":5,\"alg\":\"x\",\"sig\":\"AAAA\"}"), -1 },
                { ENV("{\"keyid\":\"" ID_A "\",\"alg\":[],\"sig\":\"AAAA\"}"), -1 },
                { ENV("{\"keyid\":\"" ID_A "\",\"alg\":\"x\"}"), -1 },
                { ENV("{\"keyid\":\"" ID_A "\",\"alg\":\"x\",\"sig\":\"AAA\"}"), -1 },  /* padding missing */
                { ENV("{\"keyid\":\"" ID_A "\",\"alg\":\"x\",\"sig\":\"AA_-\"}"), -1 }, /* the URL alphabet */
                { ENV("{\"keyid\":\"" ID_A "\",\"alg\":\"x\",\"sig\":\"AA A\"}"), -1 },
                { ENV("[]"), -1 },
                { ENV("null"), -1 },
                { "{\"payload\":\"e30=\",\"signatures\":[]}", -1 },
                { "{\"payloadType\":\"\",\"payload\":\"e30=\",\"signatures\":[]}", -1 },
                { "{\"payloadType\":\"a b\",\"payload\":\"e30=\",\"signatures\":[]}",
                  -1 }, /* a blank would move PAE's fields */
                { "{\"payloadType\":\"t\",\"signatures\":[]}", -1 },
                { "{\"payloadType\":\"t\",\"payload\":\"e3\",\"signatures\":[]}", -1 },
                { "{\"payloadType\":\"t\",\"payload\":\"e30=\"}", -1 },
                { "{\"payloadType\":\"t\",\"payload\":\"e30=\",\"signatures\":{}}", -1 },
                { "{\"payloadType\":\"t\",\"payloadType\":\"t\",\"payload\":\"e30=\",\"signatures\":[]}",
                  -1 },
                { "{\"payloadType\":\"t\",\"payload\":\"e30=\",\"signatures\":[],\"more\":{\"x\":1}}", 0 },
                { ENV("") "x", -1 },
                { "[]", -1 },
                { "", -1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(envelope_done) Envelope e = { 0 };
                Why why = { 0 };
                int r = envelope_parse(cases[i].text, strlen(cases[i].text), "x.json", &e, &why);

                if ((r >= 0) != (cases[i].signatures >= 0))
                        fprintf(stderr, "%s: %s\n", cases[i].text, why.text);
                assert((r >= 0) == (cases[i].signatures >= 0));
                assert(r < 0 || e.n_signatures == (size_t) cases[i].signatures);
                assert(r >= 0 || (why.kind == WHY_TRUST && str_starts(why.text, "x.json: ")));
        }
}

static void test_odd_keyids_are_nobody(void)
{
        static const char text[] = ENV(SIG(ID_A "0") "," SIG(UP_A));
        _cleanup_(envelope_done) Envelope e = { 0 };

        assert(envelope_parse(text, strlen(text), "x", &e, NULL) >= 0);
        assert(streq(e.signatures[0].keyid, "")); /* cut to 64 digits it would be somebody else */
        assert(streq(e.signatures[1].keyid, ID_A));
}

static void test_limits(void)
{
        _cleanup_(free_charp) char *big = malloc(ENVELOPE_MAX + 2);
        _cleanup_(envelope_done) Envelope e = { 0 }, f = { 0 };
        Str s = STR_NULL;
        char *text;

        for (unsigned n = 16; n <= 17; n++) {
                str_add(&s, "{\"payloadType\":\"t\",\"payload\":\"e30=\",\"signatures\":[");
                for (unsigned i = 0; i < n; i++)
                        str_addf(&s, "%s{\"keyid\":\"%064u\",\"alg\":\"x\",\"sig\":\"AAAA\"}", i ? "," : "",
                                 i);
                str_add(&s, "]}");
                text = str_take(&s);
                assert((envelope_parse(text, strlen(text), "x", n == 16 ? &e : &f, NULL) >= 0) == (n == 16));
                free(text);
                s = STR_NULL;
        }
        assert(e.n_signatures == 16);

        /* Valid to the last byte, but one byte too long. */
        assert(big);
        memset(big, ' ', ENVELOPE_MAX + 1);
        memcpy(big, ENV(""), strlen(ENV("")));
        assert(envelope_parse(big, ENVELOPE_MAX + 1, "x", &f, NULL) < 0);
        assert(envelope_parse(big, ENVELOPE_MAX, "x", &f, NULL) >= 0);
}

/* An algorithm of tomorrow may have huge signatures: they count for nothing and break nothing. */
static void test_huge_signature(void)
{
        _cleanup_(free_charp) char *zeros = calloc(1, 50000), *b64 = NULL, *text = NULL;
        _cleanup_(envelope_done) Envelope e = { 0 };

        assert(zeros && base64_encode(zeros, 50000, &b64) >= 0);
        text = str_printf("{\"payloadType\":\"t\",\"payload\":\"e30=\",\"signatures\":[{\"keyid\":\"" ID_A
                          "\",\"alg\":\"slh-dsa\",\"sig\":\"%s\"}," SIG(ID_B) "]}",
                          b64);
        assert(text && envelope_parse(text, strlen(text), "x", &e, NULL) >= 0);
        assert(e.n_signatures == 2 && e.signatures[0].sig.size == 0 && e.signatures[1].sig.size == 3);
}

static void test_records(void)
{
        Envelope e = { .type = "t",
                       .n_signatures = 2,
                       .signatures = { { .keyid = ID_A }, { .keyid = UP_A } } };
        Why why = { 0 };

        assert(envelope_check(&e, "x", &why) < 0 && why.kind == WHY_TRUST);
        memcpy(e.signatures[1].keyid, ID_B, sizeof(ID_B));
        assert(envelope_check(&e, "x", NULL) >= 0);
        e.n_signatures = ENVELOPE_SIGNATURES_MAX + 1;
        assert(envelope_check(&e, "x", NULL) < 0);
}

static void test_pae(void)
{
        static const char expect[] =
                "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; /* the DSSE specification's */
        _cleanup_(bytes_done) Bytes b = BYTES_NULL, empty = BYTES_NULL;

        assert(envelope_pae("http://example.com/HelloWorld", "hello world", 11, &b) >= 0);
        assert(b.size == strlen(expect) && memcmp(b.data, expect, b.size) == 0);
        assert(envelope_pae("", "", 0, &empty) >= 0);
        assert(empty.size == strlen("DSSEv1 0  0 ") && memcmp(empty.data, "DSSEv1 0  0 ", empty.size) == 0);
}

static void test_round_trip(void)
{
        static const char text[] = ENV(SIG(ID_A) "," SIG(ID_B));
        _cleanup_(envelope_done) Envelope e = { 0 }, f = { 0 };
        _cleanup_(free_charp) char *out = NULL;

        assert(envelope_parse(text, strlen(text), "x", &e, NULL) >= 0);
        assert(envelope_format(&e, &out) >= 0 && str_ends(out, "}\n"));
        assert(envelope_parse(out, strlen(out), "x", &f, NULL) >= 0);
        assert(streq(f.type, "t") && f.payload.size == 2 && f.n_signatures == 2);
        assert(streq(f.signatures[1].keyid, ID_B) && streq(f.signatures[1].alg, "ed25519"));
        envelope_move(&e, &f);
        assert(e.n_signatures == 2 && f.n_signatures == 0);
}

/* Somebody's countersigning adds to a file; what a newer program put there is not ours to drop. */
static void test_unknown_members_survive(void)
{
        static const char text[] =
                "{\"payloadType\":\"t\",\"payload\":\"e30=\",\"note\":{\"a\":1},\"signatures\":["
                "{\"keyid\":\"" ID_A
                "\",\"alg\":\"an-algorithm-with-a-name-longer-than-any-of-ours\",\"sig\":\"AAAA\","
                "\"cert\":\"x\"}]}";
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(free_charp) char *out = NULL;

        assert(envelope_parse(text, strlen(text), "x", &e, NULL) >= 0);
        assert(envelope_format(&e, &out) >= 0);
        assert(strstr(out, "\"note\"") && strstr(out, "longer-than-any-of-ours") && strstr(out, "\"cert\""));
        assert(!strstr(strstr(out, "\"signatures\"") + 1, "\"signatures\""));
}

static int parse_envelope(const void *data, size_t size, Why *why)
{
        _cleanup_(envelope_done) Envelope value = { 0 };

        return envelope_parse(data, size, "corpus", &value, why);
}

int main(void)
{
        test_parse();
        test_odd_keyids_are_nobody();
        test_limits();
        test_huge_signature();
        test_records();
        test_pae();
        test_round_trip();
        test_unknown_members_survive();
        kit_corpus("envelope", parse_envelope);
        return 0;
}
