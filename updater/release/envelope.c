/* SPDX-License-Identifier: MIT */

/* The DSSE envelope: one payload, its type, and signatures over both. It knows base64 and limits; it does not know keys,
 * and it never looks into the payload. What a signature is worth is trust.c's question, so odd signatures (unknown
 * algorithm, a keyid that is no digest) are carried along, while everything that could make one signature look like two
 * is refused here. */

#include "release/release.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

static int malformed(Why *why, const char *what, const char *reason)
{
        return fail(why, -EBADMSG, WHY_TRUST, "malformed", "%s: malformed envelope: %s", what, reason);
}

void envelope_done(Envelope *e)
{
        bytes_done(&e->payload);
        for (size_t i = 0; i < e->n_signatures; i++) {
                bytes_done(&e->signatures[i].sig);
                json_unref(e->signatures[i].as_read);
        }
        json_unref(e->unknown);
        *e = (Envelope){ 0 };
}

void envelope_move(Envelope *dst, Envelope *src)
{
        envelope_done(dst);
        *dst = *src;
        *src = (Envelope){ 0 };
}

int envelope_check(const Envelope *e, const char *what, Why *why)
{
        if (e->n_signatures > ENVELOPE_SIGNATURES_MAX)
                return malformed(why, what, "more than 16 signatures");
        for (size_t i = 0; i < e->n_signatures; i++)
                for (size_t j = 0; j < i && e->signatures[i].keyid[0]; j++)
                        if (str_fold_cmp(e->signatures[i].keyid, e->signatures[j].keyid) == 0)
                                return fail(why, -EBADMSG, WHY_TRUST, "malformed",
                                            "%s: malformed envelope: key %.16s signed twice", what,
                                            e->signatures[i].keyid);
        return 0;
}

/* The keyid as it stands, before it is cut to what can be a digest: the same key twice is refused however odd it is. */
static bool keyid_repeats(const Json *signatures, size_t i)
{
        const char *keyid = json_get_str(json_at(signatures, i), "keyid"), *other;

        for (size_t j = 0; keyid && *keyid && j < i; j++) {
                other = json_get_str(json_at(signatures, j), "keyid");
                if (other && str_fold_cmp(keyid, other) == 0)
                        return true;
        }
        return false;
}

static bool is_word(const char *s, size_t max)
{
        for (const char *p = s; *p; p++)
                if ((unsigned char) *p <= 0x20 || (unsigned char) *p >= 0x7f)
                        return false;
        return strlen(s) <= max;
}

static int decode_base64(const Json *object, const char *key, Bytes *ret)
{
        const char *text = json_get_str(object, key);

        return text ? base64_decode(text, strlen(text), ret) : -EINVAL;
}

static int parse_signature(const Json *j, const char *what, EnvelopeSignature *ret, Why *why)
{
        const char *keyid = json_get_str(j, "keyid"), *alg = json_get_str(j, "alg");
        EnvelopeSignature s = { 0 };
        int r;

        if (!json_is_object(j))
                return malformed(why, what, "a signature is not an object");
        if ((json_get(j, "keyid") && !keyid) || (json_get(j, "alg") && !alg))
                return malformed(why, what, "keyid or alg of a signature is not a string");
        /* What does not fit cannot be a digest or a name we know; cut short it could look like one, so it is dropped. */
        if (keyid && hex_normalize(keyid, KEYID_SIZE - 1, s.keyid) < 0)
                (void) snprintf(s.keyid, sizeof(s.keyid), "%s", is_word(keyid, KEYID_SIZE - 1) ? keyid : "");
        if (alg)
                (void) snprintf(s.alg, sizeof(s.alg), "%s", is_word(alg, ALG_SIZE - 1) ? alg : "");
        r = decode_base64(j, "sig", &s.sig);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return malformed(why, what, "sig of a signature is not base64");
        if (s.sig.size > SIGNATURE_MAX) /* of no algorithm we know: it cannot verify */
                bytes_done(&s.sig);
        s.as_read = json_ref(j);
        *ret = s;
        return 0;
}

static int parse_signatures(const Json *array, const char *what, Envelope *e, Why *why)
{
        int r;

        if (!json_is_array(array))
                return malformed(why, what, "signatures is not a list");
        if (json_len(array) > ENVELOPE_SIGNATURES_MAX)
                return fail(why, -EBADMSG, WHY_TRUST, "malformed",
                            "%s: malformed envelope: %zu signatures, at most %u are allowed", what,
                            json_len(array), ENVELOPE_SIGNATURES_MAX);
        for (size_t i = 0; i < json_len(array); i++) {
                if (keyid_repeats(array, i))
                        return fail(why, -EBADMSG, WHY_TRUST, "malformed",
                                    "%s: malformed envelope: key %.16s signed twice", what,
                                    json_get_str(json_at(array, i), "keyid"));
                r = parse_signature(json_at(array, i), what, &e->signatures[i], why);
                if (r < 0)
                        return r;
                e->n_signatures++;
        }
        return 0;
}

int envelope_parse(const void *data, size_t size, const char *what, Envelope *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *json = NULL;
        _cleanup_(envelope_done) Envelope e = { 0 };
        const char *type;
        int r;

        if (size > ENVELOPE_MAX)
                return fail(why, -EFBIG, WHY_TRUST, "malformed",
                            "%s: malformed envelope: %zu bytes, at most %u are allowed", what, size,
                            ENVELOPE_MAX);
        r = json_parse(data, size, 0, JSON_DEPTH_MAX, what, WHY_TRUST, &json, why);
        if (r < 0)
                return r;
        type = json_get_str(json, "payloadType");
        if (!type || !*type || !is_word(type, sizeof(e.type) - 1))
                return malformed(why, what, "payloadType is missing or not a media type");
        (void) snprintf(e.type, sizeof(e.type), "%s", type);
        r = decode_base64(json, "payload", &e.payload);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return malformed(why, what, "payload is missing or not base64");
        r = parse_signatures(json_get(json, "signatures"), what, &e, why);
        if (r < 0)
                return r;
        json_remove(json, "payloadType");
        json_remove(json, "payload");
        json_remove(json, "signatures");
        e.unknown = TAKE(json);
        *ret = e;
        e = (Envelope){ 0 };
        return 0;
}

static int set_base64(Json *object, const char *key, const Bytes *b)
{
        _cleanup_(free_charp) char *text = NULL;
        int r;

        r = base64_encode(b->data, b->size, &text);
        if (r < 0)
                return r;
        json_set_str(object, key, text);
        return 0;
}

static int format_signature(const EnvelopeSignature *s, Json **ret)
{
        Json *item;
        int r;

        if (s->as_read) {
                *ret = json_ref(s->as_read);
                return 0;
        }
        item = json_new_object();
        json_set_str(item, "keyid", s->keyid);
        json_set_str(item, "alg", s->alg);
        r = set_base64(item, "sig", &s->sig);
        if (r < 0) {
                json_unref(item);
                return r;
        }
        *ret = item;
        return 0;
}

int envelope_format(const Envelope *e, char **ret)
{
        _cleanup_(json_unrefp) Json *json = json_new_object();
        char *text;
        Json *list;
        int r;

        json_set_str(json, "payloadType", e->type);
        r = set_base64(json, "payload", &e->payload);
        json_set(json, "signatures", json_new_array());
        list = (Json *) json_get(json, "signatures");
        for (size_t i = 0; i < e->n_signatures && r >= 0; i++) {
                Json *item = NULL;

                r = format_signature(&e->signatures[i], &item);
                json_add(list, item);
        }
        if (e->unknown)
                json_merge(json, e->unknown);
        if (r < 0)
                return r;
        text = json_len(list) == e->n_signatures ? json_format(json, true) : NULL;
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

/* A signature is over the type as well, so that a feed can never be taken for a release:
 * "DSSEv1 42 application/vnd.gybe.release+json;v=1 1021 {...}" */
int envelope_pae(const char *type, const void *payload, size_t size, Bytes *ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char head[160];
        int n, r;

        n = snprintf(head, sizeof(head), "DSSEv1 %zu %s %zu ", strlen(type), type, size);
        if (n < 0 || (size_t) n >= sizeof(head))
                return -ENAMETOOLONG;
        r = bytes_append(&b, head, (size_t) n);
        if (r < 0)
                return r;
        r = bytes_append(&b, payload, size);
        if (r < 0)
                return r;
        *ret = b;
        b = BYTES_NULL;
        return 0;
}
