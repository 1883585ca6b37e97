/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "health/watch.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

/* A host as it is before an update: some units, one endpoint, three executables. Each look finds the second state. */
typedef struct Host {
        uint64_t now;
        unsigned looks, asked;
        bool no_manager, no_memory;
        unsigned good_after; /* the endpoint answers well from that question on */
        size_t n_failed;     /* that many more units have failed */
} Host;

static void unit(HealthUnits *u, const char *name, const char *active, const char *sub, uint64_t restarts)
{
        u->units = realloc(u->units, (u->n_units + 1) * sizeof(*u->units));
        u->units[u->n_units++] = (HealthUnit){ .name = strdup(name),
                                               .load_state = strdup("loaded"),
                                               .active_state = strdup(active),
                                               .sub_state = strdup(sub),
                                               .restarts = restarts };
}

static int host_units(void *ctx, HealthUnits *ret, Why *why)
{
        Host *h = ctx;

        if (h->no_manager)
                return fail(why, -ENOSYS, WHY_HOST, "no-systemd", "systemd: no system bus is at hand");
        h->looks++;
        unit(ret, "z.service", "active", "running", 0);
        unit(ret, "kubelet.service", "active", "running", 4);
        unit(ret, "backup.service", "failed", "failed", 0);
        unit(ret, "healed.service", h->looks == 1 ? "failed" : "active", "x", 0);
        unit(ret, "loops.service", "active", "running", 10 + h->looks);
        unit(ret, "waits.service", "activating", "auto-restart", 0);
        for (size_t i = 0; i < h->n_failed; i++) {
                char name[32];

                (void) snprintf(name, sizeof(name), "f%zu.service", i);
                unit(ret, name, "failed", "failed", 0);
        }
        return 0;
}

static int host_http(void *ctx, const HealthHttp *e _unused_, uint64_t timeout _unused_, unsigned *ret,
                     Why *why)
{
        Host *h = ctx;

        h->now += 2;
        if (++h->asked < h->good_after)
                return fail(why, -EAGAIN, WHY_NETWORK, "unreachable",
                            "http://h/: connection r\xff"
                            "efused");
        *ret = 200;
        return 0;
}

static int host_checks(void *ctx, uint64_t timeout, uint64_t budget, HealthChecks *ret, Why *why _unused_)
{
        static const HealthCheck checks[] = {
                { .name = (char *) "required.d/10-good", .required = true, .passed = true },
                { .name = (char *) "required.d/20-bad",
                  .required = true,
                  .exit_code = 3,
                  .output = (char *) "no\n" },
                { .name = (char *) "required.d/30-late",
                  .required = true,
                  .too_late = true,
                  .exit_code = -1 },
        };
        Host *h = ctx;

        assert(timeout == 120 && budget == 600);
        if (h->no_memory)
                return -ENOMEM;
        h->now += 1;
        ret->list = calloc(ELEMENTSOF(checks), sizeof(*checks));
        for (size_t i = 0; i < ELEMENTSOF(checks); i++) {
                HealthCheck *c = &ret->list[ret->n++];

                *c = checks[i];
                c->name = strdup(checks[i].name);
                c->output = strdup(checks[i].output ? checks[i].output : "");
        }
        return 0;
}

static uint64_t host_now(void *ctx)
{
        return ((Host *) ctx)->now;
}

static void host_sleep(void *ctx, uint64_t sec)
{
        ((Host *) ctx)->now += sec;
}

static int take(Host *h, HealthBaseline *ret)
{
        static char *units[] = { (char *) "kubelet.service", (char *) "gone.service", NULL };
        HealthHttp http = {
                .url = (char *) "http://h/", .required = true, .timeout_sec = 10, .retry_for_sec = 60
        };
        HealthConfig config = HEALTH_CONFIG_DEFAULT;
        HealthSource source = { host_units, host_http, host_checks, host_now, host_sleep, NULL, h };

        config.units = units;
        config.http = &http;
        config.n_http = 1;
        return health_baseline_take(&source, &config, 600, ret, NULL);
}

static const HealthRestarts *restarts(const HealthBaseline *b, const char *name)
{
        for (size_t i = 0; i < b->n_restarts; i++)
                if (streq(b->restarts[i].name, name))
                        return &b->restarts[i];
        return NULL;
}

static void test_take(void)
{
        _cleanup_(health_baseline_done) HealthBaseline b = { 0 };
        Host h = { .now = 1000 };

        assert(take(&h, &b) >= 0);
        assert(b.has_units && b.uptime_sec == 1005 && b.checks_sec == 1 && h.looks == 2);
        /* what was well again at the second look has not failed */
        assert(strv_len(b.failed) == 1 && streq(b.failed[0], "backup.service"));
        assert(b.n_restarts == 3 && restarts(&b, "kubelet.service")->count == 4);
        assert(!restarts(&b, "kubelet.service")->looping && restarts(&b, "loops.service")->looping &&
               restarts(&b, "waits.service")->looping);
        assert(health_seen(&b.units, "kubelet.service")->passed &&
               !health_seen(&b.units, "gone.service")->passed);
        assert(streq(health_seen(&b.units, "gone.service")->said, "there is no such unit"));
        assert(!health_seen(&b.units, HEALTH_AGENT)->passed); /* asked for without being named */
        assert(health_seen(&b.http, "http://h/")->passed &&
               streq(health_seen(&b.http, "http://h/")->said, "answered 200") && h.asked == 1);
        assert(health_seen(&b.checks, "required.d/10-good")->passed);
        assert(streq(health_seen(&b.checks, "required.d/20-bad")->said, "exit code 3: no"));
        /* one that was not asked is no excuse */
        assert(!health_seen(&b.checks, "required.d/30-late"));
}

/* One lost packet is no excuse; three are. */
static void test_endpoint(void)
{
        static const struct {
                unsigned good_after, asked;
                bool passed;
                const char *said;
        } cases[] = {
                { 2, 2, true, "answered 200" },
                { 3, 3, true, "answered 200" },
                { 4, 3, false, "did not answer (connection r?efused)" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(health_baseline_done) HealthBaseline b = { 0 };
                Host h = { .good_after = cases[i].good_after };

                assert(take(&h, &b) >= 0 && h.asked == cases[i].asked);
                assert(b.http.list[0].passed == cases[i].passed);
                assert(streq(b.http.list[0].said, cases[i].said));
        }
}

/* Nobody to ask is not the same as nothing failed; and nor are more failed units than anybody compares. */
static void test_unknown(void)
{
        _cleanup_(health_baseline_done) HealthBaseline b = { 0 }, c = { 0 };
        Host h = { .no_manager = true }, many = { .n_failed = HEALTH_LIST_MAX }, poor = { .no_memory = true };

        assert(take(&h, &b) >= 0 && !b.has_units && !b.failed && b.units.n == 0 && b.checks.n == 2);
        assert(take(&many, &c) >= 0 && !c.has_units && health_seen(&c.units, "kubelet.service"));
        assert(take(&poor, &(HealthBaseline){ 0 }) == -ENOMEM);
}

static void test_round_trip(void)
{
        _cleanup_(health_baseline_done) HealthBaseline b = { 0 }, again = { 0 };
        _cleanup_(json_unrefp) Json *j = NULL, *read = NULL, *twice = NULL;
        _cleanup_(free_charp) char *text = NULL, *text2 = NULL;
        Host h = { .now = 77 };

        assert(take(&h, &b) >= 0);
        b.update_id = strdup("id");
        b.taken_at = 1790000000;
        j = health_baseline_json(&b);
        text = json_format(j, true);
        assert(json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "baseline", WHY_HOST, &read, NULL) >= 0);
        assert(health_baseline_parse(read, &again, NULL) >= 0);
        twice = health_baseline_json(&again);
        text2 = json_format(twice, true);
        assert(streq(text, text2));
        assert(again.has_units && again.taken_at == 1790000000 && again.checks_sec == 1);
}

static void test_parse(void)
{
        static const struct {
                const char *text;
                bool good;
        } cases[] = {
                { "{\"updateId\":\"u\"}", true },
                { "{\"updateId\":\"u\",\"later\":[1],\"failedUnits\":[]}", true },
                { "{\"updateId\":\"u\",\"failedUnits\":null}", true },
                { "[]", false },
                { "{}", false }, /* of which update? */
                { "{\"updateId\":\"\"}", false },
                { "{\"updateId\":\"u\",\"takenAt\":\"yesterday\"}", false },
                { "{\"updateId\":\"u\",\"uptime\":-1}", false },
                { "{\"updateId\":\"u\",\"checksTook\":\"x\"}", false },
                { "{\"updateId\":\"u\",\"failedUnits\":{}}", false },
                { "{\"updateId\":\"u\",\"failedUnits\":[1]}", false },
                { "{\"updateId\":\"u\",\"failedUnits\":[\"\"]}", false },
                { "{\"updateId\":\"u\",\"restarts\":[\"x\"]}", false },
                { "{\"updateId\":\"u\",\"restarts\":[{\"name\":\"x\"}]}", false },
                { "{\"updateId\":\"u\",\"restarts\":[{\"name\":\"x\",\"count\":1,\"looping\":1}]}", false },
                { "{\"updateId\":\"u\",\"restarts\":[{\"name\":\"x\",\"count\":1}]}", true },
                { "{\"updateId\":\"u\",\"units\":[{\"name\":\"x\"}]}", false }, /* passed or not? */
                { "{\"updateId\":\"u\",\"units\":[{\"passed\":true}]}", false },
                { "{\"updateId\":\"u\",\"http\":[{\"name\":\"x\",\"passed\":true,\"said\":1}]}", false },
                { "{\"updateId\":\"u\",\"checks\":[{\"name\":\"x\",\"passed\":false,\"said\":\"y\"}]}",
                  true },
                { "{\"updateId\":\"u\",\"checks\":\"x\"}", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(health_baseline_done) HealthBaseline b = { 0 };
                _cleanup_(json_unrefp) Json *j = NULL;
                Why why = { 0 };

                assert(json_parse(cases[i].text, strlen(cases[i].text), 0, JSON_DEPTH_MAX, "test", WHY_HOST,
                                  &j, NULL) >= 0);
                if ((health_baseline_parse(j, &b, &why) >= 0) != cases[i].good)
                        (void) fprintf(stderr, "%s: %s\n", cases[i].text, why.text);
                assert(why.text[0] ? !cases[i].good : cases[i].good);
        }
}

int main(void)
{
        test_take();
        test_endpoint();
        test_unknown();
        test_round_trip();
        test_parse();
        return 0;
}
