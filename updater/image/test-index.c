/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "image/index.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static const uint8_t root[32] = { 7 };

static void put_leaf(uint8_t *leaves, uint32_t i, uint64_t v)
{
        for (unsigned k = 0; k < INDEX_LEAF_SIZE; k++)
                leaves[(size_t) i * INDEX_LEAF_SIZE + k] = (uint8_t) (v >> (8 * k));
}

static uint64_t noise(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

static uint8_t *make_leaves(uint32_t n, uint64_t seed)
{
        uint8_t *leaves = malloc((size_t) n * INDEX_LEAF_SIZE);

        assert(leaves);
        for (uint32_t i = 0; i < n; i++)
                put_leaf(leaves, i, noise(&seed) & 0xffffffffffff);
        return leaves;
}

static Bytes make_index(const uint8_t *leaves, uint32_t n, const uint32_t *frames, uint32_t n_frames)
{
        Bytes b = BYTES_NULL;

        assert(index_build(root, leaves, n, 32768, frames, n_frames, &b) == 0);
        return b;
}

/* What is written is read again, part by part. */
static void test_round_trip(void)
{
        enum { N = 10000, FRAMES = (N + 7) / 8 };
        uint8_t *leaves = make_leaves(N, 1);
        uint32_t frames[FRAMES];
        Bytes b;
        IndexHead h;
        uint64_t at = 0;

        for (uint32_t i = 0; i < FRAMES; i++)
                frames[i] = 1000 + i;
        b = make_index(leaves, N, frames, FRAMES);
        assert(index_head_parse(b.data, b.size, &h, NULL) == 0);
        assert(h.n_blocks == N && h.frame_size == 32768 && h.n_frames == FRAMES && h.frame_width == 2);
        assert(memcmp(h.root, root, sizeof(root)) == 0);
        assert(index_groups_check(b.data + index_groups_at(&h), index_groups_size(&h), h.n_groups, N, NULL) ==
               0);
        assert(h.n_groups > N / 80 && h.n_groups < N / 50); /* 64 on average */
        for (uint32_t i = 0; i < h.n_groups; i++) {
                IndexGroup g = index_group(b.data + index_groups_at(&h), i);
                uint64_t name = 0;

                assert(index_group_name(leaves + at * INDEX_LEAF_SIZE, g.count, &name) == 0 &&
                       name == g.name);
                assert(index_group_length(leaves + at * INDEX_LEAF_SIZE, N - (uint32_t) at) == g.count);
                at += g.count;
        }
        for (uint32_t i = 0; i < FRAMES; i++)
                assert(index_frame(&h, b.data + index_frames_at(&h), i) == frames[i]);
        assert(memcmp(b.data + index_leaves_at(&h), leaves, (size_t) N * INDEX_LEAF_SIZE) == 0);
        bytes_done(&b);

        frames[FRAMES - 1] = 70000; /* one large frame makes them all wide */
        b = make_index(leaves, N, frames, FRAMES);
        assert(index_head_parse(b.data, b.size, &h, NULL) == 0 && h.frame_width == 4);
        assert(index_frame(&h, b.data + index_frames_at(&h), FRAMES - 1) == 70000);
        bytes_done(&b);
        b = make_index(leaves, N, frames, FRAMES - 1); /* not those of the image: none */
        assert(index_head_parse(b.data, b.size, &h, NULL) == 0 && h.n_frames == 0 && h.frame_size == 0);
        bytes_done(&b);
        free(leaves);
}

static uint32_t common_groups(const Bytes *x, const Bytes *y, uint32_t *ret_n)
{
        IndexHead a, b;
        uint32_t common = 0;

        assert(index_head_parse(x->data, x->size, &a, NULL) == 0);
        assert(index_head_parse(y->data, y->size, &b, NULL) == 0);
        for (uint32_t i = 0; i < b.n_groups; i++)
                for (uint32_t k = 0; k < a.n_groups; k++)
                        if (index_group(x->data + INDEX_HEAD_SIZE, k).name ==
                            index_group(y->data + INDEX_HEAD_SIZE, i).name) {
                                common++;
                                break;
                        }
        *ret_n = b.n_groups;
        return common;
}

/* A block more at the start moves everything, and all groups but the first are the same ones. */
static void test_resync(void)
{
        enum { N = 20000 };
        uint8_t *leaves = make_leaves(N + 1, 5);
        Bytes a = make_index(leaves + INDEX_LEAF_SIZE, N, NULL, 0), b = make_index(leaves, N + 1, NULL, 0);
        uint32_t n = 0, common = common_groups(&a, &b, &n);

        assert(n - common <= 4);
        bytes_done(&a);
        bytes_done(&b);
        put_leaf(leaves, 9000, 1);
        a = make_index(leaves, N, NULL, 0);
        put_leaf(leaves, 9000, 2);
        b = make_index(leaves, N, NULL, 0);
        common = common_groups(&a, &b, &n);
        assert(n - common <= 2);
        bytes_done(&a);
        bytes_done(&b);
        free(leaves);
}

/* Blocks that are all alike are cut at the maximum, also where their leaf would be a place to cut. */
static void test_runs(void)
{
        enum { N = 3 * INDEX_GROUP_MAX };
        uint8_t *leaves = make_leaves(N, 3);

        for (uint64_t v = 0; v < 2; v++) {
                for (uint32_t i = 0; i < N; i++)
                        put_leaf(leaves, i, v * (UINT64_C(1) << 40));
                assert(index_group_length(leaves, N) == INDEX_GROUP_MAX);
                assert(index_group_length(leaves, 5) == 5);
        }
        free(leaves);
}

static void test_refusals(void)
{
        enum { N = 200, FRAMES = 25 };
        static const struct {
                size_t at;
                uint8_t value;
                const char *why;
        } cases[] = {
                { 0, 'X', "magic" },           { 8, 2, "another version" },
                { 12, 0, "no groups" },        { 13, 1, "more groups than blocks" },
                { 16, 201, "a block more" },   { 23, 1, "too many blocks" },
                { 57, 0x81, "odd frames" },    { 60, 24, "a frame too few" },
                { 63, 0x80, "wider than it" }, { 59, 0x70, "frames of a gigabyte" },
        };
        uint8_t *leaves = make_leaves(N, 9);
        uint32_t frames[FRAMES] = { 0 };
        Bytes b = make_index(leaves, N, frames, FRAMES);
        IndexHead h;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t was = b.data[cases[i].at];

                b.data[cases[i].at] = cases[i].value;
                if (index_head_parse(b.data, b.size, &h, NULL) != -EBADMSG) {
                        (void) fprintf(stderr, "%s: accepted\n", cases[i].why);
                        assert(false);
                }
                b.data[cases[i].at] = was;
        }
        assert(index_head_parse(b.data, b.size - 1, &h, NULL) == -EBADMSG);
        assert(index_head_parse(b.data, b.size, &h, NULL) == 0);
        for (unsigned k = 0; k < 3; k++) {
                static const uint32_t counts[3] = { 0, INDEX_GROUP_MAX + 1, INDEX_GROUP_MIN };
                IndexGroup g = index_group(b.data + INDEX_HEAD_SIZE, 0);
                IndexGroup bad = { g.name, counts[k] == g.count ? g.count + 1 : counts[k] };

                index_group_format(&bad, b.data + INDEX_HEAD_SIZE);
                assert(index_groups_check(b.data + INDEX_HEAD_SIZE, index_groups_size(&h), h.n_groups, N,
                                          NULL) == -EBADMSG);
                index_group_format(&g, b.data + INDEX_HEAD_SIZE);
        }
        assert(index_groups_check(b.data + INDEX_HEAD_SIZE, index_groups_size(&h) - 1, h.n_groups, N, NULL) ==
               -EBADMSG);
        bytes_done(&b);
        free(leaves);
}

int main(void)
{
        test_round_trip();
        test_resync();
        test_runs();
        test_refusals();
        return 0;
}
