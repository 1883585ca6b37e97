/* SPDX-License-Identifier: MIT */

/* How things were before: what had failed already, how often services were restarted, what answered. Taken by the slot that
 * works, read by the one on trial, perhaps by another version of gybe. What it does not say is unknown, never good.
 *
 * {"updateId": "…", "takenAt": "…", "uptime": 86400, "checksTook": 3,
 *  "failedUnits": ["backup.service"],                   absent: nobody could be asked
 *  "restarts": [{"name": "x.service", "count": 7, "looping": true}],
 *  "units":  [{"name": "kubelet.service", "passed": true, "said": "active, running"}],
 *  "http":   [{"name": "http://127.0.0.1:10248/healthz", "passed": false, "said": "did not answer (…)"}],
 *  "checks": [{"name": "required.d/10-network", "passed": true}]} */

#include "health/watch.h"
#include "base/str.h"
#include "base/url.h"

#include <errno.h>
#include <stdio.h>

#define TRIES          3u /* what excuses an endpoint for good should not be one lost packet */
#define ID_MAX         64u
#define CHECK_NAME_MAX 300u /* a folder and a file name */
#define SEEN_MAX       (2 * HEALTH_CHECKS_MAX)

/* --- values --- */

static void seen_list_done(HealthSeenList *l)
{
        for (size_t i = 0; i < l->n; i++) {
                free(l->list[i].name);
                free(l->list[i].said);
        }
        free(l->list);
        *l = (HealthSeenList){ 0 };
}

void health_baseline_done(HealthBaseline *b)
{
        free(b->update_id);
        strv_free(b->failed);
        for (size_t i = 0; i < b->n_restarts; i++)
                free(b->restarts[i].name);
        free(b->restarts);
        seen_list_done(&b->units);
        seen_list_done(&b->http);
        seen_list_done(&b->checks);
        *b = (HealthBaseline){ 0 };
}

const HealthSeen *health_seen(const HealthSeenList *list, const char *name)
{
        for (size_t i = 0; i < list->n; i++)
                if (streq(list->list[i].name, name))
                        return &list->list[i];
        return NULL;
}

static int seen_add(HealthSeenList *l, const char *name, bool passed, const char *said)
{
        HealthSeen *list = reallocarray(l->list, l->n + 1, sizeof(*list)), one = { .passed = passed };

        if (!list)
                return -ENOMEM;
        l->list = list;
        one.name = strdup(name);
        one.said = said && *said ? strndup(said, HEALTH_SAID_MAX) : NULL;
        if (!one.name || (said && *said && !one.said)) {
                free(one.name);
                free(one.said);
                return -ENOMEM;
        }
        list[l->n++] = one;
        return 0;
}

static int restarts_add(HealthBaseline *b, const char *name, uint64_t count, bool looping)
{
        HealthRestarts *list = reallocarray(b->restarts, b->n_restarts + 1, sizeof(*list));

        if (!list)
                return -ENOMEM;
        b->restarts = list;
        list[b->n_restarts] = (HealthRestarts){ strdup(name), count, looping };
        if (!list[b->n_restarts].name)
                return -ENOMEM;
        b->n_restarts++;
        return 0;
}

/* --- writing --- */

static Json *seen_json(const HealthSeenList *l)
{
        Json *array = json_new_array();

        for (size_t i = 0; i < l->n; i++) {
                Json *item = json_new_object();

                json_set_str(item, "name", l->list[i].name);
                json_set_bool(item, "passed", l->list[i].passed);
                json_set_str(item, "said", l->list[i].said);
                json_add(array, item);
        }
        return array;
}

static void units_json(const HealthBaseline *b, Json *document)
{
        Json *failed = json_new_array(), *restarts = json_new_array();

        for (char **name = b->failed; name && *name; name++)
                json_add_str(failed, *name);
        json_set(document, "failedUnits", failed);
        for (size_t i = 0; i < b->n_restarts; i++) {
                Json *item = json_new_object();

                json_set_str(item, "name", b->restarts[i].name);
                json_set_u64(item, "count", b->restarts[i].count);
                if (b->restarts[i].looping)
                        json_set_bool(item, "looping", true);
                json_add(restarts, item);
        }
        json_set(document, "restarts", restarts);
}

Json *health_baseline_json(const HealthBaseline *b)
{
        Json *document = json_new_object();

        json_set_str(document, "updateId", b->update_id);
        json_set_time(document, "takenAt", b->taken_at);
        json_set_u64(document, "uptime", b->uptime_sec);
        json_set_u64(document, "checksTook", b->checks_sec);
        if (b->has_units)
                units_json(b, document);
        json_set(document, "units", seen_json(&b->units));
        json_set(document, "http", seen_json(&b->http));
        json_set(document, "checks", seen_json(&b->checks));
        return document;
}

/* --- reading --- */

static int wrong(Why *why, const char *key)
{
        return fail(why, -EBADMSG, WHY_HOST, "lost", "baseline: %s: not what gybe writes", key);
}

static const char *get_name(const Json *j, const char *key, size_t max)
{
        const char *s = json_get_str(j, key);

        return s && *s && strlen(s) <= max ? s : NULL;
}

static int take_array(const Json *document, const char *key, size_t max, const Json **ret, Why *why)
{
        const Json *j = json_get(document, key);

        if (j && (!json_is_array(j) || json_len(j) > max))
                return wrong(why, key);
        *ret = j;
        return 0;
}

static int take_seen(const Json *document, const char *key, size_t max, size_t name_max, HealthSeenList *ret,
                     Why *why)
{
        const Json *array;
        int r = take_array(document, key, max, &array, why);

        if (r < 0)
                return r;
        json_foreach (item, array) {
                const char *name = get_name(item, "name", name_max), *said = json_get_str(item, "said");
                bool passed = false;

                if (!name || json_get_bool(item, "passed", &passed) <= 0 ||
                    (json_get(item, "said") && (!said || strlen(said) > HEALTH_SAID_MAX)))
                        return wrong(why, key);
                r = seen_add(ret, name, passed, said);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int take_units(const Json *document, HealthBaseline *b, Why *why)
{
        const Json *failed, *restarts;
        int r;

        if ((r = take_array(document, "failedUnits", HEALTH_LIST_MAX, &failed, why)) < 0 ||
            (r = take_array(document, "restarts", HEALTH_LIST_MAX, &restarts, why)) < 0)
                return r;
        b->has_units = failed != NULL;
        json_foreach (item, failed) {
                const char *name = json_str(item);

                if (!name || !*name || strlen(name) > HEALTH_NAME_MAX)
                        return wrong(why, "failedUnits");
                if (strv_add(&b->failed, name) < 0)
                        return -ENOMEM;
        }
        json_foreach (item, restarts) {
                const char *name = get_name(item, "name", HEALTH_NAME_MAX);
                uint64_t count = 0;
                bool looping = false;

                if (!name || json_get_u64(item, "count", &count) <= 0 ||
                    json_get_bool(item, "looping", &looping) < 0)
                        return wrong(why, "restarts");
                r = restarts_add(b, name, count, looping);
                if (r < 0)
                        return r;
        }
        return 0;
}

int health_baseline_parse(const Json *document, HealthBaseline *ret, Why *why)
{
        _cleanup_(health_baseline_done) HealthBaseline b = { 0 };
        const char *id = get_name(document, "updateId", ID_MAX);
        int r;

        if (!json_is_object(document) || !id)
                return wrong(why, "updateId");
        if (json_get_time(document, "takenAt", &b.taken_at) < 0)
                return wrong(why, "takenAt");
        if (json_get_u64(document, "uptime", &b.uptime_sec) < 0)
                return wrong(why, "uptime");
        if (json_get_u64(document, "checksTook", &b.checks_sec) < 0)
                return wrong(why, "checksTook");
        if ((r = take_units(document, &b, why)) < 0 ||
            (r = take_seen(document, "units", HEALTH_UNITS_MAX + 1, HEALTH_NAME_MAX, &b.units, why)) < 0 ||
            (r = take_seen(document, "http", HEALTH_HTTP_MAX, HEALTH_URL_MAX, &b.http, why)) < 0 ||
            (r = take_seen(document, "checks", SEEN_MAX, CHECK_NAME_MAX, &b.checks, why)) < 0)
                return r;
        b.update_id = strdup(id);
        if (!b.update_id)
                return -ENOMEM;
        *ret = b;
        b = (HealthBaseline){ 0 };
        return 0;
}

/* --- taking it --- */

static int take_must(const HealthUnits *units, const char *name, HealthBaseline *b)
{
        const HealthUnit *u = health_unit_find(units, name);
        char said[160];

        health_unit_state(u, said, sizeof(said));
        return health_seen(&b->units, name) ? 0 : seen_add(&b->units, name, health_unit_active(u), said);
}

/* first: some seconds earlier. What was restarted in between, or waits for it, is restarted all the time. */
static int compare_units(const HealthConfig *config, const HealthUnits *first, const HealthUnits *units,
                         HealthBaseline *b)
{
        size_t n_failed = 0;
        int r = 0;

        for (size_t i = 0; i < units->n_units; i++) {
                const HealthUnit *u = &units->units[i], *old = health_unit_find(first, u->name);
                bool looping = streq0(u->sub_state, "auto-restart") || (old && u->restarts > old->restarts);

                if (strlen(u->name) > HEALTH_NAME_MAX)
                        continue;
                if (health_unit_failed(u) && n_failed++ < HEALTH_LIST_MAX)
                        r = strv_add(&b->failed, u->name);
                if (r >= 0 && (u->restarts > 0 || looping) && b->n_restarts < HEALTH_LIST_MAX)
                        r = restarts_add(b, u->name, u->restarts, looping);
                if (r < 0)
                        return r;
        }
        for (char **name = config->units; name && *name; name++)
                if ((r = take_must(units, *name, b)) < 0)
                        return r;
        b->has_units = n_failed <= HEALTH_LIST_MAX;
        return take_must(units, HEALTH_AGENT, b);
}

static int take_endpoint(const HealthSource *source, const HealthHttp *h, HealthBaseline *b)
{
        char said[160] = "", shown[160];
        bool good = false;

        url_redact(h->url, shown, sizeof(shown));
        for (unsigned i = 0; i < TRIES && !good; i++) {
                unsigned status = 0;
                Why why = { 0 };
                int r;

                if (i > 0)
                        source->sleep(source->ctx, 1);
                r = source->http(source->ctx, h, h->timeout_sec, &status, &why);
                if (r == -ENOMEM)
                        return r;
                good = r >= 0 && http_good(h, status);
                http_said(shown, r < 0 ? 0 : status, why.text, said, sizeof(said));
        }
        return seen_add(&b->http, h->url, good, said);
}

static int take_checks(const HealthSource *source, const HealthConfig *config, uint64_t budget_sec,
                       HealthBaseline *b, Why *why)
{
        _cleanup_(health_checks_done) HealthChecks checks = { 0 };
        uint64_t start = source->now(source->ctx);
        int r = source->checks(source->ctx, config->timeout_sec, budget_sec, &checks, why);

        for (size_t i = 0; r >= 0 && i < checks.n; i++) {
                const HealthCheck *c = &checks.list[i];
                _cleanup_(free_charp) char *said = c->passed ? NULL : health_check_said(c);

                /* one that could not be asked excuses nothing */
                if (c->too_late)
                        continue;
                r = !c->passed && !said ? -ENOMEM : seen_add(&b->checks, c->name, c->passed, said);
        }
        b->checks_sec = source->now(source->ctx) - start;
        return r;
}

int health_baseline_take(const HealthSource *source, const HealthConfig *config, uint64_t budget_sec,
                         HealthBaseline *ret, Why *why)
{
        _cleanup_(health_units_done) HealthUnits first = { 0 }, units = { 0 };
        _cleanup_(health_baseline_done) HealthBaseline b = { 0 };
        uint64_t start = source->now(source->ctx), now;
        int seen, r;

        seen = source->units(source->ctx, &first, NULL);
        if (seen == -ENOMEM)
                return seen;
        health_units_sort(&first);
        r = take_checks(source, config, budget_sec, &b, why);
        for (size_t i = 0; r >= 0 && i < config->n_http; i++)
                r = take_endpoint(source, &config->http[i], &b);
        if (r < 0)
                return r;
        now = source->now(source->ctx);
        if (seen >= 0 && now - start < HEALTH_SAMPLE_SEC)
                source->sleep(source->ctx, HEALTH_SAMPLE_SEC - (now - start));
        if (seen >= 0)
                seen = source->units(source->ctx, &units, NULL);
        health_units_sort(&units);
        r = seen == -ENOMEM ? seen : seen < 0 ? 0 : compare_units(config, &first, &units, &b);
        if (r < 0)
                return r;
        b.uptime_sec = source->now(source->ctx);
        *ret = b;
        b = (HealthBaseline){ 0 };
        return 0;
}
