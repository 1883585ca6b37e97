/* SPDX-License-Identifier: MIT */

/* What the health room may ask, lent to it: units by control/, answers by gybe-fetch, executables, the clock, and how things
 * were before the update. It judges; what follows from the verdict is update-settle.c's. */

#include "update.h"
#include "base/log.h"
#include "base/str.h"
#include "control/systemd.h"
#include "health/health.h"

#include <errno.h>
#include <time.h>

#define BASELINE_BUDGET_SEC (10u * 60) /* executables before the flip; who needs longer is not asked */
#define BODY_MAX            1024u      /* the status is the answer */
#define MARGIN_SEC          30u        /* from the verdict to the deadline: what it writes, or the reboot */
#define BOOT_SEC            60u        /* from the start of a boot to its judge, for the forecast only */

typedef struct Asker {
        Update *u;
        Fetch *fetch;
        char **env;          /* of the executables */
        int64_t boot_offset; /* from CLOCK_BOOTTIME to seconds after the host's boot */
} Asker;

/* --- the clock --- */

static int64_t boottime(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return ts.tv_sec;
}

/* A host made of files may say how long it is up; one that does not has just been started. */
static int64_t boot_offset(const Env *env)
{
        _cleanup_(free_charp) char *line = NULL;
        uint64_t uptime = 0;

        if (env_read_line(env, "/proc/uptime", &line) >= 0) {
                line[strcspn(line, ". ")] = 0;
                if (parse_u64(line, &uptime) < 0 || uptime > INT32_MAX)
                        uptime = 0;
        }
        return (int64_t) uptime - boottime();
}

static uint64_t ask_now(void *ctx)
{
        const Asker *a = ctx;
        int64_t t = boottime() + a->boot_offset;

        return t > 0 ? (uint64_t) t : 0;
}

static void ask_sleep(void *ctx _unused_, uint64_t sec)
{
        struct timespec left = { .tv_sec = (time_t) sec };

        while (nanosleep(&left, &left) < 0 && errno == EINTR)
                ;
}

/* --- the witnesses --- */

static int ask_units(void *ctx, HealthUnits *ret, Why *why)
{
        const Asker *a = ctx;

        return systemd_units(a->u->env, ret, why);
}

/* Asked directly and without our names: no proxy, no token, no client certificate. */
static int ask_http(void *ctx, const HealthHttp *endpoint, uint64_t timeout_sec, unsigned *ret_status,
                    Why *why)
{
        Asker *a = ctx;
        FetchOptions options = { .ca = a->u->host.config.http.ca, .proxy = (char *) "" };
        FetchHttp request = {
                .url = endpoint->url, .method = "GET", .timeout_sec = timeout_sec, .max = BODY_MAX
        };
        FetchHttpReply reply = { 0 };
        int r = a->fetch ? 0 : fetch_start(a->u->env, &options, &a->fetch, why);

        if (r >= 0)
                r = fetch_http(a->fetch, &request, &reply, why);
        if (r >= 0)
                *ret_status = reply.status;
        else if (why->kind == WHY_HOST) /* nothing else can be done with that process */
                a->fetch = fetch_stop(a->fetch);
        fetch_http_reply_done(&reply);
        return r;
}

static int ask_checks(void *ctx, uint64_t timeout_sec, uint64_t budget_sec, HealthChecks *ret, Why *why)
{
        const Asker *a = ctx;

        return health_run(a->u->env, a->env, timeout_sec, budget_sec, ret, why);
}

static void ask_progress(void *ctx, uint64_t done, uint64_t total)
{
        const UpdateOptions *o = &((const Asker *) ctx)->u->options;
        const UpdateProgress p = { .what = "watching", .done = done, .total = total };

        if (o->progress && total > 0)
                o->progress(o->ctx, &p);
}

static int program_env(const Update *u, char slot, const char *version, char ***ret)
{
        _cleanup_(strv_freep) char **env = NULL;
        const char *update_id = u->host.journal.update_id;
        _cleanup_(free_charp) char *s = str_printf("GYBE_SLOT=%c", slot),
                                   *v = str_printf("GYBE_VERSION=%s", version ? version : ""),
                                   *id = str_printf("GYBE_UPDATE_ID=%s", update_id ? update_id : "");
        int r;

        if (!s || !v || !id)
                return -ENOMEM;
        if ((r = strv_add(&env, s)) < 0 || (r = strv_add(&env, v)) < 0 || (r = strv_add(&env, id)) < 0)
                return r;
        *ret = TAKE(env);
        return 0;
}

static void asker_done(Asker *a)
{
        a->fetch = fetch_stop(a->fetch);
        strv_free(a->env);
}

/* trial: the slot on trial answers, else the one that runs. */
static int asker_open(Update *u, bool trial, Asker *ret, HealthSource *ret_source)
{
        char running = u->host.running.known ? *slot_name(u->host.running.slot) : '?';

        *ret = (Asker){ .u = u, .boot_offset = boot_offset(u->env) };
        *ret_source = (HealthSource){ .units = ask_units,
                                      .http = ask_http,
                                      .checks = ask_checks,
                                      .now = ask_now,
                                      .sleep = ask_sleep,
                                      .progress = ask_progress,
                                      .ctx = ret };
        return program_env(u, trial ? u->host.journal.slot : running,
                           trial ? u->host.journal.version : u->host.version, &ret->env);
}

/* --- how long --- */

/* A host made of files is watched only where its policy says how long. */
static uint64_t soak_sec(const Update *u)
{
        const Policy *p = &u->host.policy;

        return env_is_real(u->env) || p->from[POLICY_FIELD_SOAK] > 0 ? p->soak_sec : 0;
}

/* When the verdict has to be there, in seconds after the boot. */
static uint64_t verdict_due(uint64_t deadline)
{
        return deadline == 0 ? UINT64_MAX : deadline - MIN((uint64_t) MARGIN_SEC, deadline / 4);
}

/* --- before the flip --- */

static void say_before(Update *u, const char *kind, const HealthSeenList *list)
{
        for (size_t i = 0; i < list->n; i++)
                if (!list->list[i].passed && !streq(list->list[i].name, HEALTH_AGENT) &&
                    !str_starts(list->list[i].name, "wanted.d/"))
                        update_say(u, "%s %s fails already (%s) and will not count against the update", kind,
                                   list->list[i].name, list->list[i].said ? list->list[i].said : "unknown");
}

/* The watch is cut by the deadline then: better known before than after. */
static int warn_of_deadline(Update *u, const HealthBaseline *b)
{
        uint64_t deadline = u->host.policy.deadline_sec,
                 needs = health_needs_sec(&u->host.config.health, b, soak_sec(u));
        char need[DURATION_TEXT_SIZE], have[DURATION_TEXT_SIZE], soak[DURATION_TEXT_SIZE];
        _cleanup_(free_charp) char *text = NULL;

        if (deadline == 0 || needs == 0 || BOOT_SEC + needs <= verdict_due(deadline))
                return 0;
        format_duration(needs, need);
        format_duration(deadline, have);
        format_duration(soak_sec(u), soak);
        text = str_printf(
                "the health checks may take %s after the boot, with a soak of %s: the deadline of %s would "
                "cut them short",
                need, soak, have);
        return text ? strv_add(&u->missing, text) : -ENOMEM;
}

int update_take_baseline(Update *u, Why *why)
{
        _cleanup_(health_baseline_done) HealthBaseline b = { 0 };
        _cleanup_(json_unrefp) Json *document = NULL;
        HealthSource source;
        Asker asker;
        int r;

        if ((r = asker_open(u, false, &asker, &source)) >= 0)
                r = health_baseline_take(&source, &u->host.config.health, BASELINE_BUDGET_SEC, &b, why);
        asker_done(&asker);
        if (r < 0)
                return r;
        b.taken_at = env_now(u->env);
        b.update_id = u->host.journal.update_id ? strdup(u->host.journal.update_id) : NULL;
        if (u->host.journal.update_id && !b.update_id)
                return -ENOMEM;
        document = health_baseline_json(&b);
        if ((r = baseline_save(u->env, document, why)) < 0)
                return r;
        say_before(u, "unit", &b.units);
        say_before(u, "endpoint", &b.http);
        say_before(u, "check", &b.checks);
        return warn_of_deadline(u, &b);
}

/* --- after it --- */

/* 1 it is of this update; 0 nothing is known about before. */
static int load_baseline(Update *u, HealthBaseline *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *document = NULL;
        Why lost = { 0 };
        int r = baseline_load(u->env, &document, &lost, why);

        if (r > 0) {
                r = health_baseline_parse(document, ret, &lost);
                if (r == -ENOMEM)
                        return r;
                if (r >= 0 && streq0(ret->update_id, u->host.journal.update_id))
                        return 1;
                health_baseline_done(ret);
                r = 0;
        }
        if (r == 0)
                log_notice("health: %s; what failed before the update is not known",
                           lost.text[0] ? lost.text : "there is no baseline of this update");
        return r;
}

/* The sentence for people, and what did not decide but should be known. */
static int say_report(Update *u, const HealthReport *report)
{
        _cleanup_(free_charp) char *watched = health_report_watched(report);

        if (!watched)
                return -ENOMEM;
        update_say(u, "%s", watched);
        for (size_t i = 0; i < report->n_findings; i++)
                if (report->findings[i].weight != HEALTH_REGRESSION)
                        update_say(u, "%s", report->findings[i].text);
        return 0;
}

static int look(Update *u, const HealthBaseline *baseline, bool trial, bool once, HealthReport *ret, Why *why)
{
        uint64_t deadline = u->host.has_intent ? u->host.intent.deadline : u->host.policy.deadline_sec;
        HealthPlan plan = { .config = &u->host.config.health,
                            .baseline = baseline,
                            .soak_sec = once ? 0 : soak_sec(u),
                            .until = trial && !once ? verdict_due(deadline) : UINT64_MAX,
                            .has_manager = env_is_real(u->env),
                            .once = once };
        HealthSource source;
        Asker asker;
        int r = asker_open(u, trial, &asker, &source);

        if (r >= 0)
                r = health_watch(&source, &plan, ret, why);
        asker_done(&asker);
        /* Nothing is called healthy for want of a question; but a mistake in a file does not close the way home. */
        if (r >= 0 && u->host.config.health_lost)
                r = health_report_add(ret, u->host.journal.rollback ? HEALTH_UNKNOWN : HEALTH_REGRESSION,
                                      "gybe.json", "gybe.json: what it says about health is left out: %s",
                                      u->host.config_why.text);
        return r;
}

int update_watch(Update *u, HealthReport *ret, Why *why)
{
        _cleanup_(health_baseline_done) HealthBaseline b = { 0 };
        int r = load_baseline(u, &b, why);

        if (r >= 0)
                r = look(u, r > 0 ? &b : NULL, true, false, ret, why);
        return r < 0 ? r : say_report(u, ret);
}

int update_health(Update *u, Json **ret, Why *why)
{
        _cleanup_(health_report_done) HealthReport report = { 0 };
        _cleanup_(health_baseline_done) HealthBaseline b = { 0 };
        bool trial = u->host.journal.phase == PHASE_PROBATION;
        Json *document;
        int r = trial ? load_baseline(u, &b, why) : 0;

        if (r >= 0)
                r = look(u, r > 0 ? &b : NULL, trial, true, &report, why);
        if (r < 0)
                return r;
        document = health_report_json(&report);
        json_set_str(document, "schema", "gybe.health/1");
        json_set_time(document, "at", env_now(u->env));
        json_set_str(document, "running",
                     u->host.running.known ? slot_name(u->host.running.slot) : "unknown");
        json_set_bool(document, "onTrial", trial);
        *ret = document;
        return 0;
}
