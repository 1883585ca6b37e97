/* SPDX-License-Identifier: MIT */

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/utf8.h"
#include "control/compat.h"
#include "control/coordconf.h"
#include "control/service-call.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <systemd/sd-bus.h>
#include <time.h>

#define NAME      "com.coreos.update1"
#define PATH      "/com/coreos/update1"
#define INTERFACE "com.coreos.update1.Manager"
#define SIGNATURE "xdssx"

#define TOLD_STEP     0.01 /* of progress, between two signals of one state */
#define TOLD_EVERY_US UINT64_C(10000000)

struct Compat {
        const Env *env;
        Agent *agent;
        sd_bus *bus;
        sd_bus_slot *object;
        void (*kick)(void *ctx);
        void *ctx;

        char attempt_id[JOB_ID_SIZE], reset_id[JOB_ID_SIZE]; /* jobs that were asked for here; "" none */
        int64_t attempted_at; /* when the last attempt ended: it asked the source, too */

        /* of the last signal */
        char told_operation[48], told_version[CALL_VERSION_MAX + 1];
        double told_progress;
        uint64_t told_us; /* monotonic; 0: none yet */

        int coordinator_fd;       /* coordinator.conf, while it is ours; -1 */
        bool coordinator_refused; /* said so */
        char coordinator_state[64];
};

static CompatStatus status_of(const Compat *c)
{
        unsigned pending = (c->attempt_id[0] ? COMPAT_PENDING_ATTEMPT : 0u) |
                           (c->reset_id[0] ? COMPAT_PENDING_RESET : 0u);

        CompatStatus s = compat_status(agent_properties(c->agent), pending);

        s.last_checked = MAX(s.last_checked, c->attempted_at);
        return s;
}

/* x d s s x, five arguments, in GetStatus and in the signal: clients take them without a look at their types. */
static int append_status(sd_bus_message *m, const CompatStatus *s)
{
        char version[CALL_VERSION_MAX + 1];

        (void) snprintf(version, sizeof(version), "%s", s->version);
        utf8_repair(version);
        return sd_bus_message_append(m, SIGNATURE, s->last_checked, s->progress, s->operation, version,
                                     s->size);
}

/* --- methods --- */

static int refuse(sd_bus_message *m, const char *text)
{
        return sd_bus_reply_method_error(m, &SD_BUS_ERROR_MAKE_CONST(SD_BUS_ERROR_FAILED, text));
}

static int order(Compat *c, sd_bus_message *m, const char *verb, bool no_reboot, char ret_id[JOB_ID_SIZE])
{
        _cleanup_(call_done) Call call = { 0 };
        JobOrder job = { .verb = verb, .no_reboot = no_reboot };
        Why why = { 0 };
        int r = call_read_caller(m, c->env, &call, &why);

        if (r >= 0) {
                job.by = (JobRequester){ .uid = call.uid, .name = call.user, .how = "dbus" };
                log_notice("%s is asked for by %s (user %" PRIu64 ") over %s", verb,
                           call.user ? call.user : "somebody", call.uid, NAME);
                r = agent_request(c->agent, &job, ret_id, &why);
        }
        if (r < 0)
                return refuse(m, why.text[0] ? why.text : strerror(-r));
        compat_changed(c); /* out of IDLE before the answer */
        c->kick(c->ctx);
        return sd_bus_reply_method_return(m, NULL);
}

/* Checks, stages and arms, as a person would; where an update waits for its reboot, or is on its way, there is nothing to do. */
static int on_attempt_update(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        Compat *c = userdata;
        CompatStatus s = status_of(c);

        return compat_is_idle(&s) ? order(c, m, "update", false, c->attempt_id)
                                  : sd_bus_reply_method_return(m, NULL);
}

/* Disarms what is armed: the other slot is not tried at the next boot, whoever reboots. */
static int on_reset_status(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        Compat *c = userdata;
        CompatStatus s = status_of(c);

        if (compat_is_idle(&s))
                return sd_bus_reply_method_return(m, NULL);
        return compat_needs_reboot(&s) ? order(c, m, "rollback", true, c->reset_id)
                                       : refuse(m, "busy: only an idle or a finished update can be reset");
}

static int on_get_status(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        CompatStatus s = status_of(userdata);
        int r = sd_bus_message_new_method_return(m, &reply);

        if (r >= 0)
                r = append_status(reply, &s);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        return r < 0 ? r : 1;
}

/* clang-format off */
static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("AttemptUpdate", "", "", on_attempt_update, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ResetStatus", "", "", on_reset_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStatus", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("x", last_checked_time, "d", progress, "s", current_operation,
                                              "s", new_version, "x", new_size),
                                on_get_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("StatusUpdate",
                                SD_BUS_ARGS("x", last_checked_time, "d", progress, "s", current_operation,
                                            "s", new_version, "x", new_size), 0),
        SD_BUS_VTABLE_END
};
/* clang-format on */

/* --- telling --- */

static uint64_t monotonic_us(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static bool is_news(const Compat *c, const CompatStatus *s, uint64_t now)
{
        double moved = s->progress - c->told_progress;

        if (c->told_us == 0 || !streq(c->told_operation, s->operation) || !streq(c->told_version, s->version))
                return true;
        return moved >= TOLD_STEP || moved < 0 || (moved > 0 && now - c->told_us >= TOLD_EVERY_US);
}

static void tell(Compat *c, const CompatStatus *s)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint64_t now = monotonic_us();
        int r;

        if (!is_news(c, s, now))
                return;
        (void) snprintf(c->told_operation, sizeof(c->told_operation), "%s", s->operation);
        (void) snprintf(c->told_version, sizeof(c->told_version), "%s", s->version);
        c->told_progress = s->progress;
        c->told_us = MAX(now, UINT64_C(1));
        r = sd_bus_message_new_signal(c->bus, &m, PATH, INTERFACE, "StatusUpdate");
        if (r >= 0)
                r = append_status(m, s);
        if (r >= 0)
                (void) sd_bus_send(c->bus, m, NULL);
}

/* --- who reboots --- */

static bool reboots_itself(const Policy *p)
{
        return p->reboot.coordinator != POLICY_COORD_KURED && p->reboot.coordinator != POLICY_COORD_DBUS;
}

/* A job reads the same file before it reboots (update-coordinate.c), so who was there first keeps it. */
static void keep_coordinator(Compat *c, const CompatStatus *s)
{
        const AgentProperties *p = agent_properties(c->agent);
        const Policy *policy = agent_policy(c->agent);
        const char *strategy = policy_coordinator_name(policy->reboot.coordinator);
        const char *state = streq0(p->job_verb, "reboot") ? "rebooting"
                            : compat_needs_reboot(s)      ? "reboot-planned"
                                                          : "running";
        char now[64], other[64] = "";
        int r;

        if (!reboots_itself(policy)) {
                close_fdp(&c->coordinator_fd);
                c->coordinator_fd = -1;
                c->coordinator_state[0] = 0;
                return;
        }
        (void) snprintf(now, sizeof(now), "%s %s", strategy, state);
        if (c->coordinator_fd >= 0 && streq(now, c->coordinator_state))
                return;
        r = coordconf_hold(c->env, &c->coordinator_fd, streq(strategy, "none") ? "reboot" : strategy, state,
                           other, sizeof(other));
        if (r > 0)
                memcpy(c->coordinator_state, now, sizeof(now));
        if (r > 0 || c->coordinator_refused)
                return;
        c->coordinator_refused = true;
        if (r == 0)
                log_warning("%s holds " COORDCONF_PATH
                            ": it reboots this host, gybe does not; set reboot.coordinator to \"dbus\"",
                            other);
        else
                log_warning(COORDCONF_PATH ": %s; another program may reboot this host, too", strerror(-r));
}

void compat_changed(Compat *c)
{
        CompatStatus s = status_of(c);

        keep_coordinator(c, &s);
        tell(c, &s);
}

void compat_job_ended(Compat *c, const char *id)
{
        if (streq(c->attempt_id, id)) {
                c->attempt_id[0] = 0;
                c->attempted_at = (int64_t) env_now(c->env);
        }
        if (streq(c->reset_id, id))
                c->reset_id[0] = 0;
}

/* --- life --- */

int compat_open(const ServiceOptions *options, Compat **ret, Why *why)
{
        _cleanup_(compat_freep) Compat *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->env = options->env;
        c->agent = options->agent;
        c->bus = options->bus;
        c->kick = options->kick;
        c->ctx = options->ctx;
        c->coordinator_fd = -1;
        r = sd_bus_add_object_vtable(c->bus, &c->object, PATH, INTERFACE, vtable, c);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", PATH);
        r = sd_bus_request_name(c->bus, NAME, 0);
        if (r == -EEXIST || r == -EALREADY)
                return fail_hint(why,
                                 fail(why, -EEXIST, WHY_BUSY, "busy", "%s: another program has this name",
                                      NAME),
                                 "stop and mask update-engine.service");
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s: asking the bus for this name", NAME);
        compat_changed(c);
        *ret = TAKE(c);
        return 0;
}

Compat *compat_free(Compat *c)
{
        if (!c)
                return NULL;
        c->object = sd_bus_slot_unref(c->object);
        close_fdp(&c->coordinator_fd);
        free(c);
        return NULL;
}

void compat_freep(Compat **c)
{
        *c = compat_free(*c);
}
