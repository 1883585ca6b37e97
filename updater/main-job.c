/* SPDX-License-Identifier: MIT */

/* gybe-job: one verb, in a process of its own that may be killed at any instruction. What to do comes from a file that only
 * root can write (control/job.h), how far it is and how it ended goes to files beside it, and afterwards status.json says how
 * things are, so that the agent need not look at disks. gybe-commit.service runs it without a file, for the boot's verdict.
 *
 * Who reboots: the verb that made a reboot due, when the door is open; else the agent starts a job "reboot" when it opens. */

#include "answer.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stdfd.h"
#include "base/str.h"
#include "base/usage.h"
#include "base/uuid.h"
#include "control/job.h"
#include "control/systemd.h"
#include "status.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_EVERY_MS 500u
#define SAID_MAX          64u    /* a verb says a handful */
#define LOCK_PATIENCE_MS  10000u /* a gybe verb that looks or writes down an answer */
#define VERDICT_PATIENCE_MS                                                                                  \
        300000u /* the verdict about a boot must not fail because somebody looks; below the deadline */

typedef struct Worker {
        const char *root, *disk, *verb, *id;
        Env env;
        Job job;
        JobProgress progress;
        uint64_t told_ms;
        Json *said; /* the lines a terminal would have shown, for whoever asked over the bus */
        char fresh_id[JOB_ID_SIZE];
} Worker;

static const char usage_text[] =
        "usage: gybe-job [--root DIR] [--disk PATH] run ID\n"
        "       gybe-job [--root DIR] [--disk PATH] VERB\n"
        "\n"
        "  run ID    what /run/gybe/jobs/ID.json says\n"
        "  commit    the verdict about this boot; also check, stage, finalize, update,\n"
        "            rollback, reboot, deliver, unlock, look\n"
        "\n"
        "For gybed and gybe-commit.service; people use gybe.\n";

static uint64_t monotonic_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/* --- what is told on the way --- */

static void tell_progress(Worker *w, const char *what)
{
        (void) snprintf(w->progress.what, sizeof(w->progress.what), "%s", what);
        w->progress.at = env_now(&w->env);
        w->progress.pid = (uint64_t) getpid();
        w->told_ms = monotonic_ms();
        if (job_progress_save(&w->env, w->id, &w->progress) < 0)
                log_debug("progress cannot be written");
}

static void on_progress(void *ctx, const UpdateProgress *p)
{
        Worker *w = ctx;
        const char *pace = p->pace ? p->pace : "";
        bool other = !streq(w->progress.what, p->what) || !w->progress.pace[0] != !pace[0];

        w->progress.done = p->done;
        w->progress.total = p->total;
        w->progress.fetched = p->fetched;
        w->progress.skipped = p->skipped;
        w->progress.written = p->written;
        (void) snprintf(w->progress.pace, sizeof(w->progress.pace), "%s", pace);
        w->progress.copied = p->copied;
        w->progress.rebuilt = p->rebuilt;
        if (other || monotonic_ms() - w->told_ms >= PROGRESS_EVERY_MS)
                tell_progress(w, p->what);
}

static void on_say(void *ctx, const char *line)
{
        Worker *w = ctx;

        log_notice("%s", line);
        if (json_len(w->said) < SAID_MAX)
                json_add_str(w->said, line);
}

static void tell_failure(const Why *why, int r)
{
        const char *text = why->text[0] ? why->text : strerror(-r), *then = why->hint[0] ? "; " : "";

        if (why->kind == WHY_NOTHING)
                log_notice("%s%s%s", text, then, why->hint);
        else
                log_warning("%s%s%s", text, then, why->hint);
}

/* --- afterwards --- */

static int save_status(Worker *w, Why *why)
{
        _cleanup_(host_done) Host host = { 0 };
        _cleanup_(json_unrefp) Json *j = NULL;
        _cleanup_(free_charp) char *text = NULL;
        _cleanup_(close_fdp) int dir = -1;
        int r;

        if ((r = host_open(&w->env, w->disk, &host, why)) < 0 || (r = host_foresee(&host, why)) < 0)
                return r;
        j = status_json(&host);
        text = json_format(j, true);
        if (!text)
                return -ENOMEM;
        dir = env_make_dir(&w->env, "/run/gybe", 0755);
        r = dir < 0 ? dir : file_replace(dir, "status.json", text, strlen(text), 0644);
        return r < 0 ? fail_errno(why, r, WHY_HOST, JOB_STATUS) : 0;
}

/* The reboot of a flip waits for its door; that of a verdict against a slot on trial waits for nothing. */
static int ask_reboot(Update *u, const char *verb, Json *answer, Why *why)
{
        Why closed = { 0 };
        int r;

        if (!u->reboot_due || u->options.no_reboot)
                return 0;
        if (u->host.journal.phase == PHASE_FINALIZED && !u->host.journal.rollback &&
            update_ask(u, POLICY_REBOOT, &closed) < 0) {
                json_set_str(answer, "rebootWaitsFor", closed.text);
                update_drop_lock(u); /* others may go first */
                return 0;
        }
        r = answer_reboot(u, why);
        /* Nobody to ask here (a host made of files): who plays the machine was told, and is told again when it does not come. */
        if (r == 0 && streq(verb, "reboot"))
                r = update_asks_reboot(u, NULL, why);
        json_set_bool(answer, "rebootAsked", r > 0);
        if (r < 0 && why)
                json_set_str(answer, "rebootBlockedBy", why->text);
        return r;
}

/* What a reboot is due for. A rollback and a failed verdict return to a slot that was kept before. */
static int find_due_reboot(Update *u, Why *why)
{
        const Journal *j = &u->host.journal;

        if (j->phase == PHASE_FINALIZED || journal_given_up(j)) {
                u->reboot_due = true;
                return 0;
        }
        return fail(why, -ENODATA, WHY_NOTHING, "no-reboot-due", "reboot: none is due");
}

static int do_reboot(Update *u, Why *why)
{
        int r;

        if ((r = host_require(&u->host, why)) < 0 || (r = update_recover(u, why)) < 0 ||
            (r = find_due_reboot(u, why)) < 0)
                return r;
        if (u->host.journal.phase == PHASE_FINALIZED && !u->host.journal.rollback)
                return update_ask(u, POLICY_REBOOT, why);
        return 0;
}

static int do_look(Update *u, Why *why)
{
        int r = host_require(&u->host, why);

        return r < 0 ? r : update_recover(u, why);
}

static AnswerVerb find_verb(const char *name)
{
        static const struct {
                const char *name;
                AnswerVerb verb;
        } own[] = { { "reboot", do_reboot },
                    { "look", do_look },
                    { "unlock", update_unlock },
                    { "deliver", update_deliver } };

        for (size_t i = 0; i < ELEMENTSOF(own); i++)
                if (streq(own[i].name, name))
                        return own[i].verb;
        return answer_verb(name);
}

/* --- the verb --- */

static int open_update(Worker *w, const UpdateOptions *options, Update *u, Why *why)
{
        uint64_t start = monotonic_ms(),
                 patience = streq(w->job.order.verb, "commit") ? VERDICT_PATIENCE_MS : LOCK_PATIENCE_MS;

        for (;;) {
                int r = update_open(&w->env, options, u, why);

                if (r != -EBUSY || why->kind != WHY_BUSY || monotonic_ms() - start >= patience)
                        return r;
                *why = (Why){ 0 };
                (void) usleep(100 * 1000);
        }
}

/* Document and exit code of the verb; the reboot is asked for when both are certain. */
static int perform(Worker *w, Update *u, Json **ret_answer, int *ret_exit)
{
        const JobOrder *o = &w->job.order;
        AnswerVerb verb = find_verb(o->verb);
        Why why = { 0 }, late = { 0 };
        Json *answer;
        int r;

        r = verb ? verb(u, &why)
                 : fail(&why, -ENOSYS, WHY_HOST, "not-built", "%s: this gybe-job cannot do that", o->verb);
        answer = r < 0 ? answer_error(&why, r) : answer_result(u, o->verb);
        for (char **m = u->missing; m && *m; m++)
                log_warning("%s", *m);
        *ret_exit = r < 0 ? why_exit_code(&why) : 0;
        if (r < 0)
                tell_failure(&why, r);
        if (answer_reboot_text(u))
                json_add_str(w->said, answer_reboot_text(u));
        /* How things are is known before the machine may go down. */
        if (save_status(w, &late) < 0)
                log_warning("%s", late.text);
        late = (Why){ 0 };
        if (ask_reboot(u, o->verb, answer, &late) < 0) {
                log_warning("%s", late.text);
                if (r >= 0) {
                        /* What was done is done, and said; what it ends in is that the machine does not reboot. */
                        if (streq(o->verb, "reboot")) {
                                json_unref(answer);
                                answer = answer_error(&late, -EIO);
                        }
                        *ret_exit = why_exit_code(&late);
                }
        }
        *ret_answer = answer;
        return 0;
}

/* Nobody begins a job twice: an agent that was killed right after starting it may have been followed by one that did not
 * know. The boot's verdict has no file to claim; the lock keeps two of them apart. */
static int begin(Worker *w)
{
        int r;

        (void) snprintf(w->progress.what, sizeof(w->progress.what), "starting");
        w->progress.at = env_now(&w->env);
        w->progress.pid = (uint64_t) getpid();
        w->told_ms = monotonic_ms();
        if (w->verb) {
                tell_progress(w, "starting"); /* a full /run keeps no verdict from being given */
                return 0;
        }
        r = job_claim(&w->env, w->id, &w->progress);
        if (r == -EEXIST)
                log_notice("job %s is at work already", w->id);
        else if (r < 0)
                log_warning("job %s cannot be begun: %s", w->id, strerror(-r));
        return r;
}

static int run_job(Worker *w)
{
        const JobOrder *o = &w->job.order;
        UpdateOptions options = {
                .release = o->release,
                .version = o->version,
                .omaha_url = o->omaha_url,
                .omaha_app = o->omaha_app,
                .omaha_track = o->omaha_track,
                .disk_path = w->disk,
                .allow_downgrade = o->allow_downgrade,
                .no_reboot = o->no_reboot,
                .unattended = o->unattended,
                .override = o->override,
                .requested_by = { .uid = o->by.uid, .name = o->by.name, .how = o->by.how },
                .progress = on_progress,
                .say = on_say,
                .ctx = w,
        };
        _cleanup_(update_done) Update u = { .lock_fd = -1 };
        _cleanup_(json_unrefp) Json *answer = NULL;
        Why why = { 0 };
        int r, code = 1;

        r = begin(w);
        if (r < 0)
                return r == -EEXIST ? 0 : 1; /* another process has it: what it says counts */
        r = open_update(w, &options, &u, &why);
        if (r >= 0)
                r = perform(w, &u, &answer, &code);
        else {
                tell_failure(&why, r);
                answer = answer_error(&why, r);
                code = why_exit_code(&why);
        }
        json_set(answer, "said", json_ref(w->said));
        /* The last thing, and still under the lock: whoever sees it free finds the answer. */
        r = job_result_save(&w->env, w->id, answer, code);
        if (r < 0)
                log_warning("the result of this job cannot be written: %s", strerror(-r));
        return code;
}

/* --- arguments --- */

static int take_verb(Worker *w, Why *why)
{
        int r;

        if (!job_verb_known(w->verb)) {
                (void) fail(why, -EINVAL, WHY_USAGE, "usage", "unknown verb \"%s\"", w->verb);
                return fail_hint(why, -EINVAL, "gybe-job --help lists the verbs");
        }
        w->job.order = (JobOrder){ .verb = w->verb, .by = { .uid = getuid(), .how = "cli" } };
        w->id = w->fresh_id;
        if (!streq(w->verb, "commit")) {
                r = uuid_random(w->fresh_id);
                return r < 0 ? fail_errno(why, r, WHY_HOST, "random") : 0;
        }
        w->id = JOB_BOOT_ID;
        w->job.order.by.how = "boot";
        w->job.order.unattended = true;
        return 0;
}

/* 0 go on, 1 done (help), negative: usage */
static int parse(int argc, char *argv[], Worker *w, Why *why)
{
        static const struct option options[] = {
                { "root", required_argument, NULL, 'r' },
                { "disk", required_argument, NULL, 'd' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { 0 },
        };
        int c;

        opterr = 0;
        while ((c = getopt_long(argc, argv, ":h", options, NULL)) >= 0) {
                switch (c) {
                case 'r':
                        w->root = optarg;
                        break;
                case 'd':
                        w->disk = optarg;
                        break;
                case 'h':
                        (void) fputs(usage_text, stdout);
                        return 1;
                case 'v':
                        (void) printf("gybe-job %s\n", GYBE_VERSION);
                        return 1;
                default:
                        return usage_option(c, argv, "gybe-job", why);
                }
        }
        if (argc - optind == 2 && streq(argv[optind], "run"))
                w->id = argv[optind + 1];
        else if (argc - optind == 1)
                w->verb = argv[optind];
        else
                return usage_arguments("name a job or a verb", "gybe-job", why);
        return 0;
}

int main(int argc, char *argv[])
{
        Worker w = { .env = ENV_NULL };
        Why why = { 0 };
        int r, code;

        stdfd_open();
        (void) umask(022);
        r = parse(argc, argv, &w, &why);
        if (r > 0)
                return 0;
        w.said = json_new_array();
        if (r >= 0)
                r = env_open(w.root, &w.env, &why);
        if (r >= 0)
                r = w.verb ? take_verb(&w, &why) : job_load(&w.env, w.id, &w.job, &why);
        if (r < 0) {
                log_failure(&why, r);
                code = why_exit_code(&why);
        } else
                code = run_job(&w);
        json_unref(w.said);
        job_done(&w.job);
        env_done(&w.env);
        return code;
}
