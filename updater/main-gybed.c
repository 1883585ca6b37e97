/* SPDX-License-Identifier: MIT */

/* gybed: the event loop around the agent (control/agent.h). It sleeps until the one moment the agent named, or until
 * something happens that the agent asked about: files of jobs, journal, rules and configuration change, the process of a job
 * ends, the clock is set, a signal comes. No other timer, and no looking around. */

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stdfd.h"
#include "base/str.h"
#include "base/usage.h"
#include "config.h"
#include "control/agent.h"
#include "control/compat.h"
#include "control/runner.h"
#include "control/service.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#define USEC_PER_SEC UINT64_C(1000000)

typedef struct Daemon Daemon;

/* A folder, and what of it is of interest. */
typedef struct Watch {
        const char *path;
        const char *name; /* the only one that counts; NULL: all */
        bool rules;       /* configuration or policy: read again */
        Daemon *daemon;
        sd_event_source *source;
} Watch;

struct Daemon {
        const char *root, *disk;
        bool no_bus;
        Env env;
        Runner runner;
        Agent *agent;
        Service *service; /* NULL without a bus */
        Compat *compat;   /* NULL unless configured */
        sd_bus *bus;
        sd_event *event;
        sd_event_source *step, *timer, *process, *clock;
        uint64_t process_pid;
        int clock_fd;
        bool rules_changed;
        Watch watches[20];
        size_t n_watches;
};

static const char usage_text[] = "usage: gybed [--root DIR] [--disk PATH] [--no-bus]\n"
                                 "\n"
                                 "The update agent: started by gybed.service, asked through gybe.\n"
                                 "  --root DIR --disk FILE   a host made of files\n"
                                 "  --no-bus                 without org.gybe.Update1\n";

/* Run agent_step() when this round of events is over; any number of reasons make one step. */
static void kick(Daemon *d)
{
        (void) sd_event_source_set_enabled(d->step, SD_EVENT_ONESHOT);
}

/* --- the agent's questions --- */

static int load_settings(void *ctx, AgentSettings *ret)
{
        const Daemon *d = ctx;
        _cleanup_(config_done) Config c = { 0 };
        int r = config_load(&d->env, &c, &ret->problem);

        if (r < 0)
                return r;
        ret->has_source = c.source != SOURCE_NONE;
        ret->interval = c.source_interval;
        return 0;
}

static void tell_status(const Daemon *d, const AgentProperties *p)
{
        char at[TIME_TEXT_SIZE] = "";

        if (p->job_verb) {
                (void) sd_notifyf(false, "STATUS=%s: %s", p->job_verb,
                                  p->progress.what[0] ? p->progress.what : "starting");
                return;
        }
        if (p->next_at > 0 && p->next_at != UINT64_MAX)
                format_time(p->next_at, at);
        (void) sd_notifyf(false, "STATUS=%s; next: %s%s%s%s%s", p->phase, p->next_action, at[0] ? " at " : "",
                          at, p->next_because[0] ? ": " : "", p->next_because);
        log_debug("%s; next: %s %s: %s", p->phase, p->next_action, at, p->next_because);
        (void) d;
}

static void on_changed(void *ctx, unsigned bits)
{
        Daemon *d = ctx;

        if (bits & (AGENT_CHANGED_STATUS | AGENT_CHANGED_NEXT | AGENT_CHANGED_JOB))
                tell_status(d, agent_properties(d->agent));
        if (d->service)
                service_changed(d->service, bits);
        if (d->compat)
                compat_changed(d->compat);
}

static void on_job_ended(void *ctx, const char *id, const char *verb, int exit_code, const Json *result)
{
        const char *message = json_get_str(json_get(result, "error"), "message");
        Daemon *d = ctx;

        if (exit_code != 0 && exit_code != 10)
                log_notice("job %s (%s) ended with %i: %s", id, verb, exit_code, message ? message : "");
        else
                log_debug("job %s (%s) ended with %i", id, verb, exit_code);
        if (d->service)
                service_job_ended(d->service, id, verb, exit_code, result);
        if (d->compat)
                compat_job_ended(d->compat, id);
}

/* --- waiting --- */

static int on_process_end(sd_event_source *s, int fd, uint32_t events, void *userdata);

static void forget_process(Daemon *d)
{
        d->process = sd_event_source_unref(d->process);
        d->process_pid = 0;
}

/* A process that is no child of ours is waited for by its descriptor. It may be gone by now: then that is what happened. */
static void watch_process(Daemon *d)
{
        uint64_t pid = agent_watched_pid(d->agent);
        int fd;

        if (pid == d->process_pid)
                return;
        forget_process(d);
        if (pid == 0 || pid > INT32_MAX)
                return;
        fd = (int) syscall(SYS_pidfd_open, (pid_t) pid, 0);
        if (fd < 0) {
                if (errno == ESRCH) {
                        agent_process_ended(d->agent, pid);
                        kick(d);
                }
                return;
        }
        if (sd_event_add_io(d->event, &d->process, fd, EPOLLIN, on_process_end, d) < 0) {
                (void) close(fd);
                return;
        }
        (void) sd_event_source_set_io_fd_own(d->process, true);
        d->process_pid = pid;
}

static int on_process_end(sd_event_source *s _unused_, int fd _unused_, uint32_t events _unused_,
                          void *userdata)
{
        Daemon *d = userdata;

        agent_process_ended(d->agent, d->process_pid);
        forget_process(d);
        kick(d);
        return 0;
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
        kick(userdata);
        return 0;
}

static int set_timer(Daemon *d, uint64_t wake)
{
        int r;

        if (wake == UINT64_MAX || wake > UINT64_MAX / USEC_PER_SEC)
                return sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
        r = sd_event_source_set_time(d->timer, wake * USEC_PER_SEC);
        return r < 0 ? r : sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

/* The clock was set, or the machine slept: times that were computed are computed again. libsystemd offers no such source. */
static int arm_clock(Daemon *d)
{
        struct itimerspec far = { .it_value.tv_sec =
                                          INT64_C(4102444800) }; /* 2100; it never comes, it is cancelled */

        return timerfd_settime(d->clock_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL) < 0
                       ? -errno
                       : 0;
}

static int on_clock_set(sd_event_source *s _unused_, int fd, uint32_t events _unused_, void *userdata)
{
        Daemon *d = userdata;
        uint64_t n;

        (void) !read(fd, &n, sizeof(n)); /* ECANCELED is the news */
        kick(d);
        return arm_clock(d);
}

/* --- folders --- */

static int on_folder(sd_event_source *s _unused_, const struct inotify_event *e, void *userdata)
{
        Watch *w = userdata;

        if (w->name && (e->len == 0 || !streq(e->name, w->name)))
                return 0;
        w->daemon->rules_changed |= w->rules;
        kick(w->daemon);
        return 0;
}

/* Folders come and go; one that is missing is looked for again when its parent changed (the reload does it). */
static void watch_folders(Daemon *d)
{
        for (size_t i = 0; i < d->n_watches; i++) {
                Watch *w = &d->watches[i];
                _cleanup_(close_fdp) int fd = -1;

                w->source = sd_event_source_unref(w->source);
                fd = env_open_dir(&d->env, w->path);
                if (fd < 0)
                        continue;
                if (sd_event_add_inotify_fd(d->event, &w->source, fd,
                                            IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
                                                    IN_CLOSE_WRITE | IN_ONLYDIR,
                                            on_folder, w) < 0)
                        log_warning("%s cannot be watched: changes there are seen at the next reload",
                                    w->path);
        }
}

static void list_watches(Daemon *d)
{
        static const Watch watches[] = {
                { "/run/gybe", "lock", false },           { "/run/gybe", "status.json", false },
                { "/run/gybe/jobs", NULL, false },        { "/var/lib/gybe", "journal.json", false },
                { "/var/lib/gybe", "lock.json", false },  { "/var/lib/gybe/quarantine", NULL, false },
                { "/var/lib/gybe/outbox", NULL, false },  { "/usr/lib/gybe/gybe.d", NULL, true },
                { "/usr/lib/gybe/policy.d", NULL, true }, { "/etc/gybe", NULL, true },
                { "/etc/gybe/gybe.d", NULL, true },       { "/etc/gybe/policy.d", NULL, true },
                { "/run/gybe", "gybe.json", true },       { "/run/gybe", "policy.d", true },
                { "/run/gybe/gybe.d", NULL, true },       { "/run/gybe/policy.d", NULL, true },
        };

        _Static_assert(ELEMENTSOF(watches) <= ELEMENTSOF(d->watches), "room for all");
        for (size_t i = 0; i < ELEMENTSOF(watches); i++) {
                d->watches[i] = watches[i];
                d->watches[i].daemon = d;
        }
        d->n_watches = ELEMENTSOF(watches);
}

/* --- the loop --- */

static uint64_t monotonic_usec(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

static void reload(Daemon *d)
{
        Why why = { 0 };

        (void) sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long) monotonic_usec());
        d->rules_changed = false;
        /* Before the files are read: what changes while they are, or right after, is seen again. */
        watch_folders(d);
        if (agent_reload(d->agent, &why) < 0 || why.kind != WHY_NONE)
                log_warning("%s%s%s", why.text, why.hint[0] ? "; " : "", why.hint);
        (void) sd_notify(false, "READY=1");
}

static int on_step(sd_event_source *s _unused_, void *userdata)
{
        Daemon *d = userdata;
        uint64_t wake = UINT64_MAX;
        Why why = { 0 };
        int r;

        if (d->rules_changed)
                reload(d);
        r = agent_step(d->agent, env_now(&d->env), &wake, &why);
        if (r < 0)
                log_warning("%s", why.text[0] ? why.text : strerror(-r));
        watch_process(d);
        return set_timer(d, wake);
}

static int on_hangup(sd_event_source *s _unused_, const struct signalfd_siginfo *si _unused_, void *userdata)
{
        Daemon *d = userdata;

        d->rules_changed = true;
        kick(d);
        return 0;
}

static int on_terminate(sd_event_source *s, const struct signalfd_siginfo *si _unused_,
                        void *userdata _unused_)
{
        (void) sd_notify(false, "STOPPING=1");
        return sd_event_exit(sd_event_source_get_event(s), 0);
}

/* Before anything else: a reload that comes while we start is a reload, not our end. */
static void block_signals(void)
{
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGHUP);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
}

static int add_signals(Daemon *d)
{
        int r;

        if ((r = sd_event_add_signal(d->event, NULL, SIGTERM, on_terminate, d)) < 0 ||
            (r = sd_event_add_signal(d->event, NULL, SIGINT, on_terminate, d)) < 0)
                return r;
        return sd_event_add_signal(d->event, NULL, SIGHUP, on_hangup, d);
}

static int add_sources(Daemon *d)
{
        int r;

        if ((r = sd_event_add_defer(d->event, &d->step, on_step, d)) < 0 ||
            /* Behind everything else of the same round. */
            (r = sd_event_source_set_priority(d->step, SD_EVENT_PRIORITY_IDLE)) < 0 ||
            (r = sd_event_add_time(d->event, &d->timer, CLOCK_REALTIME, UINT64_MAX, USEC_PER_SEC, on_timer,
                                   d)) < 0 ||
            (r = sd_event_source_set_enabled(d->timer, SD_EVENT_OFF)) < 0 || (r = add_signals(d)) < 0)
                return r;
        d->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
        if (d->clock_fd < 0)
                return -errno;
        if ((r = arm_clock(d)) < 0 ||
            (r = sd_event_add_io(d->event, &d->clock, d->clock_fd, EPOLLIN, on_clock_set, d)) < 0)
                return r;
        list_watches(d);
        watch_folders(d);
        return 0;
}

static void on_asked(void *ctx)
{
        kick(ctx);
}

/* An agent that old clients cannot ask is still an agent. */
static void open_compat(Daemon *d, const ServiceOptions *options)
{
        _cleanup_(config_done) Config c = { 0 };
        Why ignored = { 0 }, why = { 0 };

        if (config_load(&d->env, &c, &ignored) < 0 || !c.compat_coreos_update1)
                return;
        if (compat_open(options, &d->compat, &why) < 0)
                log_warning("%s%s%s", why.text, why.hint[0] ? "; " : "", why.hint);
}

/* A host made of files has a bus when somebody names one. A bus that goes away takes the agent with it: systemd starts both
 * anew, and nothing is lost. */
static int open_bus(Daemon *d, Why *why)
{
        ServiceOptions options = { .env = &d->env, .agent = d->agent, .kick = on_asked, .ctx = d };
        int r;

        if (d->no_bus || (!env_is_real(&d->env) && !getenv("DBUS_SYSTEM_BUS_ADDRESS")))
                return 0;
        if ((r = sd_bus_open_system(&d->bus)) < 0 ||
            (r = sd_bus_attach_event(d->bus, d->event, SD_EVENT_PRIORITY_NORMAL)) < 0 ||
            (r = sd_bus_set_exit_on_disconnect(d->bus, true)) < 0)
                return fail_errno(why, r, WHY_HOST, "system bus");
        options.bus = d->bus;
        r = service_open(&options, &d->service, why);
        if (r >= 0)
                open_compat(d, &options);
        return r;
}

static int open_daemon(Daemon *d, Why *why)
{
        AgentOptions options = { .env = &d->env,
                                 .load_settings = load_settings,
                                 .changed = on_changed,
                                 .job_ended = on_job_ended,
                                 .ctx = d };
        int r;

        d->runner = (Runner){ .env = &d->env, .disk = d->disk };
        options.runner = runner_for(&d->runner);
        r = agent_open(&options, &d->agent, why);
        if (r < 0)
                return r;
        r = sd_event_default(&d->event);
        if (r >= 0)
                r = add_sources(d);
        if (r >= 0)
                r = sd_event_set_watchdog(d->event, true);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "event loop") : open_bus(d, why);
}

static void close_daemon(Daemon *d)
{
        d->compat = compat_free(d->compat);
        d->service = service_free(d->service);
        (void) sd_bus_flush_close_unref(d->bus);
        forget_process(d);
        for (size_t i = 0; i < d->n_watches; i++)
                (void) sd_event_source_unref(d->watches[i].source);
        (void) sd_event_source_unref(d->step);
        (void) sd_event_source_unref(d->timer);
        (void) sd_event_source_unref(d->clock);
        close_fdp(&d->clock_fd);
        (void) sd_event_unref(d->event);
        (void) agent_free(d->agent);
        env_done(&d->env);
}

/* 0 go on, 1 done, negative: usage */
static int parse(int argc, char *argv[], Daemon *d, Why *why)
{
        static const struct option options[] = {
                { "root", required_argument, NULL, 'r' }, { "disk", required_argument, NULL, 'd' },
                { "no-bus", no_argument, NULL, 'n' },     { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },    { 0 },
        };
        int c;

        opterr = 0;
        while ((c = getopt_long(argc, argv, ":h", options, NULL)) >= 0) {
                switch (c) {
                case 'r':
                        d->root = optarg;
                        break;
                case 'd':
                        d->disk = optarg;
                        break;
                case 'n':
                        d->no_bus = true;
                        break;
                case 'h':
                        (void) fputs(usage_text, stdout);
                        return 1;
                case 'v':
                        (void) printf("gybed %s\n", GYBE_VERSION);
                        return 1;
                default:
                        return usage_option(c, argv, "gybed", why);
                }
        }
        if (optind < argc)
                return usage_arguments("too many arguments", "gybed", why);
        return 0;
}

int main(int argc, char *argv[])
{
        Daemon d = { .env = ENV_NULL, .clock_fd = -1 };
        Why why = { 0 };
        int r;

        stdfd_open();
        block_signals();
        (void) umask(022); /* modes are said where things are made */
        r = parse(argc, argv, &d, &why);
        if (r > 0)
                return 0;
        if (r >= 0)
                r = env_open(d.root, &d.env, &why);
        if (r >= 0)
                r = open_daemon(&d, &why);
        if (r >= 0) {
                kick(&d);
                (void) sd_notify(false, "READY=1");
                r = sd_event_loop(d.event); /* 1: the bus has gone, and systemd is to start us again */
        }
        close_daemon(&d);
        if (r < 0) {
                log_failure(&why, r);
                return why.kind == WHY_NONE ? 1 : why_exit_code(&why);
        }
        return r;
}
