/* SPDX-License-Identifier: MIT */

#include "image/index.h"
#include "base/digest.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

static const uint8_t magic[8] = "GYBEIDX1";

enum { /* of the head */
       AT_VERSION = 8,
       AT_GROUPS = 12,
       AT_BLOCKS = 16,
       AT_ROOT = 24,
       AT_FRAME_SIZE = 56,
       AT_FRAMES = 60,
};

#define FRAMES_WIDE    (UINT32_C(1) << 31)
#define FRAME_SIZE_MIN 4096u

static uint64_t get_le(const uint8_t *p, unsigned bytes)
{
        uint64_t v = 0;

        for (unsigned i = 0; i < bytes; i++)
                v |= (uint64_t) p[i] << (8 * i);
        return v;
}

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
        for (unsigned i = 0; i < bytes; i++)
                p[i] = (uint8_t) (v >> (8 * i));
}

/* --- the head --- */

uint64_t index_groups_at(const IndexHead *head _unused_)
{
        return INDEX_HEAD_SIZE;
}

size_t index_groups_size(const IndexHead *head)
{
        return (size_t) head->n_groups * INDEX_GROUP_SIZE;
}

uint64_t index_frames_at(const IndexHead *head)
{
        return index_groups_at(head) + index_groups_size(head);
}

size_t index_frames_size(const IndexHead *head)
{
        return (size_t) head->n_frames * head->frame_width;
}

uint64_t index_leaves_at(const IndexHead *head)
{
        return index_frames_at(head) + index_frames_size(head);
}

void index_head_format(const IndexHead *head, uint8_t out[INDEX_HEAD_SIZE])
{
        memcpy(out, magic, sizeof(magic));
        put_le(out + AT_VERSION, INDEX_VERSION, 4);
        put_le(out + AT_GROUPS, head->n_groups, 4);
        put_le(out + AT_BLOCKS, head->n_blocks, 8);
        memcpy(out + AT_ROOT, head->root, sizeof(head->root));
        put_le(out + AT_FRAME_SIZE, head->frame_size, 4);
        put_le(out + AT_FRAMES, head->n_frames | (head->frame_width == 4 ? FRAMES_WIDE : 0), 4);
}

static int refuse(Why *why, const char *problem)
{
        return fail(why, -EBADMSG, WHY_IMAGE, "index", "block index: %s", problem);
}

/* As many frames as the blocks fill, or none at all. */
static bool frames_fit(const IndexHead *h)
{
        uint64_t raw = (uint64_t) h->n_blocks * 4096;

        if (h->n_frames == 0)
                return true;
        return h->frame_size >= FRAME_SIZE_MIN && h->frame_size <= INDEX_FRAME_MAX &&
               h->frame_size % FRAME_SIZE_MIN == 0 &&
               h->n_frames == (raw + h->frame_size - 1) / h->frame_size;
}

int index_head_parse(const uint8_t data[INDEX_HEAD_SIZE], uint64_t member_size, IndexHead *ret, Why *why)
{
        IndexHead h = { 0 };
        uint64_t blocks = get_le(data + AT_BLOCKS, 8), frames = get_le(data + AT_FRAMES, 4);

        if (memcmp(data, magic, sizeof(magic)) != 0)
                return refuse(why, "it does not begin as one");
        if (get_le(data + AT_VERSION, 4) != INDEX_VERSION)
                return refuse(why, "another version");
        if (blocks == 0 || blocks > INDEX_BLOCKS_MAX)
                return fail(why, -EBADMSG, WHY_IMAGE, "index", "block index: %" PRIu64 " blocks", blocks);
        h.n_blocks = (uint32_t) blocks;
        h.n_groups = (uint32_t) get_le(data + AT_GROUPS, 4);
        memcpy(h.root, data + AT_ROOT, sizeof(h.root));
        h.frame_size = (uint32_t) get_le(data + AT_FRAME_SIZE, 4);
        h.frame_width = frames & FRAMES_WIDE ? 4 : 2;
        h.n_frames = (uint32_t) (frames & ~FRAMES_WIDE);
        if (h.n_groups == 0 || h.n_groups > h.n_blocks)
                return refuse(why, "no groups, or more than blocks");
        if (!frames_fit(&h))
                return refuse(why, "its frames are not those of its blocks");
        if (member_size != index_leaves_at(&h) + (uint64_t) h.n_blocks * INDEX_LEAF_SIZE)
                return refuse(why, "its size is not that of its parts");
        *ret = h;
        return 0;
}

/* --- groups and frames --- */

IndexGroup index_group(const uint8_t *groups, uint32_t i)
{
        const uint8_t *p = groups + (size_t) i * INDEX_GROUP_SIZE;

        return (IndexGroup){ get_le(p, 8), (uint32_t) get_le(p + 8, 2) };
}

void index_group_format(const IndexGroup *group, uint8_t out[INDEX_GROUP_SIZE])
{
        put_le(out, group->name, 8);
        put_le(out + 8, group->count, 2);
}

int index_groups_check(const uint8_t *groups, size_t size, uint32_t n_groups, uint32_t n_blocks, Why *why)
{
        uint64_t sum = 0;

        if (size != (size_t) n_groups * INDEX_GROUP_SIZE)
                return refuse(why, "the list of groups is cut");
        for (uint32_t i = 0; i < n_groups; i++) {
                IndexGroup g = index_group(groups, i);

                if (g.count == 0 || g.count > INDEX_GROUP_MAX)
                        return refuse(why, "a group of no blocks or of too many");
                sum += g.count;
        }
        return sum == n_blocks ? 0 : refuse(why, "the groups have another number of blocks");
}

uint32_t index_frame(const IndexHead *head, const uint8_t *frames, uint32_t i)
{
        return (uint32_t) get_le(frames + (size_t) i * head->frame_width, head->frame_width);
}

/* --- cutting --- */

int index_group_name(const uint8_t *leaves, uint32_t count, uint64_t *ret)
{
        uint8_t digest[SHA256_SIZE];
        int r = sha256(leaves, (size_t) count * INDEX_LEAF_SIZE, digest);

        if (r >= 0)
                *ret = get_le(digest, 8);
        return r;
}

static bool ends_group(const uint8_t *leaf, const uint8_t *before)
{
        return get_le(leaf, 4) % INDEX_GROUP_CUT == 0 && memcmp(leaf, before, INDEX_LEAF_SIZE) != 0;
}

uint32_t index_group_length(const uint8_t *leaves, uint32_t n)
{
        uint32_t max = MIN(n, INDEX_GROUP_MAX);

        for (uint32_t i = INDEX_GROUP_MIN; i < max; i++)
                if (ends_group(leaves + (size_t) (i - 1) * INDEX_LEAF_SIZE,
                               leaves + (size_t) (i - 2) * INDEX_LEAF_SIZE))
                        return i;
        return max;
}

/* --- writing --- */

static int add_groups(IndexHead *head, const uint8_t *leaves, Bytes *out)
{
        for (uint32_t at = 0; at < head->n_blocks;) {
                const uint8_t *first = leaves + (size_t) at * INDEX_LEAF_SIZE;
                IndexGroup g = { .count = index_group_length(first, head->n_blocks - at) };
                uint8_t record[INDEX_GROUP_SIZE];
                int r = index_group_name(first, g.count, &g.name);

                index_group_format(&g, record);
                if (r >= 0)
                        r = bytes_append(out, record, sizeof(record));
                if (r < 0)
                        return r;
                head->n_groups++;
                at += g.count;
        }
        return 0;
}

static int add_frames(const IndexHead *head, const uint32_t *frames, Bytes *out)
{
        for (uint32_t i = 0; i < head->n_frames; i++) {
                uint8_t size[4];
                int r;

                put_le(size, frames[i], head->frame_width);
                r = bytes_append(out, size, head->frame_width);
                if (r < 0)
                        return r;
        }
        return 0;
}

int index_build(const uint8_t root[32], const uint8_t *leaves, uint32_t n_blocks, uint32_t frame_size,
                const uint32_t *frames, uint32_t n_frames, Bytes *ret)
{
        IndexHead head = {
                .n_blocks = n_blocks, .frame_size = frame_size, .n_frames = n_frames, .frame_width = 2
        };
        _cleanup_(bytes_done) Bytes out = BYTES_NULL;
        uint8_t room[INDEX_HEAD_SIZE] = { 0 };
        int r;

        assert(n_blocks > 0 && n_blocks <= INDEX_BLOCKS_MAX);
        if (!frames || !frames_fit(&head))
                head.n_frames = head.frame_size = 0;
        for (uint32_t i = 0; i < head.n_frames; i++)
                if (frames[i] > UINT16_MAX)
                        head.frame_width = 4;
        memcpy(head.root, root, sizeof(head.root));
        if ((r = bytes_append(&out, room, sizeof(room))) < 0 || (r = add_groups(&head, leaves, &out)) < 0 ||
            (r = add_frames(&head, frames, &out)) < 0 ||
            (r = bytes_append(&out, leaves, (size_t) n_blocks * INDEX_LEAF_SIZE)) < 0)
                return r;
        index_head_format(&head, out.data);
        bytes_move(ret, &out);
        return 0;
}
