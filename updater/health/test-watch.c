/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "health/watch.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

/* Stories of boots, told in no time: what a unit, an endpoint or an executable is from a moment on, in seconds after the boot.
 * The watch begins at 30. */

typedef struct Moment {
        uint64_t from;
        const char
                *name; /* ends in ".service": a unit; begins with "http": an endpoint; else an executable */
        const char *active,
                *sub; /* of a unit; active NULL: gone; "silent": the service manager does not answer */
        const char *result;
        uint64_t restart_every;
        unsigned status; /* of an endpoint; 0: no answer */
        bool fails;      /* an executable */
        uint64_t takes;  /* seconds: an answer, an executable */
} Moment;

typedef struct World {
        const Moment *moments;
        uint64_t now;
        unsigned rounds, looks, asked;
        uint64_t last_timeout;
} World;

#define START 30u

static const Moment *at(const World *w, const char *name)
{
        const Moment *found = NULL;

        for (const Moment *m = w->moments; m->name; m++)
                if (streq(m->name, name) && m->from <= w->now)
                        found = m;
        return found;
}

static uint64_t restarts(const World *w, const char *name)
{
        uint64_t n = 0;

        for (const Moment *m = w->moments; m->name; m++) {
                uint64_t end = w->now;

                if (!streq(m->name, name) || m->from > w->now || m->restart_every == 0)
                        continue;
                for (const Moment *next = m + 1; next->name; next++)
                        if (streq(next->name, name)) {
                                end = MIN(end, next->from);
                                break;
                        }
                n += (end - m->from) / m->restart_every;
        }
        return n;
}

static bool first_of_name(const World *w, const Moment *m)
{
        for (const Moment *o = w->moments; o < m; o++)
                if (streq(o->name, m->name))
                        return false;
        return true;
}

static int world_units(void *ctx, HealthUnits *ret, Why *why)
{
        World *w = ctx;
        const Moment *manager = at(w, "manager");

        if (manager && streq0(manager->active, "silent"))
                return fail(why, -ENOSYS, WHY_HOST, "no-systemd", "systemd: no system bus is at hand");
        w->looks++;
        for (const Moment *m = w->moments; m->name; m++) {
                const Moment *now = at(w, m->name);
                HealthUnit *u;

                if (!str_ends(m->name, ".service") || !first_of_name(w, m) || !now || !now->active)
                        continue;
                ret->units = realloc(ret->units, (ret->n_units + 1) * sizeof(*ret->units));
                u = &ret->units[ret->n_units++];
                *u = (HealthUnit){ .name = strdup(m->name),
                                   .load_state = strdup("loaded"),
                                   .active_state = strdup(now->active),
                                   .sub_state = strdup(now->sub ? now->sub : ""),
                                   .result = now->result ? strdup(now->result) : NULL,
                                   .since_sec = now->result ? now->from : 0,
                                   .restarts = restarts(w, m->name) };
        }
        return 0;
}

static int world_http(void *ctx, const HealthHttp *h, uint64_t timeout, unsigned *ret_status, Why *why)
{
        World *w = ctx;
        const Moment *m = at(w, h->url);
        char name[160];

        w->asked++;
        w->last_timeout = timeout;
        if (m)
                w->now += MIN(m->takes, timeout);
        if (m && m->status > 0 && m->takes < timeout) {
                *ret_status = m->status;
                return 0;
        }
        (void) snprintf(name, sizeof(name), "%s", h->url);
        return fail(why, -EAGAIN, WHY_NETWORK, "unreachable", "%s: connection refused", name);
}

static int world_checks(void *ctx, uint64_t timeout, uint64_t budget, HealthChecks *ret, Why *why _unused_)
{
        World *w = ctx;
        uint64_t start = w->now;

        w->rounds++;
        for (const Moment *m = w->moments; m->name; m++) {
                const Moment *now = at(w, m->name);
                HealthCheck *c;

                if (!str_starts(m->name, "required.d/") && !str_starts(m->name, "wanted.d/"))
                        continue;
                if (!first_of_name(w, m) || !now)
                        continue;
                ret->list = realloc(ret->list, (ret->n + 1) * sizeof(*ret->list));
                c = &ret->list[ret->n++];
                *c = (HealthCheck){ .name = strdup(m->name),
                                    .required = str_starts(m->name, "required.d/"),
                                    .exit_code = now->fails,
                                    .passed = !now->fails,
                                    .output = strdup(now->fails ? "it says no\n" : "") };
                if (w->now - start >= budget) {
                        c->too_late = true;
                        c->passed = false;
                        continue;
                }
                w->now += MIN(now->takes, MIN(timeout, budget - (w->now - start)));
                if (now->takes > MIN(timeout, budget))
                        c->passed = false, c->timed_out = true;
        }
        return 0;
}

static uint64_t world_now(void *ctx)
{
        return ((World *) ctx)->now;
}

static void world_sleep(void *ctx, uint64_t sec)
{
        assert(sec > 0 && sec <= 60);
        ((World *) ctx)->now += sec;
}

static HealthSource source_of(World *w)
{
        return (HealthSource){ .units = world_units,
                               .http = world_http,
                               .checks = world_checks,
                               .now = world_now,
                               .sleep = world_sleep,
                               .ctx = w };
}

static Json *parse(const char *text)
{
        Json *j = NULL;
        Why why = { 0 };

        if (json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "test", WHY_USAGE, &j, &why) < 0)
                (void) fprintf(stderr, "%s\n%s\n", text, why.text);
        assert(j);
        return j;
}

#define URL  "http://127.0.0.1:10248/healthz"
#define HTTP "{\"http\":[{\"url\":\"" URL "\",\"retryFor\":\"2m\"}]}"
#define MUST "{\"units\":[\"kubelet.service\"],\"timeout\":\"1m\"}"
/* nothing odd before the update */
#define CLEAN                                                                                                \
        "{\"updateId\":\"u\",\"uptime\":86400,\"failedUnits\":[],\"restarts\":[],"                           \
        "\"units\":[{\"name\":\"kubelet.service\",\"passed\":true,\"said\":\"active, running\"},"            \
        "{\"name\":\"gybed.service\",\"passed\":false}],"                                                    \
        "\"http\":[{\"name\":\"" URL "\",\"passed\":true,\"said\":\"answered 200\"}],"                       \
        "\"checks\":[{\"name\":\"required.d/10-x\",\"passed\":true}]}"

#define WELL(unit)                                                                                           \
        {                                                                                                    \
                0, unit, "active", "running"                                                                 \
        }

typedef struct Story {
        const char *what, *config, *baseline; /* baseline NULL: none */
        uint64_t soak, until;                 /* until 0: no limit */
        Moment moments[8];
        const char *fails; /* the sentence; NULL: passes */
        const char *says;  /* "weight: text" of a finding that must be there */
        uint64_t ends;     /* not later than */
        bool cut, no_manager, once;
} Story;

static const Story stories[] = {
        { "all is well", "{}", CLEAN, 300, 0, { WELL("a.service") }, NULL, NULL, START + 300 },
        { "nothing to watch: nobody waits",
          "{}",
          CLEAN,
          300,
          0,
          { { 0, "manager", "silent" } },
          NULL,
          NULL,
          START,
          .no_manager = true },
        { "units that must be active where nobody can be asked",
          MUST,
          NULL,
          300,
          0,
          { { 0, "manager", "silent" } },
          NULL,
          "unknown: units: there is no service manager",
          START,
          .no_manager = true },

        /* --- failed units --- */
        { "failed before the watch began",
          "{}",
          CLEAN,
          300,
          0,
          { WELL("a.service"), { 12, "foo.service", "failed", "failed", "exit-code" } },
          "foo.service: failed since 12s after boot (exit-code)",
          NULL,
          START + 5 },
        { "failed in the soak's middle",
          "{}",
          CLEAN,
          300,
          0,
          { WELL("foo.service"), { 200, "foo.service", "failed", "failed", "oom-kill" } },
          "foo.service: failed since 3m20s after boot (oom-kill)",
          NULL,
          210 },
        { "failed at the soak's last look: there is one more",
          "{}",
          CLEAN,
          300,
          0,
          { WELL("foo.service"), { START + 299, "foo.service", "failed", "failed" } },
          "foo.service: failed since 5m30s after boot",
          NULL,
          START + 310 },
        { "had failed before",
          "{}",
          "{\"updateId\":\"u\",\"failedUnits\":[\"foo.service\"]}",
          60,
          0,
          { { 12, "foo.service", "failed", "failed", "exit-code" } },
          NULL,
          "before: foo.service: failed; it had failed before the update, too",
          START + 65 },
        { "failed and came back",
          "{}",
          CLEAN,
          60,
          0,
          { WELL("foo.service"),
            { 43, "foo.service", "failed", "failed" },
            { 48, "foo.service", "active", "running" } },
          NULL,
          "healed: foo.service: failed 45s after boot and was well again within 5s",
          START + 60 },
        { "failed and then gone",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "foo.service", "failed", "failed" }, { 33, "foo.service", NULL } },
          NULL,
          "healed: foo.service: failed 30s after boot and was well again",
          START + 65 },
        { "masked by the operator",
          "{\"masks\":[\"fo?.service\"]}",
          CLEAN,
          60,
          0,
          { { 0, "foo.service", "failed", "failed" } },
          NULL,
          NULL,
          START + 60 },
        { "without a network",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "systemd-networkd-wait-online.service", "failed", "failed" } },
          NULL,
          NULL,
          START + 60 },
        { "what a crash leaves behind",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "systemd-coredump@1-2-0.service", "failed", "failed" } },
          NULL,
          NULL,
          START + 60 },
        { "that is us",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "gybe-commit.service", "failed", "failed" } },
          NULL,
          NULL,
          START + 60 },
        { "not asked for",
          "{\"failedUnits\":false}",
          CLEAN,
          60,
          0,
          { { 0, "foo.service", "failed", "failed" } },
          NULL,
          NULL,
          START + 60 },
        { "no baseline: told, not counted",
          "{}",
          NULL,
          60,
          0,
          { { 0, "foo.service", "failed", "failed" } },
          NULL,
          "unknown: foo.service: failed since 30s after boot; whether it had failed before is not known",
          START + 65 },
        { "a baseline without units: told, not counted",
          "{}",
          "{\"updateId\":\"u\"}",
          60,
          0,
          { { 0, "foo.service", "failed", "failed" } },
          NULL,
          "unknown: foo.service: failed",
          START + 65 },
        { "a soak of nothing still looks twice",
          "{}",
          CLEAN,
          0,
          0,
          { { 0, "foo.service", "failed", "failed" } },
          "foo.service: failed since 30s after boot",
          NULL,
          START + 5 },

        /* --- restarts --- */
        { "a loop that begins after 20 s",
          "{}",
          CLEAN,
          300,
          0,
          { WELL("foo.service"), { START + 20, "foo.service", "activating", "auto-restart", NULL, 3 } },
          "foo.service: restarted 5 times in 35s",
          NULL,
          START + 40 },
        { "a loop so fast that it is never seen down",
          "{}",
          CLEAN,
          300,
          0,
          { WELL("foo.service"), { START + 20, "foo.service", "active", "running", NULL, 1 } },
          "foo.service: restarted 5 times in 25s",
          NULL,
          START + 30 },
        { "as often as allowed",
          "{}",
          CLEAN,
          300,
          0,
          { WELL("foo.service"), { START + 20, "foo.service", "active", "running", NULL, 80 } },
          NULL,
          "healed: foo.service: restarted 3 times in 5m",
          START + 300 },
        { "no restart allowed",
          "{\"restartLimit\":0}",
          CLEAN,
          300,
          0,
          { WELL("foo.service"), { START + 20, "foo.service", "active", "running", NULL, 80 } },
          "foo.service: restarted 1 times in 1m40s",
          NULL,
          START + 105 },
        { "restarts before the soak do not count",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "foo.service", "active", "running", NULL, 2 }, { 31, "foo.service", "active", "running" } },
          NULL,
          NULL,
          START + 60 },
        { "nor while something else comes up",
          MUST,
          CLEAN,
          60,
          0,
          { { 0, "kubelet.service", "activating", "start" },
            { 70, "kubelet.service", "active", "running" },
            { 0, "foo.service", "active", "running", NULL, 5 },
            { 69, "foo.service", "active", "running" } },
          NULL,
          NULL,
          70 + 60 },
        { "was in a loop before",
          "{}",
          "{\"updateId\":\"u\",\"failedUnits\":[],\"uptime\":9,\"restarts\":[{\"name\":\"foo.service\","
          "\"count\":9,"
          "\"looping\":true}]}",
          60,
          0,
          { { 0, "foo.service", "activating", "auto-restart", NULL, 3 } },
          NULL,
          NULL,
          START + 65 },
        { "was in a loop before, a slower one; that is no matter",
          "{}",
          "{\"updateId\":\"u\",\"failedUnits\":[],\"uptime\":90000,\"restarts\":[{\"name\":\"foo.service\","
          "\"count\":9,"
          "\"looping\":true}]}",
          60,
          0,
          { { 0, "foo.service", "activating", "auto-restart", NULL, 3 } },
          NULL,
          "before: foo.service: restarted 5 times in 15s; it was so before the update, too",
          START + 65 },
        { "is restarted about as often as before",
          "{}",
          "{\"updateId\":\"u\",\"failedUnits\":[],\"uptime\":6000,\"restarts\":[{\"name\":\"foo.service\","
          "\"count\":100}]}",
          300,
          0,
          { { 0, "foo.service", "active", "running", NULL, 40 } },
          NULL,
          "healed: foo.service: restarted 8 times in 5m",
          START + 300 },
        { "is restarted far more often than before",
          "{}",
          "{\"updateId\":\"u\",\"failedUnits\":[],\"uptime\":6000,\"restarts\":[{\"name\":\"foo.service\","
          "\"count\":100}]}",
          300,
          0,
          { { 0, "foo.service", "active", "running", NULL, 5 } },
          "foo.service: restarted 4 times in 20s",
          NULL,
          START + 60 },
        { "a loop without a baseline",
          "{}",
          NULL,
          60,
          0,
          { { 0, "foo.service", "activating", "auto-restart", NULL, 3 } },
          NULL,
          "unknown: foo.service: restarted 5 times in 15s; whether it was so before is not known",
          START + 65 },

        /* --- units that must be active --- */
        { "comes up late",
          MUST,
          CLEAN,
          60,
          0,
          { { 0, "kubelet.service", "activating", "start-pre" },
            { 70, "kubelet.service", "active", "running" } },
          NULL,
          NULL,
          70 + 60 },
        { "never comes up",
          MUST,
          CLEAN,
          60,
          0,
          { { 0, "kubelet.service", "activating", "start" } },
          "kubelet.service: not active within 1m (activating, start); it was active before the update",
          NULL,
          START + 60 },
        { "is not there any more",
          MUST,
          CLEAN,
          60,
          0,
          { WELL("a.service") },
          "kubelet.service: not active within 1m (there is no such unit); it was active before the update",
          NULL,
          START + 60 },
        { "must be active and failed",
          MUST,
          CLEAN,
          60,
          0,
          { { 12, "kubelet.service", "failed", "failed", "exit-code" } },
          "kubelet.service: failed since 12s after boot (exit-code); it was active before the update",
          NULL,
          START + 5 },
        { "stops in the soak",
          MUST,
          CLEAN,
          60,
          0,
          { WELL("kubelet.service"), { 61, "kubelet.service", "inactive", "dead" } },
          "kubelet.service: did not stay active (inactive, dead); it was active before the update",
          NULL,
          70 },
        { "is down at one look",
          MUST,
          CLEAN,
          60,
          0,
          { WELL("kubelet.service"),
            { 61, "kubelet.service", "inactive", "dead" },
            { 67, "kubelet.service", "active", "running" } },
          NULL,
          NULL,
          START + 60 },
        { "starts and starts",
          MUST,
          CLEAN,
          300,
          0,
          { WELL("kubelet.service"), { 61, "kubelet.service", "activating", "start" } },
          "kubelet.service: not active for 1m (activating, start); it was active before the update",
          NULL,
          130 },
        { "restarted once and is back",
          MUST,
          CLEAN,
          60,
          0,
          { WELL("kubelet.service"),
            { 61, "kubelet.service", "activating", "auto-restart" },
            { 67, "kubelet.service", "active", "running" } },
          NULL,
          NULL,
          START + 60 },
        { "was not active before either",
          MUST,
          "{\"updateId\":\"u\",\"failedUnits\":[],\"units\":[{\"name\":\"kubelet.service\",\"passed\":false}]"
          "}",
          60,
          0,
          { { 0, "kubelet.service", "inactive", "dead" } },
          NULL,
          "before: kubelet.service: inactive, dead; it was not active before the update either",
          START + 60 },
        { "no baseline: what must be active decides",
          MUST,
          NULL,
          60,
          0,
          { { 0, "kubelet.service", "inactive", "dead" } },
          "kubelet.service: not active within 1m (inactive, dead)",
          NULL,
          START + 60 },
        { "still starting when the deadline is near",
          MUST,
          CLEAN,
          60,
          START + 20,
          { { 0, "kubelet.service", "activating", "start" } },
          "kubelet.service: not active when the deadline was near (activating, start); it was active before "
          "the update",
          NULL,
          START + 25,
          .cut = true },
        { "a masked unit that must be active",
          "{\"units\":[\"kubelet.service\"],\"masks\":[\"*.service\"]}",
          CLEAN,
          60,
          0,
          { { 12, "kubelet.service", "failed", "failed" } },
          "kubelet.service: failed since 30s after boot; it was active before the update",
          NULL,
          START + 5 },
        { "named, in a loop, other units do not count",
          "{\"units\":[\"kubelet.service\"],\"failedUnits\":false}",
          CLEAN,
          300,
          0,
          { { 0, "kubelet.service", "active", "running", NULL, 3 },
            { 0, "foo.service", "failed", "failed" } },
          "kubelet.service: restarted 5 times in 15s",
          NULL,
          START + 20 },

        /* --- the agent --- */
        { "the agent ran before and is gone",
          "{\"timeout\":\"1m\"}",
          "{\"updateId\":\"u\",\"failedUnits\":[],\"units\":[{\"name\":\"gybed.service\",\"passed\":true}]}",
          60,
          0,
          { WELL("a.service") },
          "gybed.service: not active within 1m (there is no such unit); it was active before the update",
          NULL,
          START + 60 },
        { "the agent ran before and crashes",
          "{}",
          "{\"updateId\":\"u\",\"failedUnits\":[],\"units\":[{\"name\":\"gybed.service\",\"passed\":true}]}",
          60,
          0,
          { { 20, "gybed.service", "failed", "failed", "core-dump" } },
          "gybed.service: failed since 20s after boot (core-dump); it was active before the update",
          NULL,
          START + 5 },
        { "the agent is off, as before",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "gybed.service", "inactive", "dead" } },
          NULL,
          NULL,
          START + 60 },
        { "the agent was off and does not come up now either",
          "{}",
          CLEAN,
          300,
          0,
          { { 0, "gybed.service", "activating", "start" } },
          NULL,
          NULL,
          START + 300 },
        { "the agent is new and crashes",
          "{}",
          CLEAN,
          60,
          0,
          { { 20, "gybed.service", "failed", "failed", "core-dump" } },
          "gybed.service: failed since 20s after boot (core-dump)",
          NULL,
          START + 5 },
        { "no baseline, the agent is off",
          "{}",
          NULL,
          60,
          0,
          { { 0, "gybed.service", "inactive", "dead" } },
          NULL,
          NULL,
          START + 60 },
        { "no baseline, the agent crashes",
          "{}",
          NULL,
          60,
          0,
          { { 20, "gybed.service", "failed", "failed", "core-dump" } },
          "gybed.service: failed since 20s after boot (core-dump)",
          NULL,
          START + 5 },

        /* --- the service manager --- */
        { "does not answer any more",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "manager", "silent" } },
          "systemd: the units could not be asked for 1m; they could before the update (systemd: no system "
          "bus is at hand)",
          NULL,
          START + 65 },
        { "is busy for a while",
          "{}",
          CLEAN,
          60,
          0,
          { WELL("a.service"), { 0, "manager", "silent" }, { 60, "manager", "answers" } },
          NULL,
          NULL,
          60 + 65 },
        { "never answered",
          "{}",
          "{\"updateId\":\"u\"}",
          60,
          0,
          { { 0, "manager", "silent" } },
          NULL,
          "unknown: systemd: the units could not be asked",
          START + 65 },
        { "is silent when the deadline is near",
          "{}",
          CLEAN,
          60,
          START + 20,
          { { 0, "manager", "silent" } },
          "systemd: the units could not be asked for 20s; they could before the update (systemd: no system "
          "bus is at hand)",
          NULL,
          START + 30 },

        { "is silent when the deadline is near, between two looks",
          "{}",
          CLEAN,
          60,
          START + 22,
          { { 0, "manager", "silent" } },
          "systemd: the units could not be asked for 27s; they could before the update (systemd: no system "
          "bus is at hand)",
          NULL,
          START + 30,
          .cut = true },
        /* --- endpoints --- */
        { "answers well",
          HTTP,
          CLEAN,
          60,
          0,
          { { 0, URL, .status = 200 } },
          NULL,
          NULL,
          START + 60,
          .no_manager = true },
        { "answers after a minute",
          HTTP,
          CLEAN,
          60,
          0,
          { { 0, URL, .status = 0 }, { 90, URL, .status = 204 } },
          NULL,
          NULL,
          90 + 65 },
        { "answers wrongly for good",
          HTTP,
          CLEAN,
          60,
          0,
          { { 0, URL, .status = 500 } },
          URL " answered 500 for 2m; it answered 200 before the update",
          NULL,
          START + 125 },
        { "does not answer",
          HTTP,
          CLEAN,
          60,
          0,
          { WELL("a.service") },
          URL " did not answer (connection refused) for 2m; it answered 200 before the update",
          NULL,
          START + 125 },
        { "answers too late",
          HTTP,
          CLEAN,
          60,
          0,
          { { 0, URL, .status = 200, .takes = 11 } },
          URL " did not answer (connection refused) for 2m10s; it answered 200 before the update",
          NULL,
          START + 130 },
        { "fails in the soak's middle",
          HTTP,
          CLEAN,
          300,
          0,
          { { 0, URL, .status = 200 }, { 100, URL, .status = 503 } },
          URL " answered 503 for 2m; it answered 200 before the update",
          NULL,
          235 },
        { "fails at the soak's end: that is waited for",
          HTTP,
          CLEAN,
          60,
          0,
          { { 0, URL, .status = 200 }, { 85, URL, .status = 503 } },
          URL " answered 503 for 2m; it answered 200 before the update",
          NULL,
          215 },
        { "stumbles",
          HTTP,
          CLEAN,
          60,
          0,
          { { 0, URL, .status = 200 }, { 45, URL, .status = 503 }, { 62, URL, .status = 200 } },
          NULL,
          "healed: " URL " answered 503 for 15s, then 200 again",
          START + 60 },
        { "failed before",
          HTTP,
          "{\"updateId\":\"u\",\"http\":[{\"name\":\"" URL "\",\"passed\":false,\"said\":\"answered 500\"}]}",
          60,
          0,
          { { 0, URL, .status = 500 } },
          NULL,
          "before: " URL " answered 500 for 1m; it failed before the update, too",
          START + 60,
          .no_manager = true },
        { "no baseline: a required one decides",
          HTTP,
          NULL,
          60,
          0,
          { { 0, URL, .status = 500 } },
          URL " answered 500 for 2m",
          NULL,
          START + 125 },
        { "wanted only",
          "{\"http\":[{\"url\":\"" URL "\",\"required\":false}]}",
          CLEAN,
          60,
          0,
          { { 0, URL, .status = 500 } },
          NULL,
          "wanted: " URL " answered 500 for 1m; it answered 200 before the update",
          START + 60 },
        { "another status is wanted",
          "{\"http\":[{\"url\":\"" URL "\",\"status\":401,\"retryFor\":0}]}",
          CLEAN,
          60,
          0,
          { { 0, URL, .status = 200 } },
          URL " answered 200; it answered 200 before the update",
          NULL,
          START },
        { "still failing when the deadline is near",
          HTTP,
          CLEAN,
          60,
          START + 50,
          { { 0, URL, .status = 500 } },
          URL " answered 500 for 50s; it answered 200 before the update",
          NULL,
          START + 55,
          .cut = true },

        /* --- executables --- */
        { "pass",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "required.d/10-x" }, WELL("a.service") },
          NULL,
          NULL,
          START + 60 },
        { "fails",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "required.d/10-x", .fails = true }, WELL("a.service") },
          "required.d/10-x: exit code 1: it says no",
          NULL,
          START },
        { "fails after the soak",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "required.d/10-x" }, { 70, "required.d/10-x", .fails = true }, WELL("a.service") },
          "required.d/10-x: exit code 1: it says no",
          NULL,
          START + 60 },
        { "failed before",
          "{}",
          "{\"updateId\":\"u\",\"checks\":[{\"name\":\"required.d/10-x\",\"passed\":false,\"said\":\"exit "
          "code 1\"}]}",
          60,
          0,
          { { 0, "manager", "silent" }, { 0, "required.d/10-x", .fails = true } },
          NULL,
          "before: required.d/10-x: exit code 1: it says no; it failed before the update, too",
          START,
          .no_manager = true },
        { "is new and fails",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "manager", "silent" }, { 0, "required.d/20-new", .fails = true } },
          "required.d/20-new: exit code 1: it says no",
          NULL,
          START,
          .no_manager = true },
        { "wanted ones never decide",
          "{}",
          CLEAN,
          60,
          0,
          { { 0, "manager", "silent" }, { 0, "wanted.d/10-x", .fails = true } },
          NULL,
          "wanted: wanted.d/10-x: exit code 1: it says no",
          START,
          .no_manager = true },
        { "are asked when what must be up is up",
          MUST,
          CLEAN,
          60,
          0,
          { { 0, "kubelet.service", "activating", "start" },
            { 61, "kubelet.service", "active", "running" },
            { 0, "required.d/10-x", .fails = true },
            { 61, "required.d/10-x" } },
          NULL,
          NULL,
          65 + 60 },

        /* --- the deadline --- */
        { "the soak is cut, and said to be",
          "{}",
          CLEAN,
          300,
          START + 100,
          { WELL("a.service"), { 0, "required.d/10-x", .takes = 10 } },
          NULL,
          NULL,
          START + 100,
          .cut = true },
        { "a boot that took all the time",
          "{}",
          CLEAN,
          300,
          START - 10,
          { WELL("a.service"), { 0, "required.d/10-x" } },
          "required.d/10-x: not run: no time was left before the deadline",
          NULL,
          START },
        { "a boot that took nearly all",
          "{}",
          CLEAN,
          300,
          START + 3,
          { WELL("a.service"), { 0, "required.d/10-x" } },
          NULL,
          NULL,
          START,
          .cut = true },
        { "a unit fails at the last moment: it gets its second look",
          "{}",
          CLEAN,
          300,
          START + 50,
          { WELL("foo.service"), { START + 45, "foo.service", "failed", "failed" } },
          "foo.service: failed since 1m15s after boot",
          NULL,
          START + 55 },
        { "and so it does when no time is left",
          MUST,
          CLEAN,
          300,
          START + 20,
          { { 0, "kubelet.service", "activating", "start" },
            WELL("foo.service"),
            { START + 18, "foo.service", "failed", "failed" } },
          "foo.service: failed since 50s after boot",
          "regression: kubelet.service: not active when the deadline was near",
          START + 25,
          .cut = true },

        /* --- one look --- */
        { "all is well at one look",
          HTTP,
          CLEAN,
          300,
          0,
          { WELL("a.service"), { 0, URL, .status = 200 } },
          NULL,
          NULL,
          START,
          .once = true },
        { "one look tells everything",
          "{\"units\":[\"kubelet.service\"],\"http\":[{\"url\":\"" URL "\"}]}",
          CLEAN,
          300,
          0,
          { { 0, "kubelet.service", "activating", "start" },
            { 0, "foo.service", "failed", "failed" },
            { 0, URL, .status = 500 },
            { 0, "required.d/10-x", .fails = true } },
          "foo.service: failed since 30s after boot",
          "regression: kubelet.service: not active (activating, start); it was active before the update",
          START,
          .once = true },
        { "one look runs the executables, too",
          HTTP,
          CLEAN,
          300,
          0,
          { { 0, URL, .status = 500 }, { 0, "required.d/10-x", .fails = true } },
          URL " answered 500; it answered 200 before the update",
          "regression: required.d/10-x: exit code 1: it says no",
          START,
          .once = true },
};

static bool has_finding(const HealthReport *r, const char *says)
{
        for (size_t i = 0; i < r->n_findings; i++) {
                char line[512];

                (void) snprintf(line, sizeof(line), "%s: %s", health_weight_name(r->findings[i].weight),
                                r->findings[i].text);
                if (str_starts(line, says))
                        return true;
        }
        return false;
}

static void explain(const Story *s, const HealthReport *r, const World *w)
{
        (void) fprintf(stderr, "story: %s\n  ended at %llu (limit %llu), cut %d, passed %d: %s\n", s->what,
                       (unsigned long long) w->now, (unsigned long long) s->ends, r->cut, r->passed,
                       r->first_failure ? r->first_failure : "-");
        for (size_t i = 0; i < r->n_findings; i++)
                (void) fprintf(stderr, "  %s: %s\n", health_weight_name(r->findings[i].weight),
                               r->findings[i].text);
}

static void test_stories(void)
{
        for (size_t i = 0; i < ELEMENTSOF(stories); i++) {
                const Story *s = &stories[i];
                _cleanup_(json_unrefp) Json *config_text = parse(s->config),
                                            *baseline_text = s->baseline ? parse(s->baseline) : NULL;
                _cleanup_(health_config_done) HealthConfig config = { 0 };
                _cleanup_(health_baseline_done) HealthBaseline baseline = { 0 };
                _cleanup_(health_report_done) HealthReport r = { 0 };
                World w = { .moments = s->moments, .now = START };
                HealthSource source = source_of(&w);
                HealthPlan plan = { .config = &config,
                                    .baseline = s->baseline ? &baseline : NULL,
                                    .soak_sec = s->soak,
                                    .until = s->until > 0 ? s->until : UINT64_MAX,
                                    .has_manager = !s->no_manager,
                                    .once = s->once };
                bool good;

                assert(health_config_parse(config_text, &config, NULL) >= 0);
                assert(!s->baseline || health_baseline_parse(baseline_text, &baseline, NULL) >= 0);
                assert(health_watch(&source, &plan, &r, NULL) >= 0);
                good = r.passed == !s->fails && r.cut == s->cut && w.now <= s->ends &&
                       streq0(r.first_failure, s->fails) && (!s->says || has_finding(&r, s->says)) &&
                       r.compared == (s->baseline != NULL);
                if (!good)
                        explain(s, &r, &w);
                assert(good);
                /* who passed was watched for all of the soak, or it says that it was cut */
                assert(!r.passed || r.cut || w.now >= START + r.soak_sec);
        }
}

/* Two rounds of executables around a soak, one without; and none is started too often. */
static void test_rounds(void)
{
        static const Moment moments[] = { WELL("a.service"), { 0, "required.d/10-x" }, { 0 } };
        _cleanup_(health_config_done) HealthConfig config = HEALTH_CONFIG_DEFAULT;
        static const struct {
                uint64_t soak;
                unsigned rounds, looks_least, looks_most;
        } cases[] = { { 0, 1, 1, 3 }, { 1, 2, 1, 3 }, { 300, 2, 60, 64 } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(health_report_done) HealthReport r = { 0 };
                _cleanup_(json_unrefp) Json *j = NULL;
                _cleanup_(free_charp) char *text = NULL, *watched = NULL;
                World w = { .moments = moments, .now = START };
                HealthSource source = source_of(&w);
                HealthPlan plan = {
                        .config = &config, .soak_sec = cases[i].soak, .until = UINT64_MAX, .has_manager = true
                };

                assert(health_watch(&source, &plan, &r, NULL) >= 0 && r.passed);
                assert(w.rounds == cases[i].rounds);
                assert(w.looks >= cases[i].looks_least && w.looks <= cases[i].looks_most);
                assert(r.checks.n == 1 && r.n_units == 1 && r.watched_sec == cases[i].soak);
                j = health_report_json(&r);
                text = json_format(j, false);
                watched = health_report_watched(&r);
                assert(strstr(text, "\"passed\":true") && strstr(text, "\"watched\":{\"units\":1,"));
                assert(streq(watched, cases[i].soak == 0   ? "looked at 1 unit"
                                      : cases[i].soak == 1 ? "watched 1 unit for 1s"
                                                           : "watched 1 unit for 5m"));
        }
}

/* One that hangs does not keep the others from being asked, and nobody is asked beyond the deadline. */
static void test_many_endpoints(void)
{
        Moment moments[HEALTH_HTTP_MAX + 2] = { 0 };
        HealthHttp http[HEALTH_HTTP_MAX] = { 0 };
        HealthConfig config = HEALTH_CONFIG_DEFAULT;
        char names[HEALTH_HTTP_MAX][40];

        config.http = http;
        config.n_http = HEALTH_HTTP_MAX;
        for (unsigned i = 0; i < HEALTH_HTTP_MAX; i++) {
                (void) snprintf(names[i], sizeof(names[i]), "http://127.0.0.1:%u/", 1000 + i);
                http[i] = (HealthHttp){
                        .url = names[i], .required = i > 0, .timeout_sec = 10, .retry_for_sec = 60
                };
                moments[i] = (Moment){ 0, names[i], .status = i > 0 ? 200 : 0, .takes = i > 0 ? 0 : 10 };
        }
        for (uint64_t until = START + 5; until <= START + 500; until += 45) {
                _cleanup_(health_report_done) HealthReport r = { 0 };
                World w = { .moments = moments, .now = START };
                HealthSource source = source_of(&w);
                HealthPlan plan = { .config = &config, .soak_sec = 120, .until = until, .has_manager = true };

                assert(health_watch(&source, &plan, &r, NULL) >= 0);
                assert(w.now <= until + HEALTH_SAMPLE_SEC && w.last_timeout <= 10);
                assert(r.passed == (until >= START + 50) || until < START + 50);
                assert(r.n_endpoints == HEALTH_HTTP_MAX && w.asked >= (r.passed ? HEALTH_HTTP_MAX : 1));
        }
}

/* More findings than a line of history holds: counted, and the first one is the sentence. */
static void test_findings(void)
{
        _cleanup_(health_report_done) HealthReport r = { .passed = true };
        _cleanup_(json_unrefp) Json *j = NULL;
        _cleanup_(free_charp) char *text = NULL;
        char longer[1000];

        memset(longer, 'x', sizeof(longer));
        memcpy(longer + 298, "\xc3\xbc", 2);
        longer[sizeof(longer) - 1] = 0;
        for (unsigned i = 0; i < HEALTH_FINDINGS_MAX + 10; i++)
                assert(health_report_add(&r, HEALTH_HEALED, "u", "finding %u", i) >= 0);
        assert(r.passed && r.n_findings == HEALTH_FINDINGS_MAX && r.n_more == 10);
        assert(health_report_add(&r, HEALTH_REGRESSION, "u", "x%s", longer) >= 0);
        assert(health_report_add(&r, HEALTH_REGRESSION, "u", "second") >= 0);
        assert(!r.passed && strlen(r.first_failure) == 299 && r.n_more == 12);
        j = health_report_json(&r);
        text = json_format(j, false);
        assert(strstr(text, "\"moreFindings\":12") && strlen(text) < 32 * 1024);
}

static void test_needs(void)
{
        static const struct {
                const char *config;
                bool has_units;
                uint64_t checks, soak, needs;
        } cases[] = {
                { "{}", false, 0, 300, 0 }, /* nothing to watch */
                { "{}", false, 7, 300, 7 },
                { "{}", true, 7, 300, 120 + 300 + 14 },
                { "{}", true, 7, 0, 120 + 7 },
                { "{\"timeout\":\"5m\"}", true, 0, 300, 600 },
                { HTTP, false, 0, 60, 130 + 60 },
                { "{\"http\":[{\"url\":\"http://h/\",\"required\":false}]}", false, 0, 60, 60 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_unrefp) Json *text = parse(cases[i].config);
                _cleanup_(health_config_done) HealthConfig config = { 0 };
                HealthBaseline b = { .has_units = cases[i].has_units, .checks_sec = cases[i].checks };

                assert(health_config_parse(text, &config, NULL) >= 0);
                assert(health_needs_sec(&config, &b, cases[i].soak) == cases[i].needs);
        }
}

int main(void)
{
        test_stories();
        test_rounds();
        test_many_endpoints();
        test_findings();
        test_needs();
        return 0;
}
