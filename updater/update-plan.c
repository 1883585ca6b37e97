/* SPDX-License-Identifier: MIT */

/* What an update would cost, for gybe plan. */

#include "stage.h"
#include <errno.h>

/* Parts of the COSI's file; a frame that two requests share counts once. */
typedef struct Extents {
        Json *list;
        uint64_t sum, end;
} Extents;

static void add_extent(Extents *e, const FetchExtent *x)
{
        uint64_t from = MAX(x->offset, e->end), end = x->offset + x->size;
        Json *j;

        if (end <= from)
                return;
        j = json_new_object();
        json_set_u64(j, "offset", from);
        json_set_u64(j, "size", end - from);
        json_add(e->list, j);
        e->sum += end - from;
        e->end = end;
}

static int find_extents(Stage *s, const SlotPlan *plan, Extents *e, Why *why)
{
        BlockRange *ranges = calloc(FETCH_RANGES_MAX, sizeof(*ranges));
        uint32_t cursor = 0;
        size_t n;
        int r = ranges ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "plan");

        while (r >= 0 && (n = plan_next_range(plan, &cursor, ranges, FETCH_RANGES_MAX, UINT32_MAX)) > 0) {
                FetchExtent *list = NULL;
                size_t n_list = 0;

                r = fetch_blocks_extents(s->u->fetch, &s->cosi.usr->image, ranges, n, &list, &n_list, why);
                for (size_t i = 0; r >= 0 && i < n_list; i++)
                        add_extent(e, &list[i]);
                free(list);
        }
        free(ranges);
        return r;
}

static void add_counts(Json *bytes, const SlotPlan *plan)
{
        uint32_t n[_PLAN_FROM_MAX];

        plan_count(plan, n);
        for (PlanFrom i = 0; i < _PLAN_FROM_MAX; i++)
                json_set_u64(bytes, plan_from_name(i), (uint64_t) n[i] * VERITY_BLOCK);
        json_set_u64(bytes, "written", (uint64_t) (plan_n_blocks(plan) - n[PLAN_IN_PLACE]) * VERITY_BLOCK);
}

int stage_plan_json(Stage *s, Json **ret, Why *why)
{
        const SlotPlan *plan = s->delta ? stage_delta_plan(s->delta) : NULL;
        _cleanup_(json_unrefp) Json *out = json_new_object();
        Json *bytes = json_new_object();
        Extents e = { .list = json_new_array() };
        const CosiFilesystem *usr = s->cosi.usr;
        int r = plan ? find_extents(s, plan, &e, why) : 0;

        json_set_str(out, "schema", "gybe.plan/1");
        json_set_str(out, "version", s->u->release.version);
        json_set_str(out, "slot", slot_name(s->target));
        json_set_str(out, "way", plan ? "parts" : "whole");
        json_set_u64(bytes, "total", s->verity.data_blocks * VERITY_BLOCK);
        if (plan)
                add_counts(bytes, plan);
        else
                e.sum = usr->image.compressed_size +
                        (usr->has_verity && !usr->inline_verity ? usr->verity.compressed_size : 0);
        json_set_u64(bytes, "download", e.sum);
        json_set_u64(bytes, "boot", s->cosi.esp->image.compressed_size);
        json_set_u64(bytes, "planning", fetch_bytes(s->u->fetch));
        json_set(out, "bytes", bytes);
        json_set(out, "ranges", e.list);
        if (r >= 0)
                *ret = TAKE(out);
        return r;
}
