/* SPDX-License-Identifier: MIT */

/* The agent and its jobs. Everything it needs to know of them lies in files, so that another agent, started after this one was
 * killed at any instruction, finds the same: a request without progress was never begun, one with progress runs as long as its
 * process does, a result is taken in once (memory.ended) and then its request goes away.
 *
 * A result is kept for a while for whoever comes late; the process of a job is waited for by its end, not by looking. */

#include "control/agent-state.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#define PENDING_MAX 8u /* people who wait for one job; more of them are a script gone wrong */
#define SILENCE_SEC 5u /* from being started to its first word, before anybody asks where it is */
#define LOCKLESS_SEC                                                                                         \
        600u /* a job waits for the lock, the boot's verdict up to five minutes; without it, it is no job */

bool agent_busy(const Agent *a)
{
        return a->running.id[0] || a->locked;
}

/* --- results --- */

static int remember_ended(Agent *a, const char *id, const char *verb, int code, Json *result)
{
        AgentEnded *list = reallocarray(a->ended, a->n_ended + 1, sizeof(*list));
        char *copy = strdup(verb);

        if (list)
                a->ended = list;
        if (!list || !copy) {
                free(copy);
                return -ENOMEM;
        }
        list[a->n_ended] = (AgentEnded){ .verb = copy, .exit_code = code, .result = json_ref(result) };
        (void) snprintf(list[a->n_ended].id, sizeof(list[0].id), "%s", id);
        a->n_ended++;
        return 0;
}

void agent_tell_ended(Agent *a)
{
        for (size_t i = 0; i < a->n_ended; i++) {
                AgentEnded *e = &a->ended[i];

                if (a->o.job_ended)
                        a->o.job_ended(a->o.ctx, e->id, e->verb, e->exit_code, e->result);
                free(e->verb);
                json_unref(e->result);
        }
        free(a->ended);
        a->ended = NULL;
        a->n_ended = 0;
}

/* The boot's job has one name in every boot, and may be run more than once: its results differ by their time. */
static char *ended_key(const char *id, const Json *result)
{
        const char *at = json_get_str(result, "endedAt");

        return streq(id, JOB_BOOT_ID) ? str_printf("%s@%s", id, at ? at : "") : strdup(id);
}

static int forget_request(Agent *a, const char *id)
{
        return streq(id, JOB_BOOT_ID) ? 0 : job_remove_request(a->env, id);
}

static void note_error(Agent *a, const MemoryEvent *e)
{
        const char *text = memory_complaint(e->result);

        if (e->exit_code == 0 || e->exit_code == 10)
                a->last_error[0] = 0;
        else if (text && str_starts(text, e->verb))
                (void) snprintf(a->last_error, sizeof(a->last_error), "%.200s", text);
        else
                (void) snprintf(a->last_error, sizeof(a->last_error), "%s: %.200s", e->verb,
                                text ? text : "failed");
}

static int take_in(Agent *a, const char *id, const JobOrder *order, Json *result, int code, bool vanished)
{
        _cleanup_(free_charp) char *key = ended_key(id, result), *roothash = NULL, *evicted = NULL;
        bool own = streq0(order->by.how, "agent");
        MemoryEvent e = { .verb = order->verb,
                          .unattended = own,
                          .of_source = !order->release && !order->omaha_url && (!order->version || own),
                          .vanished = vanished,
                          .exit_code = code,
                          .result = result };
        Why why = { 0 };
        int r;

        if (!key)
                return -ENOMEM;
        if (a->journal.roothash[0] && !(roothash = strdup(a->journal.roothash)))
                return -ENOMEM;
        e.roothash = roothash;
        agent_read_status(a);
        a->seen_journal = a->journal_id;
        e.update_id = a->journal.update_id;
        note_error(a, &e);
        if ((r = memory_note(&a->memory, &e, a->now)) < 0 ||
            (r = memory_add_ended(&a->memory, key, &evicted)) < 0 ||
            (r = remember_ended(a, id, order->verb, code, result)) < 0)
                return r;
        /* Written before the request goes: killed between the two, the next agent only tidies up. */
        if (memory_save(a->env, &a->memory, &why) < 0)
                log_warning("%s", why.text);
        a->changes |= AGENT_CHANGED_JOB | AGENT_CHANGED_STATUS;
        if (evicted && !str_starts(evicted, JOB_BOOT_ID "@"))
                (void) job_remove(a->env, evicted);
        return forget_request(a, id);
}

/* 1 there is a result, and it is taken in (now or before); 0 not yet. */
static int collect_result(Agent *a, const char *id, const JobOrder *order)
{
        _cleanup_(json_unrefp) Json *result = NULL;
        _cleanup_(free_charp) char *key = NULL;
        int code, r;

        r = job_result_load(a->env, id, &result, &code);
        if (r <= 0)
                return r == -ENOMEM
                               ? r
                               : 0; /* what cannot be read is no result; its job is gone or will write it again */
        key = ended_key(id, result);
        if (!key)
                return -ENOMEM;
        if (strv_has(a->memory.ended, key))
                r = forget_request(a, id);
        else
                r = take_in(a, id, order, result, code, false);
        return r < 0 ? r : 1;
}

static Json *obituary(const char *verb, const char *code, const char *text)
{
        Json *j = json_new_object(), *e = json_new_object();
        _cleanup_(free_charp) char *message = str_printf("%s: %s", verb, text);

        json_set_str(e, "kind", why_kind_name(WHY_HOST));
        json_set_str(e, "code", code);
        json_set_str(e, "message", message);
        json_set_str(e, "hint", "nothing is lost; it goes on from where it was");
        json_set(j, "error", e);
        return j;
}

/* Nobody will write this result any more; who waits for it gets one. */
static int bury(Agent *a, const char *id, const JobOrder *order, const char *code, const char *text,
                bool vanished)
{
        _cleanup_(json_unrefp) Json *result = obituary(order->verb, code, text);
        int r = job_result_save(a->env, id, result, 1);

        if (r == -ENOMEM)
                return r;
        if (r < 0)
                log_warning("job %s: its result cannot be written: %s", id, strerror(-r));
        return take_in(a, id, order, result, 1, vanished);
}

/* --- what runs --- */

static bool process_lives(const Agent *a, const char *id, uint64_t pid)
{
        if (pid == a->dead_pid && streq(id, a->dead_id))
                return false;
        return pid > 1 && pid <= INT32_MAX && (kill((pid_t) pid, 0) >= 0 || errno == EPERM);
}

static int set_running(Agent *a, const char *id, const char *verb, const JobProgress *p,
                       uint64_t silent_since)
{
        AgentRunning *run = &a->running;
        char *copy = strdup(verb);

        if (!copy)
                return -ENOMEM;
        if (!streq(run->id, id))
                a->changes |= AGENT_CHANGED_JOB;
        free(run->verb);
        *run = (AgentRunning){ .verb = copy, .silent_since = silent_since };
        (void) snprintf(run->id, sizeof(run->id), "%s", id);
        if (p)
                run->progress = *p;
        return 0;
}

static void clear_running(Agent *a)
{
        free(a->running.verb);
        a->running = (AgentRunning){ 0 };
}

/* It has begun. 1 it runs, 0 it does not. A process id alone is not believed for ever: after a restart of the agent it may be
 * somebody else's by now. */
static int begun_runs(const Agent *a, const char *id, const JobProgress *p, uint64_t lock_pid)
{
        if (!process_lives(a, id, p->pid))
                return 0;
        return lock_pid == p->pid || a->now < p->at + LOCKLESS_SEC;
}

/* It was asked for and has not said a word. 1 it comes, 0 it was never started, -ESRCH it was and died. */
static int silent_runs(Agent *a, const char *id, const AgentRunning *before)
{
        bool ours = streq(before->id, id);
        int r;

        if (ours && before->pid > 0)
                return process_lives(a, id, before->pid) ? 1 : -ESRCH;
        r = a->o.runner.runs(a->o.runner.ctx, id);
        if (!ours)
                return r > 0;
        if (r == 0 && a->now >= before->silent_since + 1)
                return -ESRCH;
        if (r < 0 && a->now >= before->silent_since + LOCKLESS_SEC)
                return -ESRCH;
        return 1;
}

typedef struct Collect {
        AgentRunning before;
        uint64_t lock_pid;
        bool held;
} Collect;

static int collect_one(Agent *a, const Collect *c, const char *id, const JobOrder *order)
{
        JobProgress p = { 0 };
        int r, alive;
        bool ours;

        r = collect_result(a, id, order);
        if (r != 0)
                return r < 0 ? r : 0;
        if (job_progress_load(a->env, id, &p) > 0) {
                if (begun_runs(a, id, &p, c->lock_pid))
                        return set_running(a, id, order->verb, &p, 0);
                /* Dead without a result; it may have written it since we looked. */
                r = collect_result(a, id, order);
                if (r != 0 || streq(id, JOB_BOOT_ID))
                        return r < 0 ? r : 0;
                return bury(a, id, order, "job-killed", "the job was killed", true);
        }
        if (a->running.id[0])
                return 0; /* it waits */
        alive = silent_runs(a, id, &c->before);
        if (alive == -ESRCH) {
                /* Not if it began and ended between our look and systemd's answer: its word counts. */
                r = collect_result(a, id, order);
                return r < 0   ? r
                       : r > 0 ? 0
                               : bury(a, id, order, "job-lost", "the job ended without a word", true);
        }
        if (alive <= 0)
                return 0;
        a->recheck = MIN(a->recheck, a->now + SILENCE_SEC);
        ours = streq(c->before.id, id);
        r = set_running(a, id, order->verb, NULL, ours ? c->before.silent_since : a->now);
        a->running.pid = r >= 0 && ours ? c->before.pid : 0;
        return r;
}

static int collect_id(Agent *a, const Collect *c, const char *id)
{
        static const JobOrder boot = { .verb = "commit", .by = { .how = "boot" } };
        _cleanup_(job_done) Job job = { 0 };
        Why why = { 0 };
        int r;

        if (streq(id, JOB_BOOT_ID))
                return collect_one(a, c, id, &boot);
        r = job_load(a->env, id, &job, &why);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                log_warning("%s; it is put away", why.text);
                return job_remove(a->env, id);
        }
        return collect_one(a, c, id, &job.order);
}

static void find_lock_holder(Agent *a, const Collect *c)
{
        a->locked = c->held && a->running.progress.pid != c->lock_pid;
        /* A job that we believe to be running may be about to get the lock. */
        if (a->locked && a->running.id[0] && a->running.progress.pid == 0)
                a->locked = false;
        a->lock_pid = a->locked ? c->lock_pid : 0;
        /* The number in the file is of the holder before, or he died just now: there is nothing to wait for. */
        if (a->locked && !process_lives(a, "", c->lock_pid))
                a->recheck = MIN(a->recheck, a->now + 1);
}

int agent_collect(Agent *a, Why *why)
{
        _cleanup_(strv_freep) char **ids = NULL;
        Collect c = { .before = a->running };
        int r;

        a->running = (AgentRunning){ 0 };
        a->recheck = UINT64_MAX;
        r = state_lock_held(a->env, &c.lock_pid);
        c.held = r > 0;
        if (r <= 0)
                c.lock_pid = 0;
        r = job_list(a->env, &ids);
        for (char **id = ids; r >= 0 && *id; id++)
                r = collect_id(a, &c, *id);
        free(c.before.verb);
        if (r < 0) {
                clear_running(a);
                return fail_errno(why, r, WHY_HOST, JOB_DIR);
        }
        find_lock_holder(a, &c);
        if (a->running.progress.at != c.before.progress.at ||
            a->running.progress.done != c.before.progress.done ||
            !streq(a->running.progress.pace, c.before.progress.pace) ||
            !streq(a->running.progress.what, c.before.progress.what))
                a->changes |= AGENT_CHANGED_PROGRESS;
        if (!streq(a->running.id, c.before.id))
                a->changes |= AGENT_CHANGED_JOB;
        return 0;
}

/* --- starting --- */

static int start(Agent *a, const char *id, const JobOrder *order)
{
        Why why = { 0 };
        uint64_t pid = 0;
        int r = a->o.runner.start(a->o.runner.ctx, id, &pid, &why);

        if (r >= 0) {
                a->changes |= AGENT_CHANGED_JOB;
                a->recheck = MIN(a->recheck, a->now + SILENCE_SEC);
                r = set_running(a, id, order->verb, NULL, a->now);
                a->running.pid = r >= 0 ? pid : 0;
                return r;
        }
        if (r == -ENOMEM)
                return r;
        log_warning("%s", why.text);
        return bury(a, id, order, "no-job", why.text[0] ? why.text : "the job cannot be started", false);
}

/* The oldest request that nobody has begun. 1 started, 0 none. */
static int start_pending(Agent *a)
{
        _cleanup_(strv_freep) char **ids = NULL;
        int r = job_list(a->env, &ids);

        for (char **id = ids; r >= 0 && *id; id++) {
                _cleanup_(job_done) Job job = { 0 };

                if (streq(*id, JOB_BOOT_ID))
                        continue;
                r = job_load(a->env, *id, &job, NULL);
                if (r < 0)
                        return r;
                r = start(a, *id, &job.order);
                return r < 0 ? r : 1;
        }
        return r < 0 ? r : 0;
}

static int start_action(Agent *a, Action action)
{
        bool source = action == ACTION_CHECK || action == ACTION_STAGE;
        JobOrder order = {
                .verb = action_name(action),
                .version = source ? a->policy.pin : NULL,
                /* A reboot that somebody asked for is only asked for again. */
                .unattended = action != ACTION_REBOOT || a->journal.reboot_asks == 0,
                .by = { .uid = 0, .how = "agent" },
        };
        char id[JOB_ID_SIZE];
        Why why = { 0 };
        int r = job_submit(a->env, &order, id, &why);

        if (r < 0) {
                /* A full or broken /run: the plan would say the same again at once. */
                log_warning("%s", why.text);
                a->recheck = MIN(a->recheck, a->now + 60);
                return r == -ENOMEM ? r : 0;
        }
        r = start(a, id, &order);
        return r < 0 ? r : 1;
}

int agent_start_due(Agent *a, Why *why)
{
        int r;

        if (agent_busy(a))
                return 0;
        r = start_pending(a);
        if (r == 0 && a->plan.due != ACTION_NONE)
                r = start_action(a, a->plan.due);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "starting a job") : r;
}

/* A gybe that somebody runs past the agent: nobody can say when it ends, and what is ordered meanwhile would wait unseen. */
static bool stranger_at_work(const Agent *a, char **ids, uint64_t *ret_pid)
{
        *ret_pid = 0;
        if (a->running.id[0] || state_lock_held(a->env, ret_pid) <= 0)
                return false;
        for (char **id = ids; id && *id; id++) {
                JobProgress p = { 0 };

                if (job_progress_load(a->env, *id, &p) > 0 && p.pid == *ret_pid)
                        return false;
        }
        return *ret_pid > 0;
}

int agent_request(Agent *a, const JobOrder *order, char ret_id[JOB_ID_SIZE], Why *why)
{
        _cleanup_(strv_freep) char **ids = NULL;
        int r = job_order_check(order, why);
        uint64_t pid;

        if (r < 0)
                return r;
        r = job_list(a->env, &ids);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, JOB_DIR);
        if (stranger_at_work(a, ids, &pid)) {
                (void) fail(why, -EBUSY, WHY_BUSY, "busy", "another gybe is at work (process %" PRIu64 ")",
                            pid);
                return fail_hint(why, -EBUSY, "wait for it: gybe watch");
        }
        if (strv_len(ids) > PENDING_MAX) {
                (void) fail(why, -EBUSY, WHY_BUSY, "busy", "%zu jobs wait already", strv_len(ids));
                return fail_hint(why, -EBUSY, "wait for them: gybe watch");
        }
        return job_submit(a->env, order, ret_id, why);
}
