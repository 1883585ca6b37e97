/* SPDX-License-Identifier: MIT */

#include "fetch/rebuilt.h"
#include "base/fd.h"

#include <errno.h>
#include <inttypes.h>

#define WORK_FACTOR                                                                                          \
        2u /* as many bytes again for objects that do not stay; an honest server has none of those */

void rebuilt_done(Rebuilt *b)
{
        close_fdp(&b->fd);
        digest_freep(&b->digest);
        *b = REBUILT_NULL;
}

static int too_large(const Rebuilt *b, Why *why)
{
        return fail(why, -EFBIG, WHY_NETWORK, "rebuilt-too-large",
                    "OSTree: more than the %" PRIu64 " bytes that an image of this size can need", b->limit);
}

int rebuilt_begin(Rebuilt *b, const uint8_t id[OSTREE_ID], const Bytes *header, uint64_t size, Why *why)
{
        int r;

        rebuilt_drop(b);
        if (size > b->limit || b->at > b->limit - size || b->work > WORK_FACTOR * b->limit)
                return too_large(b, why);
        r = b->digest ? 0 : digest_new(256, &b->digest);
        if (r >= 0)
                r = digest_update(b->digest, header->data, header->size);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "OSTree: SHA-256");
        memcpy(b->id, id, OSTREE_ID);
        b->size = size;
        b->written = 0;
        b->is_open = true;
        return 0;
}

int rebuilt_write(Rebuilt *b, const void *data, size_t size, Why *why)
{
        int r;

        if (!b->is_open || size > b->size - b->written)
                return fail(why, -EBADMSG, WHY_NETWORK, "rebuilt",
                            "OSTree: an object is longer than it says");
        r = fd_pwrite_full(b->fd, data, size, b->at + b->written);
        if (r >= 0)
                r = digest_update(b->digest, data, size);
        if (r >= 0)
                r = b->alive ? b->alive(b->ctx) : 0;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "OSTree: scratch file");
        b->written += size;
        b->work += size;
        return 0;
}

void rebuilt_drop(Rebuilt *b)
{
        uint8_t sum[SHA256_SIZE];

        if (!b->is_open)
                return;
        b->is_open = false;
        b->n_bad++;
        b->work += REBUILT_BLOCK; /* nothing is free */
        (void) digest_final(b->digest, sum);
}

/* What the object before left behind its own last byte would not be zero. */
static int pad(Rebuilt *b)
{
        static const uint8_t zeroes[REBUILT_BLOCK];
        uint64_t end = b->at + b->size, next = (end + REBUILT_BLOCK - 1) / REBUILT_BLOCK * REBUILT_BLOCK;
        int r = fd_pwrite_full(b->fd, zeroes, (size_t) (next - end), end);

        if (r >= 0)
                b->at = next;
        return r;
}

int rebuilt_end(Rebuilt *b, Why *why)
{
        uint8_t sum[SHA256_SIZE];
        int r;

        if (!b->is_open)
                return 0;
        if (b->written != b->size) {
                rebuilt_drop(b);
                return 0;
        }
        b->is_open = false;
        b->work += REBUILT_BLOCK;
        r = digest_final(b->digest, sum);
        if (r >= 0 && memcmp(sum, b->id, OSTREE_ID) != 0) {
                b->n_bad++;
                return 0;
        }
        if (r >= 0 && b->size > 0)
                r = pad(b);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "OSTree: scratch file");
        b->n_good++;
        return 1;
}

int rebuilt_add(Rebuilt *b, const void *blocks, size_t size, Why *why)
{
        int r;

        rebuilt_drop(b);
        if (size > b->limit || b->at > b->limit - size)
                return too_large(b, why);
        r = fd_pwrite_full(b->fd, blocks, size, b->at);
        if (r >= 0)
                r = b->alive ? b->alive(b->ctx) : 0;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "OSTree: scratch file");
        b->at += size;
        return 0;
}
