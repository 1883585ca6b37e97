/* SPDX-License-Identifier: MIT */

#include "base/digest.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

struct Digest {
        EVP_MD_CTX *ctx;
        const EVP_MD *md;
};

/* Once more with the same algorithm: naming it would have OpenSSL look it up, under locks, for each block of a disk. */
static int digest_start(Digest *d, const EVP_MD *md)
{
        return EVP_DigestInit_ex(d->ctx, md, NULL) == 1 ? 0 : -EIO;
}

int digest_new(unsigned bits, Digest **ret)
{
        Digest *d = calloc(1, sizeof(*d));

        if (!d)
                return -ENOMEM;
        d->md = bits == 384 ? EVP_sha384() : EVP_sha256();
        d->ctx = EVP_MD_CTX_new();
        if (!d->ctx || digest_start(d, d->md) < 0) {
                digest_free(d);
                return -ENOMEM;
        }
        *ret = d;
        return 0;
}

Digest *digest_free(Digest *d)
{
        if (!d)
                return NULL;
        EVP_MD_CTX_free(d->ctx);
        free(d);
        return NULL;
}

void digest_freep(Digest **d)
{
        *d = digest_free(*d);
}

int digest_update(Digest *d, const void *data, size_t size)
{
        return EVP_DigestUpdate(d->ctx, data, size) == 1 ? 0 : -EIO;
}

int digest_final(Digest *d, uint8_t *out)
{
        return EVP_DigestFinal_ex(d->ctx, out, NULL) == 1 ? digest_start(d, NULL) : -EIO;
}

int sha256(const void *data, size_t size, uint8_t out[SHA256_SIZE])
{
        return EVP_Digest(data, size, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

int sha384(const void *data, size_t size, uint8_t out[SHA384_SIZE])
{
        return EVP_Digest(data, size, out, NULL, EVP_sha384(), NULL) == 1 ? 0 : -EIO;
}

int sha256_hex(const void *data, size_t size, char out[SHA256_HEX])
{
        uint8_t d[SHA256_SIZE];
        int r = sha256(data, size, d);

        if (r < 0)
                return r;
        hex_encode(d, sizeof(d), out);
        return 0;
}

int sha384_hex(const void *data, size_t size, char out[SHA384_HEX])
{
        uint8_t d[SHA384_SIZE];
        int r = sha384(data, size, d);

        if (r < 0)
                return r;
        hex_encode(d, sizeof(d), out);
        return 0;
}

int hmac_sha256(const void *key, size_t key_size, const void *data, size_t size, uint8_t out[SHA256_SIZE])
{
        unsigned n = 0;

        if (key_size > INT32_MAX || !HMAC(EVP_sha256(), key, (int) key_size, data, size, out, &n))
                return -EIO;
        return n == SHA256_SIZE ? 0 : -EIO;
}

int sha256_fd_hex(int fd, char out[SHA256_HEX])
{
        _cleanup_(digest_freep) Digest *d = NULL;
        uint8_t buf[32 * 1024], sum[SHA256_SIZE];
        uint64_t at = 0;
        int r;

        r = digest_new(256, &d);
        if (r < 0)
                return r;
        for (;;) {
                ssize_t l = fd_pread_full(fd, buf, sizeof(buf), at);
                if (l < 0)
                        return (int) l;
                r = digest_update(d, buf, (size_t) l);
                if (r < 0)
                        return r;
                if ((size_t) l < sizeof(buf))
                        break;
                at += (uint64_t) l;
        }
        r = digest_final(d, sum);
        if (r < 0)
                return r;
        hex_encode(sum, sizeof(sum), out);
        return 0;
}
