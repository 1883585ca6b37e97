/* SPDX-License-Identifier: MIT */

#include "control/remote-parts.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define DRIVER           "org.freedesktop.DBus"
#define CALL_TIMEOUT_US  (60u * 1000000u)  /* the agent may have to be started first */
#define ASK_TIMEOUT_US   (240u * 1000000u) /* somebody types a password */
#define START_TIMEOUT_US (30u * 1000000u)
#define USEC             UINT64_C(1000000)

/* --- life cycle --- */

static bool name_is_owned(sd_bus *bus)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int owned = 0;

        return sd_bus_call_method(bus, DRIVER, "/org/freedesktop/DBus", DRIVER, "NameHasOwner", NULL, &reply,
                                  "s", REMOTE_NAME) >= 0 &&
               sd_bus_message_read(reply, "b", &owned) > 0 && owned;
}

static bool name_can_start(sd_bus *bus)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *name;

        if (sd_bus_call_method(bus, DRIVER, "/org/freedesktop/DBus", DRIVER, "ListActivatableNames", NULL,
                               &reply, NULL) < 0 ||
            sd_bus_message_enter_container(reply, 'a', "s") < 0)
                return false;
        while (sd_bus_message_read(reply, "s", &name) > 0)
                if (streq(name, REMOTE_NAME))
                        return true;
        return false;
}

/* An agent that cannot be started must not keep anybody from going back to a slot where it can. */
static bool name_starts(sd_bus *bus)
{
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r = sd_bus_message_new_method_call(bus, &m, DRIVER, "/org/freedesktop/DBus", DRIVER,
                                               "StartServiceByName");

        if (r >= 0)
                r = sd_bus_message_append(m, "su", REMOTE_NAME, 0);
        if (r >= 0)
                r = sd_bus_call(bus, m, START_TIMEOUT_US, &e, &reply);
        if (r < 0)
                log_warning("the update agent cannot be started (%s), going on without it",
                            e.message ? e.message : strerror(-r));
        return r >= 0;
}

static int on_signal(sd_event_source *source _unused_, const struct signalfd_siginfo *info _unused_,
                     void *userdata)
{
        Remote *remote = userdata;

        remote->interrupted = true;
        return 0;
}

/* SIGINT and SIGTERM end the watching, not the job. */
static int take_signals(Remote *remote)
{
        sigset_t set;
        int r;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        r = sd_event_add_signal(remote->event, NULL, SIGINT, on_signal, remote);
        return r < 0 ? r : sd_event_add_signal(remote->event, NULL, SIGTERM, on_signal, remote);
}

int remote_open(Remote **ret, Why *why)
{
        _cleanup_(remote_freep) Remote *remote = calloc(1, sizeof(*remote));
        int r;

        if (!remote)
                return -ENOMEM;
        remote->shutdown_fd = -1;
        if (sd_bus_open_system(&remote->bus) < 0)
                return 0;
        if (!name_is_owned(remote->bus) && !(name_can_start(remote->bus) && name_starts(remote->bus)))
                return 0;
        if ((r = sd_event_new(&remote->event)) < 0 ||
            (r = sd_bus_attach_event(remote->bus, remote->event, SD_EVENT_PRIORITY_NORMAL)) < 0 ||
            (r = take_signals(remote)) < 0)
                return fail_errno(why, r, WHY_HOST, "system bus");
        *ret = TAKE(remote);
        return 1;
}

Remote *remote_free(Remote *remote)
{
        if (!remote)
                return NULL;
        remote_stop_password_agent(remote);
        close_fdp(&remote->shutdown_fd);
        if (remote->bus)
                (void) sd_bus_detach_event(remote->bus);
        (void) sd_bus_flush_close_unref(remote->bus);
        (void) sd_event_unref(remote->event);
        free(remote);
        return NULL;
}

void remote_freep(Remote **remote)
{
        *remote = remote_free(*remote);
}

/* --- calls --- */

int remote_broken(int r, Why *why)
{
        return fail_errno(why, r, WHY_HOST, "system bus");
}

/* code: the word that gybe's own documents have for what a method can refuse at once; what a job refuses is in its result. */
static const struct {
        const char *name;
        WhyKind kind;
        const char *code;
} errors[] = {
        { "org.gybe.Update1.Error.Policy", WHY_POLICY, "overruled" },
        { "org.gybe.Update1.Error.Trust", WHY_TRUST, "trust" },
        { "org.gybe.Update1.Error.Busy", WHY_BUSY, "busy" },
        { "org.gybe.Update1.Error.Usage", WHY_USAGE, "usage" },
        { "org.gybe.Update1.Error.NothingToDo", WHY_NOTHING, "as-it-was" },
        { "org.gybe.Update1.Error.Failed", WHY_HOST, "failed" },
        { SD_BUS_ERROR_INVALID_ARGS, WHY_USAGE, "usage" },
        { SD_BUS_ERROR_ACCESS_DENIED, WHY_HOST, "not-authorized" },
        { SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, WHY_HOST, "not-authorized" },
};

bool remote_error(const char *name, WhyKind *ret_kind, const char **ret_code)
{
        for (size_t i = 0; i < ELEMENTSOF(errors); i++)
                if (streq0(name, errors[i].name)) {
                        *ret_kind = errors[i].kind;
                        *ret_code = errors[i].code;
                        return true;
                }
        return false;
}

/* "WHAT: WHY; WHAT NOW". An error that is not one of ours means that the agent is not there for us. */
static int take_error(sd_bus_message *call, sd_bus_message *reply, Why *why)
{
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        const char *line = e->message ? e->message : e->name, *then = strstr(line, "; "), *code = NULL;
        WhyKind kind = WHY_NONE;
        int r = -sd_bus_message_get_errno(reply);

        r = r < 0 ? r : -EIO;
        if (!remote_error(e->name, &kind, &code)) {
                (void) fail(why, r, WHY_HOST, "agent", "the update agent does not answer: %s", line);
                return fail_hint(why, r, "systemctl status gybed says more; --no-agent does without it");
        }
        if (kind == WHY_NOTHING && streq0(sd_bus_message_get_member(call), "ClearQuarantine"))
                code = "not-in-quarantine";
        (void) fail(why, r, kind, code, "%.*s", then ? (int) (then - line) : (int) strlen(line), line);
        return then ? fail_hint(why, r, "%s", then + 2) : r;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        sd_bus_message **reply = userdata;

        *reply = sd_bus_message_ref(m);
        return 0;
}

int remote_message(Remote *remote, const char *member, sd_bus_message **ret, Why *why)
{
        int r = sd_bus_message_new_method_call(remote->bus, ret, REMOTE_NAME, REMOTE_PATH, REMOTE_INTERFACE,
                                               member);

        return r < 0 ? remote_broken(r, why) : 0;
}

int remote_call(Remote *remote, sd_bus_message *m, sd_bus_message **ret, Why *why)
{
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        bool ask = sd_bus_message_get_allow_interactive_authorization(m) > 0;
        int r;

        r = sd_bus_call_async(remote->bus, &slot, m, on_reply, &reply,
                              ask ? ASK_TIMEOUT_US : CALL_TIMEOUT_US);
        while (r >= 0 && !reply && !remote->interrupted)
                r = sd_event_run(remote->event, UINT64_MAX);
        if (r < 0)
                return remote_broken(r, why);
        if (!reply)
                return -EINTR;
        if (sd_bus_message_is_method_error(reply, NULL))
                return take_error(m, reply, why);
        *ret = TAKE(reply);
        return 0;
}

/* For methods that polkit guards. */
static int call_changing(Remote *remote, sd_bus_message *m, sd_bus_message **ret, Why *why)
{
        int r = sd_bus_message_set_allow_interactive_authorization(m, remote_start_password_agent(remote));

        return r < 0 ? remote_broken(r, why) : remote_call(remote, m, ret, why);
}

static int read_document(sd_bus_message *reply, const char *member, Json **ret, Why *why)
{
        const char *text;

        if (sd_bus_message_read(reply, "s", &text) <= 0)
                return remote_broken(-EBADMSG, why);
        return json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, member, WHY_HOST, ret, why);
}

int remote_read(Remote *remote, const char *member, Json **ret, Why *why)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r = remote_message(remote, member, &m, why);

        if (r < 0)
                return r;
        r = streq(member, "Audit") ? call_changing(remote, m, &reply, why)
                                   : remote_call(remote, m, &reply, why);
        return r < 0 ? r : read_document(reply, member, ret, why);
}

int remote_explain(Remote *remote, const ExplainQuestion *q, Json **ret, Why *why)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r = remote_message(remote, "Explain", &m, why);

        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && q->at > 0)
                r = sd_bus_message_append(m, "{sv}", "at", "t", q->at * USEC);
        if (r >= 0 && q->version)
                r = sd_bus_message_append(m, "{sv}", "version", "s", q->version);
        if (r >= 0 && q->override)
                r = sd_bus_message_append(m, "{sv}", "override", "b", 1);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r < 0)
                return remote_broken(r, why);
        r = remote_call(remote, m, &reply, why);
        return r < 0 ? r : read_document(reply, "Explain", ret, why);
}

int remote_tell(Remote *remote, const char *member, const char *text, Why *why)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r = remote_message(remote, member, &m, why);

        if (r < 0)
                return r;
        if (text && (r = sd_bus_message_append(m, "s", text)) < 0)
                return remote_broken(r, why);
        return call_changing(remote, m, &reply, why);
}

int remote_hold(Remote *remote, uint64_t until, const char *reason, Why *why)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r = remote_message(remote, "Hold", &m, why);

        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "ts", until > UINT64_MAX / USEC ? UINT64_MAX : until * USEC,
                                  reason ? reason : "");
        return r < 0 ? remote_broken(r, why) : call_changing(remote, m, &reply, why);
}

int remote_clear_quarantine(Remote *remote, const char *id, unsigned *ret_cleared, Why *why)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        uint32_t n = 0;
        int r = remote_message(remote, "ClearQuarantine", &m, why);

        if (r < 0)
                return r;
        if ((r = sd_bus_message_append(m, "s", id ? id : "")) < 0)
                return remote_broken(r, why);
        r = call_changing(remote, m, &reply, why);
        if (r < 0)
                return r;
        if (sd_bus_message_read(reply, "u", &n) <= 0)
                return remote_broken(-EBADMSG, why);
        *ret_cleared = n;
        return 0;
}
