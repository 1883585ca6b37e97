/* SPDX-License-Identifier: MIT */

/* Any bytes as gybe.json's member "health": no crash, no leak, and nothing beyond the limits. */

#include "health/health.h"
#include "base/str.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(health_config_done) HealthConfig c = { 0 };
        _cleanup_(json_unrefp) Json *j = NULL;
        Why why = { 0 };

        if (json_parse(data, size, JSON_COMMENTS, JSON_DEPTH_MAX, "gybe.json", WHY_USAGE, &j, NULL) < 0)
                return 0;
        if (health_config_parse(j, &c, &why) < 0)
                assert(why.kind == WHY_USAGE && !c.units && c.n_http == 0 && !c.masks);
        assert(c.n_http <= HEALTH_HTTP_MAX && strv_len(c.units) <= HEALTH_UNITS_MAX &&
               strv_len(c.masks) <= HEALTH_MASKS_MAX);
        assert(c.timeout_sec >= 1 && c.timeout_sec <= HEALTH_LIMIT_MAX_SEC);
        for (size_t i = 0; i < c.n_http; i++)
                assert(c.http[i].timeout_sec >= 1 && c.http[i].timeout_sec <= HEALTH_TRY_MAX_SEC &&
                       (c.http[i].status == 0 || (c.http[i].status >= 100 && c.http[i].status <= 599)));
        return 0;
}
