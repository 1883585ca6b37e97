/* SPDX-License-Identifier: MIT */

/* The image's leaves are sorted once, and every block that is here is looked up among them: what lies here is at least as
 * large as what is wanted, and the list of what is wanted gets shorter with every block that is in place.
 *
 * The slot that is written may itself be a source, and some of its blocks would be overwritten before they are read. The
 * writer (assemble.c) goes through the image from its beginning and copies; only then it fetches. So a block that lies behind
 * its new place is read in time, and so is one that stays where it is, or that only a fetched block overwrites. The others
 * are read ahead of everything, into memory, as long as they are few. */

#include "slot/plan.h"
#include "image/index.h"

#include <assert.h>
#include <errno.h>

#define LEAF           INDEX_LEAF_SIZE
#define UNKNOWN_BLOCKS (64u * 1024u) /* asked for at once: 384 KiB of leaves */

/* A block's place in 32 bits: 3 of the source, 27 of its block, or one of the states without a source. */
#define PLACE_FETCHED  UINT32_C(0xffffffff)
#define PLACE_IN_PLACE UINT32_C(0xfffffffe)
#define PLACE_ZERO     UINT32_C(0xfffffffd)
#define PLACE_SHIFT    28u /* INDEX_BLOCKS_MAX is 2^27, and one bit says "stashed" */
#define PLACE_STASHED  (UINT32_C(1) << 27)
#define PLACE_BLOCK    (PLACE_STASHED - 1)

_Static_assert(INDEX_BLOCKS_MAX <= PLACE_STASHED, "a block's number fits");
_Static_assert(BLOCK_SOURCES_MAX < 15, "a source's number fits, and no place looks like a state");

/* A sample: 16 stretches of 2 MiB, in each of which some seven groups are whole. With a twentieth of its groups in common a slot
 * is missed once in several hundred times, and then costs bytes. */
#define SAMPLE_STRETCHES 16u
#define SAMPLE_BLOCKS    512u
#define SAMPLE_FROM      (8u * SAMPLE_STRETCHES * SAMPLE_BLOCKS) /* what has fewer is simply read */

typedef struct Group {
        uint64_t name;
        uint32_t source; /* BLOCK_SOURCES_MAX: of zeroes */
        uint32_t first, count;
} Group;

struct SlotPlan {
        Verity *verity;
        uint8_t zero[LEAF];
        uint32_t n_blocks;
        uint8_t *leaves; /* of the image */
        uint32_t *places;

        BlockSource sources[BLOCK_SOURCES_MAX];
        uint8_t *here[BLOCK_SOURCES_MAX]; /* their leaves, until plan_decide() */
        unsigned n_sources;

        const uint8_t *groups; /* of the index */
        uint32_t n_groups;
        uint8_t *unknown; /* a bit each */

        uint32_t stash[PLAN_STASH_MAX];
        size_t n_stash;
};

const char *plan_from_name(PlanFrom from)
{
        static const char *const names[_PLAN_FROM_MAX] = {
                [PLAN_IN_PLACE] = "skipped", [PLAN_ZERO] = "zero",       [PLAN_COPIED] = "copied",
                [PLAN_REBUILT] = "rebuilt",  [PLAN_FETCHED] = "fetched",
        };

        return from >= 0 && from < _PLAN_FROM_MAX ? names[from] : "unknown";
}

static void free_sources(SlotPlan *plan)
{
        for (unsigned i = 0; i < plan->n_sources; i++) {
                free(plan->here[i]);
                plan->here[i] = NULL;
        }
        free(plan->unknown);
        plan->unknown = NULL;
}

SlotPlan *plan_free(SlotPlan *plan)
{
        if (!plan)
                return NULL;
        free_sources(plan);
        verity_free(plan->verity);
        free(plan->leaves);
        free(plan->places);
        free(plan);
        return NULL;
}

void plan_freep(SlotPlan **plan)
{
        *plan = plan_free(*plan);
}

int plan_new(const VerityParams *params, SlotPlan **ret)
{
        static const uint8_t zeroes[VERITY_BLOCK];
        _cleanup_(plan_freep) SlotPlan *plan = calloc(1, sizeof(*plan));
        uint8_t hash[VERITY_ROOT_SIZE];
        int r;

        if (!plan)
                return -ENOMEM;
        if (params->data_blocks == 0 || params->data_blocks > INDEX_BLOCKS_MAX)
                return -EOPNOTSUPP;
        plan->n_blocks = (uint32_t) params->data_blocks;
        r = verity_new(params, NULL, NULL, &plan->verity);
        if (r >= 0)
                r = verity_hash_block(plan->verity, zeroes, hash);
        if (r < 0)
                return r;
        memcpy(plan->zero, hash, LEAF);
        plan->leaves = calloc(plan->n_blocks, LEAF);
        if (!plan->leaves)
                return -ENOMEM;
        *ret = TAKE(plan);
        return 0;
}

/* --- what is here --- */

static int hash_unit(const SlotPlan *plan, const uint8_t *data, uint32_t count, uint8_t *leaves)
{
        for (uint32_t i = 0; i < count; i++) {
                const uint8_t *block = data + (size_t) i * VERITY_BLOCK;
                uint8_t hash[VERITY_ROOT_SIZE];
                int r = 0;

                if (verity_block_is_zero(block))
                        memcpy(hash, plan->zero, LEAF);
                else
                        r = verity_hash_block(plan->verity, block, hash);
                if (r < 0)
                        return r;
                memcpy(leaves + (size_t) i * LEAF, hash, LEAF);
        }
        return 0;
}

/* One by one where a unit cannot be read: most of it can. Who would take a block that could not be read finds out when it is
 * copied, and it is fetched. */
static int read_around(const BlockSource *s, uint32_t first, uint32_t count, uint8_t *buf, Why *why)
{
        for (uint32_t i = 0; i < count; i++) {
                Why unread = { 0 };
                int r = s->read(s->self, first + i, 1, buf + (size_t) i * VERITY_BLOCK, &unread);

                if (r == -EIO)
                        memset(buf + (size_t) i * VERITY_BLOCK, 0xa5, VERITY_BLOCK);
                else if (r < 0)
                        return fail(why, r, unread.kind, unread.code, "%s", unread.text);
        }
        return 0;
}

/* The leaves of the blocks from first up to end. */
static int scan(const SlotPlan *plan, const BlockSource *s, uint32_t first, uint32_t end, uint8_t *leaves,
                uint8_t *buf, PlanProgress progress, void *ctx, Why *why)
{
        for (uint32_t at = first; at < end;) {
                uint32_t count = MIN(end - at, BLOCK_SOURCE_UNIT);
                Why unread = { 0 };
                int r = s->read(s->self, at, count, buf, &unread);

                if (r == -EIO)
                        r = read_around(s, at, count, buf, why);
                else if (r < 0)
                        return fail(why, r, unread.kind, unread.code, "%s", unread.text);
                if (r >= 0)
                        r = hash_unit(plan, buf, count, leaves + (size_t) (at - first) * LEAF);
                if (r >= 0 && progress)
                        r = progress(ctx, count);
                if (r < 0)
                        return r;
                at += count;
        }
        return 0;
}

int plan_add_room(SlotPlan *plan, const BlockSource *source, Why *why)
{
        unsigned i = plan->n_sources;

        assert(i < BLOCK_SOURCES_MAX);
        if (source->n_blocks > INDEX_BLOCKS_MAX)
                return fail(why, -EFBIG, WHY_HOST, "too-big", "%s: more blocks than can be planned with",
                            source->name);
        plan->here[i] = calloc(MAX(source->n_blocks, 1u), LEAF);
        if (!plan->here[i])
                return fail_errno(why, -ENOMEM, WHY_HOST, "%s", source->name);
        plan->sources[i] = *source;
        plan->n_sources++;
        return 0;
}

void plan_known(SlotPlan *plan, unsigned source, uint32_t first, uint32_t count, const uint8_t *hashes)
{
        assert(first <= plan->sources[source].n_blocks && count <= plan->sources[source].n_blocks - first);
        for (uint32_t i = 0; i < count; i++)
                memcpy(plan->here[source] + (size_t) (first + i) * LEAF,
                       hashes + (size_t) i * VERITY_ROOT_SIZE, LEAF);
}

int plan_scan(SlotPlan *plan, unsigned source, PlanProgress progress, void *ctx, Why *why)
{
        const BlockSource *s = &plan->sources[source];
        uint8_t *buf = aligned_alloc(VERITY_BLOCK, (size_t) BLOCK_SOURCE_UNIT * VERITY_BLOCK);
        int r = buf ? scan(plan, s, 0, s->n_blocks, plan->here[source], buf, progress, ctx, why) : -ENOMEM;

        free(buf);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", s->name) : 0;
}

int plan_add_source(SlotPlan *plan, const BlockSource *source, PlanProgress progress, void *ctx, Why *why)
{
        int r = plan_add_room(plan, source, why);

        return r < 0 ? r : plan_scan(plan, plan->n_sources - 1, progress, ctx, why);
}

/* --- groups --- */

static int by_name(const void *a, const void *b)
{
        const Group *x = a, *y = b;

        return x->name < y->name ? -1 : x->name > y->name;
}

typedef struct Groups {
        Group *list;
        size_t n, room;
} Groups;

static void groups_done(Groups *g)
{
        free(g->list);
}

static int groups_add(Groups *g, const Group *group)
{
        if (g->n == g->room) {
                size_t room = g->room ? g->room * 2 : 1024;
                Group *more = reallocarray(g->list, room, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                g->list = more;
                g->room = room;
        }
        g->list[g->n++] = *group;
        return 0;
}

/* The largest group of zeroes: what every image has most of, and no source need have. */
static int add_zeroes(const SlotPlan *plan, Groups *g)
{
        Group zeroes = { .source = BLOCK_SOURCES_MAX, .count = INDEX_GROUP_MAX };
        uint8_t leaves[INDEX_GROUP_MAX * LEAF];
        int r;

        for (size_t i = 0; i < INDEX_GROUP_MAX; i++)
                memcpy(leaves + i * LEAF, plan->zero, LEAF);
        r = index_group_name(leaves, INDEX_GROUP_MAX, &zeroes.name);
        return r < 0 ? r : groups_add(g, &zeroes);
}

static int name_and_add(Groups *g, Group group, const uint8_t *leaves)
{
        int r = index_group_name(leaves, group.count, &group.name);

        return r < 0 ? r : groups_add(g, &group);
}

static int cut_sources(const SlotPlan *plan, Groups *g)
{
        int r = add_zeroes(plan, g);

        for (uint32_t s = 0; r >= 0 && s < plan->n_sources; s++) {
                const uint8_t *leaves = plan->here[s];
                Group group = { .source = s };

                for (; r >= 0 && group.first < plan->sources[s].n_blocks; group.first += group.count) {
                        const uint8_t *first = leaves + (size_t) group.first * LEAF;

                        group.count = index_group_length(first, plan->sources[s].n_blocks - group.first);
                        r = name_and_add(g, group, first);
                        /* the image's last group ends with the image, whatever else lies behind it here */
                        if (r >= 0 && group.first < plan->n_blocks &&
                            group.first + group.count > plan->n_blocks) {
                                Group last = group;

                                last.count = plan->n_blocks - group.first;
                                r = name_and_add(g, last, first);
                        }
                }
        }
        if (r >= 0)
                qsort(g->list, g->n, sizeof(*g->list), by_name);
        return r;
}

static void take_group(SlotPlan *plan, const Group *g, uint32_t at)
{
        uint8_t *to = plan->leaves + (size_t) at * LEAF;

        if (g->source < BLOCK_SOURCES_MAX)
                memcpy(to, plan->here[g->source] + (size_t) g->first * LEAF, (size_t) g->count * LEAF);
        else
                for (uint32_t i = 0; i < g->count; i++)
                        memcpy(to + (size_t) i * LEAF, plan->zero, LEAF);
}

static int by_value(const void *a, const void *b)
{
        const uint64_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

static bool is_all_zero(const SlotPlan *plan, const uint8_t *leaves, uint32_t n)
{
        for (uint32_t i = 0; i < n; i++)
                if (memcmp(leaves + (size_t) i * LEAF, plan->zero, LEAF) != 0)
                        return false;
        return true;
}

/* 1 one of the whole groups in these leaves is among names, 0 none. The first one begins anywhere: it is none. */
static int has_group(const SlotPlan *plan, const uint8_t *leaves, const uint64_t *names, size_t n_names)
{
        uint32_t at = index_group_length(leaves, SAMPLE_BLOCKS), n;

        for (; at < SAMPLE_BLOCKS; at += n) {
                uint64_t name = 0;
                int r;

                n = index_group_length(leaves + (size_t) at * LEAF, SAMPLE_BLOCKS - at);
                if (is_all_zero(plan, leaves + (size_t) at * LEAF, n))
                        continue;
                r = index_group_name(leaves + (size_t) at * LEAF, n, &name);
                if (r < 0)
                        return r;
                if (bsearch(&name, names, n_names, sizeof(name), by_value))
                        return 1;
        }
        return 0;
}

int plan_sample(const SlotPlan *plan, const BlockSource *source, const uint8_t *groups, uint32_t n_groups,
                PlanProgress progress, void *ctx, Why *why)
{
        uint64_t *names = calloc(MAX(n_groups, 1u), sizeof(*names));
        uint8_t *buf = aligned_alloc(VERITY_BLOCK, (size_t) BLOCK_SOURCE_UNIT * VERITY_BLOCK);
        uint8_t leaves[SAMPLE_BLOCKS * LEAF];
        int r = names && buf ? 0 : -ENOMEM;

        for (uint32_t i = 0; r >= 0 && i < n_groups; i++)
                names[i] = index_group(groups, i).name;
        if (r >= 0)
                qsort(names, n_groups, sizeof(*names), by_value);
        if (r >= 0 && source->n_blocks < SAMPLE_FROM)
                r = 1;
        for (uint32_t i = 0; r == 0 && i < SAMPLE_STRETCHES; i++) {
                uint32_t first = (uint32_t) ((uint64_t) (source->n_blocks - SAMPLE_BLOCKS) * i /
                                             (SAMPLE_STRETCHES - 1));

                r = scan(plan, source, first, first + SAMPLE_BLOCKS, leaves, buf, progress, ctx, why);
                if (r >= 0)
                        r = has_group(plan, leaves, names, n_groups);
        }
        free(names);
        free(buf);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", source->name) : r;
}

int plan_groups(SlotPlan *plan, const uint8_t *groups, uint32_t n_groups, Why *why)
{
        _cleanup_(groups_done) Groups known = { 0 };
        uint32_t at = 0;
        int r;

        plan->groups = groups;
        plan->n_groups = n_groups;
        plan->unknown = calloc((size_t) n_groups / 8 + 1, 1);
        r = plan->unknown ? cut_sources(plan, &known) : -ENOMEM;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "block index");
        for (uint32_t i = 0; i < n_groups; i++) {
                IndexGroup g = index_group(groups, i);
                Group key = { .name = g.name };
                const Group *found = bsearch(&key, known.list, known.n, sizeof(key), by_name);

                if (found && found->count == g.count)
                        take_group(plan, found, at);
                else
                        plan->unknown[i / 8] |= (uint8_t) (1u << (i % 8));
                at += g.count;
        }
        assert(at == plan->n_blocks);
        return 0;
}

static bool is_unknown(const SlotPlan *plan, uint32_t group)
{
        return plan->unknown[group / 8] >> (group % 8) & 1;
}

/* *cursor is a number of blocks, and always the end of a group. */
size_t plan_unknown(const SlotPlan *plan, uint32_t *cursor, BlockRange *ranges, size_t max)
{
        uint32_t at = 0, sum = 0;
        size_t n = 0;

        for (uint32_t i = 0; i < plan->n_groups; i++) {
                uint32_t count = index_group(plan->groups, i).count;

                if (at >= *cursor && is_unknown(plan, i)) {
                        if (sum >= UNKNOWN_BLOCKS)
                                return n;
                        if (n > 0 && ranges[n - 1].first + ranges[n - 1].count == at)
                                ranges[n - 1].count += count;
                        else if (n == max)
                                return n;
                        else
                                ranges[n++] = (BlockRange){ at, count };
                        *cursor = at + count;
                        sum += count;
                }
                at += count;
        }
        return n;
}

int plan_put_leaves(SlotPlan *plan, const BlockRange *ranges, size_t n, const uint8_t *leaves, size_t size,
                    Why *why)
{
        uint32_t at = 0, group = 0;

        for (size_t i = 0; i < n; i++) {
                uint32_t end = ranges[i].first + ranges[i].count;

                while (at < end) {
                        IndexGroup g = index_group(plan->groups, group++);
                        uint64_t name = 0;
                        int r;

                        at += g.count;
                        if (at <= ranges[i].first)
                                continue;
                        if (size < (size_t) g.count * LEAF)
                                return -EINVAL;
                        r = index_group_name(leaves, g.count, &name);
                        if (r < 0)
                                return fail_errno(why, r, WHY_HOST, "block index");
                        if (name != g.name)
                                return fail(why, -EBADMSG, WHY_IMAGE, "index",
                                            "block index: the leaves from block %u on are not what their "
                                            "group says",
                                            at - g.count);
                        memcpy(plan->leaves + (size_t) (at - g.count) * LEAF, leaves,
                               (size_t) g.count * LEAF);
                        leaves += (size_t) g.count * LEAF;
                        size -= (size_t) g.count * LEAF;
                }
        }
        return 0;
}

void plan_put_hashes(SlotPlan *plan, uint32_t first, uint32_t count, const uint8_t *hashes)
{
        assert(first <= plan->n_blocks && count <= plan->n_blocks - first);
        for (uint32_t i = 0; i < count; i++)
                memcpy(plan->leaves + (size_t) (first + i) * LEAF, hashes + (size_t) i * VERITY_ROOT_SIZE,
                       LEAF);
}

/* --- deciding --- */

const uint8_t *plan_leaf(const SlotPlan *plan, uint32_t block)
{
        return plan->leaves + (size_t) block * LEAF;
}

static const uint8_t *here(const SlotPlan *plan, unsigned source, uint32_t block)
{
        return block < plan->sources[source].n_blocks ? plan->here[source] + (size_t) block * LEAF : NULL;
}

static bool same(const uint8_t *a, const uint8_t *b)
{
        return a && b && memcmp(a, b, LEAF) == 0;
}

/* Sets what needs no source; the others are wanted. */
static uint32_t find_in_place(SlotPlan *plan, uint32_t *wanted)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < plan->n_blocks; i++) {
                const uint8_t *leaf = plan_leaf(plan, i);

                if (plan->n_sources > 0 && same(leaf, here(plan, 0, i)))
                        plan->places[i] = PLACE_IN_PLACE;
                else if (same(leaf, plan->zero))
                        plan->places[i] = PLACE_ZERO;
                else {
                        plan->places[i] = PLACE_FETCHED;
                        wanted[n++] = i;
                }
        }
        return n;
}

static int by_leaf(const void *a, const void *b, void *ctx)
{
        const SlotPlan *plan = ctx;
        uint32_t x, y;
        int c;

        memcpy(&x, a, sizeof(x));
        memcpy(&y, b, sizeof(y));
        c = memcmp(plan_leaf(plan, x), plan_leaf(plan, y), LEAF);
        return c != 0 ? c : x < y ? -1 : x > y;
}

/* Where the first of this leaf is in wanted, or would be. */
static uint32_t find_leaf(const SlotPlan *plan, const uint32_t *wanted, uint32_t n, const uint8_t *leaf)
{
        uint32_t low = 0, high = n;

        while (low < high) {
                uint32_t mid = low + (high - low) / 2;

                if (memcmp(plan_leaf(plan, wanted[mid]), leaf, LEAF) < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

static void search_source(SlotPlan *plan, unsigned source, const uint32_t *wanted, uint32_t n)
{
        for (uint32_t i = 0; i < plan->sources[source].n_blocks; i++) {
                const uint8_t *leaf = here(plan, source, i);

                if (same(leaf, plan->zero))
                        continue;
                for (uint32_t k = find_leaf(plan, wanted, n, leaf);
                     k < n && same(plan_leaf(plan, wanted[k]), leaf) &&
                     plan->places[wanted[k]] == PLACE_FETCHED;
                     k++)
                        plan->places[wanted[k]] = source << PLACE_SHIFT | i;
        }
}

static bool has_source(uint32_t place)
{
        return place < PLACE_ZERO;
}

/* Of blocks that occur more than once the one is taken that follows the one before: fewer and longer reads. */
static void follow(SlotPlan *plan)
{
        for (uint32_t i = 1; i < plan->n_blocks; i++) {
                uint32_t before = plan->places[i - 1];

                if (has_source(plan->places[i]) && has_source(before) && before >> PLACE_SHIFT != 0 &&
                    same(plan_leaf(plan, i), here(plan, before >> PLACE_SHIFT, (before & PLACE_BLOCK) + 1)))
                        plan->places[i] = before + 1;
        }
}

/* See the top of this file. */
static void avoid_overwriting(SlotPlan *plan)
{
        uint8_t *seen = calloc((size_t) plan->n_blocks / 8 + 1, 1);

        for (uint32_t i = 0; i < plan->n_blocks; i++) {
                uint32_t place = plan->places[i], block = place & PLACE_BLOCK;

                if (!has_source(place) || place >> PLACE_SHIFT != 0 || block >= i)
                        continue;
                if (plan->places[block] == PLACE_IN_PLACE || plan->places[block] == PLACE_FETCHED)
                        continue;
                if (seen && (seen[block / 8] >> (block % 8) & 1)) {
                        plan->places[i] = place | PLACE_STASHED;
                } else if (seen && plan->n_stash < PLAN_STASH_MAX) {
                        seen[block / 8] |= (uint8_t) (1u << (block % 8));
                        plan->stash[plan->n_stash++] = block;
                        plan->places[i] = place | PLACE_STASHED;
                } else {
                        plan->places[i] = PLACE_FETCHED;
                }
        }
        free(seen);
}

static int by_number(const void *a, const void *b)
{
        uint32_t x, y;

        memcpy(&x, a, sizeof(x));
        memcpy(&y, b, sizeof(y));
        return x < y ? -1 : x > y;
}

int plan_decide(SlotPlan *plan, Why *why)
{
        uint32_t *wanted, n;

        plan->places = calloc(plan->n_blocks, sizeof(uint32_t));
        wanted = calloc(plan->n_blocks, sizeof(uint32_t));
        if (!plan->places || !wanted) {
                free(wanted);
                return fail_errno(why, -ENOMEM, WHY_HOST, "block plan");
        }
        n = find_in_place(plan, wanted);
        qsort_r(wanted, n, sizeof(*wanted), by_leaf, plan);
        /* the slot that is written comes last: what it has may have to be kept apart */
        for (unsigned s = 1; s < plan->n_sources; s++)
                search_source(plan, s, wanted, n);
        if (plan->n_sources > 0)
                search_source(plan, 0, wanted, n);
        free(wanted);
        follow(plan);
        avoid_overwriting(plan);
        qsort(plan->stash, plan->n_stash, sizeof(plan->stash[0]), by_number);
        free_sources(plan);
        return 0;
}

/* --- questions --- */

uint32_t plan_n_blocks(const SlotPlan *plan)
{
        return plan->n_blocks;
}

const BlockSource *plan_source(const SlotPlan *plan, unsigned i)
{
        return &plan->sources[i];
}

PlanBlock plan_at(const SlotPlan *plan, uint32_t block)
{
        uint32_t place = plan->places[block];
        unsigned source = place >> PLACE_SHIFT;

        if (!has_source(place))
                return (PlanBlock){ .from = place == PLACE_FETCHED    ? PLAN_FETCHED
                                            : place == PLACE_IN_PLACE ? PLAN_IN_PLACE
                                                                      : PLAN_ZERO };
        return (PlanBlock){ .from = plan->sources[source].rebuilt ? PLAN_REBUILT : PLAN_COPIED,
                            .source = source,
                            .block = place & PLACE_BLOCK,
                            .stashed = place & PLACE_STASHED };
}

void plan_count(const SlotPlan *plan, uint32_t ret[_PLAN_FROM_MAX])
{
        memset(ret, 0, _PLAN_FROM_MAX * sizeof(ret[0]));
        for (uint32_t i = 0; i < plan->n_blocks; i++)
                ret[plan_at(plan, i).from]++;
}

size_t plan_next_range(const SlotPlan *plan, uint32_t *cursor, BlockRange *ranges, size_t max,
                       uint32_t max_blocks)
{
        uint32_t sum = 0;
        size_t n = 0;

        for (; *cursor < plan->n_blocks && sum < max_blocks; (*cursor)++) {
                if (plan->places[*cursor] != PLACE_FETCHED)
                        continue;
                if (n > 0 && ranges[n - 1].first + ranges[n - 1].count == *cursor)
                        ranges[n - 1].count++;
                else if (n == max)
                        break;
                else
                        ranges[n++] = (BlockRange){ *cursor, 1 };
                sum++;
        }
        return n;
}

size_t plan_n_stashed(const SlotPlan *plan)
{
        return plan->n_stash;
}

uint32_t plan_stashed(const SlotPlan *plan, size_t i)
{
        return plan->stash[i];
}

/* --- changes --- */

void plan_set(SlotPlan *plan, uint32_t block, PlanFrom from)
{
        assert(from == PLAN_FETCHED || from == PLAN_IN_PLACE);
        plan->places[block] = from == PLAN_FETCHED ? PLACE_FETCHED : PLACE_IN_PLACE;
}
