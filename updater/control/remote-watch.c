/* SPDX-License-Identifier: MIT */

/* Following a job. Signals tell what happens; a question now and then makes up for those that were missed while the agent was
 * restarted, which a job does not notice. */

#include "control/remote-parts.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define LOGIN         "org.freedesktop.login1"
#define LOGIN_PATH    "/org/freedesktop/login1"
#define LOGIN_MANAGER LOGIN ".Manager"

#define ASK_EVERY_US       (10u * 1000000u)
#define INHIBIT_TIMEOUT_US (2u * 1000000u)
#define ANSWER_US          (2u * 1000000u) /* from a job's request for a reboot to its answer: mostly a tenth */
#define PATIENCE           12u /* questions without an answer: two minutes, longer than systemd takes to restart it */

typedef struct Follow {
        Remote *remote;
        const RemoteWatch *watch;
        const char *id; /* NULL: whatever runs */
        char job[JOB_ID_SIZE], verb[16], phase[16];
        ProgressValues progress;
        char what[32], pace[64];
        bool knows_job; /* JobId was told: a change of something else says nothing about it */
        bool ended;
        unsigned unanswered;
        int exit_code;
        Json *result;
        sd_bus_slot *question, *finished, *changed, *shutdown;
        sd_event_source *timer, *release;
        Why why;
} Follow;

static void follow_done(Follow *f)
{
        sd_bus_slot_unref(f->question);
        sd_bus_slot_unref(f->finished);
        sd_bus_slot_unref(f->changed);
        sd_bus_slot_unref(f->shutdown);
        sd_event_source_disable_unref(f->timer);
        sd_event_source_disable_unref(f->release);
        json_unref(f->result);
}

static void take_result(Follow *f, int exit_code, const char *text)
{
        Why why = { 0 };

        if (f->ended)
                return;
        f->ended = true;
        f->exit_code = exit_code;
        if (text[0])
                (void) json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "job", WHY_HOST, &f->result, &why);
}

static int on_finished(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        const char *id, *verb, *text;
        Follow *f = userdata;
        int32_t code;

        if (sd_bus_message_read(m, "ssis", &id, &verb, &code, &text) > 0 && streq0(f->id, id))
                take_result(f, code, text);
        return 0;
}

/* --- properties --- */

static void tell(const Follow *f, const char *fmt, ...) _printf_(2, 3);
static void tell(const Follow *f, const char *fmt, ...)
{
        char line[160];
        va_list ap;

        if (!f->watch->state)
                return;
        va_start(ap, fmt);
        (void) vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);
        f->watch->state(f->watch->ctx, line);
}

static void read_progress(Follow *f, sd_bus_message *m)
{
        static const struct {
                const char *name;
                size_t at;
        } numbers[] = {
                { "Done", offsetof(ProgressValues, done) },
                { "Total", offsetof(ProgressValues, total) },
                { "Fetched", offsetof(ProgressValues, fetched) },
                { "Skipped", offsetof(ProgressValues, skipped) },
                { "Written", offsetof(ProgressValues, written) },
                { "Copied", offsetof(ProgressValues, copied) },
                { "Rebuilt", offsetof(ProgressValues, rebuilt) },
        };
        const char *key, *what;

        f->what[0] = 0;
        f->pace[0] = 0;
        if (sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
                return;
        while (sd_bus_message_enter_container(m, 'e', "sv") > 0 && sd_bus_message_read(m, "s", &key) > 0) {
                uint64_t value = 0;
                bool known = false;

                if (streq(key, "What") && sd_bus_message_read(m, "v", "s", &what) > 0) {
                        (void) snprintf(f->what, sizeof(f->what), "%s", what);
                        known = true;
                }
                if (streq(key, "Pace") && sd_bus_message_read(m, "v", "s", &what) > 0) {
                        (void) snprintf(f->pace, sizeof(f->pace), "%s", what);
                        known = true;
                }
                for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                        if (streq(key, numbers[i].name) && sd_bus_message_read(m, "v", "t", &value) > 0) {
                                memcpy((char *) &f->progress + numbers[i].at, &value, sizeof(value));
                                known = true;
                        }
                if ((!known && sd_bus_message_skip(m, "v") < 0) || sd_bus_message_exit_container(m) < 0)
                        return;
        }
        (void) sd_bus_message_exit_container(m);
}

static void read_text(sd_bus_message *m, char *ret, size_t size)
{
        const char *text;

        if (sd_bus_message_read(m, "s", &text) > 0)
                (void) snprintf(ret, size, "%s", text);
}

/* One "{sv}"; negative: cannot be read on. */
static int read_property(Follow *f, sd_bus_message *m)
{
        const char *key, *type;
        int r;

        if ((r = sd_bus_message_read(m, "s", &key)) < 0 || (r = sd_bus_message_peek_type(m, NULL, &type)) < 0)
                return r;
        r = sd_bus_message_enter_container(m, 'v', type);
        if (r < 0)
                return r;
        if (streq(key, "Progress") && streq(type, "a{sv}"))
                read_progress(f, m);
        else if (streq(key, "JobId") && streq(type, "s")) {
                read_text(m, f->job, sizeof(f->job));
                f->knows_job = true;
        } else if (streq(key, "JobVerb") && streq(type, "s"))
                read_text(m, f->verb, sizeof(f->verb));
        else if (streq(key, "Phase") && streq(type, "s"))
                read_text(m, f->phase, sizeof(f->phase));
        else if ((r = sd_bus_message_skip(m, type)) < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

static void read_properties(Follow *f, sd_bus_message *m)
{
        char job[JOB_ID_SIZE], phase[16];

        (void) snprintf(job, sizeof(job), "%s", f->job);
        (void) snprintf(phase, sizeof(phase), "%s", f->phase);
        if (sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
                return;
        while (sd_bus_message_enter_container(m, 'e', "sv") > 0)
                if (read_property(f, m) < 0 || sd_bus_message_exit_container(m) < 0)
                        return;
        if (!streq(job, f->job) && f->job[0] && (!f->id || !streq(f->id, f->job)))
                tell(f, "%s%s runs", f->id ? "waiting: " : "", f->verb);
        if (!f->id && phase[0] && !streq(phase, f->phase))
                tell(f, "phase: %s", f->phase);
        if (f->job[0] && f->what[0] && (!f->id || streq(f->id, f->job))) {
                f->progress.what = f->what;
                f->progress.pace = f->pace;
                f->watch->progress(f->watch->ctx, &f->progress);
        }
        if (!f->id && f->knows_job && !f->job[0])
                f->ended = true;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        const char *interface;

        if (sd_bus_message_read(m, "s", &interface) > 0 && streq(interface, REMOTE_INTERFACE))
                read_properties(userdata, m);
        return 0;
}

/* --- a question now and then --- */

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        Follow *f = userdata;
        const char *text;
        int32_t code;
        int ended;

        f->question = sd_bus_slot_unref(f->question);
        if (sd_bus_message_is_method_error(m, NULL)) {
                if (++f->unanswered >= PATIENCE && f->why.kind == WHY_NONE) {
                        (void) fail(&f->why, -EIO, WHY_HOST, "agent-gone", "the update agent has gone");
                        (void) fail_hint(&f->why, -EIO,
                                         "the job may go on without it: gybe status says how it ended");
                }
                return 0;
        }
        f->unanswered = 0;
        if (!f->id)
                read_properties(f, m);
        else if (sd_bus_message_read(m, "bis", &ended, &code, &text) > 0 && ended)
                take_result(f, code, text);
        return 0;
}

static int ask(Follow *f)
{
        sd_bus *bus = f->remote->bus;

        if (f->question)
                return 0;
        return f->id ? sd_bus_call_method_async(bus, &f->question, REMOTE_NAME, REMOTE_PATH, REMOTE_INTERFACE,
                                                "JobResult", on_answer, f, "s", f->id)
                     : sd_bus_call_method_async(bus, &f->question, REMOTE_NAME, REMOTE_PATH,
                                                "org.freedesktop.DBus.Properties", "GetAll", on_answer, f,
                                                "s", REMOTE_INTERFACE);
}

static int on_timer(sd_event_source *source, uint64_t usec _unused_, void *userdata)
{
        int r = ask(userdata);

        if (r >= 0)
                r = sd_event_source_set_time_relative(source, ASK_EVERY_US);
        return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* --- from the first question to the last answer --- */

/* A job may end in a reboot, which it asks for itself, and then those go down first who wait for its answer. logind waits a
 * moment (InhibitDelayMaxSec=, five seconds) for whoever holds this lock, longer than an answer takes; it goes with the process,
 * behind the answer. Without it the answer may come too late, no more than that. */
static void delay_shutdown(Remote *remote)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int fd, r;

        r = sd_bus_message_new_method_call(remote->bus, &m, LOGIN, LOGIN_PATH, LOGIN_MANAGER, "Inhibit");
        if (r >= 0)
                r = sd_bus_message_append(m, "ssss", "shutdown", "gybe", "Says how the update went", "delay");
        if (r >= 0)
                r = sd_bus_call(remote->bus, m, INHIBIT_TIMEOUT_US, NULL, &reply);
        if (r >= 0 && sd_bus_message_read(reply, "h", &fd) > 0 && remote->shutdown_fd < 0)
                remote->shutdown_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static void let_shutdown(Remote *remote)
{
        close_fdp(&remote->shutdown_fd);
        remote->shutdown_fd = -1;
}

static int on_release(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        Follow *f = userdata;

        let_shutdown(f->remote);
        return 0;
}

/* A job that has asked for the reboot answers at once. Who else wants the machine to go down is not to wait for one that goes on
 * for minutes. */
static int on_shutdown(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        Follow *f = userdata;
        int begins;

        if (sd_bus_message_read(m, "b", &begins) <= 0)
                return 0;
        f->release = sd_event_source_disable_unref(f->release);
        if (begins && sd_event_add_time_relative(f->remote->event, &f->release, CLOCK_MONOTONIC, ANSWER_US, 0,
                                                 on_release, f) < 0)
                let_shutdown(f->remote);
        return 0;
}

/* Before the job is ordered, so that nothing is missed. */
static int listen(Follow *f, Why *why)
{
        sd_bus *bus = f->remote->bus;
        int r;

        if ((r = sd_bus_match_signal(bus, &f->finished, REMOTE_NAME, REMOTE_PATH, REMOTE_INTERFACE,
                                     "JobFinished", on_finished, f)) < 0 ||
            (r = sd_bus_match_signal(bus, &f->changed, REMOTE_NAME, REMOTE_PATH,
                                     "org.freedesktop.DBus.Properties", "PropertiesChanged", on_changed, f)) <
                    0 ||
            (r = sd_event_add_time_relative(f->remote->event, &f->timer, CLOCK_MONOTONIC, ASK_EVERY_US, 0,
                                            on_timer, f)) < 0)
                return remote_broken(r, why);
        if (f->remote->shutdown_fd >= 0 &&
            sd_bus_match_signal(bus, &f->shutdown, LOGIN, LOGIN_PATH, LOGIN_MANAGER, "PrepareForShutdown",
                                on_shutdown, f) < 0)
                let_shutdown(f->remote);
        return 0;
}

static int follow(Follow *f, Why *why)
{
        int r = 0;

        while (r >= 0 && !f->ended && f->why.kind == WHY_NONE && !f->remote->interrupted)
                r = sd_event_run(f->remote->event, UINT64_MAX);
        if (r < 0)
                return remote_broken(r, why);
        if (f->ended)
                return 0;
        if (f->remote->interrupted)
                return -EINTR;
        *why = f->why;
        return -EIO;
}

static int order_message(Remote *remote, const JobOrder *order, sd_bus_message **ret, Why *why)
{
        const struct {
                const char *name;
                bool set;
        } flags[] = {
                { "allowDowngrade", order->allow_downgrade },
                { "noReboot", order->no_reboot },
                { "override", order->override },
        };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        char member[16];
        int r;

        (void) snprintf(member, sizeof(member), "%s", order->verb);
        member[0] = (char) (member[0] - 'a' + 'A'); /* "stage": Stage */
        if ((r = remote_message(remote, member, &m, why)) < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && order->version)
                r = sd_bus_message_append(m, "{sv}", "version", "s", order->version);
        if (r >= 0 && order->release)
                r = sd_bus_message_append(m, "{sv}", "release", "s", order->release);
        for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                if (r >= 0 && flags[i].set)
                        r = sd_bus_message_append(m, "{sv}", flags[i].name, "b", 1);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_set_allow_interactive_authorization(m,
                                                                       remote_start_password_agent(remote));
        if (r < 0)
                return remote_broken(r, why);
        *ret = TAKE(m);
        return 0;
}

int remote_job(Remote *remote, const JobOrder *order, const RemoteWatch *watch, char ret_id[JOB_ID_SIZE],
               Json **ret_result, int *ret_exit, Why *why)
{
        _cleanup_(follow_done) Follow f = { .remote = remote, .watch = watch, .id = "" };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *id;
        int r;

        ret_id[0] = 0;
        if (!order->no_reboot && !streq(order->verb, "stage") && !streq(order->verb, "check"))
                delay_shutdown(remote);
        if ((r = order_message(remote, order, &m, why)) < 0 || (r = listen(&f, why)) < 0 ||
            (r = remote_call(remote, m, &reply, why)) < 0)
                return r;
        if (sd_bus_message_read(reply, "s", &id) <= 0)
                return remote_broken(-EBADMSG, why);
        (void) snprintf(ret_id, JOB_ID_SIZE, "%s", id);
        f.id = ret_id;
        remote_stop_password_agent(remote); /* nobody is asked any more, and it would hold the terminal */
        r = follow(&f, why);
        if (r < 0)
                return r;
        *ret_result = TAKE(f.result);
        *ret_exit = f.exit_code;
        return 0;
}

int remote_watch(Remote *remote, const RemoteWatch *watch, Why *why)
{
        _cleanup_(follow_done) Follow f = { .remote = remote, .watch = watch };
        int r;

        if ((r = listen(&f, why)) < 0)
                return r;
        r = ask(&f);
        return r < 0 ? remote_broken(r, why) : follow(&f, why);
}
