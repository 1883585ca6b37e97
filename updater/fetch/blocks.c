/* SPDX-License-Identifier: MIT */

/* The job's half of what is asked by range: the index, and single blocks of an image. */

#include "fetch/client.h"
#include "fetch/values.h"

#include <errno.h>

#define GROUPS_MAX  (16u * 1024u * 1024u) /* the child reads no more either */
#define EXTENTS_MAX ((size_t) 16 * 1024 * 1024)

void fetch_index_done(FetchIndex *index)
{
        bytes_done(&index->groups);
        *index = (FetchIndex){ 0 };
}

static int collect(void *ctx, const void *data, size_t size, Why *why)
{
        int r = bytes_append(ctx, data, size);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "gybe-fetch") : 0;
}

int fetch_index_open(Fetch *f, FetchIndex *ret, Why *why)
{
        _cleanup_(fetch_index_done) FetchIndex index = { 0 };
        const FetchSink sink = { collect, NULL, &index.groups };
        Answer a = { .sink = &sink, .max = GROUPS_MAX };
        WirePack p = WIRE_PACK_NULL;
        WireUnpack done;
        int r = client_ask(f, WIRE_INDEX, &p, NULL, 0, &a, &done, why);

        if (r < 0)
                return r;
        if (wire_get_u32(&done) == 0)
                return index.groups.size == 0 ? client_expect_end(f, &done, why)
                                              : client_misbehaved(f, why, "sent an index that is not there");
        if (value_get_index(&done, &index.head, &index.size) < 0 || !wire_get_end(&done) ||
            index_groups_check(index.groups.data, index.groups.size, index.head.n_groups, index.head.n_blocks,
                               NULL) < 0)
                return client_misbehaved(f, why, "answered something else than an index");
        *ret = index;
        index = (FetchIndex){ 0 };
        return 1;
}

static uint64_t count_blocks(const BlockRange *ranges, size_t n)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < n; i++)
                sum += ranges[i].count;
        return sum;
}

int fetch_index_leaves(Fetch *f, const BlockRange *ranges, size_t n, Bytes *ret, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(bytes_done) Bytes leaves = BYTES_NULL;
        const FetchSink sink = { collect, NULL, &leaves };
        Answer a = { .sink = &sink, .max = count_blocks(ranges, n) * INDEX_LEAF_SIZE };
        WireUnpack done;
        int r;

        value_put_ranges(&p, ranges, n);
        r = client_ask(f, WIRE_LEAVES, &p, NULL, 0, &a, &done, why);
        if (r < 0)
                return r;
        if (a.got != a.max)
                return client_misbehaved(f, why, "sent less than was asked for");
        bytes_move(ret, &leaves);
        return client_expect_end(f, &done, why);
}

int fetch_blocks(Fetch *f, const CosiImage *image, const BlockRange *ranges, size_t n, const FetchSink *sink,
                 Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        Answer a = { .sink = sink, .max = count_blocks(ranges, n) * WIRE_ALIGN, .blocks = true };
        WireUnpack done;
        int r;

        value_put_image(&p, image);
        value_put_ranges(&p, ranges, n);
        r = client_ask(f, WIRE_BLOCKS, &p, NULL, 0, &a, &done, why);
        if (r < 0)
                return r;
        if (a.got != a.max)
                return client_misbehaved(f, why, "sent less than was asked for");
        return client_expect_end(f, &done, why);
}

int fetch_blocks_extents(Fetch *f, const CosiImage *image, const BlockRange *ranges, size_t n,
                         FetchExtent **ret, size_t *ret_n, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const FetchSink sink = { collect, NULL, &b };
        Answer a = { .sink = &sink, .max = EXTENTS_MAX };
        WireUnpack done;
        int r;

        value_put_image(&p, image);
        value_put_ranges(&p, ranges, n);
        r = client_ask(f, WIRE_EXTENTS, &p, NULL, 0, &a, &done, why);
        if (r >= 0)
                r = client_expect_end(f, &done, why);
        if (r < 0)
                return r;
        if (b.size % sizeof(FetchExtent) != 0)
                return client_misbehaved(f, why, "answered something else than extents");
        *ret_n = b.size / sizeof(FetchExtent);
        *ret = (FetchExtent *) (void *) b.data;
        b = BYTES_NULL;
        return 0;
}
