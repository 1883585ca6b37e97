/* SPDX-License-Identifier: MIT */

/* In whatever portions and from wherever the bytes come: the digest is the one of all of them. */

#undef NDEBUG
#include "fetch/hasher.h"
#include "base/digest.h"

#include <assert.h>

#define SIZE (5u * 1024u * 1024u + 77u)

static uint8_t data[SIZE];

static void test(uint64_t expect, size_t piece, size_t size)
{
        uint8_t want[SHA384_SIZE], got[SHA384_SIZE];
        Hasher *h = NULL;

        assert(hasher_new(384, expect, &h) == 0);
        for (size_t at = 0, n; at < size; at += n) {
                n = MIN(piece, size - at);
                assert(hasher_update(h, data + at, n) == 0);
        }
        assert(hasher_final(h, got) == 0 && sha384(data, size, want) == 0);
        assert(memcmp(got, want, sizeof(got)) == 0);
        assert(!hasher_free(h));
}

int main(void)
{
        static const size_t pieces[] = { 1777, 65536, 128u * 1024u, 512u * 1024u, 700001, SIZE };
        Hasher *h = NULL;

        for (size_t i = 0; i < SIZE; i++)
                data[i] = (uint8_t) (i * 2654435761u >> 24);
        for (size_t i = 0; i < ELEMENTSOF(pieces); i++) {
                test(0, pieces[i], SIZE);
                test(SIZE, pieces[i], SIZE);
        }
        test(SIZE, 1, 5000);
        test(SIZE, 1, 0);
        assert(hasher_new(384, SIZE, &h) == 0 && hasher_update(h, data, SIZE) == 0); /* freed at work */
        assert(!hasher_free(h) && !hasher_free(NULL));
        return 0;
}
