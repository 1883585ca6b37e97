/* SPDX-License-Identifier: MIT */

/* Any bytes: no crash, no leak; and what was accepted can be written and read back as the same, and judged by. */

#include "health/watch.h"
#include "base/str.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *again(const HealthBaseline *b)
{
        _cleanup_(json_unrefp) Json *j = health_baseline_json(b);

        return json_format(j, true);
}

static void read(const void *data, size_t size, HealthBaseline *ret)
{
        _cleanup_(json_unrefp) Json *j = NULL;

        if (json_parse(data, size, 0, JSON_DEPTH_MAX, "baseline", WHY_HOST, &j, NULL) >= 0)
                (void) health_baseline_parse(j, ret, NULL);
}

/* A unit that restarts a few times: every number that may stand in a baseline is calculated with. */
static void judge(const HealthBaseline *b)
{
        static const HealthConfig config = { .failed_units = true, .restart_limit = 3, .timeout_sec = 120 };
        _cleanup_(health_report_done) HealthReport report = { .passed = true };
        const HealthPlan plan = { .config = &config, .baseline = b };
        UnitsWatch w;

        units_watch_init(&w, &plan, 30);
        for (uint64_t now = 30; now < 90; now += 30) {
                HealthUnits units = { .units = calloc(1, sizeof(HealthUnit)), .n_units = 1 };

                units.units[0] =
                        (HealthUnit){ .name = strdup(b->n_restarts > 0 ? b->restarts[0].name : "x.service"),
                                      .active_state = strdup(now == 30 ? "active" : "failed"),
                                      .restarts = now };
                assert(units_watch_look(&w, &units, now, &report) >= 0);
                units_watch_soak(&w, now);
        }
        assert(units_watch_end(&w, true, 90, &report) >= 0);
        units_watch_done(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(health_baseline_done) HealthBaseline first = { 0 }, second = { 0 };
        _cleanup_(free_charp) char *once = NULL, *twice = NULL;

        read(data, size, &first);
        if (!first.update_id)
                return 0;
        once = again(&first);
        read(once, strlen(once), &second);
        assert(second.update_id);
        twice = again(&second);
        assert(streq(once, twice));
        judge(&first);
        return 0;
}
