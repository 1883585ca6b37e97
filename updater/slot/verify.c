/* SPDX-License-Identifier: MIT */

/* Does the medium hold what the root hash promises? Everything is read again and hashed again, and every stored hash
 * block is compared: the kernel will go by the stored tree, so a tree that is wrong where the data is right would still be
 * a machine that panics. When something differs the stored tree, followed up to the promised root, says whose fault it is. */

#include "base/str.h"
#include "slot/tree.h"

#include <errno.h>
#include <inttypes.h>

#define HASHES_PER_BLOCK (VERITY_BLOCK / VERITY_ROOT_SIZE)
#define SUPERBLOCK_BYTES 512u /* the rest of its block belongs to nobody */

typedef struct Check {
        SlotAreas areas;
        VerityParams params;
        const uint8_t *expect_root;
        uint64_t hash_size; /* superblock block and tree */
        Verity *verity;
        uint8_t *data;      /* the unit that is being hashed */
        uint8_t *stored;    /* a window of the hash area ... */
        uint64_t stored_at; /* ... from here ... */
        size_t stored_size; /* ... and this long; 0: nothing read yet */
        uint8_t *block;
        Why *why;
} Check;

static void check_done(Check *c)
{
        slot_areas_done(&c->areas);
        verity_free(c->verity);
        free(c->data);
        free(c->stored);
        free(c->block);
        *c = (Check){ 0 };
}

#define DIFFERS(c, ...) fail((c)->why, -EBADMSG, WHY_TRUST, "root-hash", __VA_ARGS__)

static const char *data_label(const Check *c)
{
        return area_partition(c->areas.data)->label;
}

static const char *hash_label(const Check *c)
{
        return area_partition(c->areas.hash)->label;
}

/* A stored hash block, out of a window that mostly moves forward. */
static int stored_block(Check *c, uint64_t offset, const uint8_t **ret)
{
        int r;

        if (c->stored_size == 0 || offset < c->stored_at || offset >= c->stored_at + c->stored_size) {
                c->stored_size = 0;
                r = area_read(c->areas.hash, c->areas.hash_offset + offset, c->stored,
                              (size_t) MIN((uint64_t) SLOT_UNIT, c->hash_size - offset), c->why);
                if (r < 0)
                        return r;
                c->stored_at = offset;
                c->stored_size = (size_t) MIN((uint64_t) SLOT_UNIT, c->hash_size - offset);
        }
        *ret = c->stored + (offset - c->stored_at);
        return 0;
}

/* Levels stand root first; returns how many there are, and where each begins (0: the one above the data). */
static unsigned level_offsets(uint64_t data_blocks, uint64_t offsets[VERITY_LEVELS_MAX])
{
        uint64_t blocks[VERITY_LEVELS_MAX], at = VERITY_BLOCK;
        unsigned n = 0;

        for (uint64_t below = data_blocks; below > 1; n++)
                blocks[n] = below = (below + HASHES_PER_BLOCK - 1) / HASHES_PER_BLOCK;
        for (unsigned i = n; i-- > 0; at += blocks[i] * VERITY_BLOCK)
                offsets[i] = at;
        return n;
}

/* Is the stored hash block the one that the promised root stands for? Follows the stored parents up to it: 1 yes, 0 no. */
static int is_authentic(Check *c, unsigned level, uint64_t index)
{
        uint64_t offsets[VERITY_LEVELS_MAX];
        unsigned n = level_offsets(c->params.data_blocks, offsets);
        uint8_t hash[VERITY_ROOT_SIZE];
        const uint8_t *stored;
        int r;

        for (;; level++) {
                r = stored_block(c, offsets[level] + index * VERITY_BLOCK, &stored);
                if (r < 0)
                        return r;
                memcpy(c->block, stored, VERITY_BLOCK);
                r = verity_hash_block(c->verity, c->block, hash);
                if (r < 0)
                        return r;
                if (level + 1 == n)
                        return memcmp(hash, c->expect_root, sizeof(hash)) == 0;
                r = stored_block(c, offsets[level + 1] + index / HASHES_PER_BLOCK * VERITY_BLOCK, &stored);
                if (r < 0)
                        return r;
                if (memcmp(stored + index % HASHES_PER_BLOCK * VERITY_ROOT_SIZE, hash, sizeof(hash)) != 0)
                        return 0;
                index /= HASHES_PER_BLOCK;
        }
}

/* computed and the stored block at offset differ: in which hash, and is it the tree or what is below it that is wrong? */
static int blame(Check *c, uint64_t offset, const uint8_t *computed)
{
        uint64_t offsets[VERITY_LEVELS_MAX], index, below;
        unsigned level = 0;
        const uint8_t *stored;
        size_t at = 0;
        int r;

        (void) level_offsets(c->params.data_blocks, offsets);
        while (offset < offsets[level])
                level++;
        index = (offset - offsets[level]) / VERITY_BLOCK;
        r = stored_block(c, offset, &stored);
        if (r < 0)
                return r;
        while (at + VERITY_ROOT_SIZE < VERITY_BLOCK &&
               memcmp(stored + at, computed + at, VERITY_ROOT_SIZE) == 0)
                at += VERITY_ROOT_SIZE;
        below = index * HASHES_PER_BLOCK + at / VERITY_ROOT_SIZE;
        r = is_authentic(c, level, index);
        if (r < 0)
                return r;
        if (r == 0)
                return DIFFERS(c, "%s: hash block at byte %" PRIu64 " is not what the root hash promises",
                               hash_label(c), c->areas.hash_offset + offset);
        if (level == 0)
                return DIFFERS(c,
                               "%s: data block %" PRIu64 " at byte %" PRIu64
                               " is not what the root hash promises",
                               data_label(c), below, below * VERITY_BLOCK);
        return DIFFERS(c, "%s: hash block at byte %" PRIu64 " is not what the root hash promises",
                       hash_label(c), c->areas.hash_offset + offsets[level - 1] + below * VERITY_BLOCK);
}

static int compare_block(void *ctx, uint64_t offset, const uint8_t block[VERITY_BLOCK])
{
        Check *c = ctx;
        const uint8_t *stored;
        int r;

        r = stored_block(c, offset, &stored);
        if (r < 0)
                return r;
        if (offset == 0)
                return memcmp(stored, block, SUPERBLOCK_BYTES) == 0
                               ? 0
                               : DIFFERS(c, "%s: the verity superblock has bytes where it should have none",
                                         hash_label(c));
        return memcmp(stored, block, VERITY_BLOCK) == 0 ? 0 : blame(c, offset, block);
}

/* The top block says within one read whether this is the promised tree at all. 1 it is, 0 not; a single data block has
 * no tree. */
static int has_root(Check *c)
{
        uint64_t offsets[VERITY_LEVELS_MAX];
        unsigned n = level_offsets(c->params.data_blocks, offsets);

        return n == 0 ? 1 : is_authentic(c, n - 1, 0);
}

/* A superblock that makes no sense is no fault of this host: this is just not the promised image. */
static int start(Check *c, uint64_t offset)
{
        Why nonsense = { 0 };
        int r;

        c->areas.hash_offset = offset;
        r = superblock_read(c->areas.hash, offset, &c->params, c->block, &nonsense);
        if (r == 0)
                return fail(c->why, -EBADMSG, WHY_TRUST, "no-superblock", "%s: has no verity superblock",
                            hash_label(c));
        if (r > 0)
                r = slot_areas_fit(&c->areas, &c->params, &nonsense) < 0 ? -EBADMSG : 0;
        if (r == -EBADMSG)
                return DIFFERS(c, "%s", nonsense.text);
        if (r < 0)
                return fail(c->why, r, nonsense.kind, nonsense.code, "%s", nonsense.text);
        r = verity_hash_size(c->params.data_blocks, &c->hash_size);
        if (r < 0)
                return r;
        c->stored_size = 0;
        c->verity = verity_free(c->verity);
        return verity_new(&c->params, compare_block, c, &c->verity);
}

static int fail_root(const Check *c, const uint8_t *root, const char *what)
{
        char expected[2 * VERITY_ROOT_SIZE + 1], found[2 * VERITY_ROOT_SIZE + 1];

        hex_encode(c->expect_root, VERITY_ROOT_SIZE, expected);
        if (!root)
                return DIFFERS(c, "%s: %s is not the one of the root hash %s", hash_label(c), what, expected);
        hex_encode(root, VERITY_ROOT_SIZE, found);
        return DIFFERS(c, "%s: %s is %s, it should be %s", data_label(c), what, found, expected);
}

/* 1 when this one has the promised root; another one is no fault yet. */
static int try_inline(void *ctx, uint64_t offset, Why *why _unused_)
{
        Check *c = ctx;
        Why *kept = c->why;
        int r;

        c->why = NULL;
        r = start(c, offset);
        if (r >= 0)
                r = has_root(c);
        c->why = kept;
        return r == -EBADMSG ? 0 : r;
}

static int start_inline(Check *c)
{
        int r = superblock_scan(c->areas.hash, try_inline, c, c->why);

        if (r != 0)
                return r < 0 ? fail_errno(c->why, r, WHY_HOST, "%s: its hash tree cannot be read",
                                          hash_label(c))
                             : 0;
        return c->verity ? fail_root(c, NULL, "its hash tree")
                         : fail(c->why, -EBADMSG, WHY_TRUST, "no-superblock", "%s: has no verity superblock",
                                hash_label(c));
}

static int read_all(Check *c, SlotProgress progress, void *ctx)
{
        uint64_t total = c->params.data_blocks * VERITY_BLOCK;
        int r;

        for (uint64_t at = 0; at < total;) {
                size_t n = (size_t) MIN((uint64_t) SLOT_UNIT, total - at);

                r = area_read(c->areas.data, at, c->data, n, c->why);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < n; i += VERITY_BLOCK) {
                        r = verity_block_is_zero(c->data + i) ? verity_add_zero(c->verity, 1)
                                                              : verity_add(c->verity, c->data + i);
                        if (r < 0)
                                return r;
                }
                at += n;
                r = progress ? progress(ctx, at, total) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

int slot_verify(Disk *disk, const SlotParts *parts, const uint8_t expect_root[32], SlotProgress progress,
                void *ctx, Why *why)
{
        _cleanup_(check_done) Check c = { .expect_root = expect_root, .why = why };
        uint8_t root[VERITY_ROOT_SIZE];
        int r;

        c.data = area_buffer(SLOT_UNIT);
        c.stored = area_buffer(SLOT_UNIT);
        c.block = area_buffer(VERITY_BLOCK);
        if (!c.data || !c.stored || !c.block)
                return -ENOMEM;
        r = slot_areas_open(disk, parts, parts->inline_offset, false, &c.areas, why);
        if (r < 0)
                return r;
        r = parts->hash || parts->inline_offset != 0 ? start(&c, c.areas.hash_offset) : start_inline(&c);
        if (r < 0)
                return r;
        r = has_root(&c);
        if (r <= 0)
                return r < 0 ? r : fail_root(&c, NULL, "its hash tree");
        r = read_all(&c, progress, ctx);
        if (r < 0)
                return r;
        r = verity_finish(c.verity, root);
        if (r < 0)
                return r;
        return memcmp(root, expect_root, sizeof(root)) == 0 ? 0 : fail_root(&c, root, "the root hash");
}
