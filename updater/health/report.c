/* SPDX-License-Identifier: MIT */

/* What was found, as history and status tell it: findings with their weight, everything that failed with the end of its
 * output, within a bound that leaves room for the rest of a history line. */

#include "health/watch.h"
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* Of all checks together: doubled by escaping it still leaves half a line of history. */
#define HEALTH_JSON_OUTPUT_MAX (32u * 1024u)
#define HEALTH_JSON_NAMES_MAX  (24u * 1024u)
#define WHAT_MAX               128u
#define LINE_MAX_BYTES         300u /* one line on a terminal, two at the most */
#define SAID_MAX               200u /* of a program's last words in it */

static const char *const weights[_HEALTH_WEIGHT_MAX] = {
        [HEALTH_REGRESSION] = "regression", [HEALTH_BEFORE] = "before",   [HEALTH_HEALED] = "healed",
        [HEALTH_WANTED] = "wanted",         [HEALTH_UNKNOWN] = "unknown",
};

const char *health_weight_name(HealthWeight weight)
{
        return weights[weight];
}

void health_report_done(HealthReport *r)
{
        health_checks_done(&r->checks);
        for (size_t i = 0; i < r->n_findings; i++) {
                free(r->findings[i].what);
                free(r->findings[i].text);
        }
        free(r->findings);
        free(r->first_failure);
        *r = (HealthReport){ 0 };
}

/* The length of at most max bytes of s, without half a character at the end. */
static size_t cut_length(const char *s, size_t n, size_t max)
{
        if (n <= max)
                return n;
        for (n = max; n > 0 && ((uint8_t) s[n] & 0xc0) == 0x80; n--)
                ;
        return n;
}

/* The first regression is the sentence that history and people get; it is kept when the list is full, too. */
int health_report_add(HealthReport *r, HealthWeight weight, const char *what, const char *fmt, ...)
{
        HealthFinding one = { .weight = weight }, *list;
        char line[2 * LINE_MAX_BYTES];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);
        line[cut_length(line, strlen(line), LINE_MAX_BYTES)] = 0;
        if (weight == HEALTH_REGRESSION) {
                r->passed = false;
                if (!r->first_failure && !(r->first_failure = strdup(line)))
                        return -ENOMEM;
        }
        /* the second round says again what the first one said */
        for (size_t i = 0; i < r->n_findings; i++)
                if (r->findings[i].weight == weight && streq(r->findings[i].text, line))
                        return 0;
        if (r->n_findings == HEALTH_FINDINGS_MAX) {
                r->n_more++;
                return 0;
        }
        list = reallocarray(r->findings, r->n_findings + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        r->findings = list;
        one.what = strndup(what, cut_length(what, strlen(what), WHAT_MAX));
        one.text = strdup(line);
        if (!one.what || !one.text) {
                free(one.what);
                free(one.text);
                return -ENOMEM;
        }
        list[r->n_findings++] = one;
        return 0;
}

/* --- executables --- */

/* The last line that says something. */
static void last_line(const char *output, const char **ret, size_t *ret_size)
{
        size_t end = output ? strlen(output) : 0, start;

        while (end > 0 && strchr(" \t\n", output[end - 1]))
                end--;
        for (start = end; start > 0 && output[start - 1] != '\n'; start--)
                ;
        *ret = output ? output + start : "";
        *ret_size = end - start;
}

char *health_check_said(const HealthCheck *c)
{
        char how[64];
        const char *said;
        size_t n;

        if (c->too_late)
                (void) snprintf(how, sizeof(how), "not run: no time was left before the deadline");
        else if (c->timed_out)
                (void) snprintf(how, sizeof(how), "no answer within %llu s", (unsigned long long) c->seconds);
        else if (c->signal)
                (void) snprintf(how, sizeof(how), "killed by signal %d", c->signal);
        else if (c->exit_code < 0)
                (void) snprintf(how, sizeof(how), "not run");
        else
                (void) snprintf(how, sizeof(how), "exit code %d", c->exit_code);
        last_line(c->output, &said, &n);
        return str_printf("%s%s%.*s", how, n > 0 ? ": " : "", (int) cut_length(said, n, SAID_MAX), said);
}

int health_judge_checks(const HealthPlan *plan, HealthReport *report)
{
        for (size_t i = 0; i < report->checks.n; i++) {
                const HealthCheck *c = &report->checks.list[i];
                const HealthSeen *old = plan->baseline ? health_seen(&plan->baseline->checks, c->name) : NULL;
                bool before = old && !old->passed;
                _cleanup_(free_charp) char *said = c->passed ? NULL : health_check_said(c);
                int r;

                if (c->passed)
                        continue;
                if (!said)
                        return -ENOMEM;
                r = health_report_add(report,
                                      !c->required ? HEALTH_WANTED
                                      : before     ? HEALTH_BEFORE
                                                   : HEALTH_REGRESSION,
                                      c->name, "%s: %s%s", c->name, said,
                                      before ? "; it failed before the update, too" : "");
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- as a document --- */

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

static Json *checks_json(const HealthChecks *list, size_t *ret_more)
{
        Json *checks = json_new_array();
        size_t left = HEALTH_JSON_OUTPUT_MAX, names = HEALTH_JSON_NAMES_MAX;

        for (size_t i = 0; i < list->n; i++) {
                const HealthCheck *c = &list->list[i];
                Json *item;

                if (strlen(c->name) > names) {
                        *ret_more = list->n - i;
                        break;
                }
                names -= strlen(c->name);
                item = json_new_object();
                json_set_str(item, "name", c->name);
                json_set_bool(item, "required", c->required);
                json_set_bool(item, "passed", c->passed);
                if (c->timed_out)
                        json_set_bool(item, "timedOut", true);
                if (c->too_late)
                        json_set_bool(item, "tooLate", true);
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
        return checks;
}

static Json *watched_json(const HealthReport *r)
{
        Json *watched = json_new_object();

        json_set_u64(watched, "units", r->n_units);
        json_set_u64(watched, "endpoints", r->n_endpoints);
        json_set_u64(watched, "samples", r->samples);
        json_set_u64(watched, "seconds", r->watched_sec);
        json_set_u64(watched, "soak", r->soak_sec);
        if (r->cut)
                json_set_bool(watched, "cutByDeadline", true);
        return watched;
}

Json *health_report_json(const HealthReport *r)
{
        Json *report = json_new_object(), *findings = json_new_array();
        size_t more = 0;

        json_set_bool(report, "passed", r->passed);
        json_set_str(report, "firstFailure", r->first_failure);
        json_set_bool(report, "compared", r->compared);
        for (size_t i = 0; i < r->n_findings; i++) {
                Json *item = json_new_object();

                json_set_str(item, "weight", health_weight_name(r->findings[i].weight));
                json_set_str(item, "what", r->findings[i].what);
                json_set_str(item, "text", r->findings[i].text);
                json_add(findings, item);
        }
        json_set(report, "findings", findings);
        if (r->n_more > 0)
                json_set_u64(report, "moreFindings", r->n_more);
        json_set(report, "watched", watched_json(r));
        json_set(report, "checks", checks_json(&r->checks, &more));
        if (more > 0)
                json_set_u64(report, "moreChecks", more);
        return report;
}

static void count(Str *s, size_t n, const char *one, const char *many)
{
        str_addf(s, "%zu %s", n, n == 1 ? one : many);
}

char *health_report_watched(const HealthReport *r)
{
        char seconds[DURATION_TEXT_SIZE], soak[DURATION_TEXT_SIZE];
        Str s = STR_NULL;

        format_duration(r->watched_sec, seconds);
        format_duration(r->soak_sec, soak);
        if (r->n_units == 0 && r->n_endpoints == 0) {
                count(&s, r->checks.n, "check", "checks");
                str_add(&s, " asked once; there is nothing here that could be watched");
                return str_take(&s);
        }
        str_add(&s, r->watched_sec > 0 ? "watched " : "looked at ");
        if (r->n_units > 0)
                count(&s, r->n_units, "unit", "units");
        if (r->n_units > 0 && r->n_endpoints > 0)
                str_add(&s, " and ");
        if (r->n_endpoints > 0)
                count(&s, r->n_endpoints, "endpoint", "endpoints");
        if (r->watched_sec > 0)
                str_addf(&s, " for %s", seconds);
        if (r->cut)
                str_addf(&s, " of %s, because the deadline is near", soak);
        return str_take(&s);
}
