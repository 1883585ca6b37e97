/* SPDX-License-Identifier: MIT */

/* /usr out of what is here already and the few frames that are missing. Everything on this way can only fail to be useful: an
 * index, a seek table, frames and local blocks are hints, and the root hash of what is read back from the slot decides. When it
 * is another one the published tree, which is held to the signed root, says which blocks are wrong, and these are fetched again.
 * When that does not help either, or where a server gives no parts of files, the whole image is streamed (update-stage.c). */

#include "stage.h"
#include "base/str.h"
#include "image/verity-tree.h"
#include "slot/assemble.h"

#include <errno.h>

#define CHUNK_BLOCKS 4096u /* asked for at once: lies are noticed after at most 16 MiB */
/* Fetched blocks that contradict the index, before the tree is asked who is right. Six bytes of a hash match falsely now and
 * then, and those few blocks cost less than a tree. */
#define CONTRADICTIONS_MAX 16u

/* Parts leave unread what they do not need, and nobody notices when that was changed: the digests of the whole image are worth
 * this many bytes. What an interrupted stage left behind is never fetched again for it, nor what a source of deltas has brought. */
#define WORTH_IT (4 * MIB)

struct StageDelta {
        SlotSource sources[_SLOT_MAX];
        SlotPlan *plan;
        SlotAssembly *assembly;
        uint64_t scanned, to_scan; /* bytes */
        uint64_t paced;            /* of those written */
        bool sink_failed;          /* the disk, not the server */
        Why *why;
};

static void delta_done(StageDelta *d)
{
        assembly_free(d->assembly);
        plan_free(d->plan);
        for (size_t i = 0; i < ELEMENTSOF(d->sources); i++)
                slot_source_done(&d->sources[i]);
}

StageDelta *stage_delta_free(StageDelta *d)
{
        if (!d)
                return NULL;
        delta_done(d);
        free(d);
        return NULL;
}

const SlotPlan *stage_delta_plan(const StageDelta *d)
{
        return d->plan;
}

const SlotCount *stage_delta_count(const StageDelta *d)
{
        return d->assembly ? assembly_count(d->assembly) : NULL;
}

/* Not this way. What the server or the image does not have, or has wrong; never what is wrong with this host or the network. */
static bool is_no_way(const Stage *s, int r)
{
        return !s->delta->sink_failed && (r == -EOPNOTSUPP || r == -EBADMSG || r == -EFBIG);
}

static int give_up(Stage *s, const Why *because)
{
        if (because && because->text[0])
                update_say(s->u, "The whole image is fetched: %s", because->text);
        return 0;
}

/* --- what is here --- */

static int scan_progress(void *ctx, uint32_t blocks)
{
        Stage *s = ctx;

        s->delta->scanned += (uint64_t) blocks * VERITY_BLOCK;
        stage_show(s, "planning", s->delta->scanned, s->delta->to_scan);
        return update_pace(s->u, (uint64_t) blocks * VERITY_BLOCK, NULL);
}

/* As far as its superblock says that there is an image, and at least as far as the new one will reach. Without superblock (a
 * stage that was interrupted) all of it is looked at. */
static int open_slot(Stage *s, SlotId slot, SlotSource *ret, Why *why)
{
        const SlotParts *parts = &s->u->host.layout.slot[slot];
        VerityParams old = { 0 };
        uint64_t blocks = 0;
        int r;

        if (slot_superblock(s->u->host.disk, parts, 0, &old, NULL) >= 0 && old.data_blocks < UINT32_MAX)
                blocks = MAX(old.data_blocks, s->verity.data_blocks);
        r = slot_source_open(s->u->host.disk, parts->data, (uint32_t) blocks, ret, why);
        if (r >= 0)
                s->delta->to_scan += (uint64_t) ret->blocks.n_blocks * VERITY_BLOCK;
        return r;
}

static int open_slots(Stage *s, Why *why)
{
        StageDelta *d = s->delta;
        int r = plan_new(&s->verity, &d->plan);

        if (r < 0)
                return r == -EOPNOTSUPP ? r : fail_errno(why, r, WHY_HOST, "block plan");
        r = open_slot(s, s->target, &d->sources[0], why);
        return r < 0 ? r : open_slot(s, slot_other(s->target), &d->sources[1], why);
}

/* 1 it may pay to look through the slots, 0 they have nothing that this image has. Not asked where blocks are known to be
 * there: of an interrupted stage, or rebuilt. */
static int sample_slots(Stage *s, const FetchIndex *index, Why *why)
{
        StageDelta *d = s->delta;
        int r = s->resumes || s->n_rebuilt > 0;

        for (size_t i = 0; r == 0 && i < ELEMENTSOF(d->sources); i++)
                r = plan_sample(d->plan, &d->sources[i].blocks, index->groups.data, index->head.n_groups,
                                scan_progress, s, why);
        d->scanned = 0;
        return r;
}

static int scan_all(Stage *s, Why *why)
{
        StageDelta *d = s->delta;
        const SlotParts *const parts[] = { &s->u->host.layout.slot[s->target],
                                           &s->u->host.layout.slot[slot_other(s->target)] };
        uint64_t slots = d->to_scan;
        int r;

        for (size_t i = 0; i < s->n_rebuilt; i++)
                d->to_scan += (uint64_t) s->rebuilt[i].n_blocks * VERITY_BLOCK;
        r = slot_survey(s->u->host.disk, parts, d->sources, ELEMENTSOF(d->sources), &s->verity, d->plan,
                        scan_progress, s, why);
        d->scanned = slots;
        for (size_t i = 0; r >= 0 && i < s->n_rebuilt; i++)
                r = plan_add_source(d->plan, &s->rebuilt[i], scan_progress, s, why);
        return r;
}

/* --- what the image has --- */

static int fetch_leaves(Stage *s, Why *why)
{
        BlockRange ranges[1024];
        uint32_t cursor = 0;
        size_t n;

        while ((n = plan_unknown(s->delta->plan, &cursor, ranges, ELEMENTSOF(ranges))) > 0) {
                _cleanup_(bytes_done) Bytes leaves = BYTES_NULL;
                int r = fetch_index_leaves(s->u->fetch, ranges, n, &leaves, why);

                if (r >= 0)
                        r = plan_put_leaves(s->delta->plan, ranges, n, leaves.data, leaves.size, why);
                if (r < 0)
                        return r;
                stage_show(s, "planning", s->delta->scanned, s->delta->to_scan);
        }
        return 0;
}

/* 1 all of it has its place, 0 nothing that is here is of any use */
static int take_index(Stage *s, const FetchIndex *index, Why *why)
{
        uint8_t root[VERITY_ROOT_SIZE];
        int r = hex_decode(s->u->release.usr.roothash, root, sizeof(root));

        if (r < 0)
                return r;
        if (index->head.n_blocks != s->verity.data_blocks ||
            memcmp(index->head.root, root, sizeof(root)) != 0)
                return fail(why, -EBADMSG, WHY_IMAGE, "index", "block index: it is of another image");
        r = open_slots(s, why);
        if (r >= 0)
                r = sample_slots(s, index, why);
        if (r <= 0)
                return r;
        r = scan_all(s, why);
        if (r >= 0)
                r = plan_groups(s->delta->plan, index->groups.data, index->head.n_groups, why);
        if (r >= 0)
                r = fetch_leaves(s, why);
        if (r >= 0)
                r = plan_decide(s->delta->plan, why);
        return r < 0 ? r : 1;
}

/* The hash image flows through a VerityTree. */
static int tree_data(void *ctx, const void *data, size_t size, Why *why)
{
        return verity_tree_put(ctx, data, size, why);
}

static int tree_zero(void *ctx, uint64_t size, Why *why)
{
        static const uint8_t zeroes[VERITY_BLOCK];
        int r = 0;

        for (; r >= 0 && size > 0; size -= MIN(size, (uint64_t) sizeof(zeroes)))
                r = verity_tree_put(ctx, zeroes, (size_t) MIN(size, (uint64_t) sizeof(zeroes)), why);
        return r;
}

static int fetch_tree(Stage *s, VerityLeaves leaves, void *ctx, Why *why)
{
        _cleanup_(verity_tree_freep) VerityTree *tree = NULL;
        FetchSink sink = { .data = tree_data, .zero = tree_zero };
        uint8_t root[VERITY_ROOT_SIZE];
        int r = hex_decode(s->u->release.usr.roothash, root, sizeof(root));

        if (r >= 0)
                r = verity_tree_new(&s->verity, root, leaves, ctx, &tree);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "hash image");
        sink.ctx = tree;
        r = fetch_member(s->u->fetch, &s->cosi.usr->verity, s->u->host.config.max_window_log, s->kind, &sink,
                         why);
        if (r < 0)
                return r;
        s->hash_image_read = true;
        return verity_tree_finish(tree, why);
}

static int put_hashes(void *ctx, uint64_t first, uint32_t count, const uint8_t *hashes, Why *why _unused_)
{
        plan_put_hashes(ctx, (uint32_t) first, count, hashes);
        return 0;
}

/* No index, but frames: the leaves come out of the published tree. It is 1/128 of the image, and still far less than that. */
static int plan_by_tree(Stage *s, Why *why)
{
        const BlockRange any = { 0, 1 };
        FetchExtent *extents = NULL;
        size_t n = 0;
        int r = fetch_blocks_extents(s->u->fetch, &s->cosi.usr->image, &any, 1, &extents, &n, why);

        free(extents);
        if (r >= 0)
                r = open_slots(s, why);
        if (r >= 0)
                r = scan_all(s, why);
        if (r >= 0)
                r = fetch_tree(s, put_hashes, s->delta->plan, why);
        if (r >= 0)
                r = plan_decide(s->delta->plan, why);
        return r < 0 ? r : 1;
}

int stage_delta_extents(Stage *s, void (*each)(void *ctx, uint64_t offset, uint64_t size), void *ctx,
                        Why *why)
{
        BlockRange *ranges = calloc(FETCH_RANGES_MAX, sizeof(*ranges));
        int r = ranges ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "plan");
        uint32_t cursor = 0;
        uint64_t end = 0;
        size_t n;

        while (r >= 0 &&
               (n = plan_next_range(s->delta->plan, &cursor, ranges, FETCH_RANGES_MAX, UINT32_MAX)) > 0) {
                FetchExtent *list = NULL;
                size_t n_list = 0;

                r = fetch_blocks_extents(s->u->fetch, &s->cosi.usr->image, ranges, n, &list, &n_list, why);
                for (size_t i = 0; r >= 0 && i < n_list; i++) {
                        uint64_t from = MAX(list[i].offset, end), to = list[i].offset + list[i].size;

                        if (to <= from)
                                continue;
                        each(ctx, from, to - from);
                        end = to;
                }
                free(list);
        }
        free(ranges);
        return r;
}

static void weigh(void *ctx, uint64_t offset _unused_, uint64_t size)
{
        *(uint64_t *) ctx += size;
}

/* 1 parts save enough, 0 they do not */
static int is_worth_it(Stage *s, Why *why)
{
        uint64_t needed = 0;
        int r;

        if (s->resumes || s->n_rebuilt > 0)
                return 1;
        r = stage_delta_extents(s, weigh, &needed, why);
        return r < 0 ? r : needed + WORTH_IT <= s->cosi.usr->image.compressed_size;
}

int stage_delta_plan_blocks(Stage *s, Why *why)
{
        _cleanup_(fetch_index_done) FetchIndex index = { 0 };
        Why because = { 0 };
        int r;

        if (!s->container.has_ranges || s->cosi.usr->inline_verity || !s->parts->hash)
                return 0;
        s->delta = calloc(1, sizeof(*s->delta));
        if (!s->delta)
                return fail_errno(why, -ENOMEM, WHY_HOST, "block plan");
        r = fetch_index_open(s->u->fetch, &index, &because);
        if (r > 0)
                r = take_index(s, &index, &because);
        else if (r == 0)
                r = plan_by_tree(s, &because);
        if (r > 0)
                r = is_worth_it(s, &because);
        if (r > 0)
                return 1;
        if (r < 0 && (!is_no_way(s, r) || because.kind == WHY_TRUST)) {
                *why = because;
                return r;
        }
        s->delta = stage_delta_free(s->delta);
        return give_up(s,
                       r == 0 || streq(because.code, "no-seek-table") || streq(because.code, "large-frames")
                               ? NULL
                               : &because);
}

/* --- what is missing --- */

static int blocks_data(void *ctx, const void *data, size_t size, Why *why)
{
        Stage *s = ctx;
        int r = assembly_put(s->delta->assembly, data, size, why);

        s->delta->sink_failed = r < 0;
        return r;
}

/* 1 all of it is here, 0 too much of it contradicts the leaves */
static int fetch_missing(Stage *s, uint32_t contradictions_max, Why *why)
{
        StageDelta *d = s->delta;
        const FetchSink sink = { .data = blocks_data, .ctx = s };
        BlockRange ranges[FETCH_RANGES_MAX / 4];
        uint32_t cursor = 0, before = assembly_n_contradictions(d->assembly);
        size_t n;

        while ((n = plan_next_range(d->plan, &cursor, ranges, ELEMENTSOF(ranges), CHUNK_BLOCKS)) > 0) {
                int r;

                assembly_expect(d->assembly, ranges, n);
                r = fetch_blocks(s->u->fetch, &s->cosi.usr->image, ranges, n, &sink, why);
                if (r < 0)
                        return r;
                if (assembly_n_contradictions(d->assembly) - before > contradictions_max)
                        return 0;
        }
        return 1;
}

static int write_progress(void *ctx, uint64_t done, uint64_t total)
{
        Stage *s = ctx;
        uint64_t before = s->delta->paced;

        s->delta->paced = assembly_count(s->delta->assembly)->written;
        stage_show(s, "staging", done, total);
        return update_pace(s->u, s->delta->paced - before, NULL);
}

static int seal_progress(void *ctx, uint64_t done, uint64_t total)
{
        Stage *s = ctx;
        uint64_t before = streq0(s->u->progress.what, "verifying") ? s->u->progress.done : 0;

        stage_show(s, "verifying", done, total);
        return update_pace(s->u, done - MIN(before, done), NULL);
}

static int seal(Stage *s, const uint8_t root[VERITY_ROOT_SIZE], Why *why)
{
        int r;

        assembly_set_progress(s->delta->assembly, seal_progress, s);
        r = assembly_seal(s->delta->assembly, root, why);
        assembly_set_progress(s->delta->assembly, write_progress, s);
        return r;
}

/* Blocks were believed to be in place and are not: they are fetched. 1 with them the root is the promised one, 0 it is not. */
static int refresh(Stage *s, const uint8_t root[VERITY_ROOT_SIZE], Why *why)
{
        int r;

        update_say(s->u, "%u blocks of /usr were not in place any more and are fetched",
                   assembly_n_stale(s->delta->assembly));
        r = fetch_missing(s, CONTRADICTIONS_MAX, why);
        return r <= 0 ? r : seal(s, root, why);
}

/* 1 the root is the promised one, 0 it cannot be had this way */
static int repair(Stage *s, const uint8_t root[VERITY_ROOT_SIZE], Why *why)
{
        int r = fetch_tree(s, assembly_judge, s->delta->assembly, why);

        if (r < 0)
                return r;
        update_say(s->u, "%u blocks of /usr were not what the root hash promises and are fetched again",
                   assembly_n_wrong(s->delta->assembly));
        r = fetch_missing(s, 0, why);
        return r <= 0 ? r : seal(s, root, why);
}

static int assemble(Stage *s, Why *why)
{
        StageDelta *d = s->delta;
        uint8_t root[VERITY_ROOT_SIZE];
        int r = hex_decode(s->u->release.usr.roothash, root, sizeof(root));

        if (r >= 0)
                r = assembly_open(s->u->host.disk, s->parts, &s->verity, d->plan, &d->assembly, why);
        if (r < 0)
                return r;
        assembly_set_progress(d->assembly, write_progress, s);
        r = assembly_copy(d->assembly, why);
        if (r < 0) {
                d->sink_failed = true;
                return r;
        }
        r = fetch_missing(s, CONTRADICTIONS_MAX, why);
        if (r > 0)
                r = seal(s, root, why);
        if (r == 0 && assembly_n_stale(d->assembly) > 0)
                r = refresh(s, root, why);
        return r != 0 ? r : repair(s, root, why);
}

int stage_delta_assemble(Stage *s, Why *why)
{
        Why because = { 0 };
        int r = assemble(s, &because);

        if (r > 0)
                return r;
        if (r == 0)
                (void) fail(&because, 0, WHY_IMAGE, "frames", "its parts do not make the promised image");
        if (r < 0 && (!is_no_way(s, r) || because.kind == WHY_TRUST)) {
                *why = because;
                return r;
        }
        s->delta = stage_delta_free(s->delta);
        return give_up(s, &because);
}
