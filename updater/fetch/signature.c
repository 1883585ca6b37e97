/* SPDX-License-Identifier: MIT */

#include "fetch/signature.h"
#include "base/str.h"

#include <errno.h>

#define PADDING        4096u
#define SIZE_MAX_BYTES (1024u * 1024u)
#define ROOTHASH_BYTES 32u

static int bad(Why *why, WhyKind kind, const char *what, const char *how)
{
        return fail(why, -EBADMSG, kind, "verity-signature", "%s: not a dm-verity signature: %s", what, how);
}

/* --- the DER of a CMS, as far as "is the content detached?" needs it --- */

typedef struct Der {
        const uint8_t *p;
        size_t n;
} Der;

/* Enters or skips the next element; tag must be its tag. Definite lengths in their shortest form, as DER has
 * them. */
static int der_next(Der *in, uint8_t tag, Der *ret)
{
        size_t header = 2, length;

        if (in->n < 2 || in->p[0] != tag)
                return -EBADMSG;
        length = in->p[1];
        if (length >= 0x80) {
                size_t bytes = length & 0x7f;

                if (bytes == 0 || bytes > 4 || in->n < 2 + bytes || in->p[2] == 0)
                        return -EBADMSG;
                length = 0;
                for (size_t i = 0; i < bytes; i++)
                        length = length << 8 | in->p[2 + i];
                if (length < 0x80)
                        return -EBADMSG;
                header += bytes;
        }
        if (length > in->n - header)
                return -EBADMSG;
        *ret = (Der){ in->p + header, length };
        in->p += header + length;
        in->n -= header + length;
        return 0;
}

enum {
        DER_INTEGER = 0x02,
        DER_OID = 0x06,
        DER_SEQUENCE = 0x30,
        DER_SET = 0x31,
        DER_EXPLICIT_0 = 0xa0,
};

/* ContentInfo { signedData, [0] SignedData { version, digestAlgorithms, EncapsulatedContentInfo { type, no
 * content } ... } } */
static const char *cms_fault(const uint8_t *der, size_t size)
{
        static const uint8_t signed_data[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02 };
        Der all = { der, size }, info, oid, wrapper, body, skip, content;

        if (der_next(&all, DER_SEQUENCE, &info) < 0 || all.n != 0)
                return "the signature is not one DER element";
        if (der_next(&info, DER_OID, &oid) < 0 || oid.n != sizeof(signed_data) ||
            memcmp(oid.p, signed_data, sizeof(signed_data)) != 0)
                return "the signature is not a CMS SignedData";
        if (der_next(&info, DER_EXPLICIT_0, &wrapper) < 0 || info.n != 0 ||
            der_next(&wrapper, DER_SEQUENCE, &body) < 0 || wrapper.n != 0 ||
            der_next(&body, DER_INTEGER, &skip) < 0 || der_next(&body, DER_SET, &skip) < 0 ||
            der_next(&body, DER_SEQUENCE, &content) < 0 || der_next(&content, DER_OID, &skip) < 0)
                return "the CMS SignedData is malformed";
        return content.n == 0 ? NULL : "the CMS has its content in it";
}

/* --- the JSON --- */

typedef struct Text {
        const char *p;
        size_t n;
} Text;

static bool take(Text *t, char c)
{
        if (t->n == 0 || *t->p != c)
                return false;
        t->p++;
        t->n--;
        return true;
}

/* A string without escapes: neither hex nor base64 needs one. */
static bool take_string(Text *t, Text *ret)
{
        const char *end;

        if (!take(t, '"'))
                return false;
        end = memchr(t->p, '"', t->n);
        if (!end)
                return false;
        *ret = (Text){ t->p, (size_t) (end - t->p) };
        t->n -= ret->n + 1;
        t->p = end + 1;
        return true;
}

static bool text_is(const Text *t, const char *s)
{
        return t->n == strlen(s) && memcmp(t->p, s, t->n) == 0;
}

/* Compact, two members, each once, in either order. */
static bool take_object(Text *t, Text *ret_hash, Text *ret_signature)
{
        bool have_hash = false, have_signature = false;

        for (int i = 0; i < 2; i++) {
                Text key, value;

                if (!take(t, i == 0 ? '{' : ',') || !take_string(t, &key) || !take(t, ':') ||
                    !take_string(t, &value))
                        return false;
                if (text_is(&key, "rootHash") && !have_hash) {
                        *ret_hash = value;
                        have_hash = true;
                } else if (text_is(&key, "signature") && !have_signature) {
                        *ret_signature = value;
                        have_signature = true;
                } else
                        return false;
        }
        return take(t, '}');
}

static int check_roothash(const Text *hash, const char *roothash, const char *what, WhyKind kind, Why *why)
{
        uint8_t here[ROOTHASH_BYTES], expected[ROOTHASH_BYTES];
        char digits[2 * ROOTHASH_BYTES + 1];

        if (hash->n != sizeof(digits) - 1 || hex_decode(roothash, expected, sizeof(expected)) < 0)
                return bad(why, kind, what, "rootHash is not 64 hex digits");
        memcpy(digits, hash->p, hash->n);
        digits[hash->n] = 0;
        if (hex_decode(digits, here, sizeof(here)) < 0)
                return bad(why, kind, what, "rootHash is not 64 hex digits");
        if (memcmp(here, expected, sizeof(here)) != 0)
                return bad(why, kind, what, "it signs another root hash");
        return 0;
}

/* Canonical: encoding what it decodes to gives the same text. */
static int decode_canonical(const Text *text, Bytes *ret)
{
        _cleanup_(bytes_done) Bytes der = BYTES_NULL;
        _cleanup_(free_charp) char *again = NULL;
        int r = base64_decode(text->p, text->n, &der);

        if (r >= 0)
                r = base64_encode(der.data, der.size, &again);
        if (r < 0)
                return r;
        if (!text_is(text, again) || der.size == 0)
                return -EBADMSG;
        bytes_move(ret, &der);
        return 0;
}

int signature_check(const uint8_t *data, size_t size, const char *roothash, const char *what, WhyKind kind,
                    Why *why)
{
        _cleanup_(bytes_done) Bytes der = BYTES_NULL;
        Text t = { (const char *) data, size }, hash = { 0 }, signature = { 0 };
        const char *fault;
        int r;

        if (size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0))
                return 0;
        if (size % PADDING != 0 || size > SIZE_MAX_BYTES)
                return bad(why, kind, what, "its size is not a multiple of 4096 up to 1 MiB");
        if (!take_object(&t, &hash, &signature))
                return bad(why, kind, what, "not a compact JSON object of rootHash and signature");
        if (t.n > 0 && (*t.p != 0 || memcmp(t.p, t.p + 1, t.n - 1) != 0))
                return bad(why, kind, what, "something else than NULs behind the JSON");
        r = check_roothash(&hash, roothash, what, kind, why);
        if (r < 0)
                return r;
        r = decode_canonical(&signature, &der);
        if (r == -ENOMEM)
                return fail_errno(why, r, WHY_HOST, "%s", what);
        if (r < 0)
                return bad(why, kind, what, "the signature is not canonical base64");
        fault = cms_fault(der.data, der.size);
        return fault ? bad(why, kind, what, fault) : 1;
}
