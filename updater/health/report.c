/* SPDX-License-Identifier: MIT */

/* What the checks said, as history and status tell it: everything that failed with the end of its output, within a bound that
 * leaves room for the rest of a history line. */

#include "health/health.h"

/* of all checks together */
#define HEALTH_JSON_OUTPUT_MAX (48u * 1024u)

static void health_check_done(HealthCheck *c)
{
        free(c->name);
        free(c->output);
        *c = (HealthCheck){ 0 };
}

void health_report_done(HealthReport *r)
{
        for (size_t i = 0; i < r->n_checks; i++)
                health_check_done(&r->checks[i]);
        free(r->checks);
        free(r->first_failure);
        *r = (HealthReport){ 0 };
}

/* The end of an output, at a character's beginning, charged to what is left for all of them. */
static const char *output_excerpt(const char *output, size_t *left)
{
        size_t n = strlen(output);

        if (n > *left)
                for (output += n - *left; ((uint8_t) *output & 0xc0) == 0x80; output++)
                        ;
        *left -= strlen(output);
        return output;
}

Json *health_report_json(const HealthReport *r)
{
        Json *report = json_new_object(), *checks = json_new_array();
        size_t left = HEALTH_JSON_OUTPUT_MAX;

        json_set_bool(report, "passed", r->passed);
        json_set_str(report, "firstFailure", r->first_failure);
        for (size_t i = 0; i < r->n_checks; i++) {
                const HealthCheck *c = &r->checks[i];
                Json *item = json_new_object();

                json_set_str(item, "name", c->name);
                json_set_bool(item, "required", c->required);
                json_set_bool(item, "passed", c->passed);
                if (c->timed_out)
                        json_set_bool(item, "timedOut", true);
                if (c->signal)
                        json_set_u64(item, "signal", (uint64_t) c->signal);
                else if (c->exit_code >= 0)
                        json_set_u64(item, "exitCode", (uint64_t) c->exit_code);
                json_set_u64(item, "seconds", c->seconds);
                /* what passed needs no explanation */
                if (!c->passed && c->output && *c->output && left > 0)
                        json_set_str(item, "output", output_excerpt(c->output, &left));
                json_add(checks, item);
        }
        json_set(report, "checks", checks);
        return report;
}
