/* SPDX-License-Identifier: MIT */

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "control/agent-state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define STATUS_MAX   (1024u * 1024u)
#define JOURNAL_PATH STATE_DIR "/journal.json"
#define ROUNDS_MAX   4u /* starts in one step: each ends at once only when it cannot be started at all */

/* --- files --- */

FileId agent_file_id(const Env *env, const char *path)
{
        _cleanup_(close_fdp) int fd = env_open_path(env, path, O_PATH, 0);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return (FileId){ 0 };
        return (FileId){ .dev = st.st_dev,
                         .ino = st.st_ino,
                         .size = (uint64_t) st.st_size,
                         .mtime_sec = st.st_mtim.tv_sec,
                         .mtime_nsec = st.st_mtim.tv_nsec,
                         .exists = true };
}

bool agent_file_same(const FileId *a, const FileId *b)
{
        return a->exists == b->exists && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
               a->mtime_sec == b->mtime_sec && a->mtime_nsec == b->mtime_nsec;
}

static bool not_younger(const FileId *a, const FileId *b)
{
        return a->mtime_sec != b->mtime_sec ? a->mtime_sec < b->mtime_sec : a->mtime_nsec <= b->mtime_nsec;
}

static void read_journal(Agent *a)
{
        FileId id = agent_file_id(a->env, JOURNAL_PATH);
        Journal j = { 0 };
        bool lost;

        if (agent_file_same(&id, &a->journal_id))
                return;
        a->journal_id = id;
        a->changes |= AGENT_CHANGED_STATUS;
        if (journal_load(a->env, &j, &lost, NULL) < 0)
                return; /* as it was; a job will say what is wrong with it */
        journal_done(&a->journal);
        a->journal = j;
}

void agent_read_status(Agent *a)
{
        FileId id = agent_file_id(a->env, JOB_STATUS);
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Json *j = NULL;

        read_journal(a);
        if (agent_file_same(&id, &a->status_id))
                return;
        a->status_id = id;
        a->changes |= AGENT_CHANGED_STATUS;
        if (id.exists && (env_read(a->env, JOB_STATUS, STATUS_MAX, &b) < 0 ||
                          json_parse(b.data ? (const void *) b.data : "", b.size, 0, JSON_DEPTH_MAX, "status",
                                     WHY_HOST, &j, NULL) < 0 ||
                          !streq0(json_get_str(j, "schema"), "gybe.status/1"))) {
                json_unref(j);
                j = NULL;
        }
        json_unref(a->status);
        a->status = j;
        /* The journal was not touched after it was written, as far as times can tell. */
        if (j && (!a->journal_id.exists || not_younger(&a->journal_id, &id)))
                a->seen_journal = a->journal_id;
}

/* --- the plan --- */

static const Json *running_slot(const Agent *a)
{
        const char *name = json_get_str(a->status, "running");

        return name ? json_get(json_get(a->status, "slots"), name) : NULL;
}

/* Why the offered content may not be tried; NULL: it may. The caller frees. */
static char *offer_quarantined(const Agent *a)
{
        const MemoryOffer *o = &a->memory.offer;
        char id[QUARANTINE_ID_SIZE], *reason = NULL;

        if (!o->version || !o->roothash[0] || !o->uki_sha256[0] ||
            quarantine_id(o->roothash, o->uki_sha256, id) < 0)
                return NULL;
        return quarantine_has(a->env, id, &reason, NULL) > 0 ? reason : NULL;
}

void agent_replan(Agent *a)
{
        _cleanup_(free_charp) char *quarantined = offer_quarantined(a);
        const Journal *j = &a->journal;
        const Json *slot = running_slot(a);
        ScheduleFacts f = {
                .status_known = a->status && agent_file_same(&a->seen_journal, &a->journal_id),
                .phase = j->phase,
                .rollback = j->rollback,
                .no_reboot = j->no_reboot,
                .given_up = journal_given_up(j),
                .reboot_asks = j->reboot_asks,
                .reboot_blocked = j->reboot_blocked,
                .update_id = j->update_id,
                .version = j->version,
                .roothash = j->roothash[0] ? j->roothash : NULL,
                .serial = j->serial,
                .issued = j->issued,
                .running_roothash = json_get_str(slot, "roothash"),
                .machine_id = a->machine_id,
                .offer_quarantined = quarantined,
                .has_source = a->settings.has_source,
                .interval = a->settings.interval,
                .problem = a->settings.problem.kind != WHY_NONE ? a->settings.problem.text : NULL,
                .unlock_at = UINT64_MAX,
                .deliver_at = UINT64_MAX,
                .started_at = a->started_at,
                .seed = a->seed,
        };
        Schedule before = a->plan;
        RebootWait wait;

        reboot_wait(j, a->now, &wait);
        f.reboot_again_at = wait.again_at;
        f.reboot_never = wait.never || j->reboot_told;
        (void) json_get_u64(slot, "serial", &f.running_serial);
        /* What cannot be read there is a job's to complain about; it is no reason to start one. */
        (void) reboot_locks_next(a->env, &f.unlock_at, NULL);
        for (OutboxBox box = 0; box < _OUTBOX_MAX; box++) {
                uint64_t due = UINT64_MAX;

                (void) outbox_due(a->env, box, &due, NULL);
                f.deliver_at = MIN(f.deliver_at, due);
        }
        schedule_plan(&f, &a->policy, &a->memory, a->now, &a->plan);
        if (before.headline != a->plan.headline ||
            before.items[before.headline].at != a->plan.items[a->plan.headline].at ||
            !streq(before.items[before.headline].because, a->plan.items[a->plan.headline].because))
                a->changes |= AGENT_CHANGED_NEXT;
}

/* --- the step --- */

static uint64_t wake_at(const Agent *a)
{
        /* What becomes due while a job runs is due when it has ended; its end is noticed, not waited for. */
        return MIN(a->recheck, agent_busy(a) ? UINT64_MAX : a->plan.wake);
}

static int step(Agent *a, Why *why)
{
        int r = 0;

        agent_read_status(a);
        for (unsigned round = 0; round < ROUNDS_MAX; round++) {
                if ((r = agent_collect(a, why)) < 0)
                        return r;
                agent_replan(a);
                r = agent_start_due(a, why);
                if (r <= 0)
                        break;
                if (agent_busy(a))
                        return 0;
        }
        /* Starting fails again and again: not as fast as this machine can. */
        if (r > 0)
                a->recheck = MIN(a->recheck, a->now + 60);
        return r < 0 ? r : 0;
}

int agent_step(Agent *a, uint64_t now, uint64_t *ret_wake, Why *why)
{
        unsigned changes;
        int r;

        a->now = now;
        r = step(a, why);
        agent_refresh_view(a);
        agent_tell_waiting(a);
        *ret_wake = r < 0 ? now + 60 : wake_at(a);
        agent_tell_ended(a);
        changes = a->changes;
        a->changes = 0;
        if (changes && a->o.changed)
                a->o.changed(a->o.ctx, changes);
        return r;
}

uint64_t agent_watched_pid(const Agent *a)
{
        const AgentRunning *run = &a->running;

        return run->progress.pid ? run->progress.pid : run->pid ? run->pid : a->lock_pid;
}

void agent_process_ended(Agent *a, uint64_t pid)
{
        a->dead_pid = pid;
        (void) snprintf(a->dead_id, sizeof(a->dead_id), "%s", pid == a->lock_pid ? "" : a->running.id);
}

/* --- life --- */

static int load_rules(Agent *a, Why *why)
{
        Policy policy = { 0 };
        Why said = { 0 };
        int r;

        memset(&a->settings, 0, sizeof(a->settings));
        if ((r = a->o.load_settings(a->o.ctx, &a->settings)) < 0 ||
            (r = policy_load(a->env, &policy, &said)) < 0)
                return fail_errno(why, r, WHY_HOST, "reading configuration and policy");
        policy_done(&a->policy);
        a->policy = policy;
        a->policy_why = said;
        if (why && why->kind == WHY_NONE)
                *why = a->settings.problem.kind != WHY_NONE ? a->settings.problem : said;
        return 0;
}

int agent_reload(Agent *a, Why *why)
{
        int r = load_rules(a, why);

        if (r < 0)
                return r;
        memory_forget_retries(&a->memory);
        a->changes |= AGENT_CHANGED_STATUS | AGENT_CHANGED_NEXT | AGENT_CHANGED_POLICY;
        return 0;
}

static int make_folders(const Env *env, Why *why)
{
        static const struct {
                const char *path;
                unsigned mode;
        } folders[] = { { "/run/gybe", 0755 }, { JOB_DIR, 0700 }, { STATE_DIR, 0700 } };

        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                _cleanup_(close_fdp) int fd = env_make_dir(env, folders[i].path, folders[i].mode);

                if (fd < 0)
                        return fail_errno(why, fd, WHY_HOST, "%s", folders[i].path);
        }
        return 0;
}

int agent_open(const AgentOptions *options, Agent **ret, Why *why)
{
        _cleanup_(agent_freep) Agent *a = calloc(1, sizeof(*a));
        Why said = { 0 };
        int r;

        if (!a)
                return -ENOMEM;
        a->o = *options;
        a->env = options->env;
        a->started_at = a->now = env_now(a->env);
        a->recheck = UINT64_MAX;
        if ((r = make_folders(a->env, why)) < 0)
                return r;
        if (policy_machine_id(a->env, &a->machine_id) == -ENOMEM ||
            memory_load(a->env, &a->memory) == -ENOMEM)
                return -ENOMEM;
        a->seed = schedule_seed(a->machine_id);
        /* A host whose rules are broken has an agent that says so. */
        r = load_rules(a, &said);
        if (r < 0) {
                if (why && why->kind == WHY_NONE)
                        *why = said;
                return r;
        }
        if (said.kind != WHY_NONE)
                log_warning("%s", said.text);
        agent_read_status(a);
        agent_replan(a);
        agent_refresh_view(a);
        *ret = TAKE(a);
        return 0;
}

Agent *agent_free(Agent *a)
{
        if (!a)
                return NULL;
        for (size_t i = 0; i < a->n_ended; i++) {
                free(a->ended[i].verb);
                json_unref(a->ended[i].result);
        }
        free(a->ended);
        free(a->running.verb);
        free(a->machine_id);
        json_unref(a->status);
        journal_done(&a->journal);
        memory_done(&a->memory);
        policy_done(&a->policy);
        free(a);
        return NULL;
}

void agent_freep(Agent **a)
{
        (void) agent_free(*a);
}
