/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* Who follows a job holds logind's lock, for long enough to say how it ended, and no longer when somebody else wants the machine to
 * go down. A child at the other end of the bus is the agent and logind. */

#include "base/fd.h"
#include "base/str.h"
#include "control/remote-parts.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define LOGIN    "org.freedesktop.login1"
#define JOB      "00000000-0000-4000-8000-000000000001"
#define PATIENCE 4000 /* of logind, less than its five seconds */
#define AT_ONCE  200

typedef struct Other {
        sd_bus *bus;
        int lock;     /* readable when the client has let go; -1: not asked for */
        bool goes_on; /* the job, when the machine is to go down */
        bool ordered;
} Other;

static void emit(sd_bus *bus, const char *sender, const char *path, const char *member, const char *types,
                 ...)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        char interface[64];
        va_list ap;

        (void) snprintf(interface, sizeof(interface), "%s.Manager", sender);
        assert(sd_bus_message_new_signal(bus, &m, path, interface, member) >= 0);
        assert(sd_bus_message_set_sender(m, sender) >= 0);
        va_start(ap, types);
        assert(sd_bus_message_appendv(m, types, ap) >= 0);
        va_end(ap);
        assert(sd_bus_send(bus, m, NULL) >= 0 && sd_bus_flush(bus) >= 0);
}

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        const char *member = sd_bus_message_get_member(m);
        Other *o = userdata;
        int ends[2], r;

        if (streq0(member, "Inhibit")) {
                assert(pipe2(ends, O_CLOEXEC) == 0);
                r = sd_bus_reply_method_return(m, "h", ends[1]);
                assert(r >= 0 && sd_bus_flush(o->bus) >= 0 && close(ends[1]) == 0);
                o->lock = ends[0];
                return 1;
        }
        if (!streq0(member, "Update") && !streq0(member, "Stage"))
                return 0;
        assert(sd_bus_reply_method_return(m, "s", JOB) >= 0);
        o->ordered = true;
        return 1;
}

static bool let_go(const Other *o, int ms)
{
        struct pollfd p = { .fd = o->lock };

        return poll(&p, 1, ms) == 1 && p.revents & POLLHUP;
}

/* 0 as it should be; the job is told to have ended in every case */
static int play(Other *o)
{
        int wrong = 0;

        while (!o->ordered) {
                int r = sd_bus_process(o->bus, NULL);

                assert(r >= 0 && (r > 0 || sd_bus_wait(o->bus, UINT64_MAX) >= 0));
        }
        emit(o->bus, LOGIN, "/org/freedesktop/login1", "PrepareForShutdown", "b", 1);
        if (o->lock >= 0 && let_go(o, AT_ONCE)) /* the answer may be on its way */
                wrong = 1;
        if (o->lock >= 0 && o->goes_on && !let_go(o, PATIENCE))
                wrong = 2;
        emit(o->bus, REMOTE_NAME, REMOTE_PATH, "JobFinished", "ssis", JOB, "update", 0, "{}");
        return wrong;
}

static void progress(void *ctx _unused_, const ProgressValues *values _unused_)
{
}

static void follow(const char *verb, bool goes_on, bool holds)
{
        static const RemoteWatch watch = { .progress = progress };
        const JobOrder order = { .verb = verb };
        Remote remote = { .shutdown_fd = -1 };
        Other o = { .lock = -1, .goes_on = goes_on };
        char id[JOB_ID_SIZE];
        Json *result = NULL;
        int fds[2], exit_code = 1, status;
        Why why = { 0 };
        sd_id128_t server = { .bytes = { 1 } };
        pid_t pid;

        assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        pid = fork();
        assert(pid >= 0);
        if (pid == 0) {
                (void) close(fds[0]);
                assert(sd_bus_new(&o.bus) >= 0 && sd_bus_set_fd(o.bus, fds[1], fds[1]) >= 0);
                assert(sd_bus_set_server(o.bus, 1, server) >= 0 && sd_bus_negotiate_fds(o.bus, 1) >= 0);
                assert(sd_bus_add_filter(o.bus, NULL, on_call, &o) >= 0 && sd_bus_start(o.bus) >= 0);
                status = play(&o);
                (void) sd_bus_flush_close_unref(o.bus);
                _exit(status);
        }
        (void) close(fds[1]);
        assert(sd_bus_new(&remote.bus) >= 0 && sd_bus_set_fd(remote.bus, fds[0], fds[0]) >= 0);
        assert(sd_bus_negotiate_fds(remote.bus, 1) >= 0 && sd_bus_start(remote.bus) >= 0);
        assert(sd_event_new(&remote.event) >= 0);
        assert(sd_bus_attach_event(remote.bus, remote.event, SD_EVENT_PRIORITY_NORMAL) >= 0);
        if (remote_job(&remote, &order, &watch, id, &result, &exit_code, &why) < 0)
                fprintf(stderr, "%s: %s\n", verb, why.text);
        assert(streq(id, JOB) && result && exit_code == 0);
        assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert((remote.shutdown_fd >= 0) == holds); /* until the answer has been said */
        json_unref(result);
        close_fdp(&remote.shutdown_fd);
        (void) sd_bus_detach_event(remote.bus);
        (void) sd_bus_flush_close_unref(remote.bus);
        (void) sd_event_unref(remote.event);
}

int main(void)
{
        follow("stage", true, false); /* never reboots */
        follow("update", false, true);
        follow("update", true, false);
        return 0;
}
