/* SPDX-License-Identifier: MIT */

#include "control/node-bus.h"
#include "base/str.h"
#include "base/utf8.h"
#include "control/remote-parts.h"

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#define CALL_US (60u * UINT64_C(1000000)) /* gybed may have to be started first */

struct NodeBus {
        sd_bus *bus;
        NodeBusEvents events;
        sd_bus_slot *describe, *order, *job, *finished, *owner;
};

/* "WHAT: WHY; WHAT NOW". What is not one of gybed's own errors means that it is not there for us. */
static void take_error(sd_bus_message *reply, Why *why)
{
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        const char *text = e->message ? e->message : e->name, *code;
        WhyKind kind;

        if (remote_error(e->name, &kind, &code))
                (void) fail(why, -EIO, kind, code, "%s", text);
        else
                (void) fail(why, -EIO, WHY_HOST, "agent", "the update agent does not answer: %s", text);
}

static void no_answer(int r, Why *why)
{
        (void) fail(why, r, WHY_HOST, "agent", "the update agent cannot be asked: %s", strerror(-r));
}

static int read_json(sd_bus_message *m, Json **ret, Why *why)
{
        const char *text;

        if (sd_bus_message_read(m, "s", &text) <= 0)
                return fail(why, -EBADMSG, WHY_HOST, "agent", "the update agent's answer cannot be read");
        return text[0] ? json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "the update agent's answer",
                                    WHY_HOST, ret, why)
                       : 0;
}

/* --- Describe --- */

static int on_describe(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        NodeBus *b = userdata;
        Why why = { 0 };

        b->describe = sd_bus_slot_unref(b->describe);
        if (sd_bus_message_is_method_error(m, NULL))
                take_error(m, &why);
        else if (read_json(m, &j, &why) < 0)
                (void) snprintf(why.code, sizeof(why.code), "agent");
        b->events.on_describe(b->events.ctx, j, &why);
        return 0;
}

static int call(NodeBus *b, sd_bus_message *m, sd_bus_slot **slot, sd_bus_message_handler_t f)
{
        *slot = sd_bus_slot_unref(*slot);
        return sd_bus_call_async(b->bus, slot, m, f, b, CALL_US);
}

static int new_call(NodeBus *b, const char *member, sd_bus_message **ret)
{
        return sd_bus_message_new_method_call(b->bus, ret, REMOTE_NAME, REMOTE_PATH, REMOTE_INTERFACE,
                                              member);
}

void node_bus_describe(NodeBus *b)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = new_call(b, "Describe", &m);
        Why why = { 0 };

        if (r >= 0)
                r = call(b, m, &b->describe, on_describe);
        if (r >= 0)
                return;
        no_answer(r, &why);
        b->events.on_describe(b->events.ctx, NULL, &why);
}

/* --- orders --- */

static int on_order(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        NodeBus *b = userdata;
        const char *id = NULL;
        Why why = { 0 };

        b->order = sd_bus_slot_unref(b->order);
        if (sd_bus_message_is_method_error(m, NULL))
                take_error(m, &why);
        else if (sd_bus_message_read(m, "s", &id) <= 0)
                no_answer(-EBADMSG, &why);
        b->events.on_order(b->events.ctx, why.kind == WHY_NONE ? id : NULL, &why);
        return 0;
}

static int append_text(sd_bus_message *m, const char *key, const char *value)
{
        return value ? sd_bus_message_append(m, "{sv}", key, "s", value) : 0;
}

void node_bus_order(NodeBus *b, const NodeOrder *o)
{
        static const char *const members[] = {
                [NODE_STAGE] = "Stage", [NODE_FINALIZE] = "Finalize", [NODE_ROLLBACK] = "Rollback"
        };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        Why why = { 0 };
        int r = new_call(b, members[o->verb], &m);

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = append_text(m, "version", o->version);
        if (r >= 0)
                r = append_text(m, "omaha-url", o->server);
        if (r >= 0)
                r = append_text(m, "omaha-app", o->app_id);
        if (r >= 0)
                r = append_text(m, "omaha-track", o->track);
        if (r >= 0 && o->no_reboot)
                r = sd_bus_message_append(m, "{sv}", "noReboot", "b", 1);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = call(b, m, &b->order, on_order);
        if (r >= 0)
                return;
        no_answer(r, &why);
        b->events.on_order(b->events.ctx, NULL, &why);
}

/* --- a job --- */

static int on_job(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        const sd_bus_error *e = sd_bus_message_get_error(m);
        _cleanup_(json_unrefp) Json *j = NULL;
        NodeBus *b = userdata;
        Why why = { 0 };
        int32_t code = 0;
        int ended = 0;

        b->job = sd_bus_slot_unref(b->job);
        if (e)
                b->events.on_job(b->events.ctx,
                                 streq0(e->name, "org.gybe.Update1.Error.Usage") ? NODE_JOB_UNKNOWN
                                                                                 : NODE_JOB_NO_ANSWER,
                                 0, NULL);
        else if (sd_bus_message_read(m, "bi", &ended, &code) <= 0 || (ended && read_json(m, &j, &why) < 0))
                b->events.on_job(b->events.ctx, NODE_JOB_NO_ANSWER, 0, NULL);
        else
                b->events.on_job(b->events.ctx, ended ? NODE_JOB_ENDED : NODE_JOB_RUNS, code, j);
        return 0;
}

void node_bus_ask_job(NodeBus *b, const char *id)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = new_call(b, "JobResult", &m);

        if (r >= 0)
                r = sd_bus_message_append(m, "s", id);
        if (r >= 0)
                r = call(b, m, &b->job, on_job);
        if (r < 0)
                b->events.on_job(b->events.ctx, NODE_JOB_NO_ANSWER, 0, NULL);
}

/* --- news --- */

static int on_news(sd_bus_message *m _unused_, void *userdata, sd_bus_error *error _unused_)
{
        NodeBus *b = userdata;

        b->events.on_changed(b->events.ctx);
        return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
        const char *name;

        return sd_bus_message_read(m, "s", &name) > 0 && streq(name, REMOTE_NAME) ? on_news(m, userdata, NULL)
                                                                                  : 0;
}

NodeBus *node_bus_free(NodeBus *b)
{
        if (!b)
                return NULL;
        (void) sd_bus_slot_unref(b->describe);
        (void) sd_bus_slot_unref(b->order);
        (void) sd_bus_slot_unref(b->job);
        (void) sd_bus_slot_unref(b->finished);
        (void) sd_bus_slot_unref(b->owner);
        if (b->bus)
                (void) sd_bus_detach_event(b->bus);
        (void) sd_bus_flush_close_unref(b->bus);
        free(b);
        return NULL;
}

/* Not PropertiesChanged: progress comes twice a second, and what counts ends with a job. */
int node_bus_open(sd_event *event, const NodeBusEvents *events, NodeBus **ret, Why *why)
{
        NodeBus *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        b->events = *events;
        if ((r = sd_bus_open_system(&b->bus)) < 0 ||
            (r = sd_bus_attach_event(b->bus, event, SD_EVENT_PRIORITY_NORMAL)) < 0 ||
            (r = sd_bus_set_exit_on_disconnect(b->bus, true)) < 0 ||
            (r = sd_bus_match_signal_async(b->bus, &b->finished, REMOTE_NAME, REMOTE_PATH, REMOTE_INTERFACE,
                                           "JobFinished", on_news, NULL, b)) < 0 ||
            (r = sd_bus_match_signal_async(b->bus, &b->owner, "org.freedesktop.DBus", NULL,
                                           "org.freedesktop.DBus", "NameOwnerChanged", on_owner, NULL, b)) <
                    0) {
                (void) node_bus_free(b);
                return fail_errno(why, r, WHY_HOST, "system bus");
        }
        *ret = b;
        return 0;
}
