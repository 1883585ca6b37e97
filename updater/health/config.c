/* SPDX-License-Identifier: MIT */

/* What an operator wants to see working, from the member "health" of gybe.json:
 *
 *   "health": {
 *     "units": ["kubelet.service"],
 *     "http": [{"url": "http://127.0.0.1:10248/healthz", "required": true, "status": 200, "timeout": "10s", "retryFor": "2m"}],
 *     "failedUnits": true, "restartLimit": 3, "timeout": "2m", "masks": ["backup@*.service"] }
 *
 * Pure. A mistake is one sentence with the member's name in it; half a section is never used. */

#include "health/health.h"
#include "base/str.h"

#include <errno.h>

#define TRY_SEC   10u
#define RETRY_SEC (2u * 60) /* a kubelet after a boot needs a minute */

static const char *const suffixes[] = { ".service", ".socket", ".target", ".mount",     ".timer", ".path",
                                        ".swap",    ".slice",  ".scope",  ".automount", ".device" };

void health_config_done(HealthConfig *c)
{
        strv_free(c->units);
        strv_free(c->masks);
        for (size_t i = 0; i < c->n_http; i++)
                free(c->http[i].url);
        free(c->http);
        *c = (HealthConfig){ 0 };
}

static bool unit_characters(const char *s, const char *more)
{
        if (!*s || strlen(s) > HEALTH_NAME_MAX)
                return false;
        for (; *s; s++)
                if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
                      strchr(":_.\\@-", *s) || strchr(more, *s)))
                        return false;
        return true;
}

static bool is_unit_name(const char *s)
{
        if (!unit_characters(s, ""))
                return false;
        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++)
                if (str_ends(s, suffixes[i]) && strlen(s) > strlen(suffixes[i]))
                        return true;
        return false;
}

static int bad(Why *why, const char *member, const char *rule)
{
        return fail(why, -EINVAL, WHY_USAGE, "bad-config", "gybe.json: health.%s %s", member, rule);
}

/* A member that must be a list of so many entries at most; NULL when it is not there. */
static int take_list(const Json *health, const char *member, size_t max, const Json **ret, Why *why)
{
        const Json *list = json_get(health, member);

        if (list && !json_is_array(list))
                return bad(why, member, "must be a list");
        if (json_len(list) > max)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: health.%s has %zu entries; gybe takes %zu", member, json_len(list),
                            max);
        *ret = list;
        return 0;
}

static int take_units(const Json *health, HealthConfig *c, Why *why)
{
        const Json *list;
        int r = take_list(health, "units", HEALTH_UNITS_MAX, &list, why);

        if (r < 0)
                return r;
        json_foreach (item, list) {
                const char *name = json_str(item);

                if (!name)
                        return bad(why, "units", "must be a list of unit names");
                if (!is_unit_name(name))
                        return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                                    "gybe.json: health.units: \"%.80s\" is not a unit's name like "
                                    "kubelet.service",
                                    name);
                if (!strv_has(c->units, name) && strv_add(&c->units, name) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int take_masks(const Json *health, HealthConfig *c, Why *why)
{
        const Json *list;
        int r = take_list(health, "masks", HEALTH_MASKS_MAX, &list, why);

        if (r < 0)
                return r;
        json_foreach (item, list) {
                const char *pattern = json_str(item);

                if (!pattern || !unit_characters(pattern, "*?[]!"))
                        return bad(why, "masks",
                                   "must be a list of unit names or patterns like backup@*.service");
                if (strv_add(&c->masks, pattern) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* Scheme, host, nothing that is secret: the address stands in reports. */
static bool is_probe_url(const char *url)
{
        const char *host = str_starts(url, "http://")    ? url + 7
                           : str_starts(url, "https://") ? url + 8
                                                         : NULL;
        size_t n = host ? strcspn(host, "/?#") : 0;

        if (n == 0 || strlen(url) > HEALTH_URL_MAX || memchr(host, '@', n))
                return false;
        for (const char *p = url; *p; p++)
                if (*p <= 0x20 || *p >= 0x7f)
                        return false;
        return true;
}

static int take_limit(const Json *j, const char *key, uint64_t least, uint64_t most, uint64_t *ret)
{
        uint64_t v = *ret;

        if (json_get_duration(j, key, &v) < 0 || v < least || v > most)
                return -EINVAL;
        *ret = v;
        return 0;
}

static int take_endpoint(const Json *j, HealthHttp *h, Why *why)
{
        const char *url = json_get_str(j, "url");
        uint64_t status = 0;
        int r;

        if (!json_is_object(j) || !url)
                return bad(why, "http", "must be a list of objects with a \"url\"");
        if (!is_probe_url(url))
                return bad(why, "http",
                           "has a url that gybe does not ask: it takes http and https, without user and "
                           "password");
        r = json_get_u64(j, "status", &status);
        if (r < 0 || (r > 0 && (status < 100 || status > 599)))
                return bad(why, "http", "has a status that is not one from 100 to 599");
        h->status = (unsigned) status;
        if (json_get_bool(j, "required", &h->required) < 0)
                return bad(why, "http", "has a required that is neither true nor false");
        if (take_limit(j, "timeout", 1, HEALTH_TRY_MAX_SEC, &h->timeout_sec) < 0)
                return bad(why, "http", "has a timeout that is not from \"1s\" to \"1m\"");
        if (take_limit(j, "retryFor", 0, HEALTH_LIMIT_MAX_SEC, &h->retry_for_sec) < 0)
                return bad(why, "http", "has a retryFor that is not from \"0s\" to \"1h\"");
        h->url = strdup(url);
        return h->url ? 0 : -ENOMEM;
}

static int take_http(const Json *health, HealthConfig *c, Why *why)
{
        const Json *list;
        int r = take_list(health, "http", HEALTH_HTTP_MAX, &list, why);

        if (r < 0 || json_len(list) == 0)
                return r;
        c->http = calloc(json_len(list), sizeof(*c->http));
        if (!c->http)
                return -ENOMEM;
        json_foreach (item, list) {
                HealthHttp *h = &c->http[c->n_http];

                *h = (HealthHttp){ .required = true, .timeout_sec = TRY_SEC, .retry_for_sec = RETRY_SEC };
                r = take_endpoint(item, h, why);
                if (r < 0)
                        return r;
                c->n_http++;
                /* what it answered before is remembered by its address */
                for (size_t i = 0; i + 1 < c->n_http; i++)
                        if (streq(c->http[i].url, h->url))
                                return bad(why, "http", "names the same url twice");
        }
        return 0;
}

static int take_numbers(const Json *health, HealthConfig *c, Why *why)
{
        uint64_t limit = c->restart_limit;

        if (json_get_bool(health, "failedUnits", &c->failed_units) < 0)
                return bad(why, "failedUnits", "must be true or false");
        if (json_get_u64(health, "restartLimit", &limit) < 0 || limit > HEALTH_RESTARTS_MAX)
                return bad(why, "restartLimit", "must be a number from 0 to 1000");
        c->restart_limit = (unsigned) limit;
        if (take_limit(health, "timeout", 1, HEALTH_LIMIT_MAX_SEC, &c->timeout_sec) < 0)
                return bad(why, "timeout", "must be a duration from \"1s\" to \"1h\"");
        return 0;
}

int health_config_parse(const Json *health, HealthConfig *ret, Why *why)
{
        _cleanup_(health_config_done) HealthConfig c = HEALTH_CONFIG_DEFAULT;
        int r;

        *ret = HEALTH_CONFIG_DEFAULT;
        if (health && !json_is_object(health))
                return fail(why, -EINVAL, WHY_USAGE, "bad-config", "gybe.json: health must be an object");
        if ((r = take_units(health, &c, why)) < 0 || (r = take_http(health, &c, why)) < 0 ||
            (r = take_masks(health, &c, why)) < 0 || (r = take_numbers(health, &c, why)) < 0)
                return r;
        *ret = c;
        c = (HealthConfig){ 0 };
        return 0;
}
