/* SPDX-License-Identifier: MIT */

/* What an update would cost, for gybe plan. */

#include "stage.h"

/* Parts of the COSI's file. */
typedef struct Extents {
        Json *list;
        uint64_t sum;
} Extents;

static void add_extent(void *ctx, uint64_t offset, uint64_t size)
{
        Extents *e = ctx;
        Json *j = json_new_object();

        json_set_u64(j, "offset", offset);
        json_set_u64(j, "size", size);
        json_add(e->list, j);
        e->sum += size;
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
        uint64_t boot = 0;
        int r = stage_esp_cost(s, &boot, why);

        if (r >= 0 && plan)
                r = stage_delta_extents(s, add_extent, &e, why);

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
        json_set_u64(bytes, "boot", boot);
        json_set_u64(bytes, "planning", fetch_bytes(s->u->fetch));
        json_set(out, "bytes", bytes);
        json_set(out, "ranges", e.list);
        if (r >= 0)
                *ret = TAKE(out);
        return r;
}
