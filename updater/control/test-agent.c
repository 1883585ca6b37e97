/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "control/agent-state.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define V1   "1111111111111111111111111111111111111111111111111111111111111111"
#define V2   "2222222222222222222222222222222222222222222222222222222222222222"
#define UKI  "4444444444444444444444444444444444444444444444444444444444444444"
#define HOUR UINT64_C(3600)

/* --- a host made of files, and jobs that are a function --- */

typedef enum Jobs {
        JOBS_END,    /* at once, with the result of answer() */
        JOBS_SILENT, /* started, and never heard of */
        JOBS_RUN,    /* a process that holds the lock until it is killed */
        JOBS_FAIL_TO_START,
} Jobs;

static struct World {
        Env env;
        uint64_t now;
        Jobs jobs;
        int runs;            /* what the runner says of a silent one */
        bool ends_meanwhile; /* it ends while the runner is asked */
        unsigned started[_ACTION_MAX], n_started, told;
        char last_id[JOB_ID_SIZE], last_verb[16], told_id[JOB_ID_SIZE];
        int told_exit;
        pid_t process;
        bool has_source, newer;
        int check_exit;
        unsigned changes;
        uint64_t status_mtime;
} w;

static uint64_t now(void *ctx _unused_)
{
        return w.now;
}

static int load_settings(void *ctx _unused_, AgentSettings *ret)
{
        ret->has_source = w.has_source;
        ret->interval = HOUR;
        return 0;
}

static void put(const char *dir, const char *name, const char *text)
{
        _cleanup_(close_fdp) int fd = env_make_dir(&w.env, dir, 0755);

        assert(fd >= 0 && file_replace(fd, name, text, strlen(text), 0644) >= 0);
}

static bool there(const char *path)
{
        FileId id = agent_file_id(&w.env, path);

        return id.exists;
}

static void put_status(void)
{
        put("/run/gybe", "status.json",
            "{\"schema\":\"gybe.status/"
            "1\",\"product\":\"p\",\"running\":\"a\",\"version\":\"3.0.1\",\"slots\":{"
            "\"a\":{\"state\":\"running\",\"running\":true,\"version\":\"3.0.1\",\"serial\":1,\"roothash\":"
            "\"" V1 "\"},\"b\":{\"state\":\"empty\"}},\"problems\":[]}");
}

static void put_journal(Phase phase, Reason reason)
{
        Journal j = { .phase = phase, .reason = reason, .serial = 2, .slot = 'b' };

        j.update_id = strdup("0b2f6f0e-7f5e-4c2a-9a51-1d5d2f3c4b5a");
        j.version = strdup("3.0.2");
        j.entry = strdup("vmlinuz-100-azlb0.efi");
        (void) strcpy(j.roothash, V2);
        (void) strcpy(j.uki_sha256, UKI);
        assert(journal_save(&w.env, &j, NULL) >= 0);
        journal_done(&j);
}

/* The job asked, and nothing came of it; what it tells when that is not for the first time is told by its own tests. */
static void put_asked(void)
{
        Journal j = { 0 };
        bool lost;

        assert(journal_load(&w.env, &j, &lost, NULL) >= 0);
        j.reboot_told = j.reboot_asks >= REBOOT_ASKS_NEVER;
        assert(reboot_asked(&j, w.now, NULL) >= 0 && journal_save(&w.env, &j, NULL) >= 0);
        journal_done(&j);
}

/* What the job did to the host, and what it says. */
static Json *answer(const char *verb, int *ret_exit)
{
        Json *j = json_new_object();

        *ret_exit = 0;
        if (streq(verb, "check")) {
                *ret_exit = w.check_exit ? w.check_exit : w.newer ? 0 : 10;
                if (*ret_exit != 0) {
                        Json *e = json_new_object();

                        json_set_str(e, "kind",
                                     *ret_exit == 10  ? "nothing"
                                     : *ret_exit == 4 ? "trust"
                                                      : "network");
                        json_set_str(e, "message", "not this time");
                        json_set(j, "error", e);
                } else {
                        Json *o = json_new_object();

                        json_set_str(o, "version", "3.0.2");
                        json_set_u64(o, "serial", 2);
                        json_set_str(o, "roothash", V2);
                        json_set_str(o, "ukiSha256", UKI);
                        json_set(j, "offer", o);
                }
        } else if (streq(verb, "stage"))
                put_journal(PHASE_STAGED, REASON_NONE);
        else if (streq(verb, "finalize"))
                put_journal(PHASE_FINALIZED, REASON_NONE);
        else if (streq(verb, "reboot"))
                put_asked();
        return j;
}

static pid_t hold_lock(void)
{
        int ready[2];
        pid_t pid;
        char c;

        assert(pipe2(ready, O_CLOEXEC) >= 0);
        pid = fork();
        assert(pid >= 0);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
                assert(state_lock(&w.env, NULL) >= 0);
                assert(write(ready[1], "x", 1) == 1);
                for (;;)
                        (void) pause();
        }
        assert(read(ready[0], &c, 1) == 1);
        (void) close(ready[0]);
        (void) close(ready[1]);
        return pid;
}

static void kill_process(void)
{
        int status;

        assert(kill(w.process, SIGKILL) >= 0 && waitpid(w.process, &status, 0) == w.process);
        w.process = 0;
}

static void end_job(const char *id, const char *verb)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        int code;

        j = answer(verb, &code);
        put_status();
        assert(job_result_save(&w.env, id, j, code) >= 0);
}

static int start(void *ctx _unused_, const char *id, uint64_t *ret_pid _unused_, Why *why)
{
        _cleanup_(job_done) Job job = { 0 };
        JobProgress p = { .what = "starting", .at = w.now };

        if (w.jobs == JOBS_FAIL_TO_START)
                return fail(why, -EIO, WHY_HOST, "no", "no such unit");
        assert(job_load(&w.env, id, &job, NULL) >= 0);
        w.n_started++;
        if ((int) action_from_name(job.order.verb) >= 0)
                w.started[action_from_name(job.order.verb)]++;
        (void) snprintf(w.last_id, sizeof(w.last_id), "%s", id);
        (void) snprintf(w.last_verb, sizeof(w.last_verb), "%s", job.order.verb);
        if (w.jobs == JOBS_SILENT)
                return 0;
        if (w.jobs == JOBS_RUN) {
                w.process = hold_lock();
                p.pid = (uint64_t) w.process;
                assert(job_claim(&w.env, id, &p) >= 0);
                assert(job_claim(&w.env, id, &p) == -EEXIST);
                return 0;
        }
        p.pid = (uint64_t) getpid();
        assert(job_claim(&w.env, id, &p) >= 0);
        end_job(id, job.order.verb);
        return 0;
}

static int runs(void *ctx _unused_, const char *id)
{
        if (w.ends_meanwhile)
                end_job(id, w.last_verb);
        return w.runs;
}

static void on_changed(void *ctx _unused_, unsigned bits)
{
        w.changes |= bits;
}

static void on_ended(void *ctx _unused_, const char *id, const char *verb _unused_, int code,
                     const Json *result)
{
        assert(result);
        w.told++;
        w.told_exit = code;
        (void) snprintf(w.told_id, sizeof(w.told_id), "%s", id);
}

static Agent *new_agent(void)
{
        AgentOptions o = { .env = &w.env,
                           .runner = { .start = start, .runs = runs },
                           .load_settings = load_settings,
                           .changed = on_changed,
                           .job_ended = on_ended };
        Agent *a = NULL;

        assert(agent_open(&o, &a, NULL) >= 0);
        return a;
}

/* One step; the time of the next. */
static uint64_t step(Agent *a)
{
        uint64_t wake = 0;
        Why why = { 0 };
        int r = agent_step(a, w.now, &wake, &why);

        if (r < 0)
                (void) fprintf(stderr, "%s\n", why.text);
        assert(r >= 0);
        return wake;
}

/* Until nothing is due any more: what the files' watchers would do. */
static uint64_t settle(Agent *a)
{
        uint64_t wake = 0;

        for (unsigned i = 0; i < 20; i++) {
                unsigned before = w.n_started;

                wake = step(a);
                if (w.n_started == before)
                        return wake;
        }
        assert(false);
        return wake;
}

static char dir[32];

static void new_world(const char *policy)
{
        env_done(&w.env);
        w = (struct World){ .now = 1800000000, .has_source = true, .runs = 0 };
        (void) strcpy(dir, "/tmp/gybe-test-agent-XXXXXX");
        assert(mkdtemp(dir));
        assert(env_open(dir, &w.env, NULL) >= 0);
        w.env.now = now;
        put("/etc", "machine-id", "0123456789abcdef0123456789abcdef\n");
        put("/etc/gybe/policy.d", "10-test.json", policy);
}

static void end_world(void)
{
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");

        env_done(&w.env);
        assert(dir_remove(tmp, dir + strlen("/tmp/")) >= 0);
}

/* --- a day --- */

/* Nobody wakes the agent but the times it named and the ends of its own jobs. */
static void test_idle_day(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        unsigned wakes = 0;
        uint64_t wake, end;

        new_world("{\"automation\":\"full\"}");
        a = new_agent();
        wake = settle(a);
        assert(w.started[ACTION_LOOK] == 1);
        end = w.now + 24 * HOUR;
        while (wake < end) {
                assert(wake > w.now);
                w.now = wake;
                wakes++;
                wake = settle(a);
        }
        printf("24 hours idle: %u times woken, %u checks\n", wakes, w.started[ACTION_CHECK]);
        assert(w.started[ACTION_CHECK] == wakes); /* nothing but what was due */
        assert(wakes == 24 || wakes == 25);
        assert(w.n_started == 1 + wakes);
        end_world();
}

/* With nothing to ask there is nothing to wake up for. */
static void test_no_source(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;

        new_world("{}");
        w.has_source = false;
        a = new_agent();
        assert(settle(a) == UINT64_MAX);
        assert(w.n_started == 1 && w.started[ACTION_LOOK] == 1);
        assert(streq(agent_properties(a)->next_action, "none") && agent_properties(a)->next_at == UINT64_MAX);
        end_world();
}

/* A held host with an offer sleeps until its next check, and until the hold ends. */
static void test_hold_has_an_end(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        char policy[128], until[TIME_TEXT_SIZE];
        uint64_t wake;

        new_world("{}");
        format_time(w.now + 10 * HOUR, until);
        (void) snprintf(policy, sizeof(policy), "{\"automation\":\"stage\",\"hold\":{\"until\":\"%s\"}}",
                        until);
        put("/etc/gybe/policy.d", "10-test.json", policy);
        w.newer = true;
        a = new_agent();
        for (wake = settle(a); wake < w.now + 30 * HOUR && w.started[ACTION_STAGE] == 0; wake = settle(a)) {
                assert(streq(agent_properties(a)->next_action, w.started[ACTION_CHECK] ? "stage" : "check"));
                w.now = wake;
        }
        assert(w.now == 1800000000 + 10 * HOUR && w.started[ACTION_STAGE] == 1);
        assert(w.started[ACTION_FINALIZE] == 0); /* automation "stage" */
        end_world();
}

/* --- the walk --- */

static void test_walk(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        _cleanup_(json_unrefp) Json *status = NULL;
        uint64_t wake;

        new_world("{\"automation\":\"full\"}");
        w.newer = true;
        a = new_agent();
        wake = settle(a);
        w.now = wake; /* the first check */
        wake = settle(a);
        assert(w.started[ACTION_CHECK] == 1 && w.started[ACTION_STAGE] == 1 &&
               w.started[ACTION_FINALIZE] == 1 && w.started[ACTION_REBOOT] == 1);
        assert(streq(agent_properties(a)->phase, "finalized"));
        /* It never comes: again and again, then it is said. */
        for (unsigned i = 0; i < 5; i++) {
                assert(w.started[ACTION_REBOOT] == i + 1 && wake == w.now + (UINT64_C(900) << i));
                w.now = wake;
                wake = settle(a);
        }
        assert(w.started[ACTION_REBOOT] == 6);
        status = agent_status_json(a);
        assert(streq0(json_get_str(json_at(json_get(status, "problems"), 0), "code"), "reboot-missing"));
        assert(wake == w.now + 6 * HOUR);
        assert(w.changes & AGENT_CHANGED_STATUS && w.changes & AGENT_CHANGED_JOB &&
               w.changes & AGENT_CHANGED_NEXT);
        end_world();
}

/* A job that says it staged and did not must not be run as fast as this machine can. */
static void test_no_tight_loop(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        unsigned before;
        uint64_t wake;

        new_world("{\"automation\":\"full\"}");
        a = new_agent();
        put_journal(PHASE_STAGED, REASON_NONE);
        wake = settle(a);
        put_journal(PHASE_STAGED, REASON_NONE); /* finalize did nothing */
        put_status();
        before = w.n_started;
        for (unsigned i = 0; i < 3; i++)
                wake = step(a);
        assert(w.n_started == before && wake >= w.now + 10);
        end_world();
}

/* --- restarts and kills --- */

static void test_found_again(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        JobOrder order = { .verb = "stage",
                           .release = "/x.cosi",
                           .by = { .uid = 7, .name = "ada", .how = "dbus" } };
        char id[JOB_ID_SIZE], second[JOB_ID_SIZE];
        uint64_t wake;

        new_world("{}");
        put_status();
        /* 1. killed between writing the request and starting it */
        a = new_agent();
        assert(agent_request(a, &order, id, NULL) >= 0);
        a = agent_free(a);
        w.jobs = JOBS_RUN;
        a = new_agent();
        assert(step(a) == w.now + 5); /* for its first word */
        assert(w.n_started == 1 && streq(w.last_id, id) && w.process > 0);
        assert(step(a) == UINT64_MAX); /* its end is waited for, nothing else */
        assert(streq(agent_properties(a)->job_id, id) && agent_watched_pid(a) == (uint64_t) w.process);
        /* 2. killed while it runs: the job goes on and is not started twice; another request waits */
        a = agent_free(a);
        w.now += 3 * HOUR;
        a = new_agent();
        assert(agent_request(a, &order, second, NULL) >= 0);
        assert(step(a) == UINT64_MAX && w.n_started == 1);
        assert(streq(agent_properties(a)->job_id, id) && w.told == 0);
        /* 3. it ended while no agent was there */
        a = agent_free(a);
        end_job(id, "stage");
        kill_process();
        w.jobs = JOBS_END;
        a = new_agent();
        wake = step(a);
        assert(w.told == 1 && streq(w.told_id, id) && w.told_exit == 0);
        assert(w.n_started == 2 && streq(w.last_id, second));
        wake = settle(a);
        assert(w.told == 2 && streq(w.told_id, second));
        /* 4. taken in once */
        a = agent_free(a);
        a = new_agent();
        (void) step(a);
        assert(w.told == 2);
        /* 5. killed between remembering that it took the result in and removing the request */
        assert(job_submit(&w.env, &order, second, NULL) >= 0);
        end_job(second, "stage");
        {
                _cleanup_(free_charp) char *evicted = NULL;
                assert(memory_add_ended(&a->memory, second, &evicted) >= 0);
        }
        (void) step(a);
        assert(w.told == 2 && job_parse("", 0, &(Job){ 0 }, NULL) < 0);
        assert(wake > w.now);
        end_world();
}

static void test_killed_job(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        _cleanup_(json_unrefp) Json *result = NULL;
        char id[JOB_ID_SIZE];
        uint64_t wake;
        int code;

        new_world("{\"automation\":\"full\"}");
        put_status();
        w.newer = true;
        a = new_agent();
        wake = settle(a);
        w.now = wake;
        w.jobs = JOBS_RUN;
        assert(step(a) == w.now + 5 && streq(w.last_verb, "check"));
        assert(step(a) == UINT64_MAX);
        (void) strcpy(id, w.last_id);
        kill_process();
        agent_process_ended(a, agent_watched_pid(a));
        wake = step(a);
        /* It has a result now, for whoever waits for it, and is tried again soon. */
        assert(w.told == 1 && w.told_exit == 1 && streq(w.told_id, id));
        assert(job_result_load(&w.env, id, &result, &code) == 1 && code == 1);
        assert(streq0(json_get_str(json_get(result, "error"), "code"), "job-killed"));
        assert(wake == w.now + 5 || wake == w.now + 6);
        assert(agent_properties(a)->last_error && strstr(agent_properties(a)->last_error, "killed"));
        /* each time later */
        for (unsigned i = 1; i < 4; i++) {
                w.now = wake;
                (void) step(a);
                (void) step(a);
                kill_process();
                wake = step(a);
                assert(wake >= w.now + (5u << i) && wake <= w.now + (7u << i));
        }
        /* a reload is a new beginning */
        assert(agent_reload(a, NULL) >= 0);
        w.jobs = JOBS_END;
        assert(settle(a) != UINT64_MAX);
        assert(streq0(agent_properties(a)->offered_version, "3.0.2"));
        end_world();
}

static void test_silent_job(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        uint64_t wake;

        new_world("{}");
        w.jobs = JOBS_SILENT;
        w.runs = 1; /* the unit is starting */
        a = new_agent();
        wake = step(a);
        assert(w.n_started == 1 && wake == w.now + 5);
        for (unsigned i = 0; i < 5; i++) {
                w.now = wake;
                wake = step(a);
                assert(w.n_started == 1 && w.told == 0 && wake == w.now + 5);
        }
        w.runs = 0; /* it failed before its first word */
        w.now = wake;
        wake = step(a);
        assert(w.told == 1 && w.told_exit == 1 && wake <= w.now + 7);
        end_world();

        /* its first word, its last and its end fall between two looks: what it said is taken in, and stays */
        new_world("{}");
        w.jobs = JOBS_SILENT;
        a = agent_free(a);
        a = new_agent();
        wake = step(a);
        w.ends_meanwhile = true;
        w.now = wake;
        (void) step(a);
        assert(w.told == 1 && w.told_exit == 0);
        end_world();

        new_world("{}");
        w.jobs = JOBS_FAIL_TO_START;
        a = agent_free(a);
        a = new_agent();
        wake = step(a);
        assert(w.told == 1 && w.told_exit == 1);
        assert(wake >= w.now + 5 * 60 && wake < w.now + 10 * 60); /* an admin must look */
        end_world();
}

/* Somebody runs gybe by hand, as root, without asking the agent. */
static void test_stranger(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        const JobOrder order = { .verb = "stage", .by = { .how = "dbus" } };
        char id[JOB_ID_SIZE];
        Why why = { 0 };
        unsigned looks;

        new_world("{\"automation\":\"full\"}");
        put_status();
        a = new_agent();
        w.process = hold_lock();
        /* An order would wait for nobody knows how long: it is told instead. */
        assert(agent_request(a, &order, id, &why) == -EBUSY && why.kind == WHY_BUSY);
        w.now += 10 * HOUR; /* a check is due, and waits */
        assert(step(a) == UINT64_MAX && w.n_started == 0);
        assert(agent_watched_pid(a) == (uint64_t) w.process);
        put_journal(PHASE_STAGED, REASON_NONE);
        kill_process();
        agent_process_ended(a, agent_watched_pid(a));
        looks = w.started[ACTION_LOOK];
        (void) settle(a);
        assert(w.started[ACTION_LOOK] == looks + 1); /* what it did is looked at before anything is decided */
        assert(w.started[ACTION_FINALIZE] == 1);
        end_world();
}

/* The boot's verdict runs beside us, and its result is told like any other. */
static void test_boot(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        _cleanup_(json_unrefp) Json *result = json_new_object();
        JobProgress p = { .what = "soaking" };

        new_world("{\"automation\":\"full\"}");
        put_journal(PHASE_PROBATION, REASON_NONE);
        put_status();
        w.process = hold_lock();
        p.pid = (uint64_t) w.process;
        p.at = w.now;
        assert(job_progress_save(&w.env, JOB_BOOT_ID, &p) >= 0);
        a = new_agent();
        w.now += 2 * HOUR;
        assert(step(a) == UINT64_MAX && w.n_started == 0);
        assert(streq(agent_properties(a)->job_verb, "commit") &&
               streq(agent_properties(a)->next_action, "commit"));
        put_journal(PHASE_IDLE, REASON_TARGET_BOOTED);
        put_status();
        assert(job_result_save(&w.env, JOB_BOOT_ID, result, 0) >= 0);
        kill_process();
        agent_process_ended(a, agent_watched_pid(a));
        (void) settle(a);
        assert(w.told >= 1 && !agent_properties(a)->job_verb);
        assert(streq(agent_properties(a)->phase, "idle") &&
               streq(agent_properties(a)->reason, "target-booted"));
        assert(there("/run/gybe/jobs/boot.result.json")); /* it is systemd's unit, not our request */
        w.told = 0;
        (void) step(a);
        assert(w.told == 0);
        end_world();
}

static void test_trial_that_was_given_up(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;

        new_world("{\"automation\":\"check\",\"hold\":{}}"); /* the way back asks no rule */
        put_journal(PHASE_PROBATION, REASON_HEALTH_FALLBACK);
        put_status();
        a = new_agent();
        (void) settle(a);
        assert(w.started[ACTION_REBOOT] == 1 && w.n_started == 1);
        end_world();
}

/* --- rules --- */

static void test_quarantine_and_clearing(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        uint64_t wake;

        new_world("{\"automation\":\"stage\"}");
        put_status();
        w.newer = true;
        assert(quarantine_add(&w.env, V2, UKI, "3.0.2", REASON_HEALTH_FALLBACK, "kubelet did not start",
                              NULL) >= 0);
        a = new_agent();
        w.now = settle(a);
        wake = settle(a);
        assert(w.started[ACTION_CHECK] == 1 && w.started[ACTION_STAGE] == 0 && wake > w.now + HOUR / 2);
        assert(streq0(agent_properties(a)->next_rule, "quarantine"));
        assert(quarantine_clear(&w.env, NULL, NULL) == 1);
        (void) settle(a);
        assert(w.started[ACTION_STAGE] == 1);
        end_world();
}

static void test_too_many_wait(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        JobOrder order = { .verb = "look", .by = { .how = "dbus" } }, bad = { .verb = "dance" };
        char id[JOB_ID_SIZE];
        Why why = { 0 };
        unsigned n = 0;

        new_world("{}");
        w.jobs = JOBS_RUN;
        a = new_agent();
        (void) step(a); /* a look */
        while (agent_request(a, &order, id, &why) >= 0)
                n++;
        assert(n >= 8 && n < 20 && why.kind == WHY_BUSY);
        assert(agent_request(a, &bad, id, NULL) == -EINVAL);
        w.jobs = JOBS_END;
        kill_process();
        w.has_source = false;
        assert(agent_reload(a, NULL) >= 0);
        (void) settle(a);
        assert(w.told == n + 1 && w.n_started == n + 1);
        end_world();
}

/* A clock that jumps neither starts everything nor stops it. */
static void test_clock(void)
{
        _cleanup_(agent_freep) Agent *a = NULL;
        uint64_t wake;

        new_world("{\"automation\":\"full\"}");
        put_status();
        a = new_agent();
        w.now = settle(a);
        wake = settle(a);
        assert(w.started[ACTION_CHECK] == 1);
        w.now -= 300 * 24 * HOUR;
        wake = settle(a);
        assert(wake > w.now && wake <= w.now + 2 * HOUR && w.started[ACTION_CHECK] == 1);
        w.now += 600 * 24 * HOUR;
        wake = settle(a);
        assert(wake > w.now && wake <= w.now + 2 * HOUR && w.started[ACTION_CHECK] == 2);
        end_world();
}

/* Nothing that lies in /run or /var keeps the agent from working. */
static void test_rubbish(void)
{
        static const char *const rubbish[] = { "", "{", "[]",
                                               ("{\"schema\":\"gybe.agent/1\",\"ended\":[7,{}],\"retries\":"
                                                "{\"check\":7,\"dance\":{}},\"offer\":\"x\"}") };

        for (size_t i = 0; i < ELEMENTSOF(rubbish); i++) {
                _cleanup_(agent_freep) Agent *a = NULL;

                new_world("{\"automation\":\"full\"}");
                put("/var/lib/gybe", "agent.json", rubbish[i]);
                put("/var/lib/gybe", "journal.json", rubbish[i]);
                put("/run/gybe", "status.json", rubbish[i]);
                put("/run/gybe/jobs", "a.json", rubbish[i]);
                put("/run/gybe/jobs", "a.progress.json", rubbish[i]);
                put("/run/gybe/jobs", "boot.result.json", rubbish[i]);
                put("/run/gybe/jobs", "boot.progress.json", rubbish[i]);
                a = new_agent();
                w.now = settle(a);
                (void) settle(a);
                assert(w.started[ACTION_LOOK] >= 1 && w.started[ACTION_CHECK] == 1);
                assert(!there("/run/gybe/jobs/a.json"));
                end_world();
        }
}

static void test_memory_survives(void)
{
        _cleanup_(memory_done) Memory m = { .last_check = 1800000000, .n_spoiled = 2 }, n = { 0 };

        new_world("{}");
        m.offer.version = strdup("3.0.2");
        m.offer.serial = 2;
        m.offer.issued = 1799990000;
        (void) strcpy(m.offer.roothash, V2);
        (void) strcpy(m.offer.uki_sha256, UKI);
        (void) strcpy(m.refused, V1);
        (void) strcpy(m.refused_code, "root-hash");
        (void) strcpy(m.refused_text, "it is not what was signed");
        (void) strcpy(m.spoiled, V2);
        m.retry[ACTION_STAGE] = (Retry){ RETRY_NETWORK, 3, 1800000001, "no route" };
        for (unsigned i = 0; i < MEMORY_ENDED_MAX + 3; i++) {
                _cleanup_(free_charp) char *evicted = NULL;
                char id[16];

                (void) snprintf(id, sizeof(id), "job-%u", i);
                assert(memory_add_ended(&m, id, &evicted) >= 0);
                assert(!evicted == (i < MEMORY_ENDED_MAX));
        }
        assert(memory_save(&w.env, &m, NULL) >= 0 && memory_load(&w.env, &n) >= 0);
        assert(n.last_check == m.last_check && streq(n.offer.version, "3.0.2") && n.offer.serial == 2 &&
               n.offer.issued == m.offer.issued && streq(n.offer.roothash, V2) &&
               streq(n.offer.uki_sha256, UKI));
        assert(streq(n.refused, V1) && streq(n.refused_code, "root-hash") &&
               streq(n.refused_text, m.refused_text));
        assert(streq(n.spoiled, V2) && n.n_spoiled == 2);
        assert(n.retry[ACTION_STAGE].kind == RETRY_NETWORK && n.retry[ACTION_STAGE].failures == 3 &&
               n.retry[ACTION_STAGE].last == 1800000001 && streq(n.retry[ACTION_STAGE].text, "no route"));
        assert(strv_len(n.ended) == MEMORY_ENDED_MAX && streq(n.ended[0], "job-3"));
        end_world();
}

int main(void)
{
        log_quiet(true);
        test_idle_day();
        test_no_source();
        test_hold_has_an_end();
        test_walk();
        test_no_tight_loop();
        test_found_again();
        test_killed_job();
        test_silent_job();
        test_stranger();
        test_boot();
        test_trial_that_was_given_up();
        test_quarantine_and_clearing();
        test_too_many_wait();
        test_clock();
        test_rubbish();
        test_memory_survives();
        return 0;
}
